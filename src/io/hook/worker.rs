//! The thread of the hook: takes questions, sends what the line says, reads what comes back.

use super::super::http_client::{ClientAnswer, ClientError, HttpClient};
use super::Job;
use crate::api::hook::Decision;
use crate::api::hook::{
    BreakerState, Fate, Line, LineLimits, NotAsked, SIGNATURE_HEADER, Step, Verdict, backoff, fate_of_notice,
    read_decision, read_reply, signature,
};
use crate::config::{HookEvent, HookSettings};
use crate::metrics::{HookMetrics, HookOutcome};
use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

/// Questions taken in before the line is looked at again.
const INTAKE: usize = 256;

/// A request that is over.
struct Done {
    job: Job,
    began: Instant,
    result: Result<ClientAnswer, ClientError>,
}

pub(super) struct Worker {
    settings: HookSettings,
    client: Arc<HttpClient>,
    metrics: Arc<HookMetrics>,
    line: Line<Job>,
    under_way: JoinSet<Done>,
    random: RandomState,
}

impl Worker {
    pub fn new(
        settings: HookSettings,
        client: HttpClient,
        metrics: Arc<HookMetrics>,
        limits: LineLimits,
    ) -> Self {
        Self {
            settings,
            client: Arc::new(client),
            metrics,
            line: Line::new(limits),
            under_way: JoinSet::new(),
            random: RandomState::new(),
        }
    }

