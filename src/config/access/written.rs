//! Rules for access as they are written, in YAML or JSON.

use super::{AccessRule, Action, Actions, Who};
use crate::base::{Pattern, Segment};
use crate::config::list::{self, Item, ItemError, ListError};
use crate::model::Identity;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::fmt;

/// Most rules: those that begin with the same word are looked through one by one.
const RULES_MAX: usize = 1000;

/// Most names in one rule's `who`.
const WHO_MAX: usize = 32;

/// Longest name of a role, in bytes: no identity has a longer one.
const ROLE_BYTES_MAX: usize = Identity::NAME_BYTES_MAX;

/// Longest `text`, in bytes: it goes into an error message each time.
const TEXT_BYTES_MAX: usize = 255;

/// What comes before the name of a role in `who`.
const ROLE: &str = "role:";

/// Name in `who` of those that belong to no tenant.
const WITHOUT_TENANT: &str = "without_tenant";

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    room: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    who: Option<Names>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allow: Option<Names>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deny: Option<Names>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

/// A name, or a list of names.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Names {
    One(String),
    Many(Vec<String>),
}

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NamesVisitor)
    }
}

struct NamesVisitor;

impl<'de> Visitor<'de> for NamesVisitor {
    type Value = Names;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name or a list of names")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Names, E> {
        Ok(Names::One(name.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Names, A::Error> {
        let mut names = Vec::new();
        while let Some(name) = items.next_element()? {
            names.push(name);
        }
        Ok(Names::Many(names))
    }
}

impl Names {
    fn iter(&self) -> impl Iterator<Item = &str> {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names.as_slice(),
        }
        .iter()
        .map(String::as_str)
    }

    fn actions(&self) -> Option<Actions> {
        self.iter().map(Action::by_name).collect()
    }
}

/// Reads rules from YAML or JSON.
///
/// # Errors
/// What is wrong, with the number of the rule.
pub(in crate::config) fn parse_rules(text: &str) -> Result<Vec<AccessRule>, String> {
    list::parse::<Written>(text)
}

/// Reads the rules that a key of a file has.
///
/// # Errors
/// What is wrong, with its place and the number of the rule.
pub(in crate::config) fn parse_rules_of(file: &str, key: &str) -> Result<Vec<AccessRule>, ListError> {
    list::parse_key::<Written>(file, key)
}

/// Writes rules so that [`parse_rules`] reads them back.
pub(in crate::config) fn show_rules(rules: &[AccessRule]) -> String {
    if rules.is_empty() {
        return String::new();
    }
    let written: Vec<_> = rules.iter().map(Written::from).collect();
    serde_json::to_string(&written).expect("text is JSON")
}

impl Item for Written {
    type Checked = AccessRule;

    const NAME: &'static str = "rule";

    const MAX: usize = RULES_MAX;

    fn check(self) -> Result<AccessRule, ItemError> {
        let pattern = Pattern::parse_capturing(&self.room, &AccessRule::CAPTURES)
            .map_err(|error| ItemError::new("room", error.to_string()))?;
        let captures = pattern.segments().iter().any(|segment| matches!(segment, Segment::Capture(_)));
        let who = match &self.who {
            Some(names) => names.iter().map(parse_who).collect::<Option<Vec<_>>>().unwrap_or_default(),
            // The captures say who. Without them a rule that lets everybody in must say so.
            None if captures => vec![Who::Any],
            None => {
                let what = "it must be given where room has neither {tenant} nor {user}";
                return Err(ItemError::new("who", what));
            }
        };
        if who.is_empty() || who.len() > WHO_MAX {
            let what = format!(
                "it must be any, user, {WITHOUT_TENANT} or role:NAME, or a list of 1 to {WHO_MAX} of these"
            );
            return Err(ItemError::new("who", what));
        }
        let actions = |field: &'static str, names: &Option<Names>, unless_given: Actions| {
            names.as_ref().map_or(Some(unless_given), Names::actions).ok_or_else(|| {
                ItemError::new(field, "it must be a list of subscribe, publish, presence and history")
            })
        };
        let allow = actions("allow", &self.allow, Actions::ALL)?;
        let deny = actions("deny", &self.deny, Actions::NONE)?;
        let fits =
            |text: &String| (1..=TEXT_BYTES_MAX).contains(&text.len()) && !text.chars().any(char::is_control);
        if !self.text.as_ref().is_none_or(fits) {
            let what = format!("it must have 1 to {TEXT_BYTES_MAX} bytes and no control characters");
            return Err(ItemError::new("text", what));
        }
        Ok(AccessRule { pattern, who, allow: allow - deny, text: self.text })
    }

    /// A rule that never counts is a mistake in the order, or a leftover that contradicts what holds.
    fn fits(before: &[AccessRule], rule: &AccessRule) -> Result<(), ItemError> {
        let together =
            before.iter().rev().take_while(|before| before.pattern.is_alike(&rule.pattern)).count();
        let deciding = &before[..before.len() - together];
        match deciding.iter().position(|before| before.pattern.covers(&rule.pattern)) {
            Some(index) => Err(ItemError::new(
                "room",
                format!("the rule never counts, as rule {} decides for all its rooms", index + 1),
            )),
            None => Ok(()),
        }
    }
}

