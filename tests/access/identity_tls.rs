//! Keys over HTTPS, from OpenSSL's own server: believed with a certificate that the machine trusts, and not without.

use crate::common::{Server, eventually, find_program, left_out, tests_path};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `openssl s_server` over the files of a folder. Killed when dropped.
struct Origin(Child);

impl Drop for Origin {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn openssl(folder: &Path, args: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(args.split(' ')).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn keys_come_over_https_from_whom_the_machine_trusts() {
    if find_program("openssl").is_none() {
        return left_out("identity_tls", "openssl");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut make = openssl(
        folder.path(),
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 \
         -subj /CN=localhost -addext subjectAltName=DNS:localhost -addext basicConstraints=critical,CA:FALSE",
    );
    assert!(make.status().unwrap().success(), "openssl cannot make a certificate");
    std::fs::copy(tests_path("tokens/jwks.json"), folder.path().join("jwks.json")).unwrap();
    let port = crate::common::free_port();
    let serve = format!("s_server -accept {port} -cert cert.pem -key key.pem -WWW -quiet");
    let _origin = Origin(openssl(folder.path(), &serve).spawn().unwrap());
    eventually("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let url = format!("--jwt-jwks-url=https://localhost:{port}/jwks.json");
    let fetched = |server: &Server| {
        (
            server.metric("fanwire_jwks_fetches_total").unwrap(),
            server.metric("fanwire_jwks_fetch_failures_total").unwrap(),
        )
    };

    let certificate = folder.path().join("cert.pem");
    let trusting = Server::start_with(&[&url], &[("SSL_CERT_FILE", certificate.to_str().unwrap())]);
    assert_eq!(fetched(&trusting), (1.0, 0.0), "{}", trusting.output());

    // Another certificate is what this one trusts.
    let mut make = openssl(
        folder.path(),
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key -out other.pem -days 2 \
         -subj /CN=localhost -addext subjectAltName=DNS:localhost",
    );
    assert!(make.status().unwrap().success());
    let other = folder.path().join("other.pem");
    let wary = Server::start_with(&[&url], &[("SSL_CERT_FILE", other.to_str().unwrap())]);
    let (fetches, failures) = fetched(&wary);
    assert!(fetches >= 1.0 && fetches == failures, "{}", wary.output());
    assert!(wary.output().contains("certificate"), "{}", wary.output());
}
