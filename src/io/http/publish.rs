//! Publishing over HTTP: one, a batch, or the same once more.

use super::reply::{Reply, reply};
use super::server::Http;
use crate::api::{self, ApiError, Claim, PublishRequest, Route};
use crate::auth;
use crate::config::Config;
use crate::model::{Refusal, Selector};
use crate::shard::{Published, Tally};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, StatusCode};
use std::sync::{Arc, PoisonError};
use tokio::sync::oneshot;

/// Names a request that is to be made once.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// What became of one publication: at once, or when all shards have counted.
enum Counted {
    Now(Published),
    Later(Published, oneshot::Receiver<u32>),
}

impl Counted {
    async fn told(self) -> Result<api::Delivered, ApiError> {
        let published = match self {
            Self::Now(published) => published,
            Self::Later(published, counted) => {
                let delivered = counted.await.map_err(|_| ApiError::unavailable("shutting down"))?;
                Published { delivered, ..published }
            }
        };
        if published.is_refused {
            return Err(ApiError::unavailable(Refusal::NoOrder.text()));
        }
        Ok(api::Delivered {
            delivered: u64::from(published.delivered),
            offset: published.position.map(|position| position.offset),
            epoch: published.position.map(|position| position.epoch.to_string()),
        })
    }
}

impl Http {
    /// Carries out one of the routes that publish.
    pub(in crate::io) async fn publish(
        &self,
        request: &mut Request<Incoming>,
        route: Route,
        config: &Arc<Config>,
    ) -> Result<Reply, ApiError> {
        let mut keys = request.headers().get_all(KEY).iter();
        let key = keys.next().map(|value| api::check_key(value.as_bytes()).map(str::to_owned)).transpose()?;
        if keys.next().is_some() {
            return Err(ApiError::bad_request("give one Idempotency-Key"));
        }
        let Some(key) = key else {
            let body = self.body(request, config).await?;
            return self.publish_body(&route, body, config).await.map(answer);
        };
        let authorization =
            request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let caller = auth::key_of(&config.api_keys, authorization).as_bytes().to_vec();
        let path = request.uri().path().to_owned();
        let body = self.body(request, config).await?;
        let number = match self.claim(&caller, &key, &path, &body) {
            Claim::New(number) => number,
            Claim::Done(stored) => {
                let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
                let mut again = reply(status, api::CONTENT_TYPE, stored.body);
                again.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
                return Ok(again);
            }
            Claim::Running => {
                return Err(ApiError::conflict("a request with this Idempotency-Key is being carried out"));
            }
            Claim::Other => {
                return Err(ApiError::unprocessable("this Idempotency-Key was given to another request"));
            }
        };
        // Its answer is kept even if nobody waits for it any more.
        let (http, config) = (self.clone(), config.clone());
        let carried_out = tokio::task::spawn_local(async move {
            let body = http.publish_body(&route, body, &config).await;
            let stored = body.as_ref().ok().map(|body| api::Stored { status: 200, body: body.clone() });
            let mut table = http.node.idempotency.lock().unwrap_or_else(PoisonError::into_inner);
            table.finish(number, &caller, &key, stored);
            body
        });
        carried_out.await.map_err(|_| ApiError::unavailable("shutting down"))?.map(answer)
    }

    fn claim(&self, caller: &[u8], key: &str, path: &str, body: &[u8]) -> Claim {
        let now_ms = self.node.clock.now().ms();
        let mut table = self.node.idempotency.lock().unwrap_or_else(PoisonError::into_inner);
        table.claim(now_ms, caller, key, path, body)
    }

    /// Publishes what a body asks for. The answer's body.
    async fn publish_body(
        &self,
        route: &Route,
        body: Bytes,
        config: &Arc<Config>,
    ) -> Result<Bytes, ApiError> {
        let depth_max = config.limits.json_depth_max;
        let one = match route {
            Route::PublishBatch => return self.publish_batch(body, config.clone()).await,
            Route::Broadcast => api::parse_broadcast(&body, depth_max)?,
            _ => api::parse_publish(&body, depth_max)?,
        };
        self.check_tenants(std::slice::from_ref(&one), false)?;
        self.check_place(std::slice::from_ref(&one))?;
        let counted = self.publish_one(&one);
        Ok(api::to_json(&counted.told().await?).into())
    }

    /// Publishes a batch: all of it, or nothing.
    async fn publish_batch(&self, body: Bytes, config: Arc<Config>) -> Result<Bytes, ApiError> {
        let http = self.clone();
        // Goes on to its end even if nobody waits for it any more.
        let carried_out = tokio::task::spawn_local(async move {
            let requests = api::parse_batch(&body, config.limits.json_depth_max)?;
            http.check_tenants(&requests, true)?;
            http.check_place(&requests)?;
            let mut counted = Vec::with_capacity(requests.len());
            for request in &requests {
                // The shard's connections have their turn when it has enough.
                while http.driver.borrow().shard().is_sated_with_mail() {
                    tokio::task::yield_now().await;
                }
                counted.push(http.publish_one(request));
            }
            let mut batch = api::BatchDelivered::default();
            for counted in counted {
                let result = counted.told().await?;
                batch.delivered += result.delivered;
                batch.results.push(result);
            }
            Ok(api::to_json(&batch).into())
        });
        carried_out.await.map_err(|_| ApiError::unavailable("shutting down"))?
    }

    /// Whether the shards and the rooms that are named have place for more.
    fn check_place(&self, requests: &[PublishRequest<'_>]) -> Result<(), ApiError> {
        let driver = self.driver.borrow();
        if driver.is_congested() {
            return Err(ApiError::unavailable("the shards are behind with their mail"));
        }
        if requests.iter().any(|request| driver.shard().is_behind(&request.to)) {
            return Err(ApiError::unavailable("the room is behind with its messages"));
        }
        Ok(())
    }

    /// Refuses what names a user without its tenant where there are tenants; of a batch tells which it is.
    fn check_tenants(&self, requests: &[PublishRequest<'_>], is_batch: bool) -> Result<(), ApiError> {
        let ambiguous = requests.iter().position(|request| request.to.is_ambiguous());
        let Some(index) = ambiguous.filter(|_| self.node.tokens.has_tenants()) else { return Ok(()) };
        let place = if is_batch { format!("[{index}]: ") } else { String::new() };
        Err(ApiError::bad_request(format!("{place}{}", Selector::AMBIGUOUS)))
    }

    fn publish_one(&self, request: &PublishRequest<'_>) -> Counted {
        let (to, draft, mut driver) = (&request.to, request.draft(), self.driver.borrow_mut());
        if to.is_plain() {
            return Counted::Now(driver.publish(to, &draft));
        }
        let (sender, counted) = oneshot::channel();
        let tally = Arc::new(Tally::new(Box::new(move |delivered| {
            // Nobody waiting any more is no fault.
            let _ = sender.send(delivered);
        })));
        let published = driver.publish_selected(to, &draft, &tally);
        Counted::Later(published, counted)
    }
}

fn answer(body: Bytes) -> Reply {
    reply(StatusCode::OK, api::CONTENT_TYPE, body)
}
