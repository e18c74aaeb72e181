//! `navarch chaos` from the outside: what one run leaves, live clusters, and what is refused. Scenarios and the verdicts that
//! they must come to are the gate's (`chaos/src/gate.rs`, `make chaos-ci`).

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use tempfile::TempDir;
use tests::cluster::{Cluster, Size, navarch, run as succeed};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;

/// What a run exits with.
const PASS: i32 = 0;
const HARNESS_ERROR: i32 = 3;

/// Runs a scenario; the test fails with the run's own account if the verdict is another.
fn run(scenario: &str, seed: u64, seconds: u64, expected: i32) -> (TempDir, PathBuf) {
    let runs = tempfile::tempdir().expect("a folder");
    let (seed, seconds) = (seed.to_string(), seconds.to_string());
    let output = Command::new(navarch())
        .args(["chaos", "run", scenario, "--seed", &seed, "--time", &seconds, "--runs"])
        .arg(runs.path())
        .output()
        .expect("navarch runs");
    let folder = only_folder(runs.path());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let noted = String::from_utf8_lossy(&output.stderr).into_owned();
    let result = folder.as_ref().map(|folder| std::fs::read_to_string(folder.join("result.json")));
    assert_eq!(
        output.status.code(),
        Some(expected),
        "chaos run {scenario} --seed {seed} --time {seconds}\n{noted}{said}{}",
        result.and_then(Result::ok).unwrap_or_default()
    );
    let folder = folder.expect("the run has a folder");
    (runs, folder)
}

fn only_folder(runs: &Path) -> Option<PathBuf> {
    std::fs::read_dir(runs).ok()?.flatten().map(|entry| entry.path()).next()
}

#[test]
fn one_of_many_wins_for_each_resource_version() {
    let (_runs, folder) = run("A-04", 1, 20, PASS);
    for file in ["history.jsonl", "schedule.json", "result.json", "report.html", "junit.xml"] {
        assert!(folder.join(file).exists(), "{file} is missing");
    }
    let judged_again =
        Command::new(navarch()).args(["chaos", "check"]).arg(&folder).output().expect("it runs");
    assert_eq!(judged_again.status.code(), Some(PASS), "{}", String::from_utf8_lossy(&judged_again.stdout));
}

/// Exit code, standard output and standard error of a run against a cluster that `up` made.
fn run_against(cluster: &Cluster, scenario: &str, runs: &Path, more: &[&str]) -> (i32, String, String) {
    let variables = cluster.etcd_variables();
    let variable = |name: &str| {
        let found = variables.iter().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value.clone()).expect("etcd.env has it")
    };
    let output = Command::new(navarch())
        .args(["chaos", "run", scenario, "--seed", "1", "--against", &variable("ETCDCTL_ENDPOINTS")])
        .args(["--cacert", &variable("ETCDCTL_CACERT"), "--cert", &variable("ETCDCTL_CERT")])
        .args(["--key", &variable("ETCDCTL_KEY"), "--runs"])
        .arg(runs)
        .args(more)
        .output();
    ended(output)
}

