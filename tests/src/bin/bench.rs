//! `make bench`: how long a pod takes to start, how long writes stop when a leader is killed, what a process weighs.
//!
//! Prints figures and judges none: they are one machine's, in one run.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use tests::cluster::{Cluster, Size};
use tests::eventually::{eventually, expect_that};
use tests::process::resident_kib;
use tokio::time::Instant;

const PODS: usize = 50;
const KILLS: usize = 20;
const SOON: Duration = Duration::from_secs(60);

fn main() {
    let mut cluster = Cluster::start(Size { servers: 3, agents: 2 });
    let weights = |names: &[&str]| {
        let mib = names.iter().map(|name| (resident_kib(&cluster.pid(name).to_string()) / 1024).to_string());
        mib.collect::<Vec<_>>().join(" ")
    };
    println!("idle RSS of the servers (MiB): {}", weights(&["server-1", "server-2", "server-3"]));
    println!("idle RSS of the agents (MiB): {}", weights(&["agent-1", "agent-2"]));
    println!("pod start, created to Running, {PODS} one by one: {}", percentiles(pod_starts(&cluster)));
    println!(
        "leader's kill -9 to the next acknowledged write, {KILLS} times: {}",
        percentiles(failovers(&mut cluster))
    );
}

/// Both moments are read from one watch, so kubectl's own start does not count.
fn pod_starts(cluster: &Cluster) -> Vec<Duration> {
    let kubectl = cluster.kubectl("1.36");
    let path = r#"jsonpath={.metadata.name} {.status.phase}{"\n"}"#;
    let mut watch = kubectl
        .command("get pods -w -o")
        .arg(path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("kubectl starts");
    let lines = BufReader::new(watch.stdout.take().expect("its output is piped")).lines();
    let (seen, phases) = mpsc::channel();
    let reader = std::thread::Builder::new().spawn(move || {
        for line in lines.map_while(Result::ok) {
            if seen.send((line, Instant::now())).is_err() {
                return;
            }
        }
    });
    let starts = (0..PODS)
        .map(|number| {
            let name = format!("bench-{number}");
            kubectl.ok(&format!("run {name} --image=localhost/web:1 --restart=Never"));
            let mut created = None;
            loop {
                let (line, at) = phases.recv_timeout(SOON).expect("the pod runs");
                let Some(phase) = line.strip_prefix(&format!("{name} ")) else { continue };
                let created = *created.get_or_insert(at);
                if phase == "Running" {
                    break at - created;
                }
            }
        })
        .collect();
    watch.kill().expect("kubectl ends");
    watch.wait().expect("kubectl ends");
    drop(phases);
    reader.expect("a thread").join().expect("the reader ends");
    starts
}

fn failovers(cluster: &mut Cluster) -> Vec<Duration> {
    let mut times = Vec::new();
    for round in 0..KILLS {
        let leader = eventually(SOON, "there is a leader", || cluster.leader());
        let others = (1..=3).filter(|number| format!("server-{number}") != leader);
        let endpoints: Vec<String> =
            others.map(|number| format!("https://127.0.0.1:{}", cluster.api_port(number) + 2)).collect();
        cluster.signal(&leader, "KILL");
        let killed = Instant::now();
        let put = format!("--endpoints={} --command-timeout=5s put bench {round}", endpoints.join(","));
        eventually(SOON, "a write", || if cluster.try_etcdctl(&put) { Ok(()) } else { Err("refused") });
        times.push(killed.elapsed());
        cluster.restart(&leader);
        eventually(SOON, "three members", || {
            let status = cluster.status()?;
            let members = status["members"].as_array().cloned().unwrap_or_default();
            let out = members.iter().filter(|member| member["role"] == "unreachable").count();
            expect_that(out == 0, format!("{out} are out"))
        });
    }
    times
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_millis();
    format!("p50 {} ms, p99 {} ms, max {} ms", at(50), at(99), at(100))
}
