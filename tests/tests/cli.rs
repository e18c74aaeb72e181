//! The command line as a user meets it: help, wrong input, ports in use, and nothing left behind.

use std::net::TcpListener;
use std::process::{Command, Output};

use tests::cluster::{Cluster, Size, navarch};

fn run(arguments: &[&str]) -> Output {
    Command::new(navarch()).args(arguments).output().expect("navarch runs")
}

fn refused(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(!output.status.success(), "{arguments:?} should have failed");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_names_every_command() {
    let help = String::from_utf8_lossy(&run(&["--help"]).stdout).into_owned();
    for command in ["up", "down", "status", "server", "member", "agent"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
    }
}

#[test]
fn an_error_names_the_flag() {
    assert!(refused(&["up"]).contains("--dir"));
    assert!(refused(&["up", "--dir", "/proc/none"]).contains("--dir /proc/none"));
    assert!(refused(&["down", "--dir", "/nowhere/at/all"]).contains("--dir /nowhere/at/all"));
    assert!(refused(&["server", "--config", "/nowhere.yaml"]).contains("--config"));
    assert!(refused(&["agent", "--name", "a", "--data-dir", "/tmp"]).contains("--servers"));
}

#[test]
fn a_port_in_use_leaves_nothing_half_made() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().display().to_string();
    let error = refused(&["up", "--dir", &path, "--base-port", &port, "--agents", "0", "--detach"]);
    assert!(error.contains(&format!("port {port}")) && error.contains("--base-port"), "{error}");
    assert!(!dir.path().join("cluster.json").exists());
}

#[test]
fn down_leaves_nothing_and_up_resumes() {
    let cluster = Cluster::start(Size { servers: 1, agents: 1 });
    let netns = || {
        String::from_utf8_lossy(&Command::new("ip").args(["netns", "list"]).output().expect("ip").stdout)
            .into_owned()
    };
    let links = || {
        String::from_utf8_lossy(&Command::new("ip").args(["-o", "link"]).output().expect("ip").stdout)
            .into_owned()
    };
    let id = std::fs::read_to_string(cluster.dir().join("cluster.json")).expect("the shape");
    let id: serde_json::Value = serde_json::from_str(&id).expect("JSON");
    let prefix = format!("nv{}", id["id"].as_str().expect("an id"));
    assert!(netns().contains(&prefix) && links().contains(&prefix));
    cluster.kubectl("1.36").ok("create configmap kept --from-literal=a=b");

    let path = cluster.dir().display().to_string();
    assert!(run(&["down", "--dir", &path]).status.success());
    assert!(!netns().contains(&prefix), "a namespace is left");
    assert!(!links().contains(&prefix), "a link is left");
    let mounts = std::fs::read_to_string("/proc/mounts").expect("mounts");
    assert!(!mounts.contains(&path), "a mount is left:\n{mounts}");

    let port = cluster.api_port(1).to_string();
    let again = run(&[
        "up",
        "--detach",
        "--no-example",
        "--servers",
        "1",
        "--agents",
        "1",
        "--base-port",
        &port,
        "--dir",
        &path,
    ]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    cluster.kubectl("1.36").ok("get configmap kept");
}
