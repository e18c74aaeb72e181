//! Pods while the control plane is away: they run, are probed and restarted; when it is back nothing is restarted for
//! that, and what happened meanwhile is told.
//!
//! What pods do while nobody can be asked is read from a folder of the machine that each of them has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tests::cluster::{Cluster, Size};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;

const SOON: Duration = Duration::from_secs(60);
/// The second restart of a container that ends at once comes this much later than its end.
const BACK_OFF_SECONDS: u64 = 10;
/// So often the agent looks at everything in the runtime, before it is believed that it leaves things alone.
const LOOKS: u32 = 5;
const SERVERS: [&str; 3] = ["server-1", "server-2", "server-3"];
const PODS: [&str; 4] = ["crashes", "probed", "steady", "leaves"];

#[test]
fn pods_live_on_while_the_control_plane_is_away() {
    let mut cluster = Cluster::start(Size { servers: 3, agents: 1 });
    let kubectl = cluster.kubectl("1.36");
    let witness = Witness(cluster.dir().join("witness"));
    std::fs::create_dir(&witness.0).expect("a folder");
    kubectl.apply(&manifest(&witness.0));
    for name in PODS {
        kubectl.until_pod(SOON, name, "ready", |pod| pod["status"]["containerStatuses"][0]["ready"] == true);
    }
    let before: Vec<Value> = PODS.iter().map(|name| kubectl.pod(name)).collect();

    SERVERS.iter().for_each(|server| cluster.signal(server, "KILL"));
    containers_are_restarted(&witness);
    a_restarted_agent_leaves_them_alone(&mut cluster, &witness);

    SERVERS.iter().for_each(|server| cluster.restart(server));
    eventually(SOON, "a pod can be deleted", || {
        let said = kubectl.run("delete pod leaves --wait=false");
        expect_that(said.ok, said.stderr)
    });
    what_happened_is_told(&kubectl, &witness, &before);
    eventually(SOON, "the deleted pod is gone", || {
        let said = kubectl.run("get pod leaves");
        expect_that(said.stderr.contains("NotFound"), said.stdout)
    });
    eventually(SOON, "the node is ready", || {
        let said = kubectl.run("wait node agent-1 --for=condition=Ready --timeout=1s");
        expect_that(said.ok, said.stderr)
    });
    assert_eq!(witness.starts("steady").len(), 1, "nothing of the control plane's return touches a pod");
}

/// By the agent alone, with the ConfigMap that nobody can be asked for.
fn containers_are_restarted(witness: &Witness) {
    witness.put("crash");
    witness.put("sick");
    let probed = eventually(SOON, "a failed liveness probe restarts", || witness.started("probed", 2));
    assert!(probed.iter().all(|(_, told)| told == "first"), "each run has the ConfigMap: {probed:?}");
    let crashes = eventually(SOON, "what has ended starts again", || witness.started("crashes", 3));
    assert!(crashes.iter().all(|(_, told)| told == "first"), "each run has the ConfigMap: {crashes:?}");
    let waited = crashes[2].0 - crashes[1].0;
    assert!(waited + 1 >= BACK_OFF_SECONDS, "with back-off: {crashes:?}");
    witness.works();
    witness.take("crash");
    eventually(SOON, "it starts once more and stays", || witness.started("crashes", 4));
}

/// An agent that was killed knows of its pods only what runs, until it can ask.
fn a_restarted_agent_leaves_them_alone(cluster: &mut Cluster, witness: &Witness) {
    cluster.signal("agent-1", "KILL");
    cluster.restart("agent-1");
    let log = cluster.dir().join("agent-1/log");
    eventually(SOON, "the agent is back", || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let ran = text.matches("the agent runs").count();
        expect_that(ran == 2, format!("it ran {ran} times"))
    });
    // What it was told to run from files needs nobody.
    let static_pod = static_manifest(&witness.0);
    std::fs::write(cluster.dir().join("agent-1/manifests/static.yaml"), static_pod).expect("a manifest");
    eventually(SOON, "a static pod runs", || witness.started("static", 1));
    for _ in 0..LOOKS {
        witness.works();
    }
    for (name, starts) in [("steady", 1), ("leaves", 1), ("probed", 2), ("crashes", 4)] {
        assert_eq!(witness.starts(name).len(), starts, "{name} was left alone");
    }
}

