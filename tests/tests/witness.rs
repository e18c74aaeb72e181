//! Witnesses in real containers, who trust nobody: none of them runs twice at once, is started again or left behind, while
//! agents are killed and frozen and the control plane loses its leader.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use chaos::check::witness::Testimony;
use chaos::verdict::{Finding, Verdict};
use serde_json::Value;
use tests::cluster::{Cluster, Size};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;

const SOON: Duration = Duration::from_secs(90);
const COUNT: usize = 6;

/// Takes the lock of its identity, or says that another has it. Ends when it is told to.
const WITNESS: &str = r#"
say() { read -r up _ < /proc/uptime; echo "$1 $IDENTITY $POD $NODE $boot $run ${up%.*}${up#*.}0000000" >> /witness/runs; }
read -r boot < /proc/sys/kernel/random/boot_id
read -r run < /proc/sys/kernel/random/uuid
exec 9>> /witness/locks/$IDENTITY
/witness/bin/loader --library-path /witness/bin /witness/bin/flock -n 9 || { say refused; exit 1; }
trap "say stop; exit 0" TERM
say start
while :; do sleep 60 & wait $!; done
"#;

/// The folder that all witnesses share with this test.
struct Court {
    folder: PathBuf,
}

impl Court {
    /// # Panics
    /// When this machine has no flock.
    fn open(folder: &Path) -> Self {
        let court = Self { folder: folder.join("witness") };
        for name in ["bin", "locks"] {
            std::fs::create_dir_all(court.folder.join(name)).expect("a folder");
        }
        // Busybox may come without it, so that of the machine goes along with all that it needs.
        let flock = "/usr/bin/flock";
        let output = Command::new("ldd").arg(flock).output().expect("ldd runs");
        let needs = String::from_utf8_lossy(&output.stdout).into_owned();
        let paths = needs.split_whitespace().filter(|word| word.starts_with('/')).chain([flock]);
        for path in paths {
            let name = path.rsplit('/').next().unwrap_or(path);
            let name = if name.starts_with("ld-") { "loader" } else { name };
            std::fs::copy(path, court.folder.join("bin").join(name)).expect("a copy");
        }
        std::fs::write(court.folder.join("witness.sh"), WITNESS).expect("a script");
        std::fs::write(court.folder.join("runs"), "").expect("a file");
        court
    }

    fn pod(&self, identity: &str) -> String {
        format!(
            "
apiVersion: v1
kind: Pod
metadata: {{name: {identity}, labels: {{app: witness}}}}
spec:
  terminationGracePeriodSeconds: 20
  tolerations: [{{operator: Exists}}]
  volumes: [{{name: witness, hostPath: {{path: '{}'}}}}]
  containers:
  - name: c
    image: localhost/web:1
    command: [/bin/busybox, sh, /witness/witness.sh]
    volumeMounts: [{{name: witness, mountPath: /witness}}]
    env:
    - {{name: IDENTITY, valueFrom: {{fieldRef: {{fieldPath: metadata.name}}}}}}
    - {{name: POD, valueFrom: {{fieldRef: {{fieldPath: metadata.uid}}}}}}
    - {{name: NODE, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}
---",
            self.folder.display()
        )
    }

    fn pods(&self, identities: &[String]) -> String {
        identities.iter().map(|identity| self.pod(identity)).collect()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.join("runs")).expect("what they said")
    }

    /// The uids of all that ever began.
    fn begun(&self) -> BTreeSet<String> {
        Testimony::read(&self.said()).runs().map(|(_, uid)| uid.to_owned()).collect()
    }

    /// Whoever still has its lock.
    fn holders(&self) -> Vec<String> {
        let locks = std::fs::read_dir(self.folder.join("locks")).expect("locks");
        let held = locks.flatten().filter(|lock| {
            let file = File::open(lock.path()).expect("a lock");
            file.try_lock().is_err()
        });
        held.map(|lock| lock.file_name().to_string_lossy().into_owned()).collect()
    }

