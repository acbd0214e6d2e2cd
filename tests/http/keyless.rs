//! Without a configured key the API answers the server's own user and root on the same machine, and no proxy.

use crate::common::{
    Program, SILENCE, Server, eventually, exchange, find_program, free_port, left_out, request,
};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// A user that owns nothing on any machine, and is not the one that stands for users without a name.
const STRANGER: &str = "64999";

/// A command that another user of this machine runs. `None` where the test may not become one.
fn as_stranger(program: &str) -> Option<Command> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n");
    let mut command = Command::new(find_program("setpriv").filter(|_| root)?);
    command.args(["--reuid", STRANGER, "--regid", STRANGER, "--clear-groups"]);
    command.arg(find_program(program)?);
    Some(command)
}

/// What curl is answered, by its status.
fn status_of(curl: &mut Command, arguments: &[&str]) -> String {
    let output = curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn url(server: &Server) -> String {
    format!("http://{}/v1/rooms", server.addr())
}

#[test]
fn another_user_of_the_machine_needs_a_key() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let socket = folder.path().join("fanwire.sock");
    let server = Server::start(&["--unix-socket", socket.to_str().unwrap()]);
    std::fs::set_permissions(&socket, PermissionsExt::from_mode(0o777)).unwrap();
    let by_socket = ["--unix-socket", socket.to_str().unwrap(), "http://localhost/v1/rooms"];
    let curl =
        || as_stranger("curl").ok_or_else(|| left_out("keyless::another_user", "root, setpriv and curl"));
    let Ok(mut stranger) = curl() else { return };
    assert_eq!(status_of(&mut stranger, &[&url(&server)]), "401");
    assert_eq!(status_of(&mut curl().unwrap(), &by_socket), "401");
    // What the same user asks is answered.
    assert_eq!(status_of(&mut Command::new("curl"), &[&url(&server)]), "200");
    assert_eq!(status_of(&mut Command::new("curl"), &by_socket), "200");
    // And what any user may ask.
    let health = format!("http://{}/health", server.addr());
    assert_eq!(status_of(&mut curl().unwrap(), &[&health]), "200");
}

#[test]
fn another_user_who_closes_at_once_is_not_taken_for_root() {
    let server = Server::start(&["--shards", "1"]);
    let mut member = server.connect();
    member.subscribe("r");
    let body = r#"{"room":"r","data":"stolen"}"#;
    let request = format!(
        "POST /v1/publish HTTP/1.1\\r\\nHost: localhost\\r\\nContent-Length: {}\\r\\n\\r\\n{body}",
        body.len()
    );
    let script = format!(
        "for n in $(seq 200); do exec 3<>/dev/tcp/127.0.0.1/{}; printf '%b' '{}' >&3; exec 3>&-; done",
        server.addr().port(),
        request.replace('\r', "\\r").replace('\n', "\\n")
    );
    let Some(mut stranger) = as_stranger("bash") else {
        return left_out("keyless::closes_at_once", "root, setpriv and bash");
    };
    assert!(stranger.args(["-c", &script]).status().unwrap().success());
    eventually("all are refused", || server.metric_sum("fanwire_http_errors_total") >= 200.0);
    member.expect_nothing(SILENCE);
}

