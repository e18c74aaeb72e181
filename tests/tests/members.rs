//! Members that come, go, lose their disk, and lose each other: real processes, etcdctl, and `navarch recover`.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::json;
use tests::cluster::{Cluster, Size, navarch};
use tests::eventually::{eventually, expect_that};

const DEADLINE: Duration = Duration::from_secs(60);

/// Lines of `member list` without their addresses, or why there is no list: whoever is asked may still be a learner.
fn members(cluster: &Cluster) -> Result<Vec<String>, Vec<String>> {
    let list = cluster.ask_etcdctl("member list").map_err(|complaint| vec![complaint])?;
    let mut short: Vec<String> = list.lines().map(shorten).collect();
    short.sort();
    Ok(short)
}

fn shorten(line: &str) -> String {
    let words: Vec<&str> = line.split(", ").collect();
    let role = if words.last() == Some(&"true") { " learner" } else { "" };
    format!("{} {} {}{role}", words[0], words[1], words[2])
}

fn wait_for_members(cluster: &Cluster, expected: &[&str]) {
    eventually(DEADLINE, "the members", || {
        let now = members(cluster)?;
        if now == expected { Ok(()) } else { Err(now) }
    });
}

fn wait_for_write(cluster: &Cluster, key: &str) {
    eventually(DEADLINE, "a write", || expect_that(cluster.try_etcdctl(&format!("put {key} v")), "refused"));
}

/// A folder like those that `up` makes, for one more server.
fn prepare(cluster: &Cluster, name: &str, cluster_name: &str, join: &str) -> String {
    let ports: Vec<u16> = (0..4)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
        .collect::<Vec<_>>()
        .iter()
        .map(|listener| listener.local_addr().expect("an address").port())
        .collect();
    let at = |port: u16| format!("127.0.0.1:{port}");
    let dir = cluster.dir().join(name);
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join("log"), "").expect("a log");
    let config = json!({
        "name": name,
        "data-dir": dir.join("data"),
        "pki-dir": cluster.dir().join("pki"),
        "init": true,
        "cluster-name": cluster_name,
        "join": [join],
        "api-listen": at(ports[0]),
        "gateway-listen": at(ports[1]),
        "client-listen": at(ports[2]),
        "peer-listen": at(ports[3]),
    });
    fs::write(dir.join("config.yaml"), config.to_string()).expect("a configuration");
    at(ports[3])
}

fn setting(cluster: &Cluster, server: &str, key: &str) -> String {
    let text = fs::read_to_string(cluster.dir().join(server).join("config.yaml")).expect("a configuration");
    let config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    config[key].as_str().expect("a string").to_owned()
}

#[test]
fn a_server_joins_and_one_that_lost_its_disk_comes_back() {
    let mut cluster = Cluster::start(Size { servers: 3, agents: 0 });
    let token = setting(&cluster, "server-1", "cluster-name");
    let peer = setting(&cluster, "server-2", "peer-listen");
    cluster.etcdctl("put before v");

    prepare(&cluster, "server-4", &token, &peer);
    cluster.restart("server-4");
    let four = ["1 started server-1", "2 started server-2", "3 started server-3", "4 started server-4"];
    wait_for_members(&cluster, &four);

    cluster.etcdctl("member remove 4");
    wait_for_members(&cluster, &four[..3]);
    eventually(DEADLINE, "the removed server says so", || {
        let log = fs::read_to_string(cluster.dir().join("server-4/log")).unwrap_or_default();
        expect_that(log.contains("was removed from the cluster"), log)
    });

    cluster.signal("server-3", "KILL");
    fs::remove_dir_all(cluster.dir().join("server-3/data/store")).expect("the disk is wiped");
    cluster.restart("server-3");
    wait_for_members(&cluster, &["1 started server-1", "2 started server-2", "5 started server-3"]);
    cluster.signal("server-2", "KILL");
    wait_for_write(&cluster, "after");
    assert_eq!(cluster.etcdctl("get before --print-value-only"), "v\n");
}

fn recover(cluster: &Cluster, server: &str, typed: &str) -> Output {
    let mut child = Command::new(navarch())
        .arg("recover")
        .arg("--data-dir")
        .arg(cluster.dir().join(server).join("data"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("navarch runs");
    let mut input = child.stdin.take().expect("a pipe");
    writeln!(input, "{typed}").expect("it listens");
    drop(input);
    child.wait_with_output().expect("it ends")
}

#[test]
fn two_of_three_lost_is_refused_until_an_operator_decides() {
    let mut cluster = Cluster::start(Size { servers: 3, agents: 0 });
    let token = setting(&cluster, "server-1", "cluster-name");
    let alone = format!("--endpoints=https://{}", setting(&cluster, "server-3", "client-listen"));
    cluster.etcdctl("put before v");
    eventually(DEADLINE, "every server has it", || {
        let read = cluster.etcdctl(&format!("{alone} get before --consistency=s --print-value-only"));
        expect_that(read == "v\n", read)
    });
    cluster.signal("server-1", "KILL");
    cluster.signal("server-2", "KILL");
    assert!(!cluster.try_etcdctl(&format!("{alone} --command-timeout=15s put lonely v")));
    assert!(!cluster.try_etcdctl(&format!("{alone} --command-timeout=15s get before")));
    let read = cluster.etcdctl(&format!("{alone} get before --consistency=s --print-value-only"));
    assert_eq!(read, "v\n", "what is here may still be read");

    let in_use = recover(&cluster, "server-3", &token);
    assert!(!in_use.status.success(), "its server still runs");
    cluster.signal("server-3", "KILL");
    let mistyped = recover(&cluster, "server-3", "yes");
    assert!(!mistyped.status.success());
    let done = recover(&cluster, "server-3", &token);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.contains("given up:    server-1 (id 1") && said.contains("begins at revision 10"), "{said}");

    cluster.restart("server-3");
    wait_for_write(&cluster, &format!("{alone} after"));
    let found = cluster.etcdctl(&format!("{alone} get before -w json"));
    let found: serde_json::Value = serde_json::from_str(&found).expect("JSON");
    let revision = found["header"]["revision"].as_i64().expect("a revision");
    assert!(revision > 1_000_000_000 && found["kvs"][0]["mod_revision"].as_i64() < Some(1000), "{found}");

    // Those that were given up come back together: what they hold is no majority of anything any more.
    cluster.restart("server-1");
    cluster.restart("server-2");
    eventually(DEADLINE, "all vote again, under other ids", || {
        let mut names: Vec<String> =
            members(&cluster)?.iter().filter_map(|line| Some(line.split_once(' ')?.1.to_owned())).collect();
        names.sort();
        let all = ["started server-1", "started server-2", "started server-3"];
        if names == all { Ok(()) } else { Err(names) }
    });
    for server in ["server-1", "server-2"] {
        assert!(cluster.dir().join(server).join("data/store/set-aside-1/log").exists(), "{server}");
        let endpoint = format!("--endpoints=https://{}", setting(&cluster, server, "client-listen"));
        assert_eq!(cluster.etcdctl(&format!("{endpoint} get after --print-value-only")), "v\n");
    }
}
