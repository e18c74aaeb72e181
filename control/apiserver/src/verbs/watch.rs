//! WATCH: first what is there (if asked), then every change, as lines of JSON or as frames of protobuf.
//!
//! The stream owns a cursor into the store's events; nothing is queued for a client that does not read. It ends
//! when its time is over, when the server stops, or with an `ERROR` event when the history it needs is gone.
//!
//! Who wants bookmarks is told at once how far the cluster was when the watch began, as soon as the watch is there: so a
//! client may ask how current its view is by watching anew, however quiet the kind.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use base::Revision;
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use kinds::{CellContext, schema};
use serde_json::{Value, json};
use store::{Event, Store, StoreError, WatchBatch, WatchError, Watcher};
use tokio::sync::watch::Receiver;
use tokio::time::Instant;

use super::list::read;
use super::selection::Selection;
use crate::body::stream;
use crate::custom::as_served;
use crate::metrics::LongRunning;
use crate::negotiation::{Accepted, Encoding, Shape};
use crate::object::{Stored, partial_metadata};
use crate::protobuf;
use crate::query::{ListOptions, ListUse, parse_version};
use crate::reply::{Content, Reply};
use crate::server::{Call, Shared};
use crate::status::Status;
use crate::table::{self, Include};

/// How long a watch lasts that names no time, before jitter.
const TIMEOUT: Duration = Duration::from_secs(30 * 60);
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// How many bytes one frame gathers before it is sent.
const FRAME_BYTES: usize = 64 * 1024;
/// How soon a cluster without a majority is asked again how far it is.
const BARRIER_RETRY: Duration = Duration::from_secs(1);
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

pub(crate) async fn watch(call: &Call<'_>) -> Result<Reply, Status> {
    let options = ListOptions::parse(call.query, ListUse::Watch)?;
    let selection = Selection::parse(call, &options)?;
    if call.accepted.encoding == Encoding::Yaml {
        return Err(Status::not_acceptable_for_watches());
    }
    let start = parse_version(&options.resource_version)
        .map_err(|_| Status::unparsable_version(&options.resource_version))?
        .unwrap_or(0);
    let initial = options.send_initial_events.unwrap_or(start == 0);
    let mut frames = Frames {
        server: Arc::clone(call.server),
        kind: call.kind,
        encoding: call.accepted.encoding,
        shape: call.accepted.shape.clone(),
        include: Include::parse(call.query)?,
        columns_sent: false,
    };
    let mut ready = VecDeque::new();
    let mut after = (start > 0).then(|| Revision::new(start));
    if initial {
        let listing = read(call, &of_initial_events(&options), &selection).await?;
        for item in &listing.items {
            ready.push_back(frames.event("ADDED", item)?);
        }
        after = Some(Revision::new(listing.revision));
        if options.send_initial_events == Some(true) && options.bookmarks {
            ready.push_back(frames.bookmark(listing.revision, true)?);
        }
    } else if after.is_none() {
        after = Some(call.server.storage.store.read_barrier().await?);
    }
    let resumed_at = after.filter(|_| start > 0 && !initial);
    // Who goes on from a version may have been told of a part of it.
    let from = resumed_at.or(after.map(Revision::next));
    let watcher = match call.server.storage.watch(&selection.prefix(call), from) {
        Ok(watcher) => Some(watcher),
        Err(StoreError::Compacted { compacted, .. }) => {
            ready.push_back(frames.error(&too_old(after.unwrap_or_default(), compacted)));
            None
        }
        Err(other) => return Err(other.into()),
    };
    let now = Instant::now();
    let present = Present::of(call, after.filter(|_| options.bookmarks));
    let stream_state = WatchStream {
        frames,
        selection,
        ready,
        watcher,
        resumed_at,
        present,
        bookmarks: options.bookmarks,
        next_bookmark: now + BOOKMARK_PERIOD,
        ends: now + timeout(call, &options),
        ended: false,
        redefinitions: call.server.custom_changes.subscribe(),
        _running: LongRunning::begin("WATCH", call.kind),
    };
    let chunks = futures::stream::unfold(stream_state, |mut state| async move {
        state.next().await.map(|chunk| (Ok(chunk), state))
    });
    let content_type = content_type(call.accepted);
    Ok(Reply::ok(Content::Raw { content_type, body: stream(chunks) }))
}

/// The list in front of a watch: at least as new as the version asked for; without one, the newest.
fn of_initial_events(options: &ListOptions) -> ListOptions {
    ListOptions {
        limit: 0,
        continue_token: String::new(),
        version_match: None,
        send_initial_events: None,
        ..options.clone()
    }
}

fn timeout(call: &Call<'_>, options: &ListOptions) -> Duration {
    match options.timeout_seconds {
        Some(seconds) if seconds > 0 => Duration::from_secs(seconds),
        _ => call.server.entropy.jittered(TIMEOUT),
    }
}