/// Exit code, standard output and standard error.
fn ended(output: std::io::Result<Output>) -> (i32, String, String) {
    let output = output.expect("navarch runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// All that is known of a key of the cluster's users.
fn own_key(cluster: &Cluster) -> serde_json::Value {
    let told: serde_json::Value =
        serde_json::from_str(&cluster.etcdctl("get /users/own -w json")).expect("JSON");
    told["kvs"].clone()
}

#[test]
fn a_live_cluster_is_watched_and_left_as_it_was() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    cluster.etcdctl("put /users/own untouched");
    let before = own_key(&cluster);
    let runs = tempfile::tempdir().expect("a folder");
    let (code, said, noted) = run_against(&cluster, "S-01", runs.path(), &["--time", "6"]);
    assert_eq!(code, PASS, "{noted}{said}");
    assert!(said.contains("hash-equal: a hash is of everybody's keys"), "{said}");
    let folder = only_folder(runs.path()).expect("the run has a folder");
    let result = std::fs::read_to_string(folder.join("result.json")).expect("a result");
    let result: serde_json::Value = serde_json::from_str(&result).expect("JSON");
    let properties = result["properties"].as_array().expect("properties");
    let judged = |name: &str| properties.iter().any(|property| property["property"] == name);
    assert!(judged("strict-serializability") && judged("watch-complete"));
    assert!(!judged("hash-equal") && !judged("no-crash") && !judged("core-progress"));
    assert_eq!(result["faults"].as_array().map(Vec::len), Some(0));
    assert_eq!(cluster.etcdctl("get /navarch-chaos/ --prefix --keys-only"), "");
    assert_eq!(own_key(&cluster), before);
}

#[test]
fn a_live_cluster_is_broken_only_by_who_types_its_name() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    let runs = tempfile::tempdir().expect("a folder");
    let (code, _, unnamed) = run_against(&cluster, "S-03", runs.path(), &["--faults"]);
    assert_eq!(code, HARNESS_ERROR, "{unnamed}");
    let name = unnamed.split("--cluster-name ").nth(1).and_then(|rest| rest.split(' ').next());
    let name = name.unwrap_or_else(|| panic!("it does not say what to type: {unnamed}"));
    let (code, _, misnamed) =
        run_against(&cluster, "S-03", runs.path(), &["--faults", "--cluster-name", "production"]);
    assert_eq!(code, HARNESS_ERROR, "{misnamed}");
    assert!(misnamed.contains(&format!("this cluster is {name}, not production")), "{misnamed}");
    assert_eq!(only_folder(runs.path()), None, "nothing was run");

    let pids: Vec<String> = (1..=3)
        .map(|number| format!("server-{number}={}", cluster.pid(&format!("server-{number}"))))
        .collect();
    let mut flags = vec!["--faults", "--cluster-name", name, "--time", "24"];
    flags.extend(pids.iter().flat_map(|pid| ["--pid", pid]));
    let (code, said, noted) = run_against(&cluster, "S-03", runs.path(), &flags);
    assert_eq!(code, PASS, "{noted}{said}");
    assert!(said.contains("seen to happen"), "{said}");
    for number in 1..=3 {
        let pid = cluster.pid(&format!("server-{number}"));
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
        assert!(!stat.contains(") T "), "server-{number} stands still");
    }
}

/// A run of A-03 through the Kubernetes API alone, as a user would call it.
fn through_kubernetes(kubeconfig: &Path, runs: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(navarch());
    command.args(["chaos", "run", "A-03", "--seed", "1", "--against"]);
    command.arg(kubeconfig).arg("--runs").arg(runs).args(more);
    command
}

const CONTEXTS: &[&str] = &["--context", "server-1,server-2,server-3"];
const NAMESPACE_SEEN: Duration = Duration::from_secs(60);
const ENDED: Duration = Duration::from_secs(30);

/// The namespaces of runs.
fn of_runs(kubectl: &Kubectl) -> String {
    kubectl.ok("get namespaces -l navarch-chaos -o name")
}

#[test]
fn a_kubeconfig_is_enough_and_a_namespace_of_its_own_is_all_that_is_used() {
    let cluster = Cluster::start(Size { servers: 3, agents: 0 });
    let kubectl = cluster.kubectl("1.36");
    kubectl.ok("create configmap chaos-0 --from-literal=own=untouched");
    eventually(NAMESPACE_SEEN, "every namespace has what controllers put there", || {
        let namespaces = kubectl.ok("get namespaces -o name");
        let roots = kubectl.ok("get configmaps -A -o name --field-selector metadata.name=kube-root-ca.crt");
        expect_that(roots.lines().count() == namespaces.lines().count(), format!("{namespaces}{roots}"))
    });
    let before = kubectl.ok("get configmaps -A -o json");
    let (kubeconfig, runs) = (cluster.dir().join("kubeconfig"), tempfile::tempdir().expect("a folder"));
    let (code, said, noted) =
        ended(through_kubernetes(&kubeconfig, runs.path(), &[CONTEXTS, &["--time", "6"]].concat()).output());
    assert_eq!(code, PASS, "{noted}{said}");
    assert!(said.contains("strict-serializability: the store's own API was not asked"), "{said}");
    let folder = only_folder(runs.path()).expect("the run has a folder");
    let result = std::fs::read_to_string(folder.join("result.json")).expect("a result");
    let result: serde_json::Value = serde_json::from_str(&result).expect("JSON");
    let properties = result["properties"].as_array().expect("properties");
    for name in ["object-compared", "object-patched", "object-current", "watch-reliable", "log-agreement"] {
        let judged = properties.iter().find(|property| property["property"] == name);
        assert!(judged.is_some_and(|judged| judged["checked"].as_u64() > Some(10)), "{name}: {judged:?}");
    }
    assert_eq!(of_runs(&kubectl), "", "the namespace is gone");
    assert_eq!(kubectl.ok("get configmaps -A -o json"), before);

    let mut run = Running::start(through_kubernetes(&kubeconfig, runs.path(), &["--time", "60"]));
    eventually(NAMESPACE_SEEN, "the run works", || {
        let namespaces = of_runs(&kubectl);
        expect_that(namespaces.contains("namespace/navarch-chaos-"), namespaces)
    });
    succeed("kill", &["-INT", &run.0.id().to_string()]);
    assert_eq!(run.ended(), Some(HARNESS_ERROR), "a run that was stopped says so");
    assert_eq!(of_runs(&kubectl), "", "the namespace is gone");
}

