//! The way to the API server of the same node. Now and then it stands still, mostly for longer than a leader's lease lasts,
//! and what was sent arrives later, whether or not its sender still waits: what the fence is there for.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use ::client::{Body, Transport, TransportError};
use apiserver::{ApiServer, Identity};
use base::Tasks;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Method, Request, Response};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::client::FENCE_HEADER;
use crate::dice::Dice;
use crate::sim::world::{Phase, World, lock};

/// Of a thousand leaders' writes, so many bring it to a standstill.
const STILL_PERMILLE: u64 = 4;
const STILL_MIN: Duration = Duration::from_millis(800);
const STILL_MAX: Duration = Duration::from_secs(4);
/// What sizes ReplicaSets, and makes pods, is lost instead: of that is judged whether it was right by what its leader may
/// have seen shortly before.
const ROLLOUT: &str = "/replicasets";
const CREATION: &str = "/pods";

pub(super) struct Wire {
    /// Caches that know of each other keep their clients; the server must go with its node, whose socket it holds.
    server: Weak<ApiServer>,
    identity: Identity,
    world: Arc<World>,
    dice: Dice,
    still_until: Mutex<Instant>,
    /// What is under way, whoever waits for it.
    tasks: Tasks,
}

impl Wire {
    pub(super) fn new(
        server: &Arc<ApiServer>,
        identity: Identity,
        world: Arc<World>,
        dice: Dice,
        tasks: Tasks,
    ) -> Self {
        let still_until = Mutex::new(Instant::now());
        Self { server: Arc::downgrade(server), identity, world, dice, still_until, tasks }
    }

    /// How long the request is on its way.
    fn delay(&self, request: &Request<Bytes>) -> Duration {
        let now = Instant::now();
        let mut until = lock(&self.still_until);
        if now >= *until
            && request.headers().contains_key(FENCE_HEADER)
            && *self.world.phase.borrow() == Phase::Work
            && self.dice.below(1000) < STILL_PERMILLE
        {
            *until = now + self.dice.between(STILL_MIN, STILL_MAX);
        }
        until.saturating_duration_since(now)
    }
}

fn is_judged_by_its_view(request: &Request<Bytes>) -> bool {
    let path = request.uri().path();
    request.headers().contains_key(FENCE_HEADER)
        && (path.contains(ROLLOUT) || request.method() == Method::POST && path.ends_with(CREATION))
}

impl Transport for Wire {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        let Some(server) = self.server.upgrade() else {
            let gone = TransportError::Unreachable("the node has stopped".into());
            return Box::pin(std::future::ready(Err(gone)));
        };
        let delay = self.delay(&request);
        let is_lost = is_judged_by_its_view(&request);
        let answer = server.handle(self.identity.clone(), request.map(apiserver::full));
        if delay.is_zero() {
            return Box::pin(async move { Ok(answer.await) });
        }
        if is_lost {
            return Box::pin(async move {
                sleep(delay).await;
                Err(TransportError::Unreachable("the request was lost".into()))
            });
        }
        let (tell, told) = oneshot::channel();
        self.tasks.spawn_infallible("a request on its way", async move {
            sleep(delay).await;
            // Its sender may have given it up.
            let _unheard = tell.send(answer.await);
        });
        Box::pin(async move { told.await.map_err(|lost| TransportError::Broken(Box::new(lost))) })
    }
}
