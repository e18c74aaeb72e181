//! The manager and its workers over the hollow runtime.

use std::time::Duration;

use base::{ManualClock, SeededEntropy, Timestamp};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;

use super::*;
use crate::desired::{Report, ReportInbox};
use crate::runtime::hollow::HollowRuntime;
use crate::tokens::{IssuedToken, TokenAsk, TokenSource};

struct Fixture {
    runtime: Arc<HollowRuntime>,
    desired: watch::Sender<Arc<Desired>>,
    inbox: ReportInbox,
    tasks: Tasks,
}

/// Hollow pods have no volumes, so nobody asks.
struct NoTokens;

#[async_trait::async_trait]
impl TokenSource for NoTokens {
    async fn issue(&self, ask: &TokenAsk) -> Result<IssuedToken, String> {
        Err(format!("{} has no tokens", ask.pod))
    }
}

impl Fixture {
    fn start(runtime: Arc<HollowRuntime>) -> Self {
        let (fixture, manager) = Self::with_manager(runtime);
        fixture.tasks.spawn_infallible("pods", manager.run(fixture.tasks.stop().clone()));
        fixture
    }

    /// The manager does not run yet.
    fn with_manager(runtime: Arc<HollowRuntime>) -> (Self, Pods) {
        let (desired, inbox_of_desired) = Desired::channel();
        let (reports, inbox) = Reports::channel();
        let tasks = Tasks::new(CancellationToken::new());
        let node = Arc::new(Node {
            name: "n1".to_owned(),
            ip: "10.0.0.1".to_owned(),
            runtime: runtime.clone(),
            host: None,
            reports,
            probe_counts: ProbeCounts::default(),
            tokens: Tokens::new(Arc::new(NoTokens), Arc::new(clock()), Arc::new(SeededEntropy::new(1))),
            allocatable: [("pods".to_owned(), Quantity("2".to_owned()))].into(),
            clock: Arc::new(clock()),
            entropy: Arc::new(SeededEntropy::new(1)),
            tasks: tasks.clone(),
        });
        let (health, _) = watch::channel(None);
        let (_, evictions) = mpsc::channel(1);
        let (_, circumstances) = watch::channel(Circumstances::default());
        let manager = Pods::new(node, inbox_of_desired, evictions, circumstances, health);
        (Self { runtime, desired, inbox, tasks }, manager)
    }

    fn want(&self, pods: &[Pod]) {
        let mut desired = Desired { synced: true, ..Desired::default() };
        for pod in pods {
            let name = pod.metadata.name.clone().unwrap();
            desired.pods.insert(PodKey::new("ns", name), Arc::new(pod.clone()));
        }
        self.desired.send_replace(Arc::new(desired));
    }

    /// Takes reports until one fits.
    async fn until(&mut self, fits: impl Fn(&Report) -> bool) -> Report {
        tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let report = self.inbox.next().await.expect("the manager runs");
                if fits(&report) {
                    return report;
                }
            }
        })
        .await
        .expect("the report comes")
    }

    async fn stop(self) {
        self.tasks.stop().cancel();
        self.tasks.join(Duration::from_secs(5)).await.expect("no task failed");
    }
}

fn clock() -> ManualClock {
    ManualClock::at(Timestamp::from_second(1000).unwrap())
}

fn pod(name: &str) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "ns", "uid": format!("uid-{name}")},
        "spec": {"containers": [{"name": "c", "image": "localhost/web:1"}]},
    }))
    .unwrap()
}

fn phase_is(report: &Report, phase: &str) -> bool {
    matches!(report, Report::PodStatus { status, .. } if status.phase.as_deref() == Some(phase))
}

#[tokio::test]
async fn a_pod_runs_and_its_end_is_told_when_nothing_is_left() {
    let runtime = Arc::new(HollowRuntime::new(Arc::new(clock()), "node"));
    let mut fixture = Fixture::start(runtime);
    fixture.want(&[pod("p")]);
    fixture.until(|report| phase_is(report, "Running")).await;
    let mut deleted = pod("p");
    deleted.metadata.deletion_timestamp = Some(Time(Timestamp::from_second(1000).unwrap()));
    fixture.want(&[deleted]);
    fixture.until(|report| matches!(report, Report::PodTerminated { .. })).await;
    assert!(fixture.runtime.observe(Which::All).await.unwrap().is_empty());
    fixture.stop().await;
}