fn content_type(accepted: &Accepted) -> &'static str {
    match (accepted.encoding, &accepted.shape) {
        (Encoding::Protobuf, _) => "application/vnd.kubernetes.protobuf;stream=watch",
        (Encoding::Json | Encoding::Yaml, shape) => match shape {
            Shape::Object | Shape::AggregatedDiscovery { .. } => "application/json",
            Shape::Table { .. } => "application/json;as=Table;g=meta.k8s.io;v=v1",
            Shape::PartialMetadata { .. } => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        },
    }
}

struct WatchStream {
    frames: Frames,
    selection: Selection,
    ready: VecDeque<Bytes>,
    /// None once the stream has said its last word.
    watcher: Option<Watcher>,
    /// The version that the client goes on from.
    resumed_at: Option<Revision>,
    present: Present,
    bookmarks: bool,
    next_bookmark: Instant,
    ends: Instant,
    ended: bool,
    redefinitions: Receiver<u64>,
    _running: LongRunning,
}

/// How far the cluster was when the watch began.
enum Present {
    Asked(BoxFuture<'static, Option<Revision>>),
    /// The client is told once the watch is there.
    At(Revision),
    Told,
}

impl Present {
    /// Of a watch from `start`; nothing without one.
    fn of(call: &Call<'_>, start: Option<Revision>) -> Self {
        let store = &call.server.storage.store;
        start.map_or(Self::Told, |start| Self::Asked(Box::pin(present(store.clone(), start))))
    }

    /// What was asked for, when it is known.
    async fn known(&mut self) -> Option<Revision> {
        match self {
            Self::Asked(asked) => asked.await,
            Self::At(_) | Self::Told => std::future::pending().await,
        }
    }
}

/// The newest revision; `None` when that is where the watch starts.
async fn present(store: Store, start: Revision) -> Option<Revision> {
    loop {
        match store.read_barrier().await {
            Ok(present) => return (present > start).then_some(present),
            Err(_) => tokio::time::sleep(BARRIER_RETRY).await,
        }
    }
}

/// Until the kind of `frames` is no longer served as it was.
async fn redefined(changes: &mut Receiver<u64>, frames: &Frames) {
    let Frames { server, kind, .. } = frames;
    let is_served = || {
        let now = server.registry.resource(kind.group, kind.version, kind.plural);
        now.is_some_and(|now| std::ptr::eq(now, *kind))
    };
    while kind.custom.is_none() || is_served() {
        if changes.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

impl WatchStream {
    /// The next bytes to send; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.ready.is_empty() {
                return Some(self.gather());
            }
            let watcher = self.watcher.as_mut().filter(|_| !self.ended)?;
            if matches!(self.present, Present::At(present) if watcher.position() >= present) {
                self.present = Present::Told;
                self.push_bookmark();
                continue;
            }
            tokio::select! {
                biased;
                () = self.frames.server.stop.cancelled() => return None,
                // Who watches a kind that is not any more, or is another, finds out by watching anew.
                () = redefined(&mut self.redefinitions, &self.frames) => return None,
                () = tokio::time::sleep_until(self.ends) => {
                    self.ended = true;
                    self.push_bookmark();
                }
                () = tokio::time::sleep_until(self.next_bookmark), if self.bookmarks => {
                    self.next_bookmark = Instant::now() + BOOKMARK_PERIOD;
                    self.push_bookmark();
                }
                present = self.present.known() => {
                    if let Some(present) = present {
                        // The store's watches are a little behind what can be read.
                        watcher.ask(present);
                    }
                    self.present = present.map_or(Present::Told, Present::At);
                }
                batch = watcher.step() => match batch {
                    Ok(batch) => {
                        if let Some(batch) = batch.filter(|batch| !self.is_known(batch)) {
                            batch.events.iter().for_each(|event| self.push(event));
                        }
                    }
                    Err(WatchError::Compacted { compacted, .. }) => {
                        let status = too_old(watcher.position(), compacted);
                        self.ready.push_back(self.frames.error(&status));
                        self.ended = true;
                    }
                    Err(WatchError::Corrupt | WatchError::Stopping) => return None,
                },
            }
        }
    }

    fn gather(&mut self) -> Bytes {
        let Some(first) = self.ready.pop_front() else { return Bytes::new() };
        if self.ready.is_empty() {
            return first;
        }
        let mut frame = BytesMut::from(&first[..]);
        while frame.len() < FRAME_BYTES
            && let Some(next) = self.ready.pop_front()
        {
            frame.put_slice(&next);
        }
        frame.freeze()
    }

    fn push_bookmark(&mut self) {
        if let Some(watcher) = self.watcher.as_ref().filter(|_| self.bookmarks) {
            let position = watcher.position().get();
            if position > 0 {
                match self.frames.bookmark(position, false) {
                    Ok(bookmark) => self.ready.push_back(bookmark),
                    Err(status) => self.fail(&status),
                }
            }
        }
    }

    /// Whether the client has been told of it before. Of a transaction it may have been told a part: it is told again.
    fn is_known(&self, batch: &WatchBatch) -> bool {
        self.resumed_at == Some(batch.revision) && batch.events.len() == 1
    }