#[test]
fn a_kubeconfig_that_is_of_no_use_is_said_to_be() {
    let cluster = Cluster::start(Size { servers: 1, agents: 0 });
    let (kubeconfig, runs) = (cluster.dir().join("kubeconfig"), tempfile::tempdir().expect("a folder"));
    let refused = |kubeconfig: &Path, more: &[&str]| {
        let (code, _, noted) = ended(through_kubernetes(kubeconfig, runs.path(), more).output());
        assert_eq!(code, HARNESS_ERROR, "{noted}");
        assert_eq!(only_folder(runs.path()), None, "nothing was run");
        noted
    };
    let told = refused(&kubeconfig, &["--context", "production"]);
    assert!(told.contains("there is no context production; there are server-1"), "{told}");
    let told = refused(&kubeconfig, &["--faults", "--cluster-name", "production"]);
    assert!(told.contains("this cluster is server-1, not production"), "{told}");
    let text = std::fs::read_to_string(&kubeconfig).expect("a kubeconfig");
    let changed = |from: &str, to: &str| {
        let path = runs.path().with_extension("kubeconfig");
        std::fs::write(&path, text.replace(from, to)).expect("a kubeconfig");
        path
    };
    let nobody = changed("\"client-", "\"former-client-");
    let told = refused(&nobody, &[]);
    assert!(told.contains("(401)") || told.contains("(403)"), "{told}");
    let elsewhere = changed(&format!(":{}", cluster.api_port(1)), ":1");
    let told = refused(&elsewhere, &[]);
    assert!(told.contains("127.0.0.1:1 cannot be reached"), "{told}");
    std::fs::remove_file(&elsewhere).expect("it was there");
    assert_eq!(of_runs(&cluster.kubectl("1.36")), "");
}

/// A run that ends with the test.
struct Running(Child);

impl Running {
    fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("navarch runs"))
    }

    /// Its exit code once it has ended.
    fn ended(&mut self) -> Option<i32> {
        let pid = self.0.id();
        eventually(ENDED, "the run ends", || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            expect_that(stat.contains(") Z "), stat)
        });
        self.0.wait().expect("it has ended").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _already_ended = self.0.kill();
        let _already_reaped = self.0.wait();
    }
}

#[test]
fn plans_are_made_from_seeds_and_what_is_no_scenario_is_refused() {
    let plan = |arguments: &[&str]| {
        let output =
            Command::new(navarch()).args(["chaos", "plan"]).args(arguments).output().expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let first = plan(&["S-01", "--seed", "7"]);
    assert_eq!(first.0, Some(PASS));
    assert!(first.1.contains("Kill"), "{}", first.1);
    assert_eq!(first, plan(&["S-01", "--seed", "7"]));
    assert_ne!(first, plan(&["S-01", "--seed", "8"]));
    assert_eq!(plan(&["no-such-scenario"]).0, Some(HARNESS_ERROR));
}
