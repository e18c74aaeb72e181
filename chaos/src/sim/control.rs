//! The control plane on the simulated store: on every founder, in each of its lives, what a control node runs beside its
//! store: the API server, all controllers, the scheduler; and who needs it: a worker node and a user.
//!
//! It lives and dies with its node, and stops when the run comes to rest: only then can members be compared.

mod ear;
mod kubelet;
mod look;
mod user;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use ::client::{Client, ElectionConfig, Informers};
use apiserver::{
    ApiConfig, ApiServer, Authentication, Identity, NodeStream, NodeStreamError, NodeStreams, PodAccounts,
};
use base::{Clock, Entropy, Tasks};
use controllers::{ClusterCidrError, ControllersConfig};
use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use scheduler::SchedulerConfig;
use tokio::time::sleep;

use self::kubelet::Kubelet;
use self::user::User;
use self::wire::Wire;
use super::client::Seat;
use super::world::Phase;
use crate::dice::Dice;

pub(super) use ear::listening;

/// Leadership moves within a run, and so fast that a write which is held up on its way meets its successor's.
const ELECTION: ElectionConfig = ElectionConfig {
    lease_duration: Duration::from_secs(2),
    renew_deadline: Duration::from_millis(1400),
    retry_period: Duration::from_millis(700),
};
/// How long pods stay on a worker node that is silent.
const TOLERATION_S: i64 = 2;
const CLUSTER_CIDR: &str = "10.244.0.0/16";
const BOOTSTRAP_PAUSE: Duration = Duration::from_millis(500);
const STOP_GRACE: Duration = Duration::from_secs(1);

/// A node in one of its lives.
pub(super) struct Site {
    pub(super) seat: Seat,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    /// Of this life.
    pub(super) seed: u64,
    /// The node's number among the founders, from 1, and that of its life.
    pub(super) number: u64,
    pub(super) life: u64,
}

/// Starts all of it; it ends when the run comes to rest.
///
/// # Errors
/// When the network that pods get their addresses of is none.
pub(super) fn start(site: &Site, tasks: &Tasks) -> Result<(), ClusterCidrError> {
    let plane = Tasks::new(tasks.stop().child_token());
    let server = Arc::new(ApiServer::new(ApiConfig {
        service_network: apiserver::ServiceNetwork::default(),
        store: site.seat.store.clone(),
        clock: site.clock.clone(),
        entropy: site.entropy.clone(),
        nodes: Arc::new(Unreachable),
        metrics: Arc::new(String::new),
        toleration_seconds: TOLERATION_S,
        legacy_versions: false,
        address: format!("{}:6443", site.seat.member),
        authentication: Authentication::default(),
        pod_accounts: PodAccounts::Named,
        tasks: plane.clone(),
    }));
    let definitions = ApiServer::clone(&server).follow_definitions(plane.stop().clone());
    plane.spawn_infallible("definitions", definitions);
    plane.spawn_infallible("bootstrap", bootstrap(ApiServer::clone(&server)));
    let wire = |who: Identity, number| {
        let dice = Dice::of(site.seed, "wire", number);
        Arc::new(Wire::new(&server, who, site.seat.world.clone(), dice, plane.clone()))
    };
    let component =
        |name: &str, number| Client::new(wire(Identity::component(format!("system:{name}")), number));
    let informers = start_controllers(
        site,
        (component("kube-controller-manager", 0), component("kube-scheduler", 1)),
        &plane,
    )?;
    let kubelet = Kubelet::new(site, component("navarch:gateway", 2), &informers);
    plane.spawn_infallible("kubelet", kubelet.run());
    let administrator = Identity::known("chaos", &["system:masters"]);
    let user = User::new(
        &site.seat,
        wire(administrator, 3),
        informers.cache::<Pod>(),
        Dice::of(site.seed, "user", 0),
    );
    plane.spawn_infallible("user", user.work());
    if site.number == 1 {
        plane.spawn_infallible("look", look::look_on(site.seat.clone()));
    }
    let (world, stop) = (site.seat.world.clone(), plane.stop().clone());
    tasks.spawn_infallible("rest", async move {
        world.wait_for(Phase::Rest).await;
        stop.cancel();
    });
    tasks.spawn("control plane", async move {
        let ended = plane.join(STOP_GRACE).await;
        drop(server);
        ended
    });
    Ok(())
}

/// Candidates in every node, leaders in one; as a control node starts them.
fn start_controllers(
    site: &Site,
    (controllers, scheduler): (Client, Client),
    tasks: &Tasks,
) -> Result<Informers, ClusterCidrError> {
    let identity = format!("{}-{}", site.seat.member, site.entropy.name_suffix(5));
    let informers = Informers::new(&controllers, site.entropy.clone(), tasks);
    let config = ControllersConfig {
        client: controllers,
        clock: site.clock.clone(),
        entropy: site.entropy.clone(),
        informers: informers.clone(),
        identity: identity.clone(),
        election: ELECTION,
        cluster_cidr: CLUSTER_CIDR.parse()?,
        root_ca: None,
    };
    controllers::run(config, tasks);
    let config = SchedulerConfig {
        client: scheduler,
        clock: site.clock.clone(),
        entropy: site.entropy.clone(),
        informers: informers.clone(),
        identity,
        election: ELECTION,
    };
    scheduler::run(config, tasks);
    Ok(informers)
}

async fn bootstrap(api: ApiServer) {
    while api.bootstrap().await.is_err() {
        sleep(BOOTSTRAP_PAUSE).await;
    }
}

/// Nobody asks worker nodes for logs here.
struct Unreachable;

impl NodeStreams for Unreachable {
    fn open(&self, node: &str) -> BoxFuture<'_, Result<Box<dyn NodeStream>, NodeStreamError>> {
        let refused = Err(NodeStreamError::NotConnected(node.to_owned()));
        Box::pin(std::future::ready(refused))
    }
}