    fn push(&mut self, event: &Event) {
        match self.render(event) {
            Ok(Some(frame)) => self.ready.push_back(frame),
            Ok(None) => {}
            Err(status) => self.fail(&status),
        }
    }

    fn fail(&mut self, status: &Status) {
        self.ready.push_back(self.frames.error(status));
        self.ended = true;
    }

    /// What `event` means to this watcher: whether the object matched before, and whether it does now.
    fn render(&mut self, event: &Event) -> Result<Option<Bytes>, Status> {
        let served = |stored: Stored| as_served(self.frames.kind, stored);
        let at = Some(event.kv.mod_revision);
        let before = event.prev.as_ref().map(|kv| Stored { json: kv.value.clone(), revision: at });
        let before = before.map(served).transpose()?;
        let now = Stored::after(event).map(served).transpose()?;
        let matching = |object: &Option<Stored>| match object {
            Some(object) => self.selection.matches_stored(object),
            None => Ok(false),
        };
        let kept = |object: Option<Stored>, matches: bool| object.filter(|_| matches);
        let (matched, matches) = (matching(&before)?, matching(&now)?);
        match (kept(before, matched), kept(now, matches)) {
            (None, None) => Ok(None),
            (None, Some(now)) => self.frames.event("ADDED", &now).map(Some),
            (Some(_), Some(now)) => self.frames.event("MODIFIED", &now).map(Some),
            (Some(before), None) => self.frames.event("DELETED", &before).map(Some),
        }
    }
}

/// Renders events in the representation that the client asked for.
struct Frames {
    server: Arc<Shared>,
    kind: &'static kinds::Kind,
    encoding: Encoding,
    shape: Shape,
    include: Include,
    columns_sent: bool,
}

impl Frames {
    fn event(&mut self, event_type: &str, object: &Stored) -> Result<Bytes, Status> {
        match self.shape.clone() {
            Shape::Object | Shape::AggregatedDiscovery { .. } => match self.encoding {
                Encoding::Json | Encoding::Yaml => Ok(line(event_type, &object.served())),
                Encoding::Protobuf => {
                    let object = protobuf::bare_object(&self.server.schema, self.kind, object)?;
                    Ok(schema::protobuf::frame(event_type, &object).into())
                }
            },
            Shape::PartialMetadata { version } => {
                self.frame(event_type, &partial_metadata(&mut object.parse_served()?, version))
            }
            Shape::Table { version } => {
                let cells = CellContext { now: self.server.clock.now() };
                let row = table::row(self.kind, object.parse_served()?, self.include, &cells, version);
                let revision = object.revision.map(Revision::get).unwrap_or_default();
                let table = self.table(version, revision, row);
                self.frame(event_type, &table)
            }
        }
    }

    fn frame(&self, event_type: &str, value: &Value) -> Result<Bytes, Status> {
        Ok(match self.encoding {
            Encoding::Json | Encoding::Yaml => line(event_type, value.to_string().as_bytes()),
            Encoding::Protobuf => {
                schema::protobuf::frame(event_type, &protobuf::value(&self.server.schema, value)?).into()
            }
        })
    }

    /// The end of a watch that failed.
    fn error(&self, status: &Status) -> Bytes {
        self.frame("ERROR", &status.to_json()).unwrap_or_default()
    }

    /// An object of the kind that says only how far the watch is.
    fn bookmark(&mut self, revision: i64, initial_events_end: bool) -> Result<Bytes, Status> {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial_events_end {
            metadata["annotations"] = json!({INITIAL_EVENTS_END: "true"});
        }
        let object = match self.shape.clone() {
            Shape::Object | Shape::AggregatedDiscovery { .. } => {
                json!({"kind": self.kind.kind, "apiVersion": self.kind.api_version(), "metadata": metadata})
            }
            Shape::PartialMetadata { version } => {
                partial_metadata(&mut json!({"metadata": metadata}), version)
            }
            Shape::Table { version } => {
                let object = partial_metadata(&mut json!({"metadata": metadata}), version);
                let cells: Vec<Value> = self
                    .kind
                    .columns
                    .iter()
                    .map(|column| if column.value_type == "string" { json!("") } else { Value::Null })
                    .collect();
                self.table(version, revision, json!({"cells": cells, "object": object}))
            }
        };
        self.frame("BOOKMARK", &object)
    }

    /// The first table of a watch defines its columns.
    fn table(&mut self, version: &str, revision: i64, row: Value) -> Value {
        let columns = match std::mem::replace(&mut self.columns_sent, true) {
            false => table::columns(self.kind),
            true => Value::Null,
        };
        table::table(version, json!({"resourceVersion": revision.to_string()}), columns, vec![row])
    }
}

fn line(event_type: &str, object: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + 40);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(event_type.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}

fn too_old(known: Revision, compacted: Revision) -> Status {
    Status::expired(format!("too old resource version: {known} ({compacted})"))
}
