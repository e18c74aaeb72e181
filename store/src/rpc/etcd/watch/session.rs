//! One Watch stream: serves its requests and hands out what its watches find, in order.
//!
//! The session runs in the task that sends the stream, so a client that does not read stops its own watches and
//! nothing else: they keep their place in the store's history, not a queue.

use std::collections::{BTreeMap, VecDeque};

use base::Revision;
use bytes::Bytes;
use futures::future::BoxFuture;
use proto::etcdserverpb as pb;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tonic::{Status, Streaming};

use super::super::super::error;
use super::super::{Front, convert};
use super::frames::{self, Filters, Frame, Manner, RESPONSE_BYTES_MAX};
use crate::hub::{Found, News, Reader};
use crate::seeded::{self, Bug};

/// The id of responses about no watch, or about all of them.
const NO_WATCH: i64 = -1;

pub(super) struct Session {
    front: Front,
    requests: Streaming<pb::WatchRequest>,
    /// The client sends no more requests.
    half_closed: bool,
    reader: Reader,
    watches: BTreeMap<i64, Watching>,
    next_id: i64,
    /// The revision about which the client asked whether every watch has reached it.
    progress: Option<Revision>,
    notify: Interval,
    /// Quiet watches are to give a sign of life once they have caught up.
    signs_due: bool,
    /// Ends when the stream must end.
    over: BoxFuture<'static, Status>,
    outbox: VecDeque<Frame>,
}

struct Watching {
    manner: Manner,
    /// The client wants a sign of life now and then.
    notify: bool,
    /// Something was sent since the last round of such signs.
    active: bool,
    /// The first revision that it may deliver.
    start: Revision,
}

