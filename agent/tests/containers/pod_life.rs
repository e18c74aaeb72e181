//! The life of containers: probes, hooks, restarts, deadlines, last words, the order of sidecars.

use std::path::Path;
use std::time::Duration;

use agent::RuntimeChoice;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod, PodStatus};
use serde_json::{Value, json};

use crate::on_both_runtimes;
use crate::test_agent::{DEADLINE, TestAgent, config, deleted, is_ready, pod, waits_for};

const IMAGE: &str = "localhost/web:1";

/// One container that runs this script, with `more` in its specification.
fn one(name: &str, script: &str, more: &Value) -> Pod {
    let mut container = json!({"name": "c", "image": IMAGE, "command": ["sh", "-c", script]});
    container.as_object_mut().unwrap().extend(more["container"].as_object().cloned().unwrap_or_default());
    let mut spec = json!({"containers": [container], "terminationGracePeriodSeconds": 3});
    spec.as_object_mut().unwrap().extend(more["pod"].as_object().cloned().unwrap_or_default());
    pod(name, spec)
}

fn last_end(status: &PodStatus) -> Option<ContainerStateTerminated> {
    let container = status.container_statuses.as_ref()?.first()?;
    let state = container.state.as_ref().and_then(|state| state.terminated.clone());
    state.or_else(|| container.last_state.as_ref()?.terminated.clone())
}

fn restarts(status: &PodStatus) -> i32 {
    status.container_statuses.iter().flatten().map(|container| container.restart_count).sum()
}

fn has_phase(phase: &'static str) -> impl Fn(&PodStatus) -> bool {
    move |status| status.phase.as_deref() == Some(phase)
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("never: {what}"));
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn ends() -> Vec<Pod> {
    let fallback = json!({"container": {"terminationMessagePolicy": "FallbackToLogsOnError"}});
    vec![
        one("words", "echo out; echo err >&2; exit 4", &fallback),
        one("oom", "tail /dev/zero", &json!({"container": {"resources": {"limits": {"memory": "24Mi"}}}})),
        one("late", "sleep 1000", &json!({"pod": {"activeDeadlineSeconds": 3, "restartPolicy": "Never"}})),
        one("none", "true", &json!({"container": {"command": ["/no/such/program"]}})),
        one(
            "rules",
            "test -e /v/x && exit 0; touch /v/x; exit 42",
            &json!({
                "container": {
                    "restartPolicy": "Never", "volumeMounts": [{"name": "v", "mountPath": "/v"}],
                    "restartPolicyRules":
                        [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
                },
                "pod": {"restartPolicy": "Never", "volumes": [{"name": "v", "emptyDir": {}}]},
            }),
        ),
    ]
}

async fn check_ends(agent: &mut TestAgent) {
    let status = agent.until("words", "ended", |status| last_end(status).is_some()).await;
    let end = last_end(&status).unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (4, Some("Error")));
    let mut words: Vec<&str> = end.message.as_deref().unwrap().lines().collect();
    words.sort_unstable();
    assert_eq!(words, ["err", "out"]);
    let status = agent.until("oom", "killed", |status| last_end(status).is_some()).await;
    let end = last_end(&status).unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("OOMKilled")));
    let status = agent.until("none", "refused", |status| last_end(status).is_some()).await;
    let end = last_end(&status).unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (128, Some("StartError")));
    assert!(end.message.unwrap().contains("/no/such/program"), "the message names the program");
    let status = agent.until("rules", "Succeeded", has_phase("Succeeded")).await;
    assert_eq!(restarts(&status), 1);
    let status = agent.until("late", "Failed", has_phase("Failed")).await;
    assert_eq!(status.reason.as_deref(), Some("DeadlineExceeded"));
    assert!(last_end(&status).is_some(), "it is told once nothing runs: {status:#?}");
}

fn probed(port: u16) -> Vec<Pod> {
    let dies = json!({"container": {"livenessProbe": {"exec": {"command": ["test", "-e", "/tmp/alive"]},
        "periodSeconds": 1, "failureThreshold": 2, "terminationGracePeriodSeconds": 1}},
        "pod": {"terminationGracePeriodSeconds": 600}});
    let web = json!({"pod": {"hostNetwork": true}, "container": {
        "ports": [{"name": "web", "containerPort": port, "hostPort": port}],
        "startupProbe": {"tcpSocket": {"port": "web"}, "periodSeconds": 1, "failureThreshold": 30},
        "readinessProbe": {"httpGet": {"port": "web", "path": "/ready"}, "periodSeconds": 1, "failureThreshold": 1},
    }});
    let script = format!(
        "mkdir /tmp/w; sleep 1; httpd -p {port} -h /tmp/w; sleep 2; echo yes >/tmp/w/ready; sleep 1000"
    );
    vec![
        one("dies", "touch /tmp/alive; sleep 2; rm /tmp/alive; sleep 1000", &dies),
        one("web", &script, &web),
    ]
}

