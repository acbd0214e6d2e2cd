//! Keys that are fetched from a real server, which rotates them, is slow, dies and lies.

use super::*;
use crate::auth::token::TokenError;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

const JWKS: &str = include_str!("../../../../tests/tokens/jwks.json");
const TOKENS: &str = include_str!("../../../../tests/tokens/tokens.json");

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Fast, so that a test has many fetches.
const FAST: Pace = Pace {
    timeout: Duration::from_millis(300),
    unknown_wait: Duration::from_millis(100),
    age_min: Duration::from_millis(10),
    age_max: Duration::from_secs(3600),
    age_default: Duration::from_secs(3600),
    retry_min: Duration::from_millis(10),
    retry_max: Duration::from_millis(20),
};

/// A server that answers each request with the bytes it is given, and then closes; none: it stays silent.
struct Origin {
    url: String,
    answer: Arc<Mutex<Option<Vec<u8>>>>,
    requests: Arc<AtomicU32>,
}

impl Origin {
    fn start(answer: Option<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/keys?a=b", listener.local_addr().unwrap());
        let answer = Arc::new(Mutex::new(answer));
        let requests = Arc::new(AtomicU32::new(0));
        let (of_thread, counted) = (answer.clone(), requests.clone());
        std::thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = [0; 1024];
                let read = stream.read(&mut head).unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..read]).into_owned();
                assert!(head.is_empty() || head.starts_with("GET /keys?a=b HTTP/1.1\r\n"), "{head}");
                counted.fetch_add(1, Ordering::SeqCst);
                match &*of_thread.lock().unwrap() {
                    // Who does not want to read all of it closes before.
                    Some(answer) => drop(stream.write_all(answer)),
                    None => silent.push(stream),
                }
            }
        });
        Self { url, answer, requests }
    }

    fn say(&self, answer: Option<Vec<u8>>) {
        *self.answer.lock().unwrap() = answer;
    }

    fn requests(&self) -> u32 {
        self.requests.load(Ordering::SeqCst)
    }
}

fn ok(body: &str) -> Option<Vec<u8>> {
    with_head("200 OK", "", body)
}

fn with_head(status: &str, header: &str, body: &str) -> Option<Vec<u8>> {
    let length = body.len();
    Some(format!("HTTP/1.1 {status}\r\n{header}content-length: {length}\r\n\r\n{body}").into_bytes())
}

/// The kept set without the keys whose `kid` has `without` in it.
fn set_without(without: &str) -> String {
    let mut set: serde_json::Value = serde_json::from_str(JWKS).unwrap();
    set["keys"].as_array_mut().unwrap().retain(|key| !key["kid"].as_str().unwrap().contains(without));
    set.to_string()
}

/// A good token of a key of the kept set, and the time for which it is good.
fn token(algorithm: &str) -> (String, u64) {
    let made: serde_json::Value = serde_json::from_str(TOKENS).unwrap();
    let name = format!("{algorithm} by JWKS");
    let case = made["cases"].as_array().unwrap().iter().find(|case| case["name"] == name.as_str()).unwrap();
    (case["token"].as_str().unwrap().to_owned(), made["now"].as_u64().unwrap())
}

struct Fetching {
    desk: Arc<TokenDesk>,
    _stop: watch::Sender<bool>,
}

impl Fetching {
    fn start(url: &str, pace: Pace) -> Self {
        let tokens = Tokens { jwks_url: Some(url.to_owned()), ..Tokens::default() };
        let desk = Arc::new(TokenDesk::new(token_policy(&tokens).unwrap()));
        let (stop, stopped) = watch::channel(false);
        let (fetcher, of_task) = (Fetcher::new(url, KEYS_BYTES_MAX, pace.timeout).unwrap(), desk.clone());
        tokio::spawn(async move {
            keep_fetching(&fetcher, &of_task, stopped, pace, mpsc::channel().0).await;
        });
        Self { desk, _stop: stop }
    }

    fn verify(&self, algorithm: &str) -> Result<(), TokenError> {
        let (token, now) = token(algorithm);
        self.desk.verify(&token, now).map(drop)
    }