/// Starts nginx with the shortest configuration there is for a proxy, its workers as `user`.
fn plain_nginx(upstream: &str, folder: &Path, user: &str) -> Option<(Program, SocketAddr)> {
    let program = find_program("nginx")?;
    let port = free_port();
    let text = format!(
        "user {user};\nerror_log stderr;\npid {folder}/nginx.pid;\nevents {{}}\nhttp {{\n access_log off;\n \
         client_body_temp_path {folder}/body;\n proxy_temp_path {folder}/proxy;\n fastcgi_temp_path {folder}/fastcgi;\n \
         uwsgi_temp_path {folder}/uwsgi;\n scgi_temp_path {folder}/scgi;\n \
         server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://{upstream}; }} }}\n}}\n",
        folder = folder.display()
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("-c").arg(&path).args(["-e", "stderr", "-g", "daemon off;"]);
    Some((Program::start(&mut command), listening(port)))
}

fn listening(port: u16) -> SocketAddr {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    eventually("the proxy listens", || TcpStream::connect(addr).is_ok());
    eventually("the proxy passes requests on", || {
        exchange(addr, b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").status == 200
    });
    addr
}

fn is_refused_by(proxy: SocketAddr) {
    for host in ["public.example", "localhost", "127.0.0.1"] {
        for (method, path) in [("GET", "/v1/rooms"), ("POST", "/v1/publish"), ("GET", "/ws/status")] {
            let answer = request(proxy, method, path, &[("Host", host)], br#"{"all":true,"data":1}"#);
            assert_eq!(answer.status, 401, "{host} {method} {path}: {}", answer.body);
        }
    }
}

#[test]
fn what_nginx_passes_on_needs_a_key() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let server = Server::start(&[]);
    if as_stranger("sh").is_none() {
        return left_out("keyless::nginx", "root and setpriv");
    }
    let Some((_nginx, proxy)) = plain_nginx(&server.addr().to_string(), folder.path(), "nobody nogroup")
    else {
        return left_out("keyless::nginx", "nginx");
    };
    is_refused_by(proxy);
}

#[test]
fn what_haproxy_passes_on_needs_a_key() {
    let Some(program) = find_program("haproxy").filter(|_| as_stranger("sh").is_some()) else {
        return left_out("keyless::haproxy", "root, setpriv and haproxy");
    };
    for mode in ["http", "tcp"] {
        let server = Server::start(&[]);
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let text = format!(
            "global\n uid {STRANGER}\n gid {STRANGER}\n maxconn 100\ndefaults\n mode {mode}\n timeout connect 5s\n \
             timeout client 5s\n timeout server 5s\nlisten all\n bind 127.0.0.1:{port}\n server one {}\n",
            server.addr()
        );
        let path = folder.path().join("haproxy.cfg");
        std::fs::write(&path, text).unwrap();
        let _haproxy = Program::start(Command::new(&program).arg("-db").arg("-f").arg(&path));
        is_refused_by(listening(port));
    }
}

#[test]
fn headers_of_proxies_are_seen() {
    let server = Server::start(&[]);
    let status = |headers: &[(&str, &str)]| request(server.addr(), "GET", "/v1/rooms", headers, b"").status;
    assert_eq!(status(&[]), 200);
    for name in [
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "CF-Connecting-IP",
        "True-Client-IP",
        "X-Client-IP",
        "X-Envoy-External-Address",
        "X-Real-IP",
        "Via",
    ] {
        assert_eq!(status(&[(name, "192.0.2.1")]), 401, "{name}");
    }
}

#[test]
fn where_proxies_are_configured_the_api_needs_a_key() {
    for flags in [&["--proxy-protocol=true"][..], &[]] {
        let server = Server::start(&[flags, &["--trusted-proxies", "192.0.2.0/24"]].concat());
        let answer = server.get("/v1/rooms");
        assert_eq!(answer.status, 401, "{}", answer.body);
        assert!(answer.body.contains("set api_keys"), "{}", answer.body);
        assert_eq!(server.get("/health").status, 200);
    }
}

#[test]
fn the_start_says_what_is_open() {
    let server = Server::start(&[]);
    eventually("the log says it", || server.output().contains("every client on this machine may join"));
    let (addr, output) = (server.addr(), server.output());
    assert!(output.contains(&format!("listening on http://{addr}")), "{output}");
    assert!(output.contains("own user and root"), "{output}");
}

#[test]
fn keys_are_guessed_slowly_and_the_right_one_is_never_late() {
    let server = Server::start_with(&["--shards", "1"], &[("FANWIRE_API_KEY", "correct-horse")]);
    let key = |key: &str| {
        let authorization = format!("Bearer {key}");
        request(server.addr(), "GET", "/v1/rooms", &[("Authorization", &authorization)], b"").status
    };
    for n in 0..15 {
        assert_eq!(key(&format!("guess-{n}")), 401);
    }
    let delayed = server.metric_sum("fanwire_api_keys_delayed_total");
    assert!((1.0..=5.0).contains(&delayed), "{delayed} of 15 wrong keys were delayed");
    assert_eq!(key("correct-horse"), 200);
    assert_eq!(server.metric_sum("fanwire_api_keys_delayed_total"), delayed);
}
