//! An agent that is killed at any moment starts nothing twice and leaves nothing behind.
//!
//! While pods come and go it is killed again and again: after as many milliseconds as chance says, and at each of the
//! moments that its log names. No two of the same container may live at once, and each makes a folder of its own name
//! before anything else, so that a second one after the first is seen, too. `NAVARCH_ROUNDS` says how often.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{Entropy, SystemEntropy};
use tests::cluster::{Cluster, Size, runtime};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;
use tests::registry::{Content, PASSWORD, Registry, USER};
use tokio::time::Instant;

const SOON: Duration = Duration::from_secs(90);
const NOTHING_LEFT: Duration = Duration::from_secs(30);
/// What an agent does about a new pod takes a few hundred milliseconds, its own start as long.
const LIFE_MS_MAX: u64 = 1500;
/// How far into what it has begun to do an agent comes, at most.
const INTO_MS_MAX: u64 = 20;
/// So many pods live at a time.
const PODS: u64 = 3;
/// Of the node's own images.
const IMAGE: &str = "localhost/web:1";

/// What an agent's log says at the moments at which it is killed.
const MOMENTS: [(&str, &str); 9] = [
    ("pull", "begins operation=\"pull_image\""),
    ("sandbox", "begins operation=\"run_podsandbox\""),
    ("create", "begins operation=\"create_container\""),
    ("start", "begins operation=\"start_container\""),
    ("started", "ended operation=\"start_container\""),
    ("probe", "begins operation=\"exec_sync\""),
    ("stop", "begins operation=\"stop_container\""),
    ("remove", "begins operation=\"remove_podsandbox\""),
    ("status", "pod status changed"),
];
const PROBED: &str = " livenessProbe: {periodSeconds: 1, exec: {command: [sh, -c, exit 0]}},";
/// The log levels at which it says so.
const TELLING: &str = "info,agent::runtime::measured=debug,agent::pods=debug";

#[test]
fn an_agent_killed_at_any_moment_starts_nothing_twice_and_leaves_nothing() {
    let mut cluster = Cluster::start(Size { servers: 1, agents: 1 });
    let witness = witness(&cluster);
    let kubectl = cluster.kubectl("1.36");
    let before = left(&cluster);
    let rounds = rounds(10);
    for round in 0..rounds {
        come_and_go(&kubectl, round, &witness, IMAGE);
        std::thread::sleep(Duration::from_millis(SystemEntropy.u64() % LIFE_MS_MAX));
        cluster.signal("agent-1", "KILL");
        cluster.restart("agent-1");
        each_lives_once(&cluster);
    }
    nothing_started_twice(&kubectl, rounds, &witness);
    nothing_stays(&cluster, &kubectl, &before);
}

