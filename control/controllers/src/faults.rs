//! What becomes of a rollout when any one of the controllers' writes goes wrong, their process dies of it, or their
//! watches skip what was for a moment: the same as when all is well, and nothing is too many or too few on the way.
//!
//! The writes are numbered, and each number meets each harm once. Time is paused: an election costs nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{Entropy, SeededEntropy, SystemClock, Tasks};
use bytes::Bytes;
use client::memory::{MemoryApi, refused};
use client::{
    Body, Client, ElectionConfig, HasMetadata, Informers, ListOptions, ObjectKey, Recorder, Transport,
    TransportError,
};
use futures::future::BoxFuture;
use http::{Method, Request, Response, StatusCode};
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::deployment::DeploymentController;
use crate::driver::Controller as _;
use crate::replica_set::ReplicaSetController;
use crate::{ALL, ControllersConfig, Shared};

/// How long nobody may have written anything until all is settled: longer than a lease, so that who died is followed.
const QUIET: Duration = Duration::from_millis(2500);
const TICK: Duration = Duration::from_millis(100);
/// Nothing takes as many ticks.
const TICKS_MAX: u32 = 2000;
const ELECTION: ElectionConfig = ElectionConfig {
    lease_duration: Duration::from_secs(1),
    renew_deadline: Duration::from_millis(800),
    retry_period: Duration::from_millis(400),
};

/// Those that a rollout takes; the others would only cost time.
const CONTROLLERS: [&str; 2] = [DeploymentController::NAME, ReplicaSetController::NAME];

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// Its process dies before it is sent.
    DiesBefore,
    /// Its process dies before the answer comes.
    DiesAfter,
    /// It is done, and nobody hears of it.
    Unheard,
    /// It is not done, and this is answered.
    Refused(StatusCode, &'static str),
}

/// What a process may meet and live.
const SURVIVED: [Harm; 4] = [
    Harm::Unheard,
    Harm::Refused(StatusCode::CONFLICT, "Conflict"),
    Harm::Refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
    Harm::Refused(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests"),
];

/// What happens to which write of the first process.
#[derive(Clone, Copy, Debug)]
struct Fault {
    write: u64,
    harm: Harm,
}

/// What the controllers of one process reach the API through.
struct Frail {
    api: MemoryApi,
    fault: Option<Fault>,
    dead: CancellationToken,
    watch: Arc<Watch>,
}

/// What is seen of all processes' writes.
#[derive(Default)]
struct Watch {
    writes: AtomicU64,
    /// More pods than a rollout may have, or fewer that are ready.
    wrong: Mutex<Vec<String>>,
}

impl Transport for Frail {
    fn call(&self, request: Request<Bytes>) -> BoxFuture<'_, Result<Response<Body>, TransportError>> {
        Box::pin(async move {
            let gone = || TransportError::Unreachable("the process is dead".into());
            if self.dead.is_cancelled() {
                return Err(gone());
            }
            // Elections and events are no steps of a reconcile.
            let path = request.uri().path();
            if request.method() == Method::GET || path.contains("/leases") || path.contains("/events") {
                return self.api.call(request).await;
            }
            let number = self.watch.writes.fetch_add(1, Ordering::SeqCst) + 1;
            match self.fault.filter(|fault| fault.write == number).map(|fault| fault.harm) {
                None => self.api.call(request).await,
                Some(Harm::DiesBefore) => {
                    self.dead.cancel();
                    Err(gone())
                }
                Some(Harm::DiesAfter) => {
                    let _unheard = self.api.call(request).await;
                    self.dead.cancel();
                    Err(gone())
                }
                Some(Harm::Unheard) => {
                    let _unheard = self.api.call(request).await;
                    Err(TransportError::Broken("cut".into()))
                }
                Some(Harm::Refused(code, reason)) => Ok(refused(code, reason, "not this time")),
            }
        })
    }
}

struct World {
    api: MemoryApi,
    client: Client,
    watch: Arc<Watch>,
    entropy: Arc<dyn Entropy>,
    processes: Vec<(Tasks, CancellationToken)>,
    /// Watches are held until each tick of this number, and then find their history gone.
    skips: Option<u32>,
}

impl Drop for World {
    fn drop(&mut self) {
        for (tasks, dead) in &self.processes {
            dead.cancel();
            tasks.stop().cancel();
        }
    }
}