#[tokio::test]
async fn an_agent_started_anew_adopts_what_runs() {
    let runtime = Arc::new(HollowRuntime::new(Arc::new(clock()), "node"));
    let mut first = Fixture::start(runtime.clone());
    first.want(&[pod("p")]);
    let Report::PodStatus { status, .. } = first.until(|report| phase_is(report, "Running")).await else {
        unreachable!("only statuses fit")
    };
    first.stop().await;
    let before = runtime.observe(Which::All).await.unwrap();
    let second = Fixture::start(runtime.clone());
    let mut known = pod("p");
    known.status = Some(*status);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(
        runtime.observe(Which::All).await.unwrap(),
        before,
        "nothing is touched before the first answer"
    );
    second.want(&[known]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(runtime.observe(Which::All).await.unwrap(), before, "nothing is restarted");
    second.stop().await;
}

#[tokio::test]
async fn what_nobody_wants_is_stopped_once_the_control_plane_has_answered() {
    let runtime = Arc::new(HollowRuntime::new(Arc::new(clock()), "node"));
    let mut first = Fixture::start(runtime.clone());
    first.want(&[pod("p"), pod("q")]);
    first.until(|report| phase_is(report, "Running")).await;
    first.until(|report| phase_is(report, "Running")).await;
    first.stop().await;
    let second = Fixture::start(runtime.clone());
    second.want(&[pod("q")]);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let left: Vec<String> = runtime.observe(Which::All).await.unwrap().into_keys().collect();
    assert_eq!(left, ["uid-q"]);
    second.stop().await;
}

/// The first answer of the control plane comes while a new agent asks the runtime what runs.
#[tokio::test]
async fn what_becomes_wanted_while_the_runtime_is_asked_goes_on() {
    let runtime = Arc::new(HollowRuntime::new(Arc::new(clock()), "node"));
    let mut first = Fixture::start(runtime.clone());
    first.want(&[pod("p")]);
    first.until(|report| phase_is(report, "Running")).await;
    first.stop().await;
    let (second, mut manager) = Fixture::with_manager(runtime);
    second.want(&[pod("p")]);
    manager.relist(second.tasks.stop()).await;
    let order = manager.workers["uid-p"].orders.borrow().clone();
    assert!(!order.gone && order.pod.is_some());
    second.stop().await;
}

#[tokio::test]
async fn what_the_node_has_no_room_for_has_failed_and_takes_no_room() {
    let runtime = Arc::new(HollowRuntime::new(Arc::new(clock()), "node"));
    let mut fixture = Fixture::start(runtime);
    let second = |name: &str, second| {
        let mut pod = pod(name);
        pod.metadata.creation_timestamp = Some(Time(Timestamp::from_second(second).unwrap()));
        pod
    };
    let (old, young, younger) = (second("z", 1), second("y", 2), second("a", 3));
    fixture.want(&[old.clone(), young.clone(), younger]);
    let report = fixture.until(|report| phase_is(report, "Failed")).await;
    let Report::PodStatus { key, status, .. } = report else { unreachable!("only statuses fit") };
    assert_eq!((key.name.as_str(), status.reason.as_deref()), ("a", Some("OutOfpods")));
    let message =
        "Pod was rejected: Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2";
    assert_eq!(status.message.as_deref(), Some(message));
    let mut over = young;
    over.status = serde_json::from_value(json!({"phase": "Succeeded"})).unwrap();
    fixture.want(&[old, over, second("b", 4)]);
    let of_b = |report: &Report| matches!(report, Report::PodStatus { key, .. } if key.name == "b");
    fixture.until(|report| of_b(report) && phase_is(report, "Running")).await;
    fixture.stop().await;
}