#[test]
fn an_agent_killed_at_each_moment_that_it_names_starts_nothing_twice_and_leaves_nothing() {
    let mut cluster = Cluster::start(Size { servers: 1, agents: 1 });
    talkative(&mut cluster);
    let registry = Registry::start(&cluster, "agent-1");
    let witness = witness(&cluster);
    let kubectl = cluster.kubectl("1.36");
    kubectl.ok(&format!(
        "create secret docker-registry key --docker-server={} --docker-username={USER} --docker-password={PASSWORD}",
        registry.address()
    ));
    kubectl.ok(r#"patch serviceaccount default -p {"imagePullSecrets":[{"name":"key"}]}"#);
    let before = left(&cluster);
    let rounds = rounds(1) * MOMENTS.len() as u64;
    let log = cluster.dir().join("agent-1/log");
    for (round, (moment, words)) in (0..rounds).zip(MOMENTS.iter().cycle()) {
        let told = round.to_string();
        let content = Content { files: &[("round", &told)], ..Content::default() };
        let image = registry.push(&format!("team/app:{round}"), &content);
        let mut said = Said::from_now(&log);
        come_and_go(&kubectl, round, &witness, &image);
        said.wait(moment, words);
        std::thread::sleep(Duration::from_millis(SystemEntropy.u64() % INTO_MS_MAX));
        cluster.signal("agent-1", "KILL");
        cluster.restart("agent-1");
        each_lives_once(&cluster);
    }
    nothing_started_twice(&kubectl, rounds, &witness);
    nothing_stays(&cluster, &kubectl, &before);
}

/// Starts the agent again with a log that names what it does.
fn talkative(cluster: &mut Cluster) {
    let mut config = cluster.agent_config("agent-1");
    config["log"] = TELLING.into();
    std::fs::write(cluster.dir().join("agent-1/config.yaml"), config.to_string()).expect("a file");
    cluster.signal("agent-1", "KILL");
    cluster.restart("agent-1");
}

/// What comes to be in a log.
struct Said {
    log: PathBuf,
    at: u64,
}

impl Said {
    fn from_now(log: &Path) -> Self {
        Self { log: log.to_owned(), at: std::fs::metadata(log).expect("a log").len() }
    }

    /// Until it says so; looks as often as it can, as what is said is soon over.
    fn wait(&mut self, moment: &str, words: &str) {
        let deadline = Instant::now() + SOON;
        let mut heard = String::new();
        while !heard.contains(words) {
            assert!(Instant::now() < deadline, "the agent does not come to {moment}; it says\n{heard}");
            std::thread::sleep(Duration::from_micros(500));
            let mut log = File::open(&self.log).expect("a log");
            log.seek(SeekFrom::Start(self.at)).expect("a log is a file");
            let mut more = Vec::new();
            self.at += log.read_to_end(&mut more).expect("a log can be read") as u64;
            heard.push_str(&String::from_utf8_lossy(&more));
        }
    }
}

fn witness(cluster: &Cluster) -> PathBuf {
    let witness = cluster.dir().join("witness");
    std::fs::create_dir(&witness).expect("a folder");
    witness
}

/// A pod comes, and an older one goes.
fn come_and_go(kubectl: &Kubectl, round: u64, witness: &Path, image: &str) {
    kubectl.apply(&pod(round, &witness.display().to_string(), image));
    if let Some(old) = round.checked_sub(PODS) {
        kubectl.ok(&format!("delete pod p{old} --wait=false"));
    }
}

fn each_lives_once(cluster: &Cluster) {
    let living = living(cluster);
    let distinct: BTreeSet<&String> = living.iter().collect();
    assert_eq!(living.len(), distinct.len(), "each lives once: {living:?}");
}

/// Also not after each other.
fn nothing_started_twice(kubectl: &Kubectl, rounds: u64, witness: &Path) {
    for living in rounds.saturating_sub(PODS)..rounds {
        eventually(SOON, &format!("p{living} runs"), || {
            let said =
                kubectl.run(&format!("get pod p{living} -o jsonpath={{.status.containerStatuses[*].ready}}"));
            expect_that(said.stdout == "true true", said.stdout)
        });
        let state = format!("get pod p{living} -o jsonpath={{.status.containerStatuses[*].lastState}}");
        assert_eq!(kubectl.ok(&state), "", "p{living} was not restarted");
    }
    if runtime() == "builtin" {
        // containerd kills what it is starting when its client goes away; then it must be started again.
        let again = std::fs::read_to_string(witness.join("again")).unwrap_or_default();
        assert_eq!(again, "", "started again");
    }
}

fn nothing_stays(cluster: &Cluster, kubectl: &Kubectl, before: &[(String, usize)]) {
    kubectl.ok("delete pods --all --wait=false");
    eventually(SOON, "the pods are gone", || {
        let pods = kubectl.ok("get pods -o name");
        expect_that(pods.is_empty(), pods)
    });
    eventually(NOTHING_LEFT, "nothing is left of them", || {
        let now = left(cluster);
        expect_that(now == before, format!("{now:#?}, before {before:#?}"))
    });
}

#[expect(clippy::disallowed_methods, reason = "tests are configured by their environment")]
fn rounds(otherwise: u64) -> u64 {
    std::env::var("NAVARCH_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(otherwise)
}

fn pod(number: u64, witness: &str, image: &str) -> String {
    let script = "mkdir /witness/$(hostname)-$NAME || echo $(hostname)-$NAME >>/witness/again";
    let container = |name: &str, then: &str, more: &str| {
        format!(
            "  - {{name: {name}, image: '{image}', command: [sh, -c, '{script}; {then}'],\n\
             \x20    env: [{{name: NAME, value: {name}}}],{more}\n\
             \x20    volumeMounts: [{{name: witness, mountPath: /witness}}, {{name: own, mountPath: /own}}]}}\n"
        )
    };
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}}}\nspec:\n  terminationGracePeriodSeconds: 1\n  \
         volumes:\n  - {{name: witness, hostPath: {{path: {witness}}}}}\n  - {{name: own, emptyDir: {{}}}}\n  \
         initContainers:\n{}  containers:\n{}{}",
        container("first", "exit 0", ""),
        container("a", "exec sleep 1000000", PROBED),
        container("b", "exec sleep 1000000", ""),
    )
}