fn what_happened_is_told(kubectl: &Kubectl, witness: &Witness, before: &[Value]) {
    for (name, restarts) in [("crashes", 3), ("probed", 1), ("steady", 0)] {
        let told = kubectl.until_pod(SOON, name, "told of", |pod| {
            let container = &pod["status"]["containerStatuses"][0];
            container["restartCount"] == restarts && container["ready"] == true
        });
        let old = before.iter().find(|pod| pod["metadata"]["name"] == name).expect("seen before");
        assert_eq!(told["metadata"]["uid"], old["metadata"]["uid"]);
        assert_eq!(told["status"]["podIP"], old["status"]["podIP"]);
        let id = |pod: &Value| pod["status"]["containerStatuses"][0]["containerID"].clone();
        assert_eq!(id(&told) == id(old), restarts == 0, "{name}");
        assert_eq!(witness.starts(name).len(), restarts + 1, "{name} was not started again by the return");
    }
    kubectl.until_pod(SOON, "static-agent-1", "shown", |pod| {
        pod["status"]["containerStatuses"][0]["ready"] == true
    });
    assert_eq!(witness.starts("static").len(), 1);
}

/// The folder where pods leave what they do, and find what to do.
struct Witness(PathBuf);

impl Witness {
    fn put(&self, order: &str) {
        std::fs::write(self.0.join(order), "").expect("a file");
    }

    fn take(&self, order: &str) {
        std::fs::remove_file(self.0.join(order)).expect("a file");
    }

    /// The second at which each run began, and what it read from its ConfigMap.
    fn starts(&self, pod: &str) -> Vec<(u64, String)> {
        let text = std::fs::read_to_string(self.0.join(pod)).unwrap_or_default();
        let starts = text.lines().filter_map(|line| line.split_once(' '));
        starts.map(|(second, told)| (second.parse().expect("a time"), told.to_owned())).collect()
    }

    fn started(&self, pod: &str, times: usize) -> Result<Vec<(u64, String)>, String> {
        let starts = self.starts(pod);
        if starts.len() >= times { Ok(starts) } else { Err(format!("{starts:?}")) }
    }

    /// The steady pod goes on reading its volume, from now on.
    fn works(&self) {
        let told = self.0.join("told");
        if told.exists() {
            self.take("told");
        }
        eventually(SOON, "the steady pod reads its volume", || {
            let text = std::fs::read_to_string(&told).unwrap_or_default();
            expect_that(text == "first", text)
        });
    }
}

fn manifest(witness: &Path) -> String {
    let config = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {word: first}\n";
    let begin = |name: &str| format!("echo $(date +%s) $(cat /settings/word) >>/witness/{name}");
    let pod = |name: &str, script: String, probes: &str| {
        format!(
            "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
             volumes:\n  - {{name: witness, hostPath: {{path: {}}}}}\n  - {{name: settings, configMap: {{name: \
             settings}}}}\n  containers:\n  - name: c\n    image: localhost/web:1\n    command: [sh, -c, '{}; \
             {script}']\n    volumeMounts: [{{name: witness, mountPath: /witness}}, {{name: settings, mountPath: \
             /settings}}]\n{probes}",
            witness.display(),
            begin(name),
        )
    };
    let liveness = "    livenessProbe:\n      exec: {command: [sh, -c, '! test -e /witness/sick']}\n      \
                    periodSeconds: 1\n      timeoutSeconds: 10\n      failureThreshold: 2\n";
    let readiness = "    readinessProbe:\n      exec: {command: [test, -e, /settings/word]}\n      \
                     periodSeconds: 1\n      timeoutSeconds: 10\n";
    [
        config.to_owned(),
        pod("crashes", "until test -e /witness/crash; do sleep 0.1; done; exit 1".to_owned(), ""),
        pod("probed", "rm -f /witness/sick; exec sleep 100000".to_owned(), liveness),
        pod(
            "steady",
            "while true; do cat /settings/word >/witness/told; sleep 0.2; done".to_owned(),
            readiness,
        ),
        pod("leaves", "exec sleep 100000".to_owned(), ""),
    ]
    .concat()
}

fn static_manifest(witness: &Path) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: static}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         volumes: [{{name: witness, hostPath: {{path: {}}}}}]\n  containers:\n  - name: c\n    image: \
         localhost/web:1\n    command: [sh, -c, 'echo $(date +%s) file >>/witness/static; exec sleep 100000']\n    \
         volumeMounts: [{{name: witness, mountPath: /witness}}]\n",
        witness.display()
    )
}
