//! The rules for access once more, as plainly as can be said and sharing nothing with what is tested: the oracle of
//! the tests here and of the fuzz target.

/// A rule, as it is written.
#[derive(Debug)]
pub struct Plain {
    pub room: String,
    /// `any`, `user`, `without_tenant`, `role:NAME`.
    pub who: Vec<String>,
    /// Whether the action that is asked about is among those that it gives.
    pub gives: bool,
    pub text: Option<String>,
}

/// Who asks.
#[derive(Debug, Default)]
pub struct Asking {
    pub user: Option<String>,
    pub tenant: Option<String>,
    pub roles: Vec<String>,
}

/// Whether the act is allowed, and if not, what the rules say about it.
pub fn decide(rules: &[Plain], otherwise: bool, asking: &Asking, room: &str) -> Result<(), Option<String>> {
    let Some(first) = rules.iter().position(|rule| is_of_shape(&split(&rule.room), &split(room))) else {
        return if otherwise { Ok(()) } else { Err(None) };
    };
    let mut text = None;
    for rule in &rules[first..] {
        if shape(&rule.room) != shape(&rules[first].room) {
            break;
        }
        if !is_of_shape(&split(&rule.room), &split(room)) {
            continue;
        }
        if rule.gives && rule.who.iter().any(|who| is_one(who, asking)) && is_own(&rule.room, room, asking) {
            return Ok(());
        }
        text = text.or_else(|| rule.text.clone());
    }
    Err(text)
}

fn split(text: &str) -> Vec<String> {
    text.split(':').map(str::to_owned).collect()
}

/// A pattern with what matters for standing together alone.
fn shape(pattern: &str) -> Vec<String> {
    let mut segments = split(pattern);
    for segment in &mut segments {
        if segment == "{tenant}" || segment == "{user}" {
            *segment = "*".to_owned();
        }
    }
    segments
}

fn is_of_shape(pattern: &[String], name: &[String]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([rest], [_, ..]) if rest == "**" => true,
        ([one, pattern @ ..], [segment, name @ ..]) => {
            let fits = match one.as_str() {
                "*" => !segment.is_empty(),
                "{tenant}" | "{user}" => true,
                text => text == segment,
            };
            fits && is_of_shape(pattern, name)
        }
        _ => false,
    }
}

fn is_own(pattern: &str, room: &str, asking: &Asking) -> bool {
    pattern.split(':').zip(room.split(':')).all(|(one, segment)| {
        let name = match one {
            "{tenant}" => &asking.tenant,
            "{user}" => &asking.user,
            _ => return true,
        };
        !segment.is_empty() && name.as_ref().is_some_and(|name| name.as_bytes() == segment.as_bytes())
    })
}

fn is_one(who: &str, asking: &Asking) -> bool {
    match who {
        "any" => true,
        "user" => asking.user.is_some(),
        "without_tenant" => asking.tenant.is_none(),
        role => asking.roles.iter().any(|own| role == format!("role:{own}")),
    }
}