/// Which containers live, by pod and name, each as often as it does.
fn living(cluster: &Cluster) -> Vec<String> {
    let pids =
        format!("cat /sys/fs/cgroup/pids{}/kubepods/*/*/*/cgroup.procs 2>/dev/null", cgroup_root(cluster));
    let pids = tests::cluster::run("sh", &["-c", &format!("{pids} || true")]);
    pids.lines().filter_map(|pid| container_of(pid).ok().flatten()).collect()
}

/// What the first process of a container is called; an error for one that has gone.
fn container_of(pid: &str) -> std::io::Result<Option<String>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let is_first = status.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1"));
    let environment = std::fs::read_to_string(format!("/proc/{pid}/environ"))?;
    let value = |name: &str| environment.split('\0').find_map(|variable| variable.strip_prefix(name));
    let (pod, name) = (value("HOSTNAME="), value("NAME="));
    Ok(pod.zip(name).filter(|_| is_first).map(|(pod, name)| format!("{pod}/{name}")))
}

fn cgroup_root(cluster: &Cluster) -> String {
    cluster.agent_config("agent-1")["cgroup-root"].as_str().expect("a path").to_owned()
}

/// What pods may leave on their node: how many processes, mounts, cgroups and network interfaces.
fn left(cluster: &Cluster) -> Vec<(String, usize)> {
    let dir = cluster.dir().join("agent-1/data").display().to_string();
    let root = cgroup_root(cluster);
    let netns = cluster.agent_config("agent-1")["netns"].as_str().expect("a name").to_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let run_dir = agent::Paths::new(Path::new(&dir)).run_dir().join("pods").display().to_string();
    let of_pods = |line: &&str| line.contains(&dir) || line.contains(&run_dir);
    let folders =
        |path: &str| tests::cluster::run("sh", &["-c", &format!("find {path} -type d 2>/dev/null | wc -l")]);
    let processes = format!("cat /sys/fs/cgroup/pids{root}/kubepods/*/*/*/cgroup.procs 2>/dev/null | wc -l");
    let links = format!("nsenter --net=/run/netns/{netns} ip -o link | wc -l");
    let number = |text: String| text.trim().parse().unwrap_or(usize::MAX);
    vec![
        ("processes".to_owned(), number(tests::cluster::run("sh", &["-c", &processes]))),
        ("mounts".to_owned(), mounts.lines().filter(of_pods).count()),
        ("pod cgroups".to_owned(), number(folders(&format!("/sys/fs/cgroup/*{root}/kubepods/*/pod*")))),
        ("folders of pods".to_owned(), number(folders(&format!("{dir}/pods/*")))),
        ("sandboxes".to_owned(), number(folders(&format!("{dir}/builtin/pods/*")))),
        ("interfaces".to_owned(), number(tests::cluster::run("sh", &["-c", &links]))),
    ]
}