    fn judge(&self) -> Vec<Finding> {
        Testimony::read(&self.said()).judge()
    }
}

#[test]
fn no_witness_runs_twice_is_started_again_or_left_behind() {
    let mut cluster = Cluster::start(Size { servers: 3, agents: 2 });
    let kubectl = cluster.kubectl("1.36");
    let court = Court::open(cluster.dir());
    let identities: Vec<String> = (0..COUNT).map(|number| format!("w-{number}")).collect();
    kubectl.apply(&court.pods(&identities));
    // Killed while they start them.
    kill_and_restart(&mut cluster, &["agent-1", "agent-2"]);
    let first = all_run(&kubectl, &court);

    // One agent stands still, one is killed again and again, and nobody leads for a while.
    cluster.signal("agent-1", "STOP");
    let leader = eventually(SOON, "there is a leader", || cluster.leader());
    kill_and_restart(&mut cluster, &[&leader]);
    for _ in 0..3 {
        kill_and_restart(&mut cluster, &["agent-2"]);
    }
    ready(&kubectl, "agent-2", "True");
    ready(&kubectl, "agent-1", "Unknown");
    cluster.signal("agent-1", "CONT");
    ready(&kubectl, "agent-1", "True");
    assert_eq!(all_run(&kubectl, &court), first, "the same pods run");

    // An identity goes and comes back while the agents that end it are killed.
    let moving = &identities[..COUNT / 2];
    kubectl.ok(&format!("delete pod --wait=false {}", moving.join(" ")));
    kill_and_restart(&mut cluster, &["agent-1", "agent-2"]);
    for identity in moving {
        kubectl.ok(&format!("wait pod/{identity} --for=delete --timeout=30s"));
        kubectl.apply(&court.pod(identity));
    }
    let second = all_run(&kubectl, &court);
    assert_eq!(first.intersection(&second).count(), COUNT - moving.len(), "the others are untouched");

    kubectl.ok("delete pods -l app=witness --wait=false");
    kill_and_restart(&mut cluster, &["agent-1", "agent-2"]);
    eventually(SOON, "no pod and no witness is left", || {
        let (pods, holders) = (kubectl.ok("get pods -o name"), court.holders());
        expect_that(pods.is_empty() && holders.is_empty(), format!("{pods}{holders:?}"))
    });
    for finding in court.judge() {
        assert_eq!(finding.verdict(), Verdict::Pass, "{finding:?}\n{}", court.said());
        let all = (COUNT + moving.len()) as u64;
        assert_eq!(finding.checked, all, "{}\n{}", finding.property, court.said());
    }
}

fn kill_and_restart(cluster: &mut Cluster, processes: &[&str]) {
    for process in processes {
        cluster.signal(process, "KILL");
    }
    for process in processes {
        cluster.restart(process);
    }
}

/// The uids of the pods, once all run and have begun.
fn all_run(kubectl: &Kubectl, court: &Court) -> BTreeSet<String> {
    eventually(SOON, "all witnesses run", || {
        let said = kubectl.run("get pods -l app=witness -o json");
        let list: Value = serde_json::from_str(&said.stdout).map_err(|_| said.stderr)?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let running = |pod: &&Value| {
            let container = &pod["status"]["containerStatuses"][0];
            container["ready"] == true && container["restartCount"] == 0
        };
        let uids: BTreeSet<String> = pods
            .iter()
            .filter(running)
            .filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned))
            .collect();
        let is_all = uids.len() == COUNT && uids.is_subset(&court.begun());
        expect_that(is_all, format!("{} of {COUNT} run\n{}", uids.len(), court.said()))?;
        Ok::<_, String>(uids)
    })
}

fn ready(kubectl: &Kubectl, node: &str, wanted: &str) {
    let path = "{.status.conditions[?(@.type==\"Ready\")].status}";
    eventually(SOON, &format!("{node} is Ready={wanted}"), || {
        let said = kubectl.run(&format!("get node {node} -o jsonpath={path}"));
        expect_that(said.stdout == wanted, said.stdout + &said.stderr)
    });
}
