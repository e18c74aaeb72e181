//! One Watch stream: serves its requests and hands out what its watches find, in order.
//!
//! The session runs in the task that sends the stream, so a client that does not read stops its own watches and
//! nothing else: they keep their place in the store's history, not a queue.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use base::Revision;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use proto::etcdserverpb as pb;
use tokio::sync::watch;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Status, Streaming};

use super::super::super::error;
use super::super::{Front, convert};
use super::frames::{self, Filters};
use super::running::{self, Handle, Happened, Running};
use crate::{StoreError, Watch, WatchBatch, WatchError};

/// etcd's `--watch-progress-notify-interval`.
const NOTIFY_EVERY: Duration = Duration::from_mins(10);
/// How long a member may be without a leader before it ends the streams that asked for one.
const LEADERLESS_TIME_MAX: Duration = Duration::from_secs(3);
/// The id of responses about no watch, or about all of them.
const NO_WATCH: i64 = -1;

pub(super) struct Session {
    front: Front,
    requests: Streaming<pb::WatchRequest>,
    /// The client sends no more requests.
    half_closed: bool,
    running: FuturesUnordered<BoxFuture<'static, (Running, Happened)>>,
    handles: BTreeMap<i64, Handle>,
    serial: u64,
    next_id: i64,
    /// The revision about which the client asked whether every watch has reached it.
    progress: Option<Revision>,
    notify: Interval,
    /// Ends when the stream must end for want of a leader.
    leaderless: BoxFuture<'static, ()>,
    outbox: VecDeque<pb::WatchResponse>,
}

