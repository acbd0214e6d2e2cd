//! Behind real proxies, with the sample configurations of tests/deploy/ as they are but for ports and paths.

use crate::common::{
    Client, Program, Server, eventually, exchange, exchange_on, find_program, free_port, left_out,
    stream_from, tests_path, upgrade_status,
};
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn client_from(last: u8, to: SocketAddr) -> Client {
    Client::on(stream_from(last, to), "localhost", "/ws", &[])
}

/// Members talk through `proxy`; with one connection per address allowed, the proxy's own clients are told apart.
fn clients_are_told_apart(proxy: SocketAddr) {
    let mut a = client_from(2, proxy);
    let mut b = client_from(3, proxy);
    a.subscribe("chat");
    b.subscribe("chat");
    a.send_text(r#"{"type":"publish","room":"chat","data":1}"#);
    b.expect(r#"{"type":"message","room":"chat","data":1,"client_id":"*uuid","timestamp":"*ms"}"#);
    assert_eq!(upgrade_status(stream_from(2, proxy), b"", &[]), "503", "a second one from the same address");
    // A client cannot give itself an address.
    let claimed = [("X-Forwarded-For", "192.0.2.77")];
    assert_eq!(upgrade_status(stream_from(2, proxy), b"", &claimed), "503");
    assert_eq!(exchange(proxy, b"GET /v1/rooms HTTP/1.0\r\nHost: localhost\r\n\r\n").status, 404);
}

/// A proxy that runs.
struct Nginx {
    _program: Program,
    /// Where clients come.
    addr: SocketAddr,
    /// Where operators do.
    inside: SocketAddr,
}

/// nginx with the sample configuration: `upstream` and the server's admin listener in place of the sample's.
fn nginx(server: &Server, upstream: &str, folder: &std::path::Path) -> Option<Nginx> {
    let nginx = start_nginx(server, upstream, folder)?;
    wait_for(nginx.addr.port());
    Some(nginx)
}

/// The same, before it listens.
fn start_nginx(server: &Server, upstream: &str, folder: &std::path::Path) -> Option<Nginx> {
    let program = find_program("nginx")?;
    let [addr, inside] = [free_port(), free_port()].map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let sample = std::fs::read_to_string(tests_path("deploy/nginx.conf")).unwrap();
    let replace = |text: String, from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replacen(from, to, 1)
    };
    let text = replace(sample, "server unix:/run/fanwire/fanwire.sock;", &format!("server {upstream};"));
    let text = replace(text, "server 127.0.0.1:8082;", &format!("server {};", server.admin()));
    let text = replace(text, "listen 80;", &format!("listen {addr};"));
    let text = replace(text, "listen 127.0.0.1:8083;", &format!("listen {inside};"));
    let text = replace(text, "allow 127.0.0.0/8;", &format!("allow 127.0.0.{OPERATORS};"));
    let text = if has_www_data() { text } else { replace(text, "user www-data;", "user root;") };
    let text = replace(text, "/run/nginx.pid", &folder.join("nginx.pid").display().to_string());
    let text = replace(text, "/var/log/nginx/error.log", "stderr");
    let path = folder.join("nginx.conf");
    std::fs::write(&path, text).unwrap();
    let mut command = Command::new(program);
    command.arg("-p").arg(folder).arg("-c").arg(&path).args(["-e", "stderr", "-g", "daemon off;"]);
    Some(Nginx { _program: Program::start(&mut command), addr, inside })
}

/// The last byte of the address that operators come from.
const OPERATORS: u8 = 5;

/// Whether this process is root's, so that nginx gives up root for `www-data`, and such a user exists.
fn nginx_changes_user() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n") && has_www_data()
}

fn has_www_data() -> bool {
    Command::new("id").args(["-u", "www-data"]).output().is_ok_and(|id| id.status.success())
}

/// An admin listener for the proxy's checks.
const ADMIN: &str = "--admin-listen=127.0.0.1:0";

/// HAProxy with the sample configuration, but that it sends PROXY headers by `send_proxy`.
fn haproxy(server: &Server, folder: &std::path::Path, send_proxy: &str) -> Option<(Program, SocketAddr)> {
    let (server, admin) = (server.addr(), server.admin());
    let program = find_program("haproxy")?;
    let port = free_port();
    let sample = std::fs::read_to_string(tests_path("deploy/haproxy.cfg")).unwrap();
    // The descriptors for so many need a limit that not every machine has.
    let sample = sample.replace("maxconn 20000\n", "maxconn 1000\n");
    let text = sample.replace("bind :80\n", &format!("bind 127.0.0.1:{port}\n"));
    let text = text.replace("127.0.0.1:8081", &server.to_string());
    let text = text.replace(" port 8082 ", &format!(" port {} ", admin.port()));
    let text = text.replace(" send-proxy-v2\n", &format!(" {send_proxy}\n"));
    for part in [server.to_string(), port.to_string(), admin.port().to_string()] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let path = folder.join("haproxy.cfg");
    std::fs::write(&path, text).unwrap();
    let haproxy = Program::start(Command::new(program).arg("-db").arg("-f").arg(&path));
    Some((haproxy, wait_for(port)))
}

