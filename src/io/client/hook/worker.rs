//! The thread of the hook: takes questions, sends what the line says, reads what comes back.

use super::Job;
use crate::base::Seldom;
use crate::config::{HookEvent, HookSettings};
use crate::io::client::http_client::{ClientAnswer, ClientError, HttpClient};
use crate::metrics::{HookMetrics, HookOutcome};
use crate::model::hook::Verdict;
use crate::webhook::{
    BreakerState, Came, Cause, Failing, Line, LineLimits, NotAsked, SIGNATURE_HEADER, Step, backoff, body,
    judge, retry_after, signature,
};
use hyper::Method;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use std::collections::HashMap;
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
    /// Failures that are told of, by event and cause; the causes are few: statuses, and some more.
    told: HashMap<(HookEvent, Cause), Seldom>,
    started: Instant,
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
            told: HashMap::new(),
            started: Instant::now(),
        }
    }

    /// Works until it is told that the end is near and nothing waits any more, or the time for that is over.
    pub async fn run(mut self, mut jobs: mpsc::Receiver<Job>, ending: Arc<Notify>) {
        let mut taken = Vec::with_capacity(INTAKE);
        let mut end: Option<Instant> = None;
        loop {
            let wake = self.send_due();
            // A backend that is away will not be back in time.
            let is_hopeless = self.line.breaker(false) == BreakerState::Open;
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
                    let (outcome, answered) = match why {
                        NotAsked::Timeout => (HookOutcome::Timeout, false),
                        NotAsked::BreakerOpen { answered } => (HookOutcome::BreakerOpen, answered),
                    };
                    self.metrics.count(job.event.index(), outcome);
                    job.fail(answered);
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
        for of_decisions in [true, false] {
            self.metrics.show_breaker(of_decisions, self.line.breaker(of_decisions) as u64);
        }
    }

    fn send(&mut self, mut job: Job) {
        if let (0, Some(question)) = (job.sent, &job.question) {
            job.body = body(question, &job.delivery, job.unix_ms).into();
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
        let judgement = judge(job.event, came(&result), job.source.clone());
        if let Some(cause) = judgement.cause {
            self.tell(&job, cause, result.as_ref().err());
        }
        let answered = judgement.failing.as_ref().is_some_and(|failing| failing.answered);
        self.note(job.event.is_decision(), judgement.failing);
        if judgement.again && job.sent <= self.settings.retries {
            self.metrics.count_retry(job.event.index());
            let wait = backoff(job.sent, self.random.hash_one(&job.delivery)).max(judgement.retry_after);
            return self.line.tell_later(Instant::now() + wait, job);
        }
        self.metrics.count(job.event.index(), judgement.outcome);
        match judgement.verdict {
            Verdict::Failed => job.fail(answered),
            verdict => job.finish(verdict),
        }
    }

    /// Logs a failure: each at debug, and of each cause the first, then one in a minute, at warn. A status or silence
    /// tells an operator what a count cannot.
    fn tell(&mut self, job: &Job, cause: Cause, error: Option<&ClientError>) {
        let event = job.event.name();
        tracing::debug!(event, %cause, sent = job.sent, "a request to the backend failed");
        let now_ms = self.started.elapsed().as_millis() as u64;
        let told = self.told.entry((job.event, cause)).or_default();
        let Some(count) = told.happened(now_ms) else { return };
        let (origin, error) = (self.client.origin(), error.map(tracing::field::display));
        tracing::warn!(origin, event, %cause, error, count, "the backend did not do what it was asked");
    }

    /// Tells the line that a request is over, and the log when that opens or closes the breaker.
    fn note(&mut self, is_decision: bool, failing: Option<Failing>) {
        let before = self.line.breaker(is_decision);
        self.line.finished(Instant::now(), is_decision, failing);
        let (origin, of) = (self.client.origin(), if is_decision { "decisions" } else { "notices" });
        match (before, self.line.breaker(is_decision)) {
            (BreakerState::Closed, BreakerState::Open) => {
                tracing::error!(origin, of, "the backend fails: it is left alone for hook_breaker_pause");
            }
            (BreakerState::Open | BreakerState::Probing, BreakerState::Closed) => {
                tracing::warn!(origin, of, "the backend answers again");
            }
            _ => {}
        }
        if before != BreakerState::Open && self.line.breaker(is_decision) == BreakerState::Open {
            self.metrics.count_opened(is_decision);
        }
        // Before a client gets its answer, so that a look at the metrics after it sees this.
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

/// What came of a request, as far as it is judged by that.
fn came(result: &Result<ClientAnswer, ClientError>) -> Came<'_> {
    match result {
        Ok(answer) => {
            let asked_for = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            Came::Answer {
                status: answer.status.as_u16(),
                body: Some(&answer.body),
                retry_after: asked_for.and_then(|value| retry_after(value, SystemTime::now())),
            }
        }
        Err(ClientError::TooLarge { status, .. }) => {
            Came::Answer { status: status.as_u16(), body: None, retry_after: None }
        }
        Err(ClientError::Timeout) => Came::Timeout,
        Err(ClientError::Connect { .. }) => Came::NotReached,
        Err(ClientError::Exchange(_) | ClientError::Body) => Came::Broken,
    }
}

/// Waits until a time, or for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => std::future::pending().await,
    }
}