impl Session {
    pub(super) fn new(front: Front, requests: Streaming<pb::WatchRequest>, needs_leader: bool) -> Self {
        let leaderless: BoxFuture<'static, ()> = if needs_leader {
            Box::pin(leader_lost(front.status.clone()))
        } else {
            Box::pin(std::future::pending())
        };
        let mut notify = tokio::time::interval_at(Instant::now() + NOTIFY_EVERY, NOTIFY_EVERY);
        notify.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            front,
            requests,
            half_closed: false,
            running: FuturesUnordered::new(),
            handles: BTreeMap::new(),
            serial: 0,
            next_id: 0,
            progress: None,
            notify,
            leaderless,
            outbox: VecDeque::new(),
        }
    }

    /// The next response; `None` once the client has finished and nothing is left to watch.
    pub(super) async fn next(mut self) -> Result<Option<(pb::WatchResponse, Self)>, Status> {
        loop {
            if let Some(response) = self.outbox.pop_front() {
                return Ok(Some((response, self)));
            }
            if self.half_closed && self.handles.is_empty() {
                return Ok(None);
            }
            tokio::select! {
                biased;
                () = self.front.stop.cancelled() => return Err(error::stopped()),
                () = &mut self.leaderless => return Err(error::no_leader()),
                request = self.requests.message(), if !self.half_closed => match request? {
                    Some(request) => self.serve(request)?,
                    None => self.half_closed = true,
                },
                Some((running, happened)) = self.running.next(), if !self.running.is_empty() => {
                    self.happened(running, happened)?;
                }
                _ = self.notify.tick() => self.ask_for_signs(),
            }
        }
    }

    fn serve(&mut self, request: pb::WatchRequest) -> Result<(), Status> {
        use pb::watch_request::RequestUnion;
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create)?,
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.ask_for_progress(),
            None => {}
        }
        Ok(())
    }

    fn create(&mut self, create: pb::WatchCreateRequest) -> Result<(), Status> {
        let key = if create.key.is_empty() { Bytes::from_static(&[0]) } else { create.key };
        let span = convert::span(key, create.range_end);
        if create.watch_id != 0 && self.handles.contains_key(&create.watch_id) {
            self.refuse(error::DUPLICATE_WATCH_ID);
            return Ok(());
        }
        if span.is_empty() {
            self.refuse(error::EMPTY_WATCH);
            return Ok(());
        }
        if create.start_revision < 0 {
            self.refuse(error::COMPACTED);
            return Ok(());
        }
        let id = if create.watch_id == 0 { self.free_id() } else { create.watch_id };
        let start = convert::positive(create.start_revision);
        let watcher = match self.front.store.watch(Watch { span, start, prev_kv: create.prev_kv }) {
            Ok(watcher) => watcher,
            Err(StoreError::Compacted { compacted, .. }) => {
                self.push(pb::WatchResponse { watch_id: id, created: true, ..Default::default() });
                self.push_compacted(id, compacted);
                return Ok(());
            }
            Err(refused) => return Err(error::status(&refused)),
        };
        // A watch from now on delivers everything after the revision that this response names.
        let header =
            self.front.header(if start.is_none() { watcher.position() } else { self.front.store.revision() });
        self.serial += 1;
        let (running, mut handle) = running::start(id, self.serial, watcher);
        handle.filters = Filters::of(&create.filters);
        handle.fragment = create.fragment;
        handle.notify = create.progress_notify;
        handle.start = start.unwrap_or(Revision::new(0));
        self.handles.insert(id, handle);
        self.running.push(Box::pin(running.step()));
        let created =
            pb::WatchResponse { watch_id: id, created: true, header: Some(header), ..Default::default() };
        self.outbox.push_back(created);
        Ok(())
    }

    /// Of a watch that never came to be.
    fn refuse(&mut self, reason: &str) {
        self.push(pb::WatchResponse {
            watch_id: NO_WATCH,
            created: true,
            canceled: true,
            cancel_reason: reason.to_owned(),
            ..Default::default()
        });
    }

    fn free_id(&mut self) -> i64 {
        while self.handles.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Nothing about the watch follows its cancellation. An unknown id is not answered, as in etcd.
    fn cancel(&mut self, id: i64) {
        if self.handles.remove(&id).is_some() {
            self.push(pb::WatchResponse { watch_id: id, canceled: true, ..Default::default() });
            self.answer_progress();
        }
    }

    fn happened(&mut self, running: Running, happened: Happened) -> Result<(), Status> {
        let id = running.id;
        let Some(handle) = self.handles.get_mut(&id).filter(|handle| handle.serial == running.serial) else {
            return Ok(());
        };
        match happened {
            Happened::Canceled => return Ok(()),
            Happened::Batch(batch) => self.deliver(id, &batch),
            Happened::Reached(revision) => {
                handle.reached = revision;
                let sign = std::mem::take(&mut handle.notify_due);
                if sign {
                    let header = Some(self.front.header(revision));
                    self.outbox.push_back(pb::WatchResponse { watch_id: id, header, ..Default::default() });
                }
                self.answer_progress();
            }
            Happened::Failed(WatchError::Compacted { compacted, .. }) => {
                self.handles.remove(&id);
                self.push_compacted(id, compacted);
                self.answer_progress();
                return Ok(());
            }
            Happened::Failed(failed) => return Err(error::watch_status(&failed)),
        }
        self.running.push(Box::pin(running.step()));
        Ok(())
    }

    fn deliver(&mut self, id: i64, batch: &WatchBatch) {
        let Some(handle) = self.handles.get_mut(&id) else { return };
        let bytes_max = handle.fragment.then_some(frames::FRAGMENT_BYTES_MAX);
        let responses = frames::responses(id, &batch.events, handle.filters, bytes_max);
        handle.active |= !responses.is_empty();
        let header = self.front.header(batch.revision);
        let with_header = |response| pb::WatchResponse { header: Some(header), ..response };
        self.outbox.extend(responses.into_iter().map(with_header));
    }

    /// A quiet watch that asked for it tells how far it is, as soon as it is there.
    fn ask_for_signs(&mut self) {
        let now = self.front.store.revision();
        let header = self.front.header(now);
        for (&watch_id, handle) in &mut self.handles {
            let quiet = !std::mem::take(&mut handle.active);
            if !handle.notify || !quiet || now < handle.start {
                continue;
            }
            if handle.reached >= now {
                let header = Some(header);
                self.outbox.push_back(pb::WatchResponse { watch_id, header, ..Default::default() });
            } else {
                handle.notify_due = true;
                handle.ask(now);
            }
        }
    }

    fn ask_for_progress(&mut self) {
        let now = self.front.store.revision();
        self.progress = Some(now);
        for handle in self.handles.values() {
            handle.ask(now);
        }
        self.answer_progress();
    }

    /// Answers once every watch has handed out what came before. A watch of the future leaves it unanswered.
    fn answer_progress(&mut self) {
        let Some(asked) = self.progress else { return };
        if self.handles.values().any(|handle| handle.start > asked) {
            self.progress = None;
        } else if self.handles.values().all(|handle| handle.reached >= asked) {
            self.progress = None;
            let header = Some(self.front.header(asked));
            self.outbox.push_back(pb::WatchResponse { watch_id: NO_WATCH, header, ..Default::default() });
        }
    }

    fn push_compacted(&mut self, id: i64, compacted: Revision) {
        self.push(pb::WatchResponse {
            watch_id: id,
            canceled: true,
            compact_revision: compacted.get(),
            ..Default::default()
        });
    }

    fn push(&mut self, response: pb::WatchResponse) {
        let header = Some(self.front.header_now());
        self.outbox.push_back(pb::WatchResponse { header, ..response });
    }
}

async fn leader_lost(mut status: watch::Receiver<crate::Status>) {
    loop {
        if status.wait_for(|status| status.leader.is_none()).await.is_err() {
            return std::future::pending().await;
        }
        let found = status.wait_for(|status| status.leader.is_some());
        if tokio::time::timeout(LEADERLESS_TIME_MAX, found).await.is_err() {
            return;
        }
    }
}
