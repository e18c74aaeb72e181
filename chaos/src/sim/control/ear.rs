//! Hears what API servers say of leaders' writes that they let through, and of requests that panicked. Everybody else
//! hears what they heard before.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::{Interest, Subscriber};
use tracing::{Dispatch, Level, Metadata};

use crate::history::{Event, Landed};
use crate::sim::world::{World, lock};

const FENCES: &str = "apiserver::chain::fence";
const SERVER: &str = "apiserver::server";

/// Runs `what` while somebody listens.
pub(in crate::sim) fn listening<T>(world: &Arc<World>, what: impl FnOnce() -> T) -> T {
    let others = tracing::dispatcher::get_default(Clone::clone);
    let ear = Dispatch::new(Ear { world: world.clone(), others });
    tracing::dispatcher::with_default(&ear, what)
}

struct Ear {
    world: Arc<World>,
    /// Who would hear it otherwise.
    others: Dispatch,
}

/// Whether it is for us.
fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.is_event()
        && (metadata.target() == FENCES || metadata.target() == SERVER && *metadata.level() == Level::ERROR)
}

impl Ear {
    fn hear(&self, event: &tracing::Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        if event.metadata().target() == SERVER {
            lock(&self.world.panics).push(line.0);
        } else if let Some(landed) = landed(&line.0) {
            self.world.record.tell(Event::Landed(landed));
        }
    }
}

/// The member is the first part of its leader's name.
fn landed(line: &str) -> Option<Landed> {
    let landed = Landed::heard("", line)?;
    let member = landed.fence.holder.split('-').next().unwrap_or_default().to_owned();
    Some(Landed { member, ..landed })
}

/// As a log shows it: `message field=value …`
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _infallible = match field.name() {
            "message" => write!(self.0, "{value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}

impl Subscriber for Ear {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_ours(metadata) { Interest::always() } else { self.others.register_callsite(metadata) }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_ours(metadata) || self.others.enabled(metadata)
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.others.new_span(span)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        self.others.record(span, values);
    }

    fn record_follows_from(&self, span: &Id, follows: &Id) {
        self.others.record_follows_from(span, follows);
    }

    fn event(&self, event: &tracing::Event<'_>) {
        if is_ours(event.metadata()) {
            self.hear(event);
        }
        if self.others.enabled(event.metadata()) {
            self.others.event(event);
        }
    }

    fn enter(&self, span: &Id) {
        self.others.enter(span);
    }

    fn exit(&self, span: &Id) {
        self.others.exit(span);
    }

    fn clone_span(&self, id: &Id) -> Id {
        self.others.clone_span(id)
    }

    fn try_close(&self, id: Id) -> bool {
        self.others.try_close(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::trace::Trace;

    #[test]
    fn a_leaders_write_and_a_panic_are_heard_and_nothing_else() {
        let world = World::new(1, Vec::new(), Trace::new());
        listening(&world, || {
            tracing::debug!(target: FENCES, revision = %9, namespace = %"kube-system", lease = %"x",
                holder = %"n2-abc", epoch = 3, "a leader's write landed");
            tracing::debug!(target: "store", "a leader's write landed");
            tracing::error!(target: SERVER, path = %"/api", "a request panicked");
            tracing::warn!(target: SERVER, "a request failed");
        });
        let lines = world.record.lines();
        let [line] = lines.as_slice() else { panic!("{lines:?}") };
        let Event::Landed(landed) = &line.event else { panic!("{line:?}") };
        assert_eq!((landed.member.as_str(), landed.revision, landed.fence.epoch), ("n2", 9, 3));
        assert_eq!(*lock(&world.panics), ["a request panicked path=/api"]);
    }
}