    async fn eventually(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let start = Instant::now();
        while !holds(self) {
            assert!(start.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::test]
async fn a_rotation_is_noticed_by_the_first_token_of_the_new_key() {
    let origin = Origin::start(ok(&set_without("EdDSA")));
    let fetching = Fetching::start(&origin.url, FAST);
    fetching.eventually("the first keys", |it| it.verify("RS256").is_ok()).await;
    assert_eq!(fetching.verify("EdDSA"), Err(TokenError::AlgorithmRefused));
    origin.say(ok(JWKS));
    fetching.eventually("the new key", |it| it.verify("EdDSA").is_ok()).await;
    assert_eq!(fetching.verify("RS256"), Ok(()), "the old one is still there");
}

#[tokio::test]
async fn unknown_keys_cause_few_fetches() {
    let origin = Origin::start(ok(&set_without("RS256")));
    let fetching = Fetching::start(&origin.url, FAST);
    fetching.eventually("the first keys", |it| it.verify("ES256").is_ok()).await;
    let start = Instant::now();
    let before = origin.requests();
    fetching
        .eventually("three fetches", |it| {
            assert!(it.verify("RS256").is_err());
            origin.requests() >= before + 3
        })
        .await;
    assert!(start.elapsed() >= 2 * FAST.unknown_wait, "{:?}", start.elapsed());
}

#[tokio::test]
async fn keys_outlive_a_server_that_dies_lies_or_is_slow() {
    let pace = Pace { age_default: FAST.age_min, ..FAST };
    let origin = Origin::start(ok(JWKS));
    let fetching = Fetching::start(&origin.url, pace);
    fetching.eventually("the first keys", |it| it.verify("RS256").is_ok()).await;
    let huge = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(KEYS_BYTES_MAX));
    let endless_head = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    for (what, answer) in [
        ("nothing", Some(Vec::new())),
        ("garbage", Some(b"garbage\r\n\r\n".to_vec())),
        ("an error", with_head("500 Oops", "", JWKS)),
        ("a redirect", with_head("302 Found", "location: http://127.0.0.1:1/\r\n", "")),
        ("a page", ok("<html>maintenance</html>")),
        ("an empty set", ok(r#"{"keys":[]}"#)),
        ("a published secret", ok(r#"{"keys":[{"kty":"oct","k":"AQAB"}]}"#)),
        ("a huge set", ok(&huge)),
        ("a lie about its length", Some(b"HTTP/1.1 200 OK\r\ncontent-length: 99999\r\n\r\n{".to_vec())),
        ("a huge head", Some(endless_head.into_bytes())),
        ("bytes", Some(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n\xff".to_vec())),
        ("silence", None),
    ] {
        let (fetches, failures) = fetching.desk.fetches();
        origin.say(answer);
        fetching.eventually(what, |it| it.desk.fetches().1 > failures + 1).await;
        assert!(fetching.desk.fetches().0 > fetches);
        assert_eq!(fetching.verify("RS256"), Ok(()), "{what}");
    }
    origin.say(ok(&set_without("RS256")));
    fetching.eventually("it is well again", |it| it.verify("RS256").is_err()).await;
    assert_eq!(fetching.verify("ES256"), Ok(()));
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_asked_again() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/keys?a=b", listener.local_addr().unwrap());
    let fetching = Fetching::start(&url, FAST);
    assert_eq!(fetching.verify("RS256"), Err(TokenError::NoKeys));
    fetching.eventually("it was asked, and said nothing", |it| it.desk.fetches().1 >= 1).await;
    drop(listener);
    fetching.eventually("it refused", |it| it.desk.fetches().1 >= 3).await;
    assert!(fetching.desk.is_configured(), "keys may come");
}

#[tokio::test]
async fn what_an_answer_says_of_its_age_is_bounded() {
    let pace = Pace { age_max: Duration::from_millis(50), ..FAST };
    let origin = Origin::start(with_head("200 OK", "cache-control: max-age=999999999\r\n", JWKS));
    let fetching = Fetching::start(&origin.url, pace);
    fetching.eventually("it is asked again in spite of that", |_| origin.requests() > 2).await;
}

#[test]
fn files_are_bounded_and_named_in_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    let tokens = Tokens { jwks_file: Some(path.clone()), ..Tokens::default() };
    let error = || token_policy(&tokens).unwrap_err().to_string();
    assert!(error().starts_with("jwt_jwks_file: ") && error().contains("keys: "), "{}", error());
    std::fs::write(&path, " ".repeat(KEYS_BYTES_MAX + 1)).unwrap();
    assert!(error().contains("over 262144 bytes"), "{}", error());
    std::fs::write(&path, "{}").unwrap();
    assert!(error().contains("no JSON Web Key Set"), "{}", error());
    std::fs::write(&path, JWKS).unwrap();
    assert_eq!(token_policy(&tokens).unwrap().fixed().len(), 5);
}

#[test]
fn tls_needs_no_more_than_the_machine_has() {
    // Without authorities on the machine it says what is missing.
    match Fetcher::new("https://id.example/keys", 1, FAST.timeout) {
        Ok(fetcher) => assert_eq!(fetcher.host(), "id.example"),
        Err(error) => assert!(error.to_string().contains("ca-certificates"), "{error}"),
    }
}
