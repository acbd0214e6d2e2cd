//! The configuration: what loads is right, comes back as it was, and is the same from every source.
//!
//! The input is the text of the file, then, each after a byte 0xFF (which UTF-8 never has), lines `NAME=VALUE` of
//! the environment and of the flags. It holds that
//! - whatever they say, reading ends in a configuration or in errors with their place, none of which shows a key of
//!   the API;
//! - what loads is valid by the rules for a program's own values, which take in that each key, shown and set again,
//!   is what it was;
//! - a reload to itself changes nothing, and one from the defaults arrives at it, but for what needs a restart, or is
//!   refused because of that and changes nothing;
//! - keys given as flags and as variables mean the same, but that empty variables count as not given;
//! - what should be known of a configuration shows no secret of the environment either.

use fanwire::config::{self, Config, ConfigError, Sources};
use std::collections::BTreeSet;

/// Checks all that is said above.
pub fn check(data: &[u8]) {
    let mut sections = data.splitn(3, |byte| *byte == 0xFF).map(String::from_utf8_lossy);
    let file = sections.next().unwrap_or_default();
    let env = pairs(&sections.next().unwrap_or_default());
    let flags = pairs(&sections.next().unwrap_or_default());
    let sources = Sources { file: Some(("f.yaml", &file)), env: &env, flags: &flags };
    match config::load(&sources) {
        Ok(config) => {
            check_loaded(&config);
            let remarks = config::remarks(&sources, &config);
            check_texts(remarks.iter().map(ToString::to_string), &env, &flags);
        }
        Err(errors) => check_errors(&errors, &env, &flags),
    }
    check_sources(&flags);
}

fn pairs(text: &str) -> Vec<(String, String)> {
    let split = |line: &str| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    text.lines().map(split).collect()
}

fn check_loaded(config: &Config) {
    assert_eq!(config.validate(), Ok(()), "{config:?}");
    let (same, reload) = config.reloaded(config);
    assert_eq!(&same, config);
    assert_eq!(reload, config::Reload::default());

    let (reloaded, first) = Config::default().reloaded(config);
    assert_eq!(reloaded.validate(), Ok(()), "what a reload makes of two valid ones");
    if !first.refused.is_empty() {
        assert_eq!(reloaded, Config::default(), "a refused reload changes nothing");
        return;
    }
    let (again, second) = reloaded.reloaded(config);
    assert_eq!(second.changed, [""; 0], "a reload did not arrive");
    assert_eq!((again, second.needs_restart), (reloaded.clone(), first.needs_restart.clone()));
    if first.needs_restart.is_empty() {
        assert_eq!(&reloaded, config);
    }
}

fn check_errors(errors: &[ConfigError], env: &[(String, String)], flags: &[(String, String)]) {
    assert!(!errors.is_empty(), "neither a configuration nor an error");
    for error in errors {
        let text = error.to_string();
        assert!(!error.origin().is_empty() && text.starts_with(error.origin()), "{text}");
    }
    // The file's text is not searched: its errors quote lines, but never values of known keys.
    let elsewhere = errors.iter().filter(|error| !error.origin().starts_with("f.yaml"));
    check_texts(elsewhere.map(ToString::to_string), env, flags);
}

/// Checks that no text shows a secret.
fn check_texts(texts: impl Iterator<Item = String>, env: &[(String, String)], flags: &[(String, String)]) {
    let secrets =
        env.iter().chain(flags).filter(|(name, _)| is_secret(name)).map(|(_, value)| value.as_str());
    // Short ones, and what stands elsewhere as well, occur by chance.
    let elsewhere: Vec<_> =
        env.iter().chain(flags).filter(|(name, _)| !is_secret(name)).flat_map(|(a, b)| [a, b]).collect();
    let secrets: Vec<_> = secrets
        .filter(|secret| secret.len() > 12 && !elsewhere.iter().any(|text| text.contains(secret)))
        .collect();
    for text in texts {
        assert!(!secrets.iter().any(|secret| text.contains(secret)), "a key is shown: {text}");
    }
}

fn is_secret(name: &str) -> bool {
    matches!(
        name,
        "FANWIRE_API_KEYS"
            | "FANWIRE_API_KEY"
            | "api-keys"
            | "api_keys"
            | "FANWIRE_JWT_SECRET"
            | "jwt-secret"
            | "jwt_secret"
            | "FANWIRE_HOOK_SECRET"
            | "hook-secret"
            | "hook_secret"
            | "FANWIRE_HOOK_URL"
            | "hook-url"
            | "hook_url"
    )
}

/// Flags, as variables of the same names.
fn check_sources(flags: &[(String, String)]) {
    let plain = |name: &String| name.bytes().all(|byte| byte.is_ascii_lowercase() || b"-_".contains(&byte));
    let names: BTreeSet<_> = flags.iter().map(|(name, _)| name.replace('-', "_")).collect();
    // Of a flag given twice the last counts, of a variable the first; and this one names the file.
    if names.len() != flags.len() || names.contains("config") || !flags.iter().all(|(name, _)| plain(name)) {
        return;
    }
    // An empty flag is a mistake, and variables can be those that Kubernetes sets.
    let is_of_service = |name: &String| name.contains("service") || name.contains("port");
    if flags.iter().any(|(name, value)| value.trim().is_empty() || is_of_service(name)) {
        return;
    }
    let variable = |name: &str| format!("FANWIRE_{}", name.replace('-', "_").to_uppercase());
    let env: Vec<_> = flags.iter().map(|(name, value)| (variable(name), value.clone())).collect();
    let by_flags = config::load(&Sources { file: None, env: &[], flags });
    let by_env = config::load(&Sources { file: None, env: &env, flags: &[] });
    match (by_flags, by_env) {
        (Ok(flags), Ok(env)) => assert_eq!(flags, env),
        (Err(flags), Err(env)) => {
            // `api_key` is a variable without a flag.
            assert!(flags.len() == env.len() || names.contains("api_key"), "{flags:?} {env:?}");
        }
        (Err(_), Ok(_)) => assert!(names.contains("api_key")),
        (flags, env) => panic!("{flags:?} by flags, {env:?} by variables"),
    }
}