    /// Works until it is told that the end is near and nothing waits any more, or the time for that is over.
    pub async fn run(mut self, mut jobs: mpsc::Receiver<Job>, ending: Arc<Notify>) {
        let mut taken = Vec::with_capacity(INTAKE);
        let mut end: Option<Instant> = None;
        loop {
            let wake = self.send_due();
            // A backend that is away will not be back in time.
            let is_hopeless = self.line.breaker() == BreakerState::Open;
            if end.is_some() && jobs.is_empty() && (self.line.is_empty() || is_hopeless) {
                break;
            }
            tokio::select! {
                biased;
                Some(done) = self.under_way.join_next() => match done {
                    Ok(done) => self.finished(done),
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => break,
                    },
                },
                count = jobs.recv_many(&mut taken, INTAKE) => {
                    if count == 0 {
                        break;
                    }
                    for job in taken.drain(..) {
                        match job.event.is_decision() {
                            true => self.line.decide(job.deadline, job),
                            false => self.line.tell(job),
                        }
                    }
                }
                () = until(wake) => {}
                () = until(end) => break,
                () = ending.notified(), if end.is_none() => end = Some(Instant::now() + self.settings.timeout),
            }
        }
        self.give_up(jobs);
    }

    /// Sends what is to be sent now; when to look again.
    fn send_due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let wake = loop {
            match self.line.next(now) {
                Step::Send(job) => self.send(job),
                Step::GiveUp(mut job, why) => {
                    let outcome = match why {
                        NotAsked::Timeout => HookOutcome::Timeout,
                        NotAsked::BreakerOpen => HookOutcome::BreakerOpen,
                    };
                    self.metrics.count(job.event.index(), outcome);
                    job.fail();
                }
                Step::Wait(wake) => break wake,
            }
        };
        self.show();
        wake
    }

    /// Brings the gauges up to date.
    fn show(&self) {
        self.metrics.under_way.store(self.line.under_way() as u64, Ordering::Relaxed);
        self.metrics.breaker.store(self.line.breaker() as u64, Ordering::Relaxed);
    }

    fn send(&mut self, mut job: Job) {
        if let (0, Some(question)) = (job.sent, &job.question) {
            job.body = question.body(&job.delivery, job.unix_ms).into();
        }
        job.sent += 1;
        let headers = self.headers(&job);
        let client = self.client.clone();
        self.under_way.spawn(async move {
            let began = Instant::now();
            let asked = client.ask(Method::POST, headers, job.body.clone());
            let result = if job.event.is_decision() {
                // Its time began when it was asked for.
                let answer = tokio::time::timeout_at(job.deadline.into(), asked);
                answer.await.unwrap_or(Err(ClientError::Timeout))
            } else {
                asked.await
            };
            Done { job, began, result }
        });
    }

    fn headers(&self, job: &Job) -> HeaderMap {
        let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let signature = signature(&self.settings.secrets, unix_s, &job.body);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(crate::api::CONTENT_TYPE));
        headers.insert("fanwire-event", HeaderValue::from_static(job.event.name()));
        for (name, value) in [("fanwire-delivery", &job.delivery), (SIGNATURE_HEADER, &signature)] {
            // Both are hexadecimal digits and some punctuation.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        }
        headers
    }

    fn finished(&mut self, Done { mut job, began, result }: Done) {
        self.metrics.seconds.observe_ns(began.elapsed().as_nanos() as u64);
        let status = result.as_ref().ok().map(|answer| answer.status.as_u16());
        let outcome = match &result {
            Ok(answer) if !answer.status.is_success() => HookOutcome::Status,
            Ok(_) => HookOutcome::Ok,
            Err(ClientError::Timeout) => HookOutcome::Timeout,
            Err(ClientError::TooLarge(_)) => HookOutcome::Garbage,
            Err(_) => HookOutcome::Unreachable,
        };
        match &result {
            Err(error) => tracing::debug!(event = job.event.name(), %error, "the backend did not answer"),
            Ok(answer) if !answer.status.is_success() => {
                tracing::debug!(event = job.event.name(), status, "the backend did not want to answer");
            }
            Ok(_) => {}
        }
        let is_decision = job.event.is_decision();
        if is_decision {
            let (verdict, outcome) = decided(outcome, result);
            self.note(is_decision, verdict.is_some());
            self.metrics.count(job.event.index(), outcome);
            return match verdict {
                Some(verdict) => job.finish(verdict),
                None => job.fail(),
            };
        }
        let fate = fate_of_notice(status);
        self.note(is_decision, fate != Fate::Again);
        match fate {
            Fate::Again if job.sent <= self.settings.retries => {
                self.metrics.count_retry(job.event.index());
                let wait = backoff(job.sent, self.random.hash_one(&job.delivery));
                self.line.tell_later(Instant::now() + wait, job);
            }
            Fate::Again => {
                self.metrics.count(job.event.index(), outcome);
                job.fail();
            }
            Fate::Unwanted => {
                self.metrics.count(job.event.index(), HookOutcome::Refused);
                job.fail();
            }
            Fate::Delivered => {
                let reply = match result {
                    Ok(answer) if job.event == HookEvent::Message => read_reply(&answer.body),
                    _ => Ok(Default::default()),
                };
                let outcome = if reply.is_ok() { HookOutcome::Ok } else { HookOutcome::Garbage };
                self.metrics.count(job.event.index(), outcome);
                match reply {
                    Ok(reply) => job.finish(Verdict::Replied(reply)),
                    Err(error) => {
                        tracing::debug!(%error, "a reply cannot be read");
                        job.fail();
                    }
                }
            }
        }
    }

    /// Tells the line that a request is over, and the log when that opens or closes the breaker.
    fn note(&mut self, is_decision: bool, well: bool) {
        let before = self.line.breaker();
        self.line.finished(Instant::now(), is_decision, well);
        let origin = self.client.origin();
        match (before, self.line.breaker()) {
            (BreakerState::Closed, BreakerState::Open) => {
                tracing::error!(origin, "the backend fails: it is left alone for hook_breaker_pause");
            }
            (BreakerState::Open | BreakerState::Probing, BreakerState::Closed) => {
                tracing::warn!(origin, "the backend answers again");
            }
            _ => {}
        }
        if before != BreakerState::Open && self.line.breaker() == BreakerState::Open {
            self.metrics.breaker_opened.fetch_add(1, Ordering::Relaxed);
        }
        // Before anybody is answered, so that who looks then sees it.
        self.show();
    }

    /// Counts what is left at the end. Dropping the rest answers whoever waits.
    fn give_up(self, mut jobs: mpsc::Receiver<Job>) {
        jobs.close();
        let mut left = self.line.into_waiting();
        while let Ok(job) = jobs.try_recv() {
            left.push(job);
        }
        for job in &left {
            self.metrics.count(job.event.index(), HookOutcome::Ended);
        }
        if !left.is_empty() {
            tracing::warn!(count = left.len(), "the server ends before all was told to the backend");
        }
    }
}

/// What an answer decides, if it is a sensible one, and what is counted.
fn decided(
    outcome: HookOutcome,
    result: Result<ClientAnswer, ClientError>,
) -> (Option<Verdict>, HookOutcome) {
    let Ok(answer) = result else { return (None, outcome) };
    if outcome != HookOutcome::Ok {
        return (None, outcome);
    }
    match read_decision(&answer.body) {
        Ok(decision) => {
            let is_yes = matches!(decision, Decision::Allow { .. });
            let outcome = if is_yes { HookOutcome::Ok } else { HookOutcome::Refused };
            (Some(Verdict::Decided(decision)), outcome)
        }
        Err(error) => {
            tracing::debug!(%error, "a decision cannot be read");
            (None, HookOutcome::Garbage)
        }
    }
}

/// Waits until a time, or for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
