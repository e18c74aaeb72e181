//! Statuses of small pods, shown as `kubectl get` and `describe` would.

use std::collections::BTreeMap;

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::pods::memory::{Probed, Verdict};
use crate::runtime::{Container, ContainerState, Exit, Sandbox};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn run(name: &str, attempt: u32, state: ContainerState) -> Container {
    Container {
        id: format!("{name}-{attempt}"),
        sandbox_id: "box".to_owned(),
        name: name.to_owned(),
        attempt,
        hash: String::new(),
        image_id: "sha256:1".to_owned(),
        created_at: at(10),
        state,
    }
}

fn running() -> ContainerState {
    ContainerState::Running { started_at: at(11) }
}

fn exited(code: i32) -> ContainerState {
    ContainerState::Exited(Exit {
        code,
        started_at: Some(at(11)),
        finished_at: at(12),
        reason: String::new(),
        message: String::new(),
    })
}

struct Fixture {
    policy: &'static str,
    inits: bool,
    containers: Vec<Container>,
    waiting: BTreeMap<String, Waiting>,
    memory: Memory,
    previous: Option<PodStatus>,
    ended: Option<Ended>,
}

impl Default for Fixture {
    fn default() -> Self {
        Self {
            policy: "Always",
            inits: false,
            containers: Vec::new(),
            waiting: BTreeMap::new(),
            memory: Memory::default(),
            previous: None,
            ended: None,
        }
    }
}

impl Fixture {
    fn status(&self) -> PodStatus {
        let inits = if self.inits { json!([{"name": "i"}]) } else { json!(null) };
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {
                "restartPolicy": self.policy, "initContainers": inits,
                "containers": [{"name": "a", "image": "web:1"}],
            },
        }))
        .unwrap();
        let sandbox = Sandbox {
            id: "box".to_owned(),
            attempt: 0,
            ready: true,
            created_at: at(9),
            ips: vec!["10.1.0.2".to_owned()],
        };
        let runtime = PodRuntime {
            sandboxes: vec![sandbox],
            containers: self.containers.clone(),
            ..PodRuntime::default()
        };
        pod_status(&StatusInput {
            pod: &pod,
            runtime: &runtime,
            memory: &self.memory,
            waiting: &self.waiting,
            previous: self.previous.as_ref(),
            runtime_name: "containerd",
            node_ip: "10.0.0.1",
            now: at(20),
            last_words: &BTreeMap::new(),
            ended: self.ended.as_ref(),
            resizing: &Resizing::default(),
        })
    }
}

fn check(fixture: &Fixture, expected: Expect) {
    let status = fixture.status();
    let mut text = format!("{} {}\n", status.phase.unwrap(), status.pod_ip.unwrap_or_default());
    for condition in status.conditions.unwrap() {
        if condition.status != "True" {
            text += &format!(
                "not {}: {} {}\n",
                condition.type_,
                condition.reason.unwrap_or_default(),
                condition.message.unwrap_or_default()
            );
        }
    }
    for container in status.init_container_statuses.iter().chain(&status.container_statuses).flatten() {
        let state = container.state.as_ref().unwrap();
        let shown = if let Some(waiting) = &state.waiting {
            format!("waiting {}", waiting.reason.as_deref().unwrap_or_default())
        } else if let Some(ended) = &state.terminated {
            format!("terminated {} {}", ended.exit_code, ended.reason.as_deref().unwrap_or_default())
        } else {
            "running".to_owned()
        };
        let last = container.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        let last = last.map_or(String::new(), |ended| format!(", last {}", ended.exit_code));
        text += &format!(
            "{} {shown}{last} ready={} restarts={}\n",
            container.name, container.ready, container.restart_count
        );
    }
    expected.assert_eq(&text);
}