impl Session {
    /// `over` ends when the stream must end.
    pub(super) fn new(
        front: Front,
        requests: Streaming<pb::WatchRequest>,
        over: BoxFuture<'static, Status>,
    ) -> Self {
        let inner = front.store.inner();
        let every = inner.entropy.jittered(inner.timings.watch_notify_every);
        let mut notify = tokio::time::interval_at(Instant::now() + every, every);
        notify.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            requests,
            half_closed: false,
            reader: Reader::new(inner.replica.clone()),
            watches: BTreeMap::new(),
            next_id: 0,
            progress: None,
            notify,
            signs_due: false,
            over,
            outbox: VecDeque::new(),
            front,
        }
    }

    /// The next response; `None` once the client has finished and nothing is left to watch.
    pub(super) async fn next(mut self) -> Result<Option<(Frame, Self)>, Status> {
        loop {
            if let Some(frame) = self.outbox.pop_front() {
                return Ok(Some((frame, self)));
            }
            if self.half_closed && self.watches.is_empty() {
                return Ok(None);
            }
            tokio::select! {
                biased;
                status = &mut self.over => return Err(status),
                request = self.requests.message(), if !self.half_closed => match request? {
                    Some(request) => self.serve(request),
                    None => self.half_closed = true,
                },
                news = self.reader.next() => self.tell(news.map_err(|end| error::watch_status(&end))?),
                _ = self.notify.tick() => self.ask_for_signs(),
            }
        }
    }

    fn serve(&mut self, request: pb::WatchRequest) {
        use pb::watch_request::RequestUnion;
        match request.request_union {
            Some(RequestUnion::CreateRequest(create)) => self.create(create),
            Some(RequestUnion::CancelRequest(cancel)) => self.cancel(cancel.watch_id),
            Some(RequestUnion::ProgressRequest(_)) => self.ask_for_progress(),
            None => {}
        }
    }

    fn create(&mut self, create: pb::WatchCreateRequest) {
        let key = if create.key.is_empty() { Bytes::from_static(&[0]) } else { create.key };
        let span = convert::span(key, create.range_end);
        if create.watch_id != 0 && self.watches.contains_key(&create.watch_id) {
            return self.refuse(error::DUPLICATE_WATCH_ID);
        }
        if span.is_empty() {
            return self.refuse(error::EMPTY_WATCH);
        }
        if create.start_revision < 0 {
            return self.refuse(error::COMPACTED);
        }
        if self.watches.len() >= self.front.store.limits().watches_per_stream_max {
            return self.refuse(error::TOO_MANY_WATCHES);
        }
        if let Err(refusal) = self.front.store.may(|rights| rights.read(&span)) {
            return self.refuse(&error::watch_refusal(&refusal));
        }
        let id = if create.watch_id == 0 { self.free_id() } else { create.watch_id };
        let start = convert::positive(create.start_revision);
        let compacted = self.front.store.replica().progress().horizon.compacted;
        if start.is_some_and(|start| start < compacted) {
            self.push(pb::WatchResponse { watch_id: id, created: true, ..Default::default() });
            return self.push_compacted(id, compacted);
        }
        let start = if seeded::is(Bug::WatchRepeatsOnResume) {
            start.map(|start| Revision::new(start.get() - 1).max(compacted))
        } else {
            start
        };
        let first = self.reader.add(id.cast_unsigned(), span, start, create.prev_kv);
        let manner = Manner {
            filters: Filters::of(&create.filters),
            prev_kv: create.prev_kv,
            fragment: create.fragment,
        };
        let watching = Watching { manner, notify: create.progress_notify, active: false, start: first };
        self.watches.insert(id, watching);
        // A watch from now on delivers everything after the revision that this response names.
        let now = match start {
            None => Revision::new(first.get() - 1),
            Some(_) => self.front.store.revision(),
        };
        let header = Some(self.front.header(now));
        let created = pb::WatchResponse { watch_id: id, created: true, header, ..Default::default() };
        self.outbox.push_back(created.into());
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
        while self.watches.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    /// Nothing about the watch follows its cancellation. An unknown id is not answered, as in etcd.
    fn cancel(&mut self, id: i64) {
        if self.watches.remove(&id).is_some() {
            self.reader.remove(id.cast_unsigned());
            self.push(pb::WatchResponse { watch_id: id, canceled: true, ..Default::default() });
        }
    }

    fn tell(&mut self, news: News) {
        match news {
            News::Found(found) => found.into_iter().for_each(|found| self.deliver(found)),
            News::Compacted { watches, compacted, .. } => {
                for watch in watches {
                    self.watches.remove(&watch.cast_signed());
                    self.push_compacted(watch.cast_signed(), compacted);
                }
            }
            News::Reached(revision) => {
                // Not as of when it was asked: who goes on from there must not be told again what he has been told since.
                if self.progress.take_if(|asked| *asked <= revision).is_some() {
                    self.answer(NO_WATCH, revision);
                }
                if std::mem::take(&mut self.signs_due) {
                    self.give_signs(revision);
                }
            }
        }
    }

    fn deliver(&mut self, Found { watch, mut pieces }: Found) {
        if seeded::is(Bug::WatchDropsWhenFull) {
            pieces.truncate(16);
        }
        let id = watch.cast_signed();
        let Some(watching) = self.watches.get_mut(&id) else { return };
        let head = |revision| pb::WatchResponse {
            header: Some(self.front.header(revision)),
            watch_id: id,
            ..Default::default()
        };
        let frames = frames::responses(pieces, watching.manner, RESPONSE_BYTES_MAX, head);
        watching.active |= !frames.is_empty();
        self.outbox.extend(frames);
    }

    fn ask_for_signs(&mut self) {
        if self.watches.values().any(|watching| watching.notify) {
            self.signs_due = true;
            self.reader.ask(self.front.store.revision());
        }
    }

    /// Of quiet watches that asked for it.
    fn give_signs(&mut self, reached: Revision) {
        let header = Some(self.front.header(reached));
        for (&watch_id, watching) in &mut self.watches {
            let quiet = !std::mem::take(&mut watching.active);
            if quiet && watching.notify && watching.start <= reached.next() {
                let sign = pb::WatchResponse { watch_id, header, ..Default::default() };
                self.outbox.push_back(sign.into());
            }
        }
    }

    /// Answered once every watch has handed out what came before. Without a watch, or with one of the future, there
    /// is no answer, as in etcd.
    fn ask_for_progress(&mut self) {
        let now = self.front.store.revision();
        if !self.watches.is_empty() && self.watches.values().all(|watching| watching.start <= now.next()) {
            if seeded::is(Bug::ProgressTooEarly) {
                return self.answer(NO_WATCH, now);
            }
            self.progress = Some(now);
            self.reader.ask(now);
        }
    }

    fn answer(&mut self, watch_id: i64, reached: Revision) {
        let header = Some(self.front.header(reached));
        self.outbox.push_back(pb::WatchResponse { watch_id, header, ..Default::default() }.into());
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
        self.outbox.push_back(pb::WatchResponse { header, ..response }.into());
    }
}
