use std::fmt;
use std::ops::Sub;

/// What somebody does in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Action {
    /// Joins it, and so hears what is published.
    Subscribe = 1,
    /// Publishes to it.
    Publish = 2,
    /// Asks who is in it.
    Presence = 4,
    /// Is sent what was published before: what was missed, the last value.
    History = 8,
}

impl Action {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Subscribe, Self::Publish, Self::Presence, Self::History];

    /// Its name in a rule.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Publish => "publish",
            Self::Presence => "presence",
            Self::History => "history",
        }
    }

    /// The action of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }
}

/// A set of actions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Actions(u8);

impl Actions {
    /// None.
    pub const NONE: Self = Self(0);

    /// All there are.
    pub const ALL: Self = Self(15);

    /// Whether an action is among them.
    pub const fn has(self, action: Action) -> bool {
        self.0 & action as u8 != 0
    }

    /// Those in it.
    pub fn iter(self) -> impl Iterator<Item = Action> {
        Action::ALL.into_iter().filter(move |action| self.has(*action))
    }
}

impl FromIterator<Action> for Actions {
    fn from_iter<I: IntoIterator<Item = Action>>(actions: I) -> Self {
        Self(actions.into_iter().fold(0, |set, action| set | action as u8))
    }
}

impl Sub for Actions {
    type Output = Self;

    fn sub(self, without: Self) -> Self {
        Self(self.0 & !without.0)
    }
}

impl fmt::Debug for Actions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_four_and_each_has_a_name() {
        assert_eq!(Action::ALL.into_iter().collect::<Actions>(), Actions::ALL);
        assert_eq!(Actions::ALL.iter().count(), 4);
        for action in Action::ALL {
            assert_eq!(Action::by_name(action.name()), Some(action));
            let others = Actions::ALL - Actions::from_iter([action]);
            assert!(!others.has(action) && others.iter().count() == 3 && !Actions::NONE.has(action));
        }
        assert_eq!(Action::by_name("Publish"), None);
    }
}
