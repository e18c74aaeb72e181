//! Plans from one line each: `policy | spec | runtime`.

use expect_test::{Expect, expect};
use serde_json::json;

use super::*;
use crate::pods::memory::{self, ImageProblem, Probed, Verdict};
use crate::runtime::{ContainerState, Exit};

const NOW: i64 = 1000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// `a` is a container, `i:a` an init container, `s:a` a sidecar, `e:a` an ephemeral container.
fn pod(policy: &str, names: &str) -> Pod {
    let (mut mains, mut inits, mut ephemeral) = (Vec::new(), Vec::new(), Vec::new());
    for word in names.split_whitespace() {
        match word.split_once(':') {
            Some(("i", name)) => inits.push(json!({"name": name, "image": "img"})),
            Some(("e", name)) => ephemeral.push(json!({"name": name, "image": "img"})),
            Some((_, name)) => inits.push(json!({"name": name, "image": "img", "restartPolicy": "Always"})),
            None => mains.push(json!({"name": word, "image": "img"})),
        }
    }
    serde_json::from_value(json!({
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {"restartPolicy": policy, "containers": mains, "initContainers": inits,
            "ephemeralContainers": ephemeral},
    }))
    .unwrap()
}

/// `box` and `box-dead` are sandboxes, newest first; `a#2=run`, `a#2=0@990` (exit code, when), `a=created`,
/// `a=aborted`.
fn runtime(text: &str) -> PodRuntime {
    let mut pod = PodRuntime::default();
    for word in text.split_whitespace() {
        if word.starts_with("box") {
            let attempt = 5 - u32::try_from(pod.sandboxes.len()).unwrap();
            pod.sandboxes.push(Sandbox {
                id: format!("box{attempt}"),
                attempt,
                ready: word == "box",
                created_at: at(1),
                ips: Vec::new(),
            });
            continue;
        }
        let (name, state) = word.split_once('=').unwrap();
        let (name, attempt) = name.split_once('#').unwrap_or((name, "0"));
        let state = match state {
            "run" => ContainerState::Running { started_at: at(1) },
            "created" => ContainerState::Created,
            "aborted" => ContainerState::Aborted,
            "lost" => ContainerState::Unknown,
            exit => {
                let (code, when) = exit.split_once('@').unwrap_or((exit, "0"));
                ContainerState::Exited(Exit {
                    code: code.parse().unwrap(),
                    started_at: Some(at(1)),
                    finished_at: at(when.parse().unwrap()),
                    reason: String::new(),
                    message: String::new(),
                })
            }
        };
        let spec =
            ContainerSpec { name: name.to_owned(), image: Some("img".to_owned()), ..Default::default() };
        pod.containers.push(Container {
            id: format!("{name}{attempt}"),
            sandbox_id: pod.sandboxes.last().map(|sandbox| sandbox.id.clone()).unwrap_or_default(),
            name: name.to_owned(),
            attempt: attempt.parse().unwrap(),
            hash: memory::hash(&spec),
            image_id: String::new(),
            created_at: at(1),
            state,
        });
    }
    pod
}

fn check_with(memory: &Memory, policy: &str, spec: &str, running: &str, expected: Expect) {
    let plan = plan(&Seen { pod: &pod(policy, spec), runtime: &runtime(running), memory, now: at(NOW) });
    let mut text = String::new();
    for step in &plan.steps {
        text += &match step {
            Step::StopPod { reason } => format!("stop pod: {reason}\n"),
            Step::StartSandbox { attempt } => format!("sandbox #{attempt}\n"),
            Step::StopContainer { name, reason, .. } => format!("stop {name}: {reason}\n"),
            Step::StartContainer { name, attempt } => format!("start {name}#{attempt}\n"),
            Step::StartCreated { name, attempt, .. } => format!("start created {name}#{attempt}\n"),
            Step::RemoveContainer { id } => format!("remove {id}\n"),
            Step::RemoveSandbox { id } => format!("remove {id}\n"),
        };
    }
    for (name, waiting) in &plan.waiting {
        text += &format!("{name} waits: {} {}\n", waiting.reason, waiting.message);
    }
    if let Some(again) = plan.again_in {
        text += &format!("again in {} s\n", again.as_secs());
    }
    expected.assert_eq(&text);
}

fn check(policy: &str, spec: &str, running: &str, expected: Expect) {
    check_with(&Memory::default(), policy, spec, running, expected);
}

#[test]
fn a_new_sandbox_starts_from_the_first_init_container_again() {
    check("Always", "i:first a", "box box-dead first=0 a=137", expect!["start first#1\n"]);
    check("Always", "i:first a", "box first#1=0 box-dead a=137", expect!["start a#1\n"]);
}