#[test]
fn nothing_runs_yet() {
    check(
        &Fixture::default(),
        expect![[r#"
        Pending 10.1.0.2
        not Ready: ContainersNotReady containers with unready status: [a]
        not ContainersReady: ContainersNotReady containers with unready status: [a]
        a waiting ContainerCreating ready=false restarts=0
    "#]],
    );
}

#[test]
fn an_init_container_holds_the_rest_back() {
    let containers = vec![run("i", 0, running())];
    check(
        &Fixture { inits: true, containers, ..Fixture::default() },
        expect![[r#"
        Pending 10.1.0.2
        not Initialized: ContainersNotInitialized containers with incomplete status: [i]
        not Ready: ContainersNotReady containers with unready status: [a]
        not ContainersReady: ContainersNotReady containers with unready status: [a]
        i running ready=false restarts=0
        a waiting PodInitializing ready=false restarts=0
    "#]],
    );
}

#[test]
fn running_is_ready_unless_a_probe_objects() {
    let mut fixture = Fixture { containers: vec![run("a", 0, running())], ..Fixture::default() };
    check(
        &fixture,
        expect![[r#"
        Running 10.1.0.2
        a running ready=true restarts=0
    "#]],
    );
    let probed = Probed { readiness: Some(Verdict::Failure), ..Probed::default() };
    fixture.memory.probed.insert("a-0".to_owned(), probed);
    check(
        &fixture,
        expect![[r#"
        Running 10.1.0.2
        not Ready: ContainersNotReady containers with unready status: [a]
        not ContainersReady: ContainersNotReady containers with unready status: [a]
        a running ready=false restarts=0
    "#]],
    );
}

#[test]
fn a_resize_that_waits_is_told_and_a_finished_one_is_not() {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u", "generation": 7},
        "spec": {"containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}}]},
    }))
    .unwrap();
    let status = |resizing: &Resizing, previous: Option<&PodStatus>| {
        pod_status(&StatusInput {
            pod: &pod,
            runtime: &PodRuntime { containers: vec![run("a", 0, running())], ..PodRuntime::default() },
            memory: &Memory::default(),
            waiting: &BTreeMap::new(),
            previous,
            runtime_name: "containerd",
            node_ip: "10.0.0.1",
            now: at(20),
            last_words: &BTreeMap::new(),
            ended: None,
            resizing,
        })
    };
    let before: PodStatus = serde_json::from_value(json!({"containerStatuses": [{"name": "a", "image": "",
        "imageID": "", "ready": true, "restartCount": 0, "resources": {"limits": {"cpu": "500m"}}}]}))
    .unwrap();
    let pending = Some(crate::pods::resize::Pending { reason: "Deferred", message: "later".to_owned() });
    let error = Some("busy".to_owned());
    let resizing = Resizing { pending, unfinished: ["a".to_owned()].into(), error };
    let shown = |status: &PodStatus| {
        let conditions = status.conditions.iter().flatten().filter(|c| c.type_.starts_with("PodResize"));
        let told: Vec<String> =
            conditions.map(|c| format!("{} {:?} {:?}", c.type_, c.reason, c.observed_generation)).collect();
        let container = &status.container_statuses.as_ref().unwrap()[0];
        let limit = container.resources.as_ref().unwrap().limits.as_ref().unwrap()["cpu"].0.clone();
        let given = container.allocated_resources.as_ref().unwrap()["cpu"].0.clone();
        format!("{} limit {limit} of {given}", told.join(", "))
    };
    assert_eq!(
        shown(&status(&resizing, Some(&before))),
        "PodResizePending Some(\"Deferred\") Some(7), PodResizeInProgress Some(\"Error\") Some(7) limit 500m of 1"
    );
    assert_eq!(shown(&status(&Resizing::default(), Some(&before))), " limit 2 of 1");
}

#[test]
fn a_pod_that_is_ended_has_failed_once_nothing_runs() {
    let ended = Ended::evicted("no room".to_owned(), Duration::ZERO, true);
    let mut fixture = Fixture {
        containers: vec![run("a", 0, running())],
        ended: Some(ended.clone()),
        ..Fixture::default()
    };
    let status = fixture.status();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Running"), None));
    assert_eq!(Ended::told_before(&status), Some(ended), "the next agent knows it from the status");
    fixture.containers = vec![run("a", 0, exited(137))];
    fixture.previous = Some(status);
    let status = fixture.status();
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
    assert_eq!(status.message.as_deref(), Some("no room"));
}

#[test]
fn a_crash_loop_shows_how_the_last_run_ended() {
    let waiting = Waiting { reason: "CrashLoopBackOff".to_owned(), message: "back-off".to_owned() };
    let fixture = Fixture {
        containers: vec![run("a", 3, exited(1)), run("a", 2, exited(2))],
        waiting: BTreeMap::from([("a".to_owned(), waiting)]),
        ..Fixture::default()
    };
    check(
        &fixture,
        expect![[r#"
        Running 10.1.0.2
        not Ready: ContainersNotReady containers with unready status: [a]
        not ContainersReady: ContainersNotReady containers with unready status: [a]
        a waiting CrashLoopBackOff, last 1 ready=false restarts=3
    "#]],
    );
}

#[test]
fn a_finished_pod_stays_finished() {
    let containers = vec![run("a", 0, exited(0))];
    let fixture = Fixture { policy: "Never", containers, ..Fixture::default() };
    let done = expect![[r#"
        Succeeded 10.1.0.2
        not Ready: PodCompleted 
        not ContainersReady: PodCompleted 
        a terminated 0 Completed ready=false restarts=0
    "#]];
    check(&fixture, done);
    let failed = Fixture { policy: "Never", containers: vec![run("a", 0, exited(3))], ..Fixture::default() };
    assert_eq!(failed.status().phase.as_deref(), Some("Failed"));
    let previous = Some(failed.status());
    let later =
        Fixture { policy: "Never", containers: vec![run("a", 1, running())], previous, ..Fixture::default() };
    assert_eq!(later.status().phase.as_deref(), Some("Failed"));
}

#[test]
fn a_status_computed_again_later_is_the_same() {
    let mut fixture = Fixture { containers: vec![run("a", 0, running())], ..Fixture::default() };
    let first = fixture.status();
    fixture.previous = Some(first.clone());
    assert_eq!(fixture.status(), first);
}
