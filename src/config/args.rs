use super::keys;
use super::settings::Config;
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
    let matches = command().try_get_matches_from(args)?;
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

fn args() -> Vec<clap::Arg> {
    let default = Config::default();
    let config = clap::Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("YAML file to read (variable FANWIRE_CONFIG)");
    let keys = keys::all().map(|key| {
        let value = key.show(&default);
        let value = if value.is_empty() { "none" } else { &value };
        let also = key
            .variables()
            .filter(|name| !name.starts_with("FANWIRE_") || Some(name.as_str()) == key.variable);
        let also: String = also.map(|name| format!("; variable {name} as well")).collect();
        clap::Arg::new(key.name).long(key.flag()).value_name("VALUE").allow_hyphen_values(true).help(format!(
            "{} [default: {value}; {}{also}]",
            key.help,
            key.kind.allowed()
        ))
    });
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
            assert!(help.contains(&format!("--{} ", key.flag())), "{}", key.name);
        }
        for text in
            ["[default: 8081;", "[default: 54s;", "[default: 500KiB;", "WEBSOCKET_LIMITS_MAX_CONNECTIONS as"]
        {
            assert!(help.contains(text), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for wrong in [&["fanwire", "--prot", "1"][..], &["fanwire", "run"], &["fanwire", "--port"]] {
            assert!(parse_args(wrong).is_err(), "{wrong:?}");
        }
    }
}