impl World {
    fn new(fault: Option<Fault>, skips: Option<u32>) -> Self {
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(11));
        let api = MemoryApi::new(Arc::new(SystemClock), entropy.clone());
        let (client, watch) = (api.client(), Arc::default());
        let mut world = Self { api, client, watch, entropy, processes: Vec::new(), skips };
        world.start(fault);
        world
    }

    fn start(&mut self, fault: Option<Fault>) {
        let (tasks, dead) = (Tasks::new(CancellationToken::new()), CancellationToken::new());
        let transport = Frail { api: self.api.clone(), fault, dead: dead.clone(), watch: self.watch.clone() };
        let client = Client::new(Arc::new(transport));
        let config = ControllersConfig {
            client: client.clone(),
            clock: Arc::new(SystemClock),
            informers: Informers::new(&client, self.entropy.clone(), &tasks),
            entropy: self.entropy.clone(),
            identity: format!("process-{}", self.processes.len() + 1),
            election: ELECTION,
            cluster_cidr: "10.244.0.0/16".parse().expect("a network"),
            root_ca: None,
        };
        let recorder = Recorder::start(&client, "controllers", "", config.clock.clone(), &tasks);
        let shared = Shared { config, recorder, tasks: tasks.clone() };
        for entry in ALL.iter().filter(|entry| CONTROLLERS.contains(&entry.name)) {
            entry.start(&shared);
        }
        self.processes.push((tasks, dead));
    }

    fn has_died(&self) -> bool {
        self.processes[0].1.is_cancelled()
    }

    /// Until nobody has written for a while. Who died is followed by another; pods become ready meanwhile.
    async fn settle(&mut self, bounds: (usize, usize)) {
        let mut quiet = Duration::ZERO;
        let mut written = self.watch.writes.load(Ordering::SeqCst);
        for tick in 0..TICKS_MAX {
            if let Some(every) = self.skips {
                let is_held = tick % every != 0;
                if !is_held {
                    self.api.compact();
                }
                self.api.hold_watches(is_held);
            }
            tokio::time::sleep(TICK).await;
            if self.has_died() && self.processes.len() == 1 {
                self.processes[0].0.stop().cancel();
                self.start(None);
                quiet = Duration::ZERO;
            }
            let is_changed = self.run_pods(bounds).await;
            let now = self.watch.writes.load(Ordering::SeqCst);
            quiet = if is_changed || now != written { Duration::ZERO } else { quiet + TICK };
            written = now;
            if quiet >= QUIET {
                self.api.hold_watches(false);
                return;
            }
        }
        panic!("the controllers never stop writing: {written} writes");
    }

    /// Plays the agent, and counts. Whether there was something to do.
    async fn run_pods(&self, (least, most): (usize, usize)) -> bool {
        let pods: Vec<Pod> = self.list().await;
        let pods: Vec<Pod> = pods.into_iter().filter(|pod| !pod.is_terminating()).collect();
        let ready = pods.iter().filter(|pod| crate::pods::ready_since(pod).is_some()).count();
        if pods.len() > most || ready < least {
            let wrong = format!("{} pods of which {ready} are ready; {least} to {most} may be", pods.len());
            self.watch.wrong.lock().expect("nobody panicked").push(wrong);
        }
        let mut is_changed = false;
        for mut pod in pods.into_iter().filter(|pod| crate::pods::ready_since(pod).is_none()) {
            let status = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
            pod.status = Some(serde_json::from_value(status).expect("a status"));
            // A conflict is no harm: the next round sees the pod again.
            is_changed |= self.client.replace_status(&pod).await.is_ok();
        }
        is_changed
    }

    async fn list<K: client::Object>(&self) -> Vec<K> {
        self.client.list::<K>(&ListOptions::default()).await.expect("a list").items
    }

    /// Everything that matters, without what chance and time have given.
    async fn state(&self) -> String {
        let mut lines = Vec::new();
        for deployment in self.list::<Deployment>().await {
            let status = serde_json::to_value(&deployment.status).expect("a status");
            let counts =
                ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "observedGeneration"];
            let counts = counts.map(|field| format!("{field}={}", status[field]));
            lines.push(format!("{}: {}", deployment.name(), counts.join(" ")));
        }
        let mut names = BTreeMap::new();
        for set in self.list::<ReplicaSet>().await {
            let replicas = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or_default();
            let revision = set.annotation("deployment.kubernetes.io/revision").unwrap_or_default();
            names.insert(set.uid().to_owned(), set.name().to_owned());
            lines.push(format!("{}: {replicas} replicas in revision {revision}", set.name()));
        }
        for pod in self.list::<Pod>().await {
            let owner = client::controller_of(&pod).and_then(|owner| names.get(&owner.uid)).cloned();
            lines.push(format!("a pod of {}", owner.unwrap_or_else(|| "nobody".to_owned())));
        }
        lines.sort();
        lines.join("\n")
    }
}

