//! Runs a controller: connects its watches to a queue, runs its election, and while it leads feeds keys to its workers.
//!
//! The driver retries; a controller does not. Nothing of a term outlives it: workers are dropped with it. Nothing is
//! decided by a view that is older than the term, since a former leader may have acted on a newer one.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use thiserror::Error;
use tokio::time::Instant;
use tracing::{debug, warn};

use base::Revision;
use client::{
    Backoff, Cache, Change, ClientError, Election, HasMetadata, Informers, Leadership, Object, ObjectKey,
    WorkQueue, controller_of,
};

use crate::Shared;
use crate::context::{Context, Term};
use crate::metrics::{NAVARCH_CONTROLLERS_BEHIND_SECONDS, NAVARCH_CONTROLLERS_RECONCILE_ERRORS_TOTAL};

/// A reconcile is not run before the cache has seen its last write, but it is not waited for longer than this at once.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Brings what is towards what should be, one key at a time.
pub(crate) trait Controller: Sized + Send + Sync + 'static {
    /// The kind that keys name.
    type Kind: Object;
    /// Names its lease, its queue and its events.
    const NAME: &'static str;
    /// How many keys at a time.
    const WORKERS: usize = 4;

    fn new(shared: &Shared) -> Self;

    /// Whether this process has what the controller needs.
    fn is_wanted(_: &Shared) -> bool {
        true
    }

    fn watches() -> Watches;

    /// Woken by key and by timer; never reads what woke it.
    fn reconcile(
        &self,
        cx: &Context,
        key: &ObjectKey,
    ) -> impl Future<Output = Result<Next, ReconcileError>> + Send;
}

/// When a key wants to be looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// When something changes.
    Done,
    /// Then, or when something changes.
    After(Duration),
}

impl Next {
    /// The sooner of two.
    pub(crate) fn sooner(self, other: Self) -> Self {
        match (self, other) {
            (Self::Done, next) | (next, Self::Done) => next,
            (Self::After(a), Self::After(b)) => Self::After(a.min(b)),
        }
    }
}

/// Why a reconcile is to be tried again.
#[derive(Debug, Error)]
pub(crate) enum ReconcileError {
    #[error(transparent)]
    Client(#[from] ClientError),
}

type Connect = Box<dyn Fn(&Informers, &WorkQueue<ObjectKey>) + Send + Sync>;
type Reach = Box<dyn Fn(&Informers, Revision) -> BoxFuture<'static, ()> + Send + Sync>;

/// What wakes a controller.
pub(crate) struct Watches {
    kind: &'static str,
    connect: Vec<Connect>,
    reach: Vec<Reach>,
}

impl Watches {
    /// Changes of the controller's own kind.
    pub(crate) fn of<K: Object>() -> Self {
        Self::on::<K>(|_, change| change.latest().map(|object| object.key()).into_iter().collect())
    }

