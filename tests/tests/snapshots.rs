//! Snapshots of a cluster of real processes: what `etcdctl snapshot save` wrote becomes another cluster.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tests::cluster::{Cluster, Size, navarch, run};
use tests::eventually::eventually;

const SERVERS: [&str; 3] = ["server-1", "server-2", "server-3"];
const DEADLINE: Duration = Duration::from_secs(60);

fn config(cluster: &Cluster, server: &str) -> Value {
    let text = std::fs::read_to_string(cluster.dir().join(server).join("config.yaml")).expect("a config");
    serde_json::from_str(&text).expect("`up` writes YAML that is JSON")
}

fn text<'a>(config: &'a Value, key: &str) -> &'a str {
    config[key].as_str().expect("a text")
}

fn members(config: &Value) -> String {
    let members = config["initial-cluster"].as_array().expect("a list");
    members.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
}

/// The keys of the test, with every number that a client can see.
fn kept(cluster: &Cluster) -> Value {
    let answer = cluster.etcdctl("get --prefix kept/ -w json");
    serde_json::from_str::<Value>(&answer).expect("JSON")["kvs"].clone()
}

fn clusters(cluster: &Cluster) -> Vec<u64> {
    let status: Value = serde_json::from_str(&cluster.etcdctl("endpoint status -w json")).expect("JSON");
    let ids = status.as_array().expect("a list").iter();
    ids.filter_map(|one| one["Status"]["header"]["cluster_id"].as_u64()).collect()
}

fn snapshot(arguments: &[&str]) -> String {
    let output = Command::new(navarch()).arg("snapshot").args(arguments).output().expect("navarch runs");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "navarch snapshot {arguments:?}: {said}");
    said
}

#[test]
fn what_etcdctl_saved_becomes_a_cluster_of_its_own() {
    let mut cluster = Cluster::start(Size { servers: 3, agents: 0 });
    let granted = cluster.etcdctl("lease grant 3600");
    let lease = granted.split(' ').nth(1).expect("lease <id> granted").to_owned();
    for n in 0..40 {
        cluster.etcdctl(&format!("put kept/{} {n}-$(head -c {} /dev/zero | tr '\\0' v)", n % 15, n * 100));
    }
    cluster.etcdctl(&format!("put --lease={lease} kept/leased x"));
    cluster.etcdctl("del kept/3");
    let before = kept(&cluster);
    let first = before[0]["create_revision"].as_i64().expect("a revision");
    let file = cluster.dir().join("saved");
    let file = file.to_str().expect("a path");
    let first_config = config(&cluster, SERVERS[0]);
    let client = text(&first_config, "client-listen").to_owned();
    cluster.etcdctl(&format!("--endpoints https://{client} snapshot save {file}"));
    cluster.etcdctl("put kept/after-the-snapshot x");
    let old = clusters(&cluster);
    let status: Value = serde_json::from_str(&snapshot(&["status", "-o", "json", file])).expect("JSON");
    assert!(status["revision"].as_i64() > Some(first), "{status}");

    for server in SERVERS {
        cluster.signal(server, "KILL");
    }
    for server in SERVERS {
        let config = config(&cluster, server);
        let (data, name) = (text(&config, "data-dir"), text(&config, "name"));
        let token = text(&config, "cluster-name");
        let members = members(&config);
        let arguments = ["restore", file, "--data-dir", data, "--name", name, "--cluster-name", token];
        let arguments = [&arguments[..], &["--initial-cluster", &members]].concat();
        let refused =
            Command::new(navarch()).arg("snapshot").args(&arguments).output().expect("navarch runs");
        assert!(!refused.status.success(), "a store that is there stays");
        std::fs::rename(format!("{data}/store"), format!("{data}/old-store")).expect("it is moved away");
        snapshot(&arguments);
        cluster.restart(server);
    }
    eventually(DEADLINE, "every member answers", || {
        if cluster.try_etcdctl("endpoint health") { Ok(()) } else { Err("not healthy") }
    });
    assert_eq!(kept(&cluster), before);
    let new = clusters(&cluster);
    assert!(new.len() == 3 && new.iter().all(|id| *id == new[0]), "{new:?}");
    assert!(!old.contains(&new[0]), "another cluster");
    let events = format!("{file}.events");
    run("mkfifo", &[&events]);
    let deleted = cluster.etcdctl(&format!(
        "watch --prefix kept/ --rev={first} >'{events}' & timeout 60 sed -n '/^DELETE$/{{n;p;q}}' <'{events}'; kill $!"
    ));
    assert_eq!(deleted, "kept/3\n", "a watch from before the snapshot");
    let left = cluster.etcdctl(&format!("lease timetolive --keys {lease}"));
    assert!(left.contains("granted with TTL(3600s)") && left.contains("kept/leased"), "{left}");
    cluster.etcdctl("put kept/new x");
    assert_eq!(cluster.etcdctl("get kept/new --print-value-only"), "x\n");
}