fn deployment() -> Value {
    json!({
        "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": 3, "selector": { "matchLabels": { "app": "web" } },
            "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": { "metadata": { "labels": { "app": "web" } },
                "spec": { "containers": [{ "name": "web", "image": "one" }] } },
        },
    })
}

/// How it went.
struct Played {
    states: Vec<String>,
    writes: u64,
    wrong: Vec<String>,
    has_died: bool,
}

/// Created, rolled, scaled down: each when what came before is settled.
async fn play(fault: Option<Fault>, skips: Option<u32>) -> Played {
    let mut world = World::new(fault, skips);
    let key = ObjectKey::namespaced("default", "web");
    let mut states = Vec::new();
    let created: Deployment = serde_json::from_value(deployment()).expect("a deployment");
    world.client.create(&created).await.expect("created");
    world.settle((0, 3)).await;
    states.push(world.state().await);

    let image = json!({ "spec": { "template": { "spec": {
        "containers": [{ "name": "web", "image": "two" }] } } } });
    world.client.merge_patch::<Deployment>(&key, &image).await.expect("patched");
    world.settle((3, 4)).await;
    states.push(world.state().await);

    let fewer = json!({ "spec": { "replicas": 1 } });
    world.client.merge_patch::<Deployment>(&key, &fewer).await.expect("patched");
    world.settle((1, 3)).await;
    states.push(world.state().await);
    let wrong = world.watch.wrong.lock().expect("nobody panicked").clone();
    Played { states, writes: world.watch.writes.load(Ordering::SeqCst), wrong, has_died: world.has_died() }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_ends_the_same_whichever_write_its_controllers_die_at() {
    let reference = play(None, None).await;
    assert_eq!(reference.wrong, [""; 0]);
    assert!(reference.states[1].contains("updatedReplicas=3"), "{}", reference.states[1]);
    assert!(reference.states[1].contains("3 replicas in revision 2"), "{}", reference.states[1]);
    assert!(reference.states[2].contains("replicas=1 "), "{}", reference.states[2]);
    assert!(reference.writes > 10, "{} writes", reference.writes);
    for write in 1..=reference.writes {
        for harm in [Harm::DiesBefore, Harm::DiesAfter] {
            let fault = Fault { write, harm };
            let played = play(Some(fault), None).await;
            assert_eq!(played.wrong, [""; 0], "{fault:?}");
            assert_eq!(played.states, reference.states, "{fault:?}");
            // A run may need fewer writes than the reference; a death that never came proves nothing.
            assert!(played.has_died || played.writes < write, "never {fault:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_ends_the_same_whichever_write_goes_wrong_and_however() {
    let reference = play(None, None).await;
    for write in 1..=reference.writes {
        for harm in SURVIVED {
            let fault = Fault { write, harm };
            let played = play(Some(fault), None).await;
            assert_eq!(played.wrong, [""; 0], "{fault:?}");
            assert_eq!(played.states, reference.states, "{fault:?}");
            assert!(played.writes <= 2 * reference.writes, "{fault:?} took {} writes", played.writes);
        }
    }
}

/// Caches are then at a later state, and were never told what was between.
#[tokio::test(start_paused = true)]
async fn a_rollout_ends_the_same_whichever_states_the_watches_skip() {
    let reference = play(None, None).await;
    for every in 2..9 {
        let played = play(None, Some(every)).await;
        assert_eq!(played.wrong, [""; 0], "each {every} ticks");
        assert_eq!(played.states, reference.states, "each {every} ticks");
    }
}

/// The harness says no: a process that is not followed by another leaves a rollout where it was.
#[tokio::test(start_paused = true)]
async fn without_a_follower_a_death_shows() {
    let mut world = World::new(Some(Fault { write: 1, harm: Harm::DiesBefore }), None);
    let created: Deployment = serde_json::from_value(deployment()).expect("a deployment");
    world.client.create(&created).await.expect("created");
    for _ in 0..50 {
        tokio::time::sleep(TICK).await;
        world.run_pods((0, 3)).await;
    }
    assert!(world.has_died());
    assert!(world.list::<Pod>().await.is_empty());
    world.settle((0, 3)).await;
    assert_eq!(world.list::<Pod>().await.len(), 3, "a follower goes on");
}
