//! Where the keys of tokens come from: files, and a JSON Web Key Set that is fetched again and again.

mod fetch;
#[cfg(test)]
mod tests;

use crate::auth::token::{KeyError, KeyFault, KeyTexts, PolicyError, TokenDesk, TokenPolicy};
use crate::config::Tokens;
use fetch::{FetchError, Fetcher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// Most bytes of a file with keys, and of a set that is fetched.
const KEYS_BYTES_MAX: usize = 256 * 1024;

/// How long a start waits for the first fetch: tokens that come before it are refused.
const FIRST_WAIT: Duration = Duration::from_secs(3);

/// Why tokens cannot be checked as configured.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// A file cannot be read.
    #[error("{setting}: {path}: {error}")]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// What is in it cannot be used.
    #[error(transparent)]
    Policy(#[from] PolicyError),
}

/// Compiles a configuration, with the files that it names.
///
/// # Errors
/// A file that cannot be read, or keys that cannot be used.
pub fn token_policy(tokens: &Tokens) -> Result<TokenPolicy, KeysError> {
    let pem = read("jwt_public_key_file", tokens.public_key_file.as_deref())?;
    let jwks = read("jwt_jwks_file", tokens.jwks_file.as_deref())?;
    let policy = TokenPolicy::new(tokens, KeyTexts { pem: pem.as_deref(), jwks: jwks.as_deref() })?;
    warn_of("jwt_jwks_file", policy.fixed().faults());
    Ok(policy)
}

/// Tells of the keys of a set that are meant for tokens and cannot be used: their tokens are refused.
fn warn_of(setting: &str, faults: &[KeyFault]) {
    for KeyFault { key, why } in faults {
        tracing::warn!(setting, key, why, "a key of the set is not used: its tokens are refused");
    }
}

fn read(setting: &'static str, path: Option<&Path>) -> Result<Option<String>, KeysError> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::File::open(path).and_then(|file| {
        let mut text = String::new();
        file.take(KEYS_BYTES_MAX as u64 + 1).read_to_string(&mut text)?;
        let fits = text.len() <= KEYS_BYTES_MAX;
        fits.then_some(text).ok_or_else(|| std::io::Error::other(format!("over {KEYS_BYTES_MAX} bytes")))
    });
    text.map(Some).map_err(|error| KeysError::File { setting, path: path.to_owned(), error })
}

/// How often keys are fetched.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Time for one fetch.
    timeout: Duration,
    /// Least time between two fetches because of tokens of unknown keys: anybody can send those.
    unknown_wait: Duration,
    /// What is taken of the `max-age` of an answer, at least and at most.
    age_min: Duration,
    age_max: Duration,
    /// Where an answer says nothing.
    age_default: Duration,
    /// Wait after a failure; doubled with each further one.
    retry_min: Duration,
    retry_max: Duration,
}

impl Pace {
    const USUAL: Self = Self {
        timeout: Duration::from_secs(10),
        unknown_wait: Duration::from_secs(30),
        age_min: Duration::from_secs(60),
        age_max: Duration::from_secs(86_400),
        age_default: Duration::from_secs(600),
        retry_min: Duration::from_secs(5),
        retry_max: Duration::from_secs(300),
    };
}

/// Begins to fetch keys from `url`, on a thread of its own, until `stop` says so, and waits a little for the first.
///
/// # Errors
/// If the thread cannot be started or the address is none.
pub fn start_fetching(url: &str, desk: Arc<TokenDesk>, stop: watch::Receiver<bool>) -> std::io::Result<()> {
    let fetcher = Fetcher::new(url, KEYS_BYTES_MAX, Pace::USUAL.timeout)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (sender, first) = mpsc::channel();
    let run = move || runtime.block_on(keep_fetching(&fetcher, &desk, stop, Pace::USUAL, sender));
    std::thread::Builder::new().name("jwks".to_owned()).spawn(run)?;
    // However it went, it is in the log.
    let _ = first.recv_timeout(FIRST_WAIT);
    Ok(())
}

/// Why no keys came.
#[derive(Debug, thiserror::Error)]
enum NoKeys {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Keys(#[from] KeyError),
}

async fn keep_fetching(
    fetcher: &Fetcher,
    desk: &TokenDesk,
    mut stop: watch::Receiver<bool>,
    pace: Pace,
    first: mpsc::Sender<()>,
) {
    let mut failures = 0_u32;
    let mut told = Vec::new();
    loop {
        let started = Instant::now();
        let fetched = fetch_once(fetcher, desk).await;
        desk.count_fetch(fetched.is_err());
        let wait = match fetched {
            Ok((keys, age)) => {
                // Once for as long as the set is the same.
                let faults = desk.policy().fetched().faults().to_vec();
                if faults != told {
                    warn_of("jwt_jwks_url", &faults);
                    told = faults;
                }
                if failures > 0 {
                    tracing::info!(keys, failures, "keys of tokens are fetched after failures");
                } else {
                    tracing::debug!(keys, "keys of tokens fetched");
                }
                failures = 0;
                age.unwrap_or(pace.age_default).clamp(pace.age_min, pace.age_max)
            }
            Err(error) => {
                // Once at its beginning, not each time for hours.
                if failures == 0 {
                    let host = fetcher.host();
                    match desk.policy().fetched().is_empty() {
                        true => tracing::warn!(
                            %error, host,
                            "cannot fetch the keys of tokens; there are none from before: their tokens are refused"
                        ),
                        false => tracing::warn!(
                            %error, host,
                            "cannot fetch the keys of tokens; those from before are used on"
                        ),
                    }
                }
                failures = failures.saturating_add(1);
                let doubled = pace.retry_min.saturating_mul(1 << (failures - 1).min(16));
                doubled.min(pace.retry_max)
            }
        };
        // Nobody may wait any more.
        let _ = first.send(());
        let wanted = async {
            desk.keys_wanted().await;
            tokio::time::sleep_until(started + pace.unknown_wait).await;
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = wanted => {}
            // An error: nobody is left who could say so.
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// The number of keys, and how long they are good.
async fn fetch_once(fetcher: &Fetcher, desk: &TokenDesk) -> Result<(usize, Option<Duration>), NoKeys> {
    let answer = fetcher.fetch().await?;
    Ok((desk.take_fetched(&answer.text)?, answer.max_age))
}
