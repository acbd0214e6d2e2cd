use super::described::shown_default;
use super::key::Key;
use super::keys;
use super::settings::Config;
use super::value;
use std::ffi::OsString;
use std::path::PathBuf;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Serve.
    Run,
    /// Check the configuration, say what is wrong, and end.
    CheckConfig,
}

/// A command line, read but not yet checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// `--config`.
    pub config_file: Option<PathBuf>,
    /// Names without dashes, and values, in the order given.
    pub flags: Vec<(String, String)>,
}

const CHECK_CONFIG: &str = "check-config";

/// Reads the command line, the program's name first.
///
/// # Errors
/// If it is not understood, or asks for help or version; the error knows what to print and how to exit.
pub fn parse_args<I>(args: I) -> Result<Invocation, clap::Error>
where
    I: IntoIterator,
    I::Item: Into<OsString> + Clone,
{
    let matches = command().try_get_matches_from(join_truth_values(args))?;
    let (command, matches) = match matches.subcommand() {
        Some((CHECK_CONFIG, inner)) => (Command::CheckConfig, [Some(&matches), Some(inner)]),
        _ => (Command::Run, [Some(&matches), None]),
    };
    let mut flags = Vec::new();
    let mut config_file = None;
    for matches in matches.into_iter().flatten() {
        config_file = matches.get_one::<PathBuf>("config").cloned().or(config_file);
        for key in keys::all() {
            if let Some(value) = matches.get_one::<String>(key.name) {
                flags.push((key.flag(), value.clone()));
            }
        }
    }
    Ok(Invocation { command, config_file, flags })
}

fn command() -> clap::Command {
    clap::Command::new("fanwire")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .after_help(
            "Each option is a key of the file as well, with underscores for dashes, and a variable of the environment: \
             --ping-interval, ping_interval, FANWIRE_PING_INTERVAL. Flags win over variables, variables over the file.\n\
             Signals: SIGTERM and SIGINT drain and end, a second one ends at once; SIGHUP reads the configuration again.",
        )
        .args(args())
        .subcommand(clap::Command::new(CHECK_CONFIG).about("Checks the configuration and ends").args(args()))
}

/// Writes `--flag true` of a key that is a truth value as `--flag=true`, so that the flag can do without a value and what
/// follows it is not taken for one.
fn join_truth_values<I>(args: I) -> Vec<OsString>
where
    I: IntoIterator,
    I::Item: Into<OsString>,
{
    let is_truth = |flag: &str| keys::by_name(&flag.replace('-', "_")).is_some_and(|key| key.kind.is_truth());
    let mut joined: Vec<OsString> = Vec::new();
    let mut args = args.into_iter().map(Into::into).peekable();
    while let Some(arg) = args.next() {
        let flag = arg.to_str().and_then(|text| text.strip_prefix("--")).filter(|flag| !flag.contains('='));
        let Some(flag) = flag.filter(|flag| !flag.is_empty()).map(str::to_owned) else {
            joined.push(arg);
            continue;
        };
        let is_value = |next: &OsString| next.to_str().is_some_and(|next| value::parse_bool(next).is_some());
        if is_truth(&flag) {
            let value = args.next_if(is_value);
            joined.push(value.map_or(arg, |value| format!("--{flag}={}", value.to_string_lossy()).into()));
        } else {
            // The value of another flag is no flag, whatever it looks like.
            joined.push(arg);
            joined.extend(args.next_if(|_| keys::by_name(&flag.replace('-', "_")).is_some()));
        }
    }
    joined
}

