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