async fn check_probes(agent: &mut TestAgent) {
    agent.until("web", "ready", is_ready).await;
    let said = |agent: &TestAgent, words: &str| agent.messages.iter().any(|message| message.contains(words));
    assert!(said(agent, "Unhealthy: Startup probe failed: dial tcp 127.0.0.1:"), "{:#?}", agent.messages);
    assert!(said(agent, "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 404"));
    agent.until("dies", "restarted", |status| restarts(status) > 0).await;
    assert!(said(agent, "Unhealthy: Liveness probe failed"));
    assert!(said(agent, "Killing: Container c failed liveness probe, will be restarted"));
}

fn hooked(dir: &Path) -> Vec<Pod> {
    let volume = |container: &Value| {
        let mut container = container.clone();
        container["volumeMounts"] = json!([{"name": "h", "mountPath": "/h"}]);
        json!({"container": container,
            "pod": {"volumes": [{"name": "h", "hostPath": {"path": dir.display().to_string()}}]}})
    };
    let says = |script: &str| json!({"exec": {"command": ["sh", "-c", script]}});
    let hooks = json!({"lifecycle": {
        "postStart": says("echo begun >>/h/hook; sleep 3; echo ended >>/h/hook"),
        "preStop": says("echo stopping >>/h/hook"),
    }});
    let bad = json!({"lifecycle": {"postStart": says("exit 3"), "preStop": {"httpGet": {"port": "none", "path": "/"}}}});
    let tells =
        |name: &str| format!("trap 'echo {name} >>/h/order; exit 0' TERM; while true; do sleep 0.1; done");
    let part = |name: &str| {
        json!({"name": name, "image": IMAGE, "command": ["sh", "-c", tells(name)],
            "volumeMounts": [{"name": "h", "mountPath": "/h"}]})
    };
    let sidecar = |name: &str| {
        let mut container = part(name);
        container["restartPolicy"] = json!("Always");
        container
    };
    let order = pod(
        "order",
        json!({
            "initContainers": [sidecar("s1"), sidecar("s2")], "containers": [part("main")],
            "volumes": [{"name": "h", "hostPath": {"path": dir.display().to_string()}}],
        }),
    );
    vec![one("hooks", "sleep 1000", &volume(&hooks)), one("bad-hook", "sleep 1000", &volume(&bad)), order]
}

async fn check_hooks(agent: TestAgent, pods: &[Pod], dir: &Path) -> TestAgent {
    let hook = dir.join("hook");
    until("the hook begins", || read(&hook) == "begun\n").await;
    let (config, statuses) = (agent.config.clone(), agent.statuses.clone());
    let id = agent.runtime_of("uid-hooks").await.newest("c").unwrap().id.clone();
    agent.vanish().await;
    let mut agent = TestAgent::start(&config).await;
    let known: Vec<Pod> = pods
        .iter()
        .map(|pod| {
            let status = statuses.get(pod.metadata.name.as_deref().unwrap()).cloned();
            Pod { status, ..pod.clone() }
        })
        .collect();
    agent.want(&known.iter().collect::<Vec<_>>());
    until("the next agent runs the hook anew", || read(&hook).matches("begun").count() == 2).await;
    let status = agent.until("hooks", "ready", is_ready).await;
    assert_eq!(restarts(&status), 0);
    assert_eq!(agent.runtime_of("uid-hooks").await.newest("c").unwrap().id, id, "its container was adopted");
    agent.until("bad-hook", "waiting", |status| waits_for(status, "CrashLoopBackOff")).await;
    agent.until("order", "ready", is_ready).await;
    let gone: Vec<Pod> = known.iter().map(deleted).collect();
    agent.want(&gone.iter().collect::<Vec<_>>());
    agent.until_terminated("order").await;
    assert_eq!(read(&dir.join("order")), "main\ns2\ns1\n");
    until("preStop has run", || read(&hook).ends_with("stopping\n")).await;
    let said = |words: &str| agent.messages.iter().any(|message| message.contains(words));
    assert!(said("FailedPostStartHook: PostStartHook failed: command 'sh -c exit 3' exited with 3"));
    assert!(said("FailedPreStopHook: PreStopHook failed: port none not found"), "{:#?}", agent.messages);
    agent
}

on_both_runtimes!(containers_are_probed_hooked_restarted_and_ended);

async fn containers_are_probed_hooked_restarted_and_ended(runtime: RuntimeChoice) {
    assert!(nix::unistd::geteuid().is_root(), "run as root: containers need it");
    let dir = tempfile::tempdir().unwrap();
    let shared = dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let config = config(dir.path(), runtime);
    let mut agent = TestAgent::start(&config).await;
    let pods = ends();
    agent.want(&pods.iter().collect::<Vec<_>>());
    check_ends(&mut agent).await;
    let pods = probed(free_port());
    agent.want(&pods.iter().collect::<Vec<_>>());
    check_probes(&mut agent).await;
    let pods = hooked(&shared);
    agent.want(&pods.iter().collect::<Vec<_>>());
    let agent = check_hooks(agent, &pods, &shared).await;
    agent.vanish().await;
    agent::purge_pods(&config).await.expect("nothing is left");
}
