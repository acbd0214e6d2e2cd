//! Configuration of every wrong kind: the start and `check-config` say what is wrong and where, show no key of the
//! API, and end with 2; on SIGHUP a running server says the same and goes on as it was.

use crate::common::{Server, eventually};
use std::path::{Path, PathBuf};

/// A folder for files, and what they are called there.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("fanwire.yaml")
    }

    fn write(&self, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(), bytes).unwrap();
        self.path()
    }
}

/// Both the check and the start refuse the file, with 2 and the same words, among which is `part`.
#[track_caller]
fn refused(what: &str, file: &Path, part: &str) -> String {
    println!("{what}");
    let file = file.to_str().unwrap();
    let (checked, told) = Server::run_bare(&["check-config", "--config", file], &[]);
    let (started, said) = Server::run_bare(&["--config", file], &[]);
    assert_eq!((checked.code(), started.code()), (Some(2), Some(2)), "{what}: {told}{said}");
    assert!(told.contains(part), "{what}: {part:?} is not in {told}");
    assert!(told.lines().all(|line| line.starts_with("fanwire: ")), "{what}: {told}");
    assert!(told.contains(file), "{what}: the file is named: {told}");
    assert!(told.len() < 8192, "{what}: {} bytes", told.len());
    assert_eq!(told, said, "{what}");
    told
}

#[test]
fn files_that_are_no_yaml_are_refused() {
    let folder = Folder::new();
    let utf16: Vec<u8> = "port: 1\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let anchors: String = (b'b'..b'p')
        .map(|letter| {
            let (name, before) = (char::from(letter), char::from(letter - 1));
            format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 9].join(","))
        })
        .collect();
    let bomb = format!("a: &a [x,x,x,x,x,x,x,x,x]\n{anchors}");
    let (levels, lists, comments) =
        ("{a: ".repeat(100_000), "[".repeat(100_000), "# comment\n".repeat(200_000));
    let cases: [(&str, &[u8], &str); 24] = [
        ("a program", &[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0xff, 0xfe], "not UTF-8"),
        ("UTF-16", &[&[0xff, 0xfe][..], &utf16].concat(), "not UTF-8"),
        ("UTF-16 without a mark", &utf16, "line 1"),
        ("Latin-1", b"path_prefix: /caf\xe9\n", "not UTF-8"),
        ("NUL", b"port: 1\0\n", "line 1, column 8"),
        ("TOML", b"port = 1\n", "no mapping"),
        ("INI", b"[server]\nport=1\n", "line 2, column 1"),
        ("XML", b"<port>1</port>\n", "no mapping"),
        ("half JSON", b"{\"port\": 9000", "unclosed"),
        ("a list", b"- port: 1\n", "no mapping"),
        ("a word", b"port\n", "no mapping"),
        ("tabs", b"websocket:\n\tport: 1\n", "line 2, column 2"),
        ("a quote that does not end", b"host: \"127.0.0.1\nport: 1\n", "line 2"),
        ("the same key twice", b"port: 1\nport: 2\n", "duplicate mapping key: port"),
        ("the same key under both its names", b"port: 1\nwebsocket:\n  port: 2\n", "port is given twice"),
        ("two documents", b"port: 1\n---\nport: 2\n", "multiple YAML documents"),
        ("an unknown alias", b"port: *p\n", "unknown anchor"),
        ("a key that is a list", b"? [a]\n: 1\n", "line 1"),
        ("a key that is nothing", b"~: 1\n", "line 1"),
        ("100,000 levels", levels.as_bytes(), "recursion limit"),
        ("100,000 lists", lists.as_bytes(), "recursion limit"),
        ("five levels", b"a: {b: {c: {d: {e: 1}}}}\n", "nested that deep"),
        ("a bomb of aliases", bomb.as_bytes(), "budget"),
        ("2 MiB", comments.as_bytes(), "longer than 1048576 bytes"),
    ];
    for (what, bytes, part) in cases {
        refused(what, &folder.write(bytes), part);
    }
}

