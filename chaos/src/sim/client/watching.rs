//! Watches: of clients, who open them anywhere and give them up; and of the simulation, which hears from each member
//! all that it does.

use std::sync::Arc;
use std::time::Duration;

use store::{Span, Store, Watch, WatchError, Watcher};
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::{Seat, convert};
use crate::dice::Dice;
use crate::history::{Failure, WatchAnswer, WatchOpen};
use crate::sim::world::{Phase, World};

/// How far from the newest revision a watch begins.
const LOOK_BACK: u64 = 80;
const LOOK_AHEAD: u64 = 5;
/// How long a watch is kept open at most.
const OPEN_MAX: Duration = Duration::from_secs(4);
/// How often a watch that hears nothing is told how far it is.
const PROGRESS_EVERY: Duration = Duration::from_millis(700);

/// How long a member may take for the next revision that it has.
const HEAR_AGAIN_MAX: Duration = Duration::from_secs(5);

/// Opens one watch after the other until the clients rest.
pub(super) async fn watch_on_and_on(seat: Seat, dice: Dice) {
    let process = seat.world.record.process();
    while *seat.world.phase.borrow() == Phase::Work {
        sleep(dice.between(Duration::ZERO, Duration::from_millis(200))).await;
        let newest = seat.world.record.newest();
        let start = match dice.below(10) {
            0..3 => 0,
            3 => newest + 1 + dice.below(LOOK_AHEAD),
            _ => newest.saturating_sub(dice.below(LOOK_BACK)).max(1),
        };
        let whole = dice.percent(50);
        let key = if whole { super::mix::PREFIX.to_owned() } else { format!("/sim/{}", dice.below(10)) };
        let end = whole.then(|| super::mix::PREFIX_END.to_owned());
        let previous = dice.percent(50);
        let open = |watch| WatchOpen {
            watch,
            member: seat.member.clone(),
            key: key.clone(),
            end: end.clone(),
            start,
            previous,
            progress: true,
            fragment: false,
            no_put: false,
            no_delete: false,
        };
        let watch = seat.world.record.open_watch(process, open);
        let request = Watch {
            span: convert::span(&key, end.as_deref()),
            start: (start != 0).then(|| convert::revision(start)),
            prev_kv: previous,
        };
        let until = Instant::now() + dice.between(Duration::ZERO, OPEN_MAX);
        follow(&seat, watch, request, until).await;
    }
}

async fn follow(seat: &Seat, watch: u64, request: Watch, until: Instant) {
    let record = &seat.world.record;
    let mut watcher = match seat.store.watch(request) {
        Ok(watcher) => watcher,
        Err(store::StoreError::Compacted { compacted, .. }) => {
            return canceled(seat, watch, convert::number(compacted));
        }
        Err(error) => return record.end_watch(watch, Some(convert::failure(&error))),
    };
    record.answer_watch(answer(seat, watch, true));
    let mut told = 0;
    loop {
        let now = Instant::now();
        if now >= until {
            return record.end_watch(watch, None);
        }
        match timeout_at(until.min(now + PROGRESS_EVERY), watcher.next()).await {
            Ok(Ok(batch)) => {
                let events = batch.events.iter().map(|event| convert::watch_event(event)).collect();
                record.watched(watch, seat.header(convert::number(batch.revision)), events);
                told = convert::number(batch.revision);
            }
            Ok(Err(WatchError::Compacted { compacted, .. })) => {
                return canceled(seat, watch, convert::number(compacted));
            }
            Ok(Err(error)) => {
                let failure = Failure { code: "Unavailable".to_owned(), message: error.to_string() };
                return record.end_watch(watch, Some(failure));
            }
            Err(_) => {
                let reached = convert::number(watcher.position());
                if reached > told {
                    told = reached;
                    record.watched(watch, seat.header(reached), Vec::new());
                }
            }
        }
    }
}

fn answer(seat: &Seat, watch: u64, created: bool) -> WatchAnswer {
    WatchAnswer {
        watch,
        header: seat.header(convert::number(seat.store.revision())),
        created,
        canceled: None,
        compacted: 0,
        fragment: false,
        events: Vec::new(),
    }
}

fn canceled(seat: &Seat, watch: u64, compacted: u64) {
    let reason = "the revision has been compacted".to_owned();
    seat.world.record.answer_watch(WatchAnswer {
        canceled: Some(reason),
        compacted,
        ..answer(seat, watch, false)
    });
    seat.world.record.end_watch(watch, None);
}

/// Hears all that a member does, for as long as it lives.
pub(super) async fn hear_all(world: Arc<World>, member: String, store: Store) {
    let mut next = world.record.log(&member).last().map_or(2, |(revision, _)| revision + 1);
    loop {
        match store.watch(Watch::of(Span::all()).from(convert::revision(next))) {
            Ok(watcher) => next = hear(&world, &member, watcher, next).await,
            Err(store::StoreError::Compacted { compacted, .. }) => next = convert::number(compacted),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Hears once more all that a member has on its disk, as far back as it goes.
pub(in crate::sim) async fn hear_again(world: &World, member: &str, store: &Store) {
    let last = convert::number(store.revision());
    let first = store.status_changes().borrow().compacted.max(convert::revision(2));
    let Ok(mut watcher) = store.watch(Watch::of(Span::all()).from(first)) else { return };
    let mut heard = convert::number(first).saturating_sub(1);
    while heard < last {
        let Ok(Ok(batch)) = timeout(HEAR_AGAIN_MAX, watcher.next()).await else { return };
        heard = convert::number(batch.revision);
        let changes = batch.events.iter().map(|event| convert::change(event)).collect();
        world.record.learn(member, heard, changes);
    }
}

/// Returns from where to go on.
async fn hear(world: &World, member: &str, mut watcher: Watcher, mut next: u64) -> u64 {
    loop {
        match watcher.next().await {
            Ok(batch) => {
                let changes = batch.events.iter().map(|event| convert::change(event)).collect();
                next = convert::number(batch.revision) + 1;
                world.record.learn(member, next - 1, changes);
            }
            Err(WatchError::Compacted { compacted, .. }) => return convert::number(compacted),
            Err(WatchError::Corrupt | WatchError::Stopping) => {
                sleep(Duration::from_millis(100)).await;
                return next;
            }
        }
    }
}
