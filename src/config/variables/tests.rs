use super::*;
use crate::config::{Sources, load, remarks};
use std::time::Duration;

fn pairs(env: &[(&str, &str)]) -> Vec<(String, String)> {
    env.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// The configuration of a file and an environment, and what is remarked.
fn read(file: &str, env: &[(&str, &str)]) -> Result<(Config, Vec<String>), Vec<String>> {
    let env = pairs(env);
    let sources = Sources { file: Some(("f.yaml", file)), env: &env, flags: &[] };
    match load(&sources) {
        Ok(config) => {
            let told = remarks(&sources, &config).iter().map(ToString::to_string).collect();
            Ok((config, told))
        }
        Err(errors) => Err(errors.iter().map(ToString::to_string).collect()),
    }
}

#[test]
fn variables_of_services_are_ignored_and_told_in_one_line() {
    let env = [
        ("FANWIRE_SERVICE_HOST", "10.0.171.239"),
        ("FANWIRE_SERVICE_PORT", "8081"),
        ("FANWIRE_SERVICE_PORT_HTTP", "8081"),
        ("FANWIRE_PORT", "tcp://10.0.171.239:8081"),
        ("FANWIRE_PORT_8081_TCP", "tcp://10.0.171.239:8081"),
        ("FANWIRE_PORT_8081_TCP_PROTO", "tcp"),
        ("FANWIRE_PORT_8081_TCP_PORT", "8081"),
        ("FANWIRE_PORT_8081_TCP_ADDR", "10.0.171.239"),
        ("FANWIRE_PORT_53_UDP", "udp://10.0.171.239:53"),
        ("FANWIRE_HOOK_SERVICE_HOST", "10.0.0.9"),
        ("FANWIRE_MY_APP_PORT_80_TCP_ADDR", "10.0.0.9"),
        ("WEBSOCKET_SERVICE_PORT", "80"),
        ("WEBSOCKET_PORT", "tcp://10.0.0.9:80"),
        ("KUBERNETES_PORT", "tcp://10.0.0.1:443"),
    ];
    let (config, told) = read("port: 9000", &env).unwrap();
    assert_eq!(config, read("port: 9000", &[]).unwrap().0);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("FANWIRE_HOOK_SERVICE_HOST, ") && told[0].ends_with(" and 9 more"), "{told:?}");
}

#[test]
fn what_only_looks_like_a_variable_of_a_service_is_a_mistake() {
    for (name, text) in [
        ("FANWIRE_PORT", "http://10.0.0.1:80"),
        ("FANWIRE_PORT", "://"),
        ("FANWIRE_PORT", "tcp:/10.0.0.1"),
        ("FANWIRE_PORT_TCP", "1"),
        ("FANWIRE_PORT_80_HTTP", "1"),
        ("FANWIRE_PORT_99999_TCP", "1"),
        ("FANWIRE_PORT_80_TCP_HOST", "1"),
        ("FANWIRE_PORT_80_TCP_ADDR_X", "1"),
        ("FANWIRE_SERVICE", "1"),
        ("FANWIRE_SERVICEHOST", "1"),
        ("FANWIRE_SERVICE_PROT", "1"),
    ] {
        let errors = read("", &[(name, text)]).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(name), "{name}: {errors:?}");
    }
}

#[test]
fn empty_variables_count_as_not_given() {
    let file = "port: 9000\nhost: 127.0.0.1\npreset: topics\njwt_secret: 0123456789abcdef0123456789abcdef\n\
                api_keys: 0123456789abcdef\nunix_socket: /run/a\naccess_rules: []\n";
    let names: Vec<String> = keys::all().flat_map(Key::variables).collect();
    for blank in ["", " ", "\t\n"] {
        let env: Vec<_> = names.iter().map(|name| (name.as_str(), blank)).collect();
        let (config, told) = read(file, &env).unwrap();
        assert_eq!(config, read(file, &[]).unwrap().0);
        let secret =
            |name: &str| told.iter().any(|line| line.contains(&format!("variable {name}: it is empty")));
        assert!(secret("FANWIRE_JWT_SECRET") && secret("FANWIRE_API_KEY") && secret("FANWIRE_HOOK_SECRET"));
        assert!(!told.iter().any(|line| line.contains("FANWIRE_PORT")), "{told:?}");
    }
}

#[test]
fn an_empty_list_is_written_as_one() {
    let env = [("FANWIRE_API_KEYS", "[]"), ("FANWIRE_ACCESS_RULES", "[]")];
    let (config, _) = read("api_keys: 0123456789abcdef\n", &env).unwrap();
    assert!(config.api_keys.is_empty() && config.access.rules.is_empty());
}

#[test]
fn an_empty_secret_of_the_file_is_told() {
    for file in ["jwt_secret:\n", "jwt_secret: ''\n", "api_keys: []\n", "hook_secret: ~\n"] {
        let (_, told) = read(file, &[]).unwrap();
        assert!(
            told.len() == 1 && told[0].contains("f.yaml:1: ") && told[0].contains("is empty"),
            "{told:?}"
        );
    }
}

#[test]
fn variables_of_the_documents_never_stop_the_start() {
    let (config, told) = read("", &[("WEBSOCKET_PING_INTERVAL", "25000"), (PING_TIMEOUT, "60000")]).unwrap();
    assert_eq!(config.times.pong_wait, Duration::from_secs(85));
    assert_eq!(told, [""; 0]);
    let given = [(PING_TIMEOUT, "60000"), ("FANWIRE_PONG_WAIT", "70s")];
    assert_eq!(read("", &given).unwrap().0.times.pong_wait, Duration::from_secs(70));
    for preset in ["rooms", "channels", "topics", "tenants"] {
        let (config, told) = read("", &[("FANWIRE_PRESET", preset), (PING_TIMEOUT, "60000")]).unwrap();
        assert_eq!(config.times.pong_wait, config.times.ping_interval + Duration::from_secs(60), "{preset}");
        assert!(told.iter().any(|line| line.contains(PING_TIMEOUT)), "{preset}: {told:?}");
    }
    for (name, text) in [(PATH, "/socket.io"), ("WEBSOCKET_URL", "ws://a/"), ("WEBSOCKET_PROT", "1")] {
        let (_, told) = read("", &[(name, text)]).unwrap();
        assert!(told.len() == 1 && told[0].contains(name) && told[0].contains("ignored"), "{told:?}");
    }
    for wrong in ["soon", "-1", "0", "1.5"] {
        let errors = read("", &[(PING_TIMEOUT, wrong)]).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(PING_TIMEOUT), "{errors:?}");
    }
}