fn parse_who(name: &str) -> Option<Who> {
    match (name, name.strip_prefix(ROLE)) {
        ("any", _) => Some(Who::Any),
        ("user", _) => Some(Who::User),
        (WITHOUT_TENANT, _) => Some(Who::WithoutTenant),
        (_, Some(role)) => {
            let fits = (1..=ROLE_BYTES_MAX).contains(&role.len()) && !role.chars().any(char::is_control);
            fits.then(|| Who::Role(role.to_owned()))
        }
        _ => None,
    }
}

impl From<&AccessRule> for Written {
    fn from(rule: &AccessRule) -> Self {
        let who = |who: &Who| match who {
            Who::Any => "any".to_owned(),
            Who::User => "user".to_owned(),
            Who::WithoutTenant => WITHOUT_TENANT.to_owned(),
            Who::Role(role) => format!("{ROLE}{role}"),
        };
        let allow = || Names::Many(rule.allow.iter().map(|action| action.name().to_owned()).collect());
        Self {
            room: rule.pattern.to_string(),
            who: Some(Names::Many(rule.who.iter().map(who).collect())),
            allow: (rule.allow != Actions::ALL).then(allow),
            deny: None,
            text: rule.text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = r#"
- room: "tenant:{tenant}:**"
- room: "news:**"
  who: any
  deny: publish
- room: "news:**"
  who: [role:editor, "role:a:b"]
  text: "Only editors: \"publish\""
- room: "user:*"
  who: role:admin
- room: "user:{user}"
  allow: [subscribe, history]
  who: without_tenant
- room: "**"
  who: user
  allow: []
"#;

    #[test]
    fn rules_are_read_and_written() {
        let rules = parse_rules(RULES).unwrap();
        assert_eq!(rules.len(), 6);
        assert_eq!((&rules[0].who[..], rules[0].allow), (&[Who::Any][..], Actions::ALL));
        assert_eq!(rules[1].allow, Actions::ALL - Actions::from_iter([Action::Publish]));
        assert_eq!(rules[2].who, [Who::Role("editor".to_owned()), Who::Role("a:b".to_owned())]);
        assert_eq!(rules[2].text.as_deref(), Some("Only editors: \"publish\""));
        assert_eq!(rules[4].allow, Actions::from_iter([Action::Subscribe, Action::History]));
        assert_eq!(rules[4].who, [Who::WithoutTenant]);
        assert_eq!((&rules[5].who[..], rules[5].allow), (&[Who::User][..], Actions::NONE));
        assert_eq!(parse_rules(&show_rules(&rules)).unwrap(), rules);
        assert_eq!(parse_rules("").unwrap(), []);
        assert_eq!(show_rules(&[]), "");
    }

    #[test]
    fn what_is_no_rule_is_refused() {
        let long = format!("[{{room: a, who: any, text: {}}}]", "x".repeat(256));
        for wrong in [
            "news",
            "{room: a, who: any}",
            "[{}]",
            "[{room: '', who: any}]",
            "[{room: 'a*', who: any}]",
            "[{room: 'a:{tennant}'}]",
            "[{room: 'a:x{tenant}'}]",
            "[{room: a}]",
            "[{room: a, who: []}]",
            "[{room: a, who: anybody}]",
            "[{room: a, who: [any, Role:x]}]",
            "[{room: a, who: 'role:'}]",
            "[{room: a, who: {role: x}}]",
            "[{room: a, who: any, allow: all}]",
            "[{room: a, who: any, allow: [subscribe, Publish]}]",
            "[{room: a, who: any, deny: 1}]",
            "[{room: a, who: any, alow: [publish]}]",
            "[{room: a, who: any, text: ''}]",
            "[{room: a, who: any, text: \"a\\nb\"}]",
            &long,
        ] {
            assert!(parse_rules(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rule_that_never_counts_is_refused() {
        let read = |rooms: &[&str]| {
            let rules: Vec<_> = rooms.iter().map(|room| format!("{{room: '{room}', who: user}}")).collect();
            parse_rules(&format!("[{}]", rules.join(",")))
        };
        // Those that are alike count together only where they stand together.
        assert!(read(&["a", "a", "b", "b"]).is_ok());
        assert!(read(&["a:{user}", "a:*", "a:{tenant}"]).is_ok());
        let error = read(&["a", "b", "a"]).unwrap_err();
        assert!(error.starts_with("rule 3: room: the rule never counts, as rule 1"), "{error}");
        assert!(read(&["a:{user}", "a:b"]).is_err());
        assert!(read(&["a:b", "a:{user}", "a:{user}:**", "**"]).is_ok());
        assert!(read(&["**", "a:{user}"]).is_err());
    }
}