/// Waits until the proxy passes requests on.
fn wait_for(port: u16) -> SocketAddr {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    crate::common::eventually("the proxy listens", || TcpStream::connect(addr).is_ok());
    crate::common::eventually("the proxy passes requests on", || {
        [200, 404].contains(&exchange(addr, b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n").status)
    });
    addr
}

#[test]
fn nginx_passes_upgrades_and_addresses_on() {
    let server = Server::start(&[ADMIN, "--trusted-proxies", "127.0.0.1", "--connections-per-ip-max", "1"]);
    let folder = tempfile::tempdir().unwrap();
    let Some(nginx) = nginx(&server, &server.addr().to_string(), folder.path()) else {
        return left_out("proxies::nginx", "nginx");
    };
    clients_are_told_apart(nginx.addr);
}

#[test]
fn nginx_passes_operators_on_by_a_door_of_their_own() {
    let key = "the-key-of-operators-0123456789";
    let server = Server::start_with(&[ADMIN, "--admin-only=true"], &[("FANWIRE_API_KEY", key)]);
    let folder = tempfile::tempdir().unwrap();
    let Some(nginx) = nginx(&server, &server.addr().to_string(), folder.path()) else {
        return left_out("proxies::nginx_admin", "nginx");
    };
    let mut member = client_from(2, nginx.addr);
    member.subscribe("chat");
    let ask = |last: u8, to: SocketAddr, request: &str, lines: &str, body: &str| {
        let length = format!("Content-Length: {}\r\n", body.len());
        let head = format!("{request} HTTP/1.0\r\nHost: localhost\r\n{length}{lines}\r\n{body}");
        exchange_on(stream_from(last, to), head.as_bytes())
    };
    let authorization = format!("Authorization: Bearer {key}\r\n");
    let publish = r#"{"room":"chat","data":1}"#;
    for (request, lines, body, status) in [
        ("GET /health", "", "", 200),
        ("GET /ready", "", "", 200),
        ("GET /metrics", "", "", 200),
        ("GET /v1/rooms", "", "", 401),
        ("GET /v1/rooms/chat/stats", authorization.as_str(), "", 200),
        ("POST /v1/publish", &authorization, publish, 200),
    ] {
        let answer = ask(OPERATORS, nginx.inside, request, lines, body);
        assert_eq!(answer.status, status, "{request}: {}", answer.body);
        let refused = ask(2, nginx.inside, request, lines, body);
        assert_eq!(refused.status, 403, "{request} from elsewhere: {}", refused.body);
        let public = ask(2, nginx.addr, request, lines, body);
        assert_eq!(public.status, if request == "GET /health" { 200 } else { 404 }, "{request} of a client");
    }
    member.expect(r#"{"type":"message","room":"chat","data":1,"timestamp":"*ms"}"#);
    assert_ne!(upgrade_status(stream_from(OPERATORS, nginx.inside), b"", &[]), "101", "no door for clients");
}

#[test]
fn nginx_reaches_a_unix_socket_of_its_group() {
    if !nginx_changes_user() {
        return left_out("proxies::nginx_unix", "root, and a user www-data");
    }
    let folder = tempfile::tempdir().unwrap();
    // As systemd makes a RuntimeDirectory.
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("fanwire.sock");
    let unit = std::fs::read_to_string(tests_path("deploy/fanwire.service")).unwrap();
    let group = unit.split("--unix-socket-group ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap();
    let flags = [ADMIN, "--unix-socket", socket.to_str().unwrap(), "--unix-socket-group", group];
    let server = Server::start(&flags);
    let Some(nginx) = nginx(&server, &format!("unix:{}", socket.display()), folder.path()) else {
        return left_out("proxies::nginx_unix", "nginx");
    };
    let mut client = client_from(1, nginx.addr);
    client.subscribe("chat");
    client.send_text(r#"{"type":"publish","room":"chat","data":1}"#);
    client.expect(r#"{"type":"message","room":"chat","data":1,"client_id":"*uuid","timestamp":"*ms"}"#);
}

#[test]
fn nginx_does_not_reach_a_unix_socket_of_another_group() {
    if !nginx_changes_user() {
        return left_out("proxies::nginx_unix", "root, and a user www-data");
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let socket = folder.path().join("fanwire.sock");
    let server = Server::start(&[ADMIN, "--unix-socket", socket.to_str().unwrap()]);
    let Some(nginx) = start_nginx(&server, &format!("unix:{}", socket.display()), folder.path()) else {
        return left_out("proxies::nginx_unix", "nginx");
    };
    crate::common::eventually("the proxy listens", || TcpStream::connect(nginx.addr).is_ok());
    assert_eq!(exchange(nginx.addr, b"GET /ws HTTP/1.0\r\nHost: localhost\r\n\r\n").status, 502);
}

#[test]
fn nginx_passes_a_path_prefix_on() {
    let server = Server::start(&[ADMIN, "--path-prefix", "/realtime"]);
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(server.get("/realtime/health").status, 200);
    assert_eq!(server.get("/health").status, 404);
    let Some(nginx) = nginx(&server, &server.addr().to_string(), folder.path()) else {
        return left_out("proxies::nginx_prefix", "nginx");
    };
    Client::on(TcpStream::connect(nginx.addr).unwrap(), "localhost", "/realtime/ws", &[]).subscribe("chat");
    let metrics =
        exchange_on(stream_from(OPERATORS, nginx.inside), b"GET /metrics HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(metrics.status, 200, "operators' paths have no prefix");
}

#[test]
fn haproxy_tells_addresses_by_the_proxy_protocol() {
    for send_proxy in ["send-proxy", "send-proxy-v2"] {
        let server = Server::start(&[
            ADMIN,
            "--proxy-protocol=true",
            "--trusted-proxies",
            "127.0.0.1",
            "--connections-per-ip-max",
            "1",
        ]);
        let folder = tempfile::tempdir().unwrap();
        let Some((_haproxy, proxy)) = haproxy(&server, folder.path(), send_proxy) else {
            return left_out("proxies::haproxy", "haproxy");
        };
        clients_are_told_apart(proxy);
        // Operators on the same machine need no PROXY header.
        let page = exchange(server.admin(), b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n");
        assert!(page.status == 200 && page.body.contains("fanwire_connections{"), "{page:?}");
    }
}

#[test]
fn a_forwarded_address_is_believed_from_trusted_proxies_only() {
    let one = [("X-Forwarded-For", "192.0.2.1")];
    let two = [("X-Forwarded-For", "192.0.2.1, 192.0.2.2")];
    for (flags, second) in [(&["--trusted-proxies", "127.0.0.1"][..], "101"), (&[], "503")] {
        let server = Server::start(&[&["--connections-per-ip-max", "1"], flags].concat());
        let addr = server.addr();
        let _first = Client::connect_with(addr, "/ws", &one);
        // The last address is the one that the proxy saw; those before it are what others claimed.
        assert_eq!(upgrade_status(stream_from(1, addr), b"", &two), second, "{flags:?}");
        assert_eq!(upgrade_status(stream_from(1, addr), b"", &one), "503", "{flags:?}");
    }
}

#[test]
fn the_proxy_header_is_read_from_trusted_proxies_only() {
    let version_1 = |last: u8| format!("PROXY TCP4 192.0.2.{last} 127.0.0.1 5000 80\r\n").into_bytes();
    let long = |last: u8, fields: u16| {
        let signature = b"\r\n\r\n\0\r\nQUIT\n";
        let addresses = [192, 0, 2, last, 127, 0, 0, 1, 0x13, 0x88, 0, 80];
        let length = (12 + fields).to_be_bytes();
        let fields = vec![0xE0; usize::from(fields)];
        [&signature[..], &[0x21, 0x11], &length, &addresses, &fields].concat()
    };
    let version_2 = |last: u8| long(last, 0);
    let limits = ["--proxy-protocol=true", "--connections-per-ip-max", "1"];
    let server = Server::start(&[&limits[..], &["--trusted-proxies", "127.0.0.1"]].concat());
    let addr = server.addr();
    let mut first = stream_from(1, addr);
    first.write_all(&version_1(1)).unwrap();
    let _first = Client::on(first, "localhost", "/ws", &[]);
    assert_eq!(upgrade_status(stream_from(1, addr), &version_1(1), &[]), "503");
    assert_eq!(upgrade_status(stream_from(1, addr), &version_2(1), &[]), "503");
    assert_eq!(upgrade_status(stream_from(1, addr), &version_2(2), &[]), "101");
    // What a proxy adds of its own (a certificate, say) is skipped, up to the longest header there is.
    for (last, fields) in [(3, 580), (4, 1_000), (5, 8_000), (6, u16::MAX - 12)] {
        let status = upgrade_status(stream_from(1, addr), &long(last, fields), &[]);
        assert_eq!(status, "101", "{fields} bytes of fields");
    }
    assert_ne!(upgrade_status(stream_from(1, addr), b"PROXY TCP4 nonsense\r\n", &[]), "101");
    // From elsewhere the header is no HTTP.
    assert_ne!(upgrade_status(stream_from(9, addr), &version_1(3), &[]), "101");
    // The refused connection has its place until its end is seen.
    eventually("its place is free", || upgrade_status(stream_from(9, addr), b"", &[]) == "101");
}