fn args() -> Vec<clap::Arg> {
    let default = Config::default();
    let config = clap::Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("YAML file to read (variable FANWIRE_CONFIG)");
    let of_key = |heading: &'static str, key: &'static Key| {
        let also = key
            .variables()
            .filter(|name| !name.starts_with("FANWIRE_") || Some(name.as_str()) == key.variable);
        let also: String = also.map(|name| format!("; variable {name} as well")).collect();
        let arg = clap::Arg::new(key.name)
            .long(key.flag())
            .value_name(key.kind.value_name())
            .help_heading(heading)
            .help(format!(
                "{} [default: {}; {}{also}]",
                key.help,
                shown_default(key, &default),
                key.kind.allowed()
            ));
        if key.kind.is_truth() {
            arg.num_args(0..=1).require_equals(true).default_missing_value("true")
        } else {
            arg.allow_hyphen_values(true)
        }
    };
    let keys = keys::groups().flat_map(|(heading, keys)| keys.iter().map(move |key| of_key(heading, key)));
    std::iter::once(config).chain(keys).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_command_are_read() {
        let invocation =
            parse_args(["fanwire", "--port", "9", "--config=f.yaml", "--ping-interval", "-1"]).unwrap();
        assert_eq!(invocation.command, Command::Run);
        assert_eq!(invocation.config_file, Some("f.yaml".into()));
        let flag = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(invocation.flags, [flag("port", "9"), flag("ping-interval", "-1")]);
    }

    #[test]
    fn check_config_takes_flags_before_and_after() {
        let invocation = parse_args(["fanwire", "--port", "9", "check-config", "--shards", "2"]).unwrap();
        assert_eq!(invocation.command, Command::CheckConfig);
        assert_eq!(invocation.flags.len(), 2);
    }

    #[test]
    fn help_tells_every_flag_with_its_default() {
        let help = command().render_help().to_string();
        for key in keys::all() {
            let shown = [" ", "["].iter().any(|end| help.contains(&format!("--{}{end}", key.flag())));
            assert!(shown, "{}", key.name);
        }
        for text in
            ["[default: 8081;", "[default: 54s;", "[default: 500KiB;", "WEBSOCKET_LIMITS_MAX_CONNECTIONS as"]
        {
            assert!(help.contains(text), "{text}");
        }
    }

    #[test]
    fn a_truth_value_needs_no_value() {
        let flags = |args: &[&str]| {
            let flags = parse_args([&["fanwire"], args].concat()).unwrap().flags;
            flags.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(flags(&["--deflate"]), ["deflate=true"]);
        assert_eq!(flags(&["--deflate=false"]), ["deflate=false"]);
        assert_eq!(flags(&["--deflate", "off"]), ["deflate=off"]);
        assert_eq!(flags(&["--deflate", "--echo", "--port", "1"]), ["port=1", "echo=true", "deflate=true"]);
        assert_eq!(flags(&["--deflate", "check-config", "--echo"]), ["deflate=true", "echo=true"]);
        assert_eq!(flags(&["--deflate="]), ["deflate="]);
        // What follows another flag is its value.
        assert_eq!(
            flags(&["--jwt-secret", "--deflate", "--pin-threads", "true"]),
            ["pin-threads=true", "jwt-secret=--deflate"]
        );
        for wrong in [&["--deflate", "perhaps"][..], &["--deflate", "true", "true"], &["--deflate", "-1"]] {
            assert!(parse_args([&["fanwire"], wrong].concat()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_help_names_values_by_their_kind_and_shows_no_long_list() {
        let help = command().render_help().to_string();
        for part in
            ["--port <PORT>", "--ping-interval <TIME>", "--outbox-bytes-max <SIZE>", "--deflate[=<BOOL>]"]
        {
            assert!(help.contains(part), "{part}");
        }
        for part in ["Tokens:", "Limits:", "[default: those of the preset; a list of endpoints"] {
            assert!(help.contains(part), "{part}");
        }
        assert!(!help.contains("<VALUE>"));
        let longest = help.lines().max_by_key(|line| line.len()).unwrap();
        assert!(longest.len() < 400, "{longest}");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in [&["fanwire", "--prot", "1"][..], &["fanwire", "run"], &["fanwire", "--port"]] {
            assert!(parse_args(wrong).is_err(), "{wrong:?}");
        }
    }
}