    /// Some changes of the controller's own kind.
    pub(crate) fn on<K: Object>(
        keys: impl Fn(&Informers, &Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static,
    ) -> Self {
        Self { kind: K::KIND, connect: Vec::new(), reach: Vec::new() }.maps::<K>(keys)
    }

    /// Changes of objects that the kind controls.
    pub(crate) fn owns<K: Object>(self) -> Self {
        let kind = self.kind;
        self.maps::<K>(move |_, change| {
            let owners = [&change.old, &change.new].into_iter().flatten().filter_map(|object| {
                let owner = controller_of(&**object).filter(|owner| owner.kind == kind)?;
                Some(ObjectKey::namespaced(object.namespace(), &owner.name))
            });
            let mut keys: Vec<_> = owners.collect();
            keys.dedup();
            keys
        })
    }

    /// Changes of any kind, by a function that tells whose business they are. It must not wait.
    pub(crate) fn maps<K: Object>(
        self,
        keys: impl Fn(&Informers, &Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static,
    ) -> Self {
        self.hears(|informers| informers.cache::<K>(), keys)
    }

    /// Like [`Self::maps`], of the objects that have this name only.
    pub(crate) fn maps_named<K: Object>(
        self,
        name: &'static str,
        keys: impl Fn(&Informers, &Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static,
    ) -> Self {
        self.hears(move |informers| informers.named::<K>(name), keys)
    }

    /// Wakes nobody, but must be known before anything is decided.
    pub(crate) fn reads<K: Object>(self) -> Self {
        self.awaits(|informers| informers.cache::<K>())
    }

    fn hears<K: Object>(
        mut self,
        cache: impl Fn(&Informers) -> Cache<K> + Copy + Send + Sync + 'static,
        keys: impl Fn(&Informers, &Change<K>) -> Vec<ObjectKey> + Send + Sync + 'static,
    ) -> Self {
        let keys = Arc::new(keys);
        self.connect.push(Box::new(move |informers, queue| {
            let (keys, within, queue) = (keys.clone(), informers.clone(), queue.clone());
            cache(informers).on_change(move |change| {
                for key in keys(&within, change) {
                    queue.add(key);
                }
            });
        }));
        self.awaits(cache)
    }

    fn awaits<K: Object>(mut self, cache: impl Fn(&Informers) -> Cache<K> + Send + Sync + 'static) -> Self {
        self.reach.push(Box::new(move |informers, revision| {
            let cache = cache(informers);
            Box::pin(async move { cache.reach(revision).await })
        }));
        self
    }

    /// Until everything that is read shows the state at `revision`, or a later one.
    async fn reach(&self, informers: &Informers, revision: Revision) {
        futures::future::join_all(self.reach.iter().map(|reach| reach(informers, revision))).await;
    }
}

/// Starts a controller's candidate.
pub(crate) fn start<C: Controller>(shared: &Shared) {
    if C::is_wanted(shared) {
        start_with(shared, C::new(shared));
    }
}

fn start_with<C: Controller>(shared: &Shared, controller: C) {
    let (config, controller) = (&shared.config, Arc::new(controller));
    let watches = Arc::new(C::watches());
    let queue = WorkQueue::new(C::NAME, Backoff::default());
    for connect in &watches.connect {
        connect(&config.informers, &queue);
    }
    let candidate = (C::NAME, config.identity.as_str());
    let (clock, entropy) = (config.clock.clone(), config.entropy.clone());
    let election = Election::new(&config.client, clock, entropy, candidate, config.election);
    let (stop, shared_by_terms) = (shared.tasks.stop().clone(), shared.clone());
    shared.tasks.spawn_infallible(C::NAME, async move {
        election
            .run(stop, |leadership| {
                let term = Term::new(&shared_by_terms, &leadership, C::NAME);
                let (controller, watches, queue) = (controller.clone(), watches.clone(), queue.clone());
                async move { lead(&*controller, &watches, &term, &queue, &leadership).await }
            })
            .await;
    });
}

async fn lead<C: Controller>(
    controller: &C,
    watches: &Watches,
    term: &Term,
    queue: &WorkQueue<ObjectKey>,
    leadership: &Leadership,
) {
    let work = async {
        watches.reach(&term.informers, leadership.since()).await;
        queue.clear();
        let known: Cache<C::Kind> = term.informers.cache();
        for object in known.list() {
            queue.add(object.key());
        }
        futures::future::join_all((0..C::WORKERS).map(|_| worker(controller, term, queue))).await;
    };
    tokio::select! {
        biased;
        () = leadership.lost().cancelled() => {}
        () = work => {}
    }
}

async fn worker<C: Controller>(controller: &C, term: &Term, queue: &WorkQueue<ObjectKey>) {
    loop {
        let key = queue.next().await;
        let outcome = attempt(controller, term, &key).await;
        queue.finish(&key);
        match outcome {
            Ok(Next::Done) => queue.forget(&key),
            Ok(Next::After(delay)) => {
                queue.forget(&key);
                queue.add_after(key, delay);
            }
            Err(ReconcileError::Client(error)) => {
                report(C::NAME, &key, &error);
                queue.add_failed(key);
            }
        }
    }
}

async fn attempt<C: Controller>(
    controller: &C,
    term: &Term,
    key: &ObjectKey,
) -> Result<Next, ReconcileError> {
    let cx = term.context(key);
    let began = Instant::now();
    let caught_up = tokio::time::timeout(CATCH_UP_TIMEOUT, cx.caught_up()).await;
    metrics::histogram!(NAVARCH_CONTROLLERS_BEHIND_SECONDS).record(began.elapsed().as_secs_f64());
    if caught_up.is_err() {
        warn!(controller = C::NAME, %key, "the cache has not seen the last write yet");
        return Ok(Next::After(Duration::ZERO));
    }
    controller.reconcile(&cx, key).await
}

fn report(controller: &'static str, key: &ObjectKey, error: &ClientError) {
    if error.is_conflict() || error.is_not_found() || error.is_fenced() {
        debug!(controller, %key, %error, "will be tried again");
        return;
    }
    metrics::counter!(NAVARCH_CONTROLLERS_RECONCILE_ERRORS_TOTAL, "name" => controller).increment(1);
    warn!(controller, %key, %error, source = ?std::error::Error::source(error), "will be tried again");
}

#[cfg(test)]
mod tests;
