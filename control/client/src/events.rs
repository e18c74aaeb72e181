//! Records what happened to objects as `v1` Events: equal ones become one, with a count.
//!
//! Recording never waits: behind a full channel events are dropped and counted, since they are news, not state.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use base::{Clock, Tasks, Timestamp};

use crate::client::Client;
use crate::error::ClientError;
use crate::metrics::NAVARCH_CLIENT_EVENTS_DROPPED_TOTAL;
use crate::object::{Object, ObjectKey, reference_to};

const PENDING_MAX: usize = 1024;
const REMEMBERED_MAX: usize = 4096;

/// Kubernetes knows these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EventKind {
    Normal,
    Warning,
}

/// A cheap handle; clones share one writer.
#[derive(Clone)]
pub struct Recorder {
    client: Client,
    source: EventSource,
    clock: Arc<dyn Clock>,
    inbox: mpsc::Sender<News>,
}

struct News {
    client: Client,
    source: EventSource,
    at: Timestamp,
    equal: Equal,
    about: ObjectReference,
}

/// Events with the same of these are one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Equal {
    kind: EventKind,
    /// Kind, namespace, name and uid.
    about: [String; 4],
    component: String,
    reason: String,
    message: String,
}

impl Recorder {
    /// `host` is the node, for components that run on one; empty otherwise.
    pub fn start(client: &Client, component: &str, host: &str, clock: Arc<dyn Clock>, tasks: &Tasks) -> Self {
        let (inbox, pending) = mpsc::channel(PENDING_MAX);
        let writer = Writer { pending, known: BTreeMap::new(), order: VecDeque::new() };
        tasks.spawn_infallible(format!("events of {component}"), writer.run(tasks.stop().clone()));
        let host = (!host.is_empty()).then(|| host.to_owned());
        let source = EventSource { component: Some(component.to_owned()), host };
        Self { client: client.clone(), source, clock, inbox }
    }

    /// The same recorder writing through another client, such as a fenced one, as another component.
    #[must_use]
    pub fn through(&self, client: &Client, component: &str) -> Self {
        let source = EventSource { component: Some(component.to_owned()), host: self.source.host.clone() };
        Self { client: client.clone(), source, ..self.clone() }
    }

    /// Never waits.
    pub fn record<K: Object>(&self, about: &K, kind: EventKind, reason: &str, message: impl Into<String>) {
        self.record_about(reference_to(about), kind, reason, message);
    }

    /// Never waits. For a part of an object, such as a container, by its `fieldPath`.
    pub fn record_about(
        &self,
        about: ObjectReference,
        kind: EventKind,
        reason: &str,
        message: impl Into<String>,
    ) {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let equal = Equal {
            kind,
            about: [
                format!("{}{}", text(&about.kind), text(&about.field_path)),
                text(&about.namespace),
                text(&about.name),
                text(&about.uid),
            ],
            component: text(&self.source.component),
            reason: reason.to_owned(),
            message: message.into(),
        };
        let (client, source) = (self.client.clone(), self.source.clone());
        let news = News { client, source, at: self.clock.now(), equal, about };
        if self.inbox.try_send(news).is_err() {
            metrics::counter!(NAVARCH_CLIENT_EVENTS_DROPPED_TOTAL).increment(1);
        }
    }
}

struct Writer {
    pending: mpsc::Receiver<News>,
    known: BTreeMap<Equal, (ObjectKey, i32)>,
    order: VecDeque<Equal>,
}

impl Writer {
    async fn run(mut self, stop: CancellationToken) {
        loop {
            let news = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                news = self.pending.recv() => news,
            };
            let Some(news) = news else { return };
            let written = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                written = self.write(&news) => written,
            };
            if let Err(error) = written {
                debug!(%error, reason = %news.equal.reason, "cannot record an event");
            }
        }
    }

    async fn write(&mut self, news: &News) -> Result<(), ClientError> {
        if let Some((key, count)) = self.known.get(&news.equal).cloned() {
            let patch = json!({ "count": count + 1, "lastTimestamp": Time(news.at) });
            match news.client.merge_patch::<Event>(&key, &patch).await {
                Ok(_) => {
                    self.known.insert(news.equal.clone(), (key, count + 1));
                    return Ok(());
                }
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        let event = event(news);
        news.client.create(&event).await?;
        let key = ObjectKey::namespaced(
            event.metadata.namespace.unwrap_or_default(),
            event.metadata.name.unwrap_or_default(),
        );
        if self.known.insert(news.equal.clone(), (key, 1)).is_none() {
            self.order.push_back(news.equal.clone());
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        Ok(())
    }
}

/// Named as Kubernetes does: the object's name and the time in hexadecimal nanoseconds.
fn event(news: &News) -> Event {
    let name = news.about.name.clone().unwrap_or_default();
    let namespace = news.about.namespace.clone().unwrap_or_else(|| "default".to_owned());
    let kind = match news.equal.kind {
        EventKind::Normal => "Normal",
        EventKind::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(format!("{name}.{:x}", news.at.as_nanosecond())),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        involved_object: news.about.clone(),
        type_: Some(kind.to_owned()),
        reason: Some(news.equal.reason.clone()),
        message: Some(news.equal.message.clone()),
        source: Some(news.source.clone()),
        reporting_component: news.source.component.clone(),
        reporting_instance: news.source.host.clone(),
        first_timestamp: Some(Time(news.at)),
        last_timestamp: Some(Time(news.at)),
        count: Some(1),
        ..Event::default()
    }
}
