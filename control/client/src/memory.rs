//! A small API in memory behind a real [`Transport`]: for tests of informers, elections, controllers and the scheduler.
//!
//! It answers HTTP as the API server does for the verbs that this crate uses: optimistic locking, status apart from
//! spec, finalizers, graceful deletion of bound pods, watches with history, fences. It has no admission, no defaults
//! and no selectors. Built only for tests (feature `memory`).

mod objects;
mod request;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use serde_json::{Value, json};
use tokio::sync::Notify;

use base::{Clock, Entropy};

use self::objects::{Objects, Refusal};
use self::request::{Target, parse_fence};
use crate::client::Client;
use crate::transport::{Body, Transport, TransportError};

const BOOKMARK_EVERY: Duration = Duration::from_secs(60);

/// A cheap handle; clones share one API.
#[derive(Clone)]
pub struct MemoryApi {
    objects: Arc<Mutex<Objects>>,
    changed: Arc<Notify>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    unreachable: Arc<AtomicBool>,
    held: Arc<AtomicBool>,
    /// Watches of an older generation end.
    generation: Arc<AtomicU64>,
}

impl MemoryApi {
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            objects: Arc::default(),
            changed: Arc::new(Notify::new()),
            clock,
            entropy,
            unreachable: Arc::default(),
            held: Arc::default(),
            generation: Arc::default(),
        }
    }

    pub fn client(&self) -> Client {
        Client::new(Arc::new(self.clone()))
    }

    /// While set, every call fails and open watches end.
    pub fn set_unreachable(&self, unreachable: bool) {
        self.unreachable.store(unreachable, Ordering::SeqCst);
        self.cut_watches();
    }

    /// Another server of the same API; only its watches can be held without the others'.
    pub fn another(&self) -> Self {
        Self { held: Arc::default(), ..self.clone() }
    }

    /// While set, watches of this server tell nothing, as when it hears nothing itself.
    pub fn hold_watches(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Ends every open watch, as a server does after its timeout.
    pub fn cut_watches(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
    }

    /// Forgets the history: a watch from an older revision is told 410.
    pub fn compact(&self) {
        self.lock().compact();
        self.cut_watches();
    }

    fn lock(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request<Bytes>) -> Result<Response<Body>, Refusal> {
        let target =
            Target::parse(request.uri()).ok_or_else(|| Refusal::new(404, "NotFound", "no such path"))?;
        if request.method() == Method::GET {
            if target.query.contains_key("watch") {
                return self.watch(&target);
            }
            let objects = self.lock();
            return Ok(match &target.name {
                Some(_) => reply(StatusCode::OK, &objects.get(&target)?),
                None => reply(StatusCode::OK, &objects.list(&target)),
            });
        }
        let body = if request.body().is_empty() {
            json!({})
        } else {
            serde_json::from_slice(request.body())
                .map_err(|error| Refusal::new(400, "BadRequest", error.to_string()))?
        };
        let mut objects = self.lock();
        if let Some(fence) = request.headers().get(crate::fence::HEADER) {
            objects.check_fence(&parse_fence(fence.to_str().unwrap_or_default()))?;
        }
        let (now, entropy) = (self.clock.now(), &*self.entropy);
        let answered = match (request.method().as_str(), target.subresource.as_deref()) {
            ("POST", Some("binding")) => objects.bind(&target, &body).map(|o| (StatusCode::CREATED, o)),
            ("POST", Some("eviction")) => {
                objects.delete(&target, &body["deleteOptions"], now).map(|o| (StatusCode::CREATED, o))
            }
            ("POST", _) => objects.create(&target, body, now, entropy).map(|o| (StatusCode::CREATED, o)),
            ("PUT", _) => objects.replace(&target, body).map(|o| (StatusCode::OK, o)),
            ("PATCH", _) => objects.patch(&target, &body).map(|o| (StatusCode::OK, o)),
            ("DELETE", _) => objects.delete(&target, &body, now).map(|o| (StatusCode::OK, o)),
            _ => Err(Refusal::new(405, "MethodNotAllowed", "the verb is not served")),
        };
        drop(objects);
        self.changed.notify_waiters();
        answered.map(|(status, object)| reply(status, &object))
    }

    fn watch(&self, target: &Target) -> Result<Response<Body>, Refusal> {
        let from = target.query.get("resourceVersion").and_then(|v| v.parse().ok()).unwrap_or(0);
        let watcher = Watcher {
            api: self.clone(),
            target: target.clone(),
            next: from,
            is_present: false,
            generation: self.generation.load(Ordering::SeqCst),
        };
        let frames = futures::stream::unfold(watcher, |mut watcher| async move {
            let lines = watcher.next().await?;
            Some((Ok(http_body::Frame::data(Bytes::from(lines))), watcher))
        });
        Ok(Response::new(StreamBody::new(frames).boxed_unsync()))
    }
}

impl Transport for MemoryApi {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if self.unreachable.load(Ordering::SeqCst) {
                return Err(TransportError::Unreachable("switched off".into()));
            }
            Ok(self.answer(&request).unwrap_or_else(|refusal| refuse(&refusal)))
        })
    }
}

struct Watcher {
    api: MemoryApi,
    target: Target,
    next: i64,
    /// The client was told that it has seen what there was.
    is_present: bool,
    generation: u64,
}

impl Watcher {
    /// The next lines; `None` when the watch is over.
    async fn next(&mut self) -> Option<String> {
        loop {
            let api = self.api.clone();
            let changed = api.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if api.generation.load(Ordering::SeqCst) != self.generation {
                return None;
            }
            if api.held.load(Ordering::SeqCst) {
                changed.await;
                continue;
            }
            let lines = match api.lock().since(&self.target, self.next) {
                Ok((lines, newest)) => {
                    self.next = newest;
                    lines
                }
                Err(refusal) => {
                    self.generation = u64::MAX;
                    return Some(format!("{}\n", json!({ "type": "ERROR", "object": refusal.status() })));
                }
            };
            if !lines.is_empty() {
                return Some(lines);
            }
            let arrives = !std::mem::replace(&mut self.is_present, true);
            if arrives || tokio::time::timeout(BOOKMARK_EVERY, changed).await.is_err() {
                let object = json!({ "metadata": { "resourceVersion": self.next.to_string() } });
                return Some(format!("{}\n", json!({ "type": "BOOKMARK", "object": object })));
            }
        }
    }
}

/// The answer of a server that refuses, for transports that put one in its place.
pub fn refused(code: StatusCode, reason: &'static str, message: &str) -> Response<Body> {
    refuse(&Refusal::new(code.as_u16(), reason, message))
}

fn refuse(refusal: &Refusal) -> Response<Body> {
    let status = StatusCode::from_u16(refusal.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    reply(status, &refusal.status())
}

fn reply(status: StatusCode, body: &Value) -> Response<Body> {
    let body = Full::new(Bytes::from(body.to_string())).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