#[test]
fn a_new_pod_gets_its_sandbox_first() {
    check(
        "Always",
        "a b",
        "",
        expect![[r#"
        sandbox #0
    "#]],
    );
    check(
        "Always",
        "a b",
        "box",
        expect![[r#"
        start a#0
        start b#0
    "#]],
    );
}

#[test]
fn init_containers_run_one_by_one() {
    check(
        "Always",
        "i:x i:y a",
        "box",
        expect![[r#"
        start x#0
    "#]],
    );
    check("Always", "i:x i:y a", "box x=run", expect![""]);
    check(
        "Always",
        "i:x i:y a",
        "box x=0",
        expect![[r#"
        start y#0
    "#]],
    );
    check(
        "Always",
        "i:x i:y a",
        "box y=0 x=0",
        expect![[r#"
        start a#0
    "#]],
    );
    check(
        "Always",
        "i:x a",
        "box x=1",
        expect![[r#"
        start x#1
    "#]],
    );
    check(
        "Never",
        "i:x a",
        "box x=1",
        expect![[r#"
        stop pod: an init container has failed
    "#]],
    );
}

#[test]
fn a_sidecar_starts_before_the_rest_and_keeps_running() {
    check(
        "Never",
        "s:x a",
        "box",
        expect![[r#"
        start x#0
    "#]],
    );
    check(
        "Never",
        "s:x a",
        "box x=run",
        expect![[r#"
        start a#0
    "#]],
    );
    check(
        "Never",
        "s:x a",
        "box a=run x=1",
        expect![[r#"
        start x#1
    "#]],
    );
    check(
        "Never",
        "s:x a",
        "box a=0 x=run",
        expect![[r#"
        stop pod: all containers have ended
    "#]],
    );
}

#[test]
fn the_restart_policy_decides() {
    check(
        "Always",
        "a",
        "box a=0",
        expect![[r#"
        start a#1
    "#]],
    );
    check(
        "OnFailure",
        "a",
        "box a=1",
        expect![[r#"
        start a#1
    "#]],
    );
    check(
        "OnFailure",
        "a",
        "box a=0",
        expect![[r#"
        stop pod: all containers have ended
    "#]],
    );
    check("Never", "a b", "box a=1 b=run", expect![""]);
    check("Never", "a", "box-dead a=1", expect![""]);
}

#[test]
fn a_crash_is_waited_out() {
    let mut memory = Memory::default();
    let spec = ContainerSpec { name: "a".to_owned(), image: Some("img".to_owned()), ..Default::default() };
    memory.restarts.advance(&memory::restart_key(&spec), at(980), at(980));
    memory.restarts.advance(&memory::restart_key(&spec), at(990), at(990));
    check_with(
        &memory,
        "Always",
        "a",
        "box a#2=1@995",
        expect![[r#"
        a waits: CrashLoopBackOff back-off 20s restarting failed container=a pod=p_ns(u)
        again in 15 s
    "#]],
    );
    check_with(
        &memory,
        "Always",
        "a",
        "box a#2=1@980",
        expect![[r#"
        start a#3
    "#]],
    );
}

#[test]
fn a_failed_pull_is_shown_then_waited_out() {
    let mut memory = Memory::default();
    let problem = |when| ImageProblem {
        image: "img".to_owned(),
        at: at(when),
        waiting: Waiting { reason: "ErrImagePull".to_owned(), message: "no route".to_owned() },
    };
    memory.pulls.advance("img", at(NOW - 1), at(NOW - 1));
    memory.images.insert("a".to_owned(), problem(NOW - 1));
    check_with(
        &memory,
        "Always",
        "a",
        "box",
        expect![[r#"
        a waits: ErrImagePull no route
        again in 2 s
    "#]],
    );
    memory.images.insert("a".to_owned(), problem(NOW - 5));
    check_with(
        &memory,
        "Always",
        "a",
        "box",
        expect![[r#"
        a waits: ImagePullBackOff Back-off pulling image "img": ErrImagePull: no route
        again in 9 s
    "#]],
    );
}

#[test]
fn a_dead_sandbox_takes_everything_with_it() {
    check(
        "Always",
        "a",
        "box-dead a=run",
        expect![[r#"
        stop pod: the sandbox has died
    "#]],
    );
    check(
        "Always",
        "a",
        "box-dead a=137",
        expect![[r#"
        sandbox #6
    "#]],
    );
    check("Never", "a", "box-dead a=0", expect![""]);
}

#[test]
fn a_failed_liveness_probe_restarts_the_container() {
    let mut memory = Memory::default();
    let probed = Probed { liveness: Some(Verdict::Failure), ..Probed::default() };
    memory.probed.insert("a0".to_owned(), probed);
    check_with(
        &memory,
        "Always",
        "a",
        "box a=run",
        expect![[r#"
        stop a: Container a failed liveness probe, will be restarted
    "#]],
    );
}

#[test]
fn one_dead_run_is_kept_for_its_logs() {
    check(
        "Always",
        "a",
        "box a#3=run a#2=1 a#1=1 a#0=1",
        expect![[r#"
        remove a1
        remove a0
    "#]],
    );
}

#[test]
fn what_was_created_and_never_started_is_started() {
    check("Always", "a", "box a#4=created", expect!["start created a#4\n"]);
    check("Always", "a e:look", "box a=run look=created", expect!["start created look#0\n"]);
    // In another sandbox it is of no use.
    check("Always", "a", "box box-dead a#4=created", expect!["remove a4\nstart a#4\n"]);
}

#[test]
fn a_start_that_was_broken_off_is_no_run() {
    check("Never", "a", "box a=aborted", expect!["remove a0\nstart a#0\n"]);
    check("Never", "i:x a", "box x=aborted", expect!["remove x0\nstart x#0\n"]);
    check("Always", "a e:look", "box a=run look=aborted", expect!["remove look0\nstart look#0\n"]);
    check("Always", "a", "box a#2=aborted a#1=1", expect!["remove a2\nstart a#2\n"]);
}

#[test]
fn ephemeral_containers_run_once_and_before_init_containers() {
    check(
        "Always",
        "i:x a e:look",
        "box x=run",
        expect![[r#"
        start look#0
    "#]],
    );
    check("Always", "a e:look", "box a=run look=run", expect![""]);
    check("Always", "a e:look", "box a=run look=1", expect![""]);
    check(
        "Never",
        "a e:look",
        "box a=0 look=run",
        expect![[r#"
        stop pod: all containers have ended
    "#]],
    );
}