#[test]
fn paths_that_are_no_files_are_refused() {
    let folder = Folder::new();
    let loops = folder.0.path().join("loop");
    std::os::unix::fs::symlink(&loops, &loops).unwrap();
    let nowhere = folder.0.path().join("nowhere");
    for (what, path, part) in [
        ("a folder", folder.0.path(), "directory"),
        ("nothing", &nowhere, "No such file"),
        ("a link to itself", &loops, "symbolic links"),
        ("below a file", Path::new("/dev/null/fanwire.yaml"), "Not a directory"),
        ("endless", Path::new("/dev/zero"), "longer than"),
    ] {
        refused(what, path, part);
    }
    let (status, said) =
        Server::run_bare(&["check-config"], &[("FANWIRE_CONFIG", nowhere.to_str().unwrap())]);
    assert_eq!(status.code(), Some(2));
    assert!(said.contains("nowhere: cannot be read"), "{said}");
}

#[test]
fn values_of_the_wrong_kind_are_named_with_their_line_and_what_is_allowed() {
    let folder = Folder::new();
    let long = format!("host: {}\n", "x".repeat(1_000_000));
    for (text, part) in [
        ("port:", r#"port: "" is not allowed, allowed is 0 to 65535"#),
        ("port: -1", r#"port: "-1" is not allowed"#),
        ("port: 65536", r#"port: "65536" is not allowed"#),
        ("port: 1.5", r#"port: "1.5" is not allowed"#),
        ("port: true", r#"port: "true" is not allowed"#),
        ("port: .inf", r#"port: ".inf" is not allowed"#),
        ("port: 0x1FFFF", r#"port: "0x1FFFF" is not allowed"#),
        ("host: ''", "allowed is an IPv4 or IPv6 address"),
        ("host:", "allowed is an IPv4 or IPv6 address"),
        ("port: 99999999999999999999999999", "is not allowed, allowed is 0 to 65535"),
        ("port: [{number: 1}]", "port: a list of mappings is not allowed"),
        ("room_rules: [{pattern: a, overflow: explode}]", "3:37: room_rules: rule 1: overflow: it must be"),
        ("access_rules: [{room: a, who: anybody}]", "3:31: access_rules: rule 1: who: it must be"),
        ("endpoints: [{path: ws, dialect: rooms}]", "3:20: endpoints: endpoint 1: path: a path begins"),
        ("endpoints: [7]", "3:13: endpoints: "),
        ("room_rules: {pattern: a}", "room_rules.pattern: unknown key"),
        ("room_rules: [a, {pattern: b}]", "3:14: room_rules: "),
        ("port: [1, 2]", r#"port: "1,2" is not allowed"#),
        ("port: [[1]]", "port: a list must hold plain values"),
        ("port: {number: 1}", "port.number: unknown key"),
        ("port: \"\\e[31m\"", r#"port: "\u{1b}[31m" is not allowed"#),
        ("host: example.com", "allowed is an IPv4 or IPv6 address"),
        (&long, "…"),
        ("shards: 4096", "allowed is 0 to 1024"),
        ("enabled: perhaps", "allowed is true or false"),
        ("ping_interval: 54", "such as 54s or 500ms"),
        ("ping_interval: -54s", "such as 54s or 500ms"),
        ("ping_interval: 99999999999999999999h", "such as 54s or 500ms"),
        ("write_wait: 0", "allowed is 1s to 24h"),
        ("message_bytes_max: 0", "allowed is 128 to 64MiB"),
        ("message_bytes_max: 1TB", "bytes, or with KiB, MiB, GiB"),
        ("message_bytes_max: 18446744073709551615GiB", "bytes, or with KiB, MiB, GiB"),
        ("json_depth_max: 1", "allowed is 2 to 10000"),
        ("fragments_max: 0", "allowed is 1 to 1000000"),
        ("log_level: loud", "allowed is off, error, warn"),
        ("log_format: xml", "allowed is text, json"),
        ("flow_affinity: on", "allowed is off, incoming-cpu, cbpf"),
        ("trusted_proxies: 10.0.0.0/99", "networks such as 10.0.0.0/8"),
        ("trusted_proxies: [10.0.0.0/8, proxy]", "networks such as 10.0.0.0/8"),
        ("allowed_origins: https://a.example/path", "origins such as https://example.com"),
        ("path_prefix: realtime", "a path such as /realtime"),
        ("path_prefix: /a b", "a path such as /realtime"),
        ("preset: sockets", "allowed is none, rooms"),
        ("unix_socket: \"a\\0b\"", "allowed is a path"),
        ("unix_socket_mode: rw", "allowed is 0000 to 0777 (octal, such as 0660)"),
        ("unix_socket_mode: \"1777\"", "allowed is 0000 to 0777"),
        ("unix_socket_group: \"a:b\"", "allowed is the name or number of a group"),
        ("pin_threads: perhaps", "allowed is auto, true, false"),
        ("prot: 1", "prot: unknown key, did you mean port?"),
        ("\"a\\e[31m\": 1", r"a\u{1b}[31m: unknown key"),
        ("websocket: {limits: {max_conections: 1}}", "did you mean limits.max_connections?"),
    ] {
        let said = refused(
            text.get(..60).unwrap_or(text),
            &folder.write(format!("#\n#\n{text}\n").as_bytes()),
            part,
        );
        assert!(said.contains("fanwire.yaml:3:") || said.contains("line 3"), "the line is told: {said}");
    }
    for (text, part) in [
        ("ping_interval: 60s\npong_wait: 50s", "must be longer than ping_interval"),
        ("outbox_bytes_max: 1GiB\noutboxes_bytes_max: 1MiB", "at most outboxes_bytes_max"),
        (
            "http_body_bytes_max: 8MiB\noutbox_bytes_max: 1MiB",
            "3KiB less than outbox_bytes_max, which is 1MiB",
        ),
        ("message_bytes_max: 4MiB\noutbox_bytes_max: 1MiB", "3KiB less than outbox_bytes_max, which is 1MiB"),
        ("proxy_protocol: true", "needs trusted_proxies"),
    ] {
        let (status, said) = Server::run_bare(
            &["check-config", "--config", folder.write(text.as_bytes()).to_str().unwrap()],
            &[],
        );
        assert_eq!(status.code(), Some(2), "{text}");
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn all_mistakes_are_told_at_once_and_not_without_end() {
    let folder = Folder::new();
    let three = refused("three", &folder.write(b"port: x\nshards: y\nprot: z\n"), "port: \"x\"");
    assert_eq!(three.lines().count(), 3, "{three}");
    let many: String = (0..20_000).map(|number| format!("k{number}: 1\n")).collect();
    let said = refused("20,000 unknown keys", &folder.write(many.as_bytes()), "19968 unknown keys more");
    assert_eq!(said.lines().count(), 33);
}

#[test]
fn no_error_shows_a_key_of_the_api() {
    let folder = Folder::new();
    for text in [
        "api_keys: \"top secret\"",
        "api_keys: \"topsecret\nport: 1\n",
        "api_keys: topsecret\nport: [1\n",
        "api_keys: topsecret\napi_keys: topsecret\n",
        "api_keys: topsecret\n\tport: 1\n",
        "api_keys: [[topsecret]]",
        "api_keys: {topsecret",
        "api_key: topsecret",
        "port: 1\n---\napi_keys: topsecret\n",
        "api_keys: topsecret\nport: *p\n",
    ] {
        let said = refused(text, &folder.write(text.as_bytes()), "");
        assert!(!said.contains("secret"), "{said}");
    }
    let (status, said) = Server::run_bare(&["check-config"], &[("FANWIRE_API_KEY", "top secret")]);
    assert_eq!(status.code(), Some(2));
    assert!(said.contains("FANWIRE_API_KEY") && !said.contains("secret"), "{said}");
    let (status, said) = Server::run_bare(&["check-config", "--api-key", "topsecret"], &[]);
    assert!(!status.success());
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn variables_and_flags_of_the_wrong_kind_are_named() {
    for (name, value, part) in [
        (
            "FANWIRE_PORT",
            "tcp:/10.0.0.1:80",
            "variable FANWIRE_PORT: port: \"tcp:/10.0.0.1:80\" is not allowed",
        ),
        ("FANWIRE_SERVICE", "1", "variable FANWIRE_SERVICE: unknown key"),
        (
            "FANWIRE_ROOM_RULES",
            "[{\"pattern\":\"a*\"}]",
            "variable FANWIRE_ROOM_RULES: room_rules: rule 1: pattern: ",
        ),
        ("WEBSOCKET_PING_TIMEOUT", "soon", "variable WEBSOCKET_PING_TIMEOUT: \"soon\" is not allowed"),
        ("FANWIRE_PROT", "1", "variable FANWIRE_PROT: unknown key, did you mean FANWIRE_PORT?"),
        ("WEBSOCKET_LIMITS_MAX_CONNECTIONS", "many", "variable WEBSOCKET_LIMITS_MAX_CONNECTIONS"),
    ] {
        let (status, said) = Server::run_bare(&["check-config"], &[(name, value)]);
        assert_eq!(status.code(), Some(2), "{name}");
        assert!(said.contains(part), "{said}");
    }
    for (flags, part) in [
        (&["--prot", "1"][..], "--prot"),
        (&["--port"], "--port"),
        (&["--port="], "--port: port: the value is empty; leave the option out"),
        (&["--jwt-secret", ""], "--jwt-secret: jwt_secret: the value is empty"),
        (&["--deflate="], "--deflate: deflate: the value is empty"),
        (&["--deflate=perhaps"], "allowed is true or false"),
        (&["--port", "1", "--port", "2"], "multiple times"),
        (&["serve"], "serve"),
        (&["--config", ""], "--config"),
    ] {
        let (status, said) = Server::run_bare(&[flags, &["check-config"]].concat(), &[]);
        assert_eq!(status.code(), Some(2), "{flags:?}: {said}");
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn variables_that_are_no_utf8_are_not_skipped() {
    use std::os::unix::ffi::OsStrExt;
    let bytes = std::ffi::OsStr::from_bytes(b"/nowhere/\xff");
    for name in ["FANWIRE_PORT", "FANWIRE_API_KEYS", "FANWIRE_UNIX_SOCKET", "FANWIRE_CONFIG"] {
        let run = std::process::Command::new(env!("CARGO_BIN_EXE_fanwire"))
            .arg("check-config")
            .env(name, bytes)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(2), "{name}: {said}");
        assert!(said.contains("is not allowed") || said.contains("cannot be read"), "{name}: {said}");
    }
}

#[test]
fn what_is_unusual_but_right_is_taken() {
    let folder = Folder::new();
    for text in [
        "",
        "# nothing\n",
        "\u{feff}port: 9000\n",
        "port: 9000\r\nshards: 2\r\n",
        "{\"port\": 9000}",
        "port: &p 9000\nhost: \"::1\"\n",
        "websocket: {port: 9000, limits: {max_connections: 5}}\n",
    ] {
        let file = folder.write(text.as_bytes());
        let (status, said) = Server::run_bare(&["check-config", "--config", file.to_str().unwrap()], &[]);
        assert_eq!((status.code(), said.as_str()), (Some(0), "the configuration is valid\n"), "{text:?}");
    }
}

#[test]
fn a_running_server_outlives_every_wrong_file() {
    let folder = Folder::new();
    let file = folder.write(b"connections_max: 1000\n");
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    let mut member = server.connect();
    member.subscribe("room");
    let bomb = format!("a: &a [x]\n{}", "b: [*a, *a".repeat(1000));
    let files: [(&[u8], &str); 6] = [
        (b"\xff\xfe", "not UTF-8"),
        (b"connections_max: -1\n", "connections_max: \"-1\""),
        (b"conections_max: 1\n", "did you mean connections_max?"),
        (b"connections_max: 1\nconnections_max: 2\n", "duplicate mapping key"),
        (bomb.as_bytes(), "line 2"),
        (b"- a\n", "no mapping"),
    ];
    for (bytes, part) in files {
        folder.write(bytes);
        server.signal("HUP");
        eventually(part, || server.output().contains(part));
        member.send_text(r#"{"type":"publish","room":"room","data":1}"#);
        member.expect_json(|message| assert_eq!(message["data"], 1));
    }
    std::fs::remove_file(folder.path()).unwrap();
    server.signal("HUP");
    eventually("the file is gone", || server.output().contains("No such file"));
    assert_eq!(server.get("/health").body, r#"{"status":"healthy","clients":1,"rooms":1}"#);
}

#[test]
fn variables_that_others_set_do_not_stop_the_start() {
    let env = [
        ("FANWIRE_SERVICE_HOST", "10.0.171.239"),
        ("FANWIRE_PORT", "tcp://10.0.171.239:8081"),
        ("FANWIRE_PORT_8081_TCP", "tcp://10.0.171.239:8081"),
        ("FANWIRE_HOOK_SERVICE_HOST", "10.0.0.9"),
        ("WEBSOCKET_SERVICE_PORT", "80"),
        ("WEBSOCKET_PATH", "/socket.io"),
        ("WEBSOCKET_PING_TIMEOUT", "60000"),
        ("FANWIRE_CONFIG", ""),
        ("FANWIRE_LOG_LEVEL", ""),
        ("FANWIRE_JWT_SECRET", ""),
    ];
    let server = Server::start_with(&[], &env);
    assert_eq!(server.get("/health").status, 200);
    let said = server.output();
    let lines = |part: &str| said.lines().filter(|line| line.contains(part)).count();
    assert_eq!(lines("Kubernetes"), 1, "{said}");
    assert_eq!(
        (lines("FANWIRE_JWT_SECRET: it is empty and ignored"), lines("WEBSOCKET_PATH: it is ignored")),
        (1, 1)
    );
}

#[test]
fn an_empty_secret_of_the_environment_does_not_open_what_the_file_closes() {
    let folder = Folder::new();
    let file = folder.write(b"jwt_secret: 0123456789abcdef0123456789abcdef\napi_keys: 0123456789abcdef\n");
    let env = [("FANWIRE_JWT_SECRET", ""), ("FANWIRE_API_KEY", "")];
    let server = Server::start_with(&["--config", file.to_str().unwrap()], &env);
    assert_eq!(server.get("/v1/rooms").status, 401);
    let upgrade = crate::common::Client::handshake("localhost", "/ws?token=bad", &[]);
    assert_eq!(crate::common::exchange(server.addr(), &upgrade).status, 401);
}

#[test]
fn what_is_hardly_meant_is_told_by_the_check_and_the_start_and_refused_where_asked() {
    let folder = Folder::new();
    let file = folder.write(b"preset: tenants\nport: 0\napi_keys: k-of-mine\n");
    let flags = ["--config", file.to_str().unwrap()];
    let (status, said) = Server::run_bare(&[&flags[..], &["check-config"]].concat(), &[]);
    assert_eq!(status.code(), Some(0), "{said}");
    let told = [
        "nobody can connect at /ws: it asks for a token",
        "api_keys: a secret is too short (9 of at least 16 bytes)",
    ];
    for part in told {
        let line = said.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {said}"));
        assert!(line.starts_with("fanwire: warning: ") && !line.contains("k-of-mine"), "{line}");
    }
    let server = Server::start(&flags);
    for part in told {
        let said = server.output();
        let line = said.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {said}"));
        assert!(line.contains(" WARN "), "{line}");
    }
    for command in [&["--strict", "check-config"][..], &["--strict"]] {
        let (status, said) = Server::run_bare(&[&flags[..], command].concat(), &[]);
        assert_eq!(status.code(), Some(2), "{said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("fanwire: strict: ")).count(), 2, "{said}");
    }
}

#[test]
fn a_reload_that_does_not_fit_to_what_stays_changes_nothing() {
    let folder = Folder::new();
    let file = folder.write(b"http_body_bytes_max: 900KiB\n");
    let server = Server::start(&["--config", file.to_str().unwrap()]);
    folder.write(b"http_body_bytes_max: 32KiB\noutbox_bytes_max: 64KiB\nlog_level: debug\n");
    server.signal("HUP");
    eventually("it is refused", || server.output().contains("configuration not taken over"));
    assert!(
        server
            .output()
            .contains("http_body_bytes_max: 900KiB must be at least 3KiB less than outbox_bytes_max")
    );
    server.post("/v1/publish", r#"{"room":"a","data":1}"#);
    assert!(!server.output().contains("changed=[\"outbox_bytes_max\""), "{}", server.output());
}
