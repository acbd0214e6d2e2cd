//! What happens to clients that a backend, or the embedding program, can decide or hear of.

/// What happens that a backend may want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HookEvent {
    /// A client wants to connect. A decision.
    Connect,
    /// A connection wants to join a room. A decision.
    Join,
    /// A connection wants to publish or to broadcast. A decision.
    Publish,
    /// A connection has left a room. A notice, and one that a backend gets only if it is named.
    Leave,
    /// A connection has ended. A notice.
    Disconnect,
    /// A message of a type that only the backend knows. A notice.
    Message,
}

impl HookEvent {
    /// Every event, in the order of [`HookEvent::index`].
    pub const ALL: [Self; 6] =
        [Self::Connect, Self::Join, Self::Publish, Self::Leave, Self::Disconnect, Self::Message];

    /// Their names, in the configuration, in requests and in metrics.
    pub const LABELS: [&'static str; 6] = ["connect", "join", "publish", "leave", "disconnect", "message"];

    /// Position in [`HookEvent::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// Whether somebody waits for the answer, which may be no.
    pub const fn is_decision(self) -> bool {
        matches!(self, Self::Connect | Self::Join | Self::Publish)
    }
}

/// A set of [`HookEvent`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HookEvents(u8);

impl HookEvents {
    /// None of them.
    pub const NONE: Self = Self(0);

    /// All of them.
    pub const ALL: Self = Self((1 << HookEvent::ALL.len()) - 1);

    /// All but `leave`: a connection that ends leaves all its rooms, which can be very many requests.
    pub const DEFAULT: Self = Self(Self::ALL.0 & !(1 << HookEvent::Leave.index()));

    /// These and `event`.
    #[must_use]
    pub const fn with(self, event: HookEvent) -> Self {
        Self(self.0 | 1 << event.index())
    }

    /// These and those.
    #[must_use]
    pub const fn or(self, those: Self) -> Self {
        Self(self.0 | those.0)
    }

    /// Whether `event` is one of them.
    #[inline]
    pub const fn has(self, event: HookEvent) -> bool {
        self.0 & 1 << event.index() != 0
    }

    /// The set of these names; `None` if one is unknown.
    pub fn parse<'n>(mut names: impl Iterator<Item = &'n str>) -> Option<Self> {
        names.try_fold(Self::NONE, |set, name| {
            let index = HookEvent::LABELS.iter().position(|label| *label == name)?;
            Some(Self(set.0 | 1 << index))
        })
    }

    /// The names of its events, separated by commas.
    pub fn show(self) -> String {
        let names: Vec<_> =
            HookEvent::ALL.into_iter().filter(|e| self.has(*e)).map(HookEvent::name).collect();
        names.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_a_set_of_names() {
        let set = HookEvents::parse(["message", "join", "join"].into_iter()).unwrap();
        assert!(set.has(HookEvent::Join) && set.has(HookEvent::Message) && !set.has(HookEvent::Publish));
        assert_eq!(set.show(), "join,message");
        assert_eq!(HookEvents::parse(HookEvent::LABELS.into_iter()), Some(HookEvents::ALL));
        assert_eq!(HookEvents::parse([].into_iter()), Some(HookEvents::NONE));
        assert_eq!(HookEvents::DEFAULT.show(), "connect,join,publish,disconnect,message");
        assert_eq!(HookEvents::DEFAULT.with(HookEvent::Leave), HookEvents::ALL);
        assert_eq!(HookEvents::NONE.or(set), set);
        assert_eq!(HookEvents::parse(["Join"].into_iter()), None);
        for (index, event) in HookEvent::ALL.into_iter().enumerate() {
            assert_eq!(event.index(), index);
        }
    }
}
