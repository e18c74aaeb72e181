//! The servers from the outside: `/proc`, and what they count themselves.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use tests::cluster::Cluster;
use tests::process;

/// What is told of the counters, and by which of their labels it is told apart.
const COUNTERS: &[(&str, &[&str])] = &[
    ("etcd_server_proposals_committed_total", &[]),
    ("etcd_debugging_mvcc_events_total", &[]),
    ("apiserver_request_total", &["verb", "resource", "subresource"]),
    ("workqueue_adds_total", &["name"]),
];

/// Offset of the port of metrics from a server's first.
const METRICS: u16 = 4;

/// Processes and ports.
pub(crate) struct Servers(Vec<(i32, u16)>);

/// By name and labels, summed up over all servers.
pub(crate) type Counters = BTreeMap<String, f64>;

impl Servers {
    pub(crate) fn of(cluster: &Cluster, count: u16) -> Self {
        let one = |number| (cluster.pid(&format!("server-{number}")), cluster.api_port(number) + METRICS);
        Self((1..=count).map(one).collect())
    }

    /// Processor time so far, of each.
    pub(crate) fn cpu_seconds(&self) -> Vec<f64> {
        self.0.iter().map(|(pid, _)| cpu_seconds(&pid.to_string())).collect()
    }

    /// Resident memory of each.
    pub(crate) fn resident_mib(&self) -> Vec<f64> {
        self.0.iter().map(|(pid, _)| resident_mib(&pid.to_string())).collect()
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut all = Counters::new();
        for (_, port) in &self.0 {
            for (name, value) in counted(&metrics_of(*port)) {
                *all.entry(name).or_default() += value;
            }
        }
        all
    }
}

/// Processor time of a process so far; `self` is this one.
pub(crate) fn cpu_seconds(process: &str) -> f64 {
    process::cpu(process).as_secs_f64()
}

pub(crate) fn resident_mib(process: &str) -> f64 {
    process::resident_kib(process) as f64 / 1024.0
}

fn metrics_of(port: u16) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// `name{label="value"} 7` to `name value` and 7.
fn counted(exposition: &str) -> Vec<(String, f64)> {
    let lines = exposition.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let (_, wanted) = COUNTERS.iter().find(|(counter, _)| *counter == name)?;
            let mut shown = name.to_owned();
            for label in *wanted {
                let value =
                    labels.split(&format!("{label}=\"")).nth(1).and_then(|rest| rest.split('"').next());
                shown += &format!(" {}", value.unwrap_or_default());
            }
            Some((shown.trim().to_owned(), value.parse().ok()?))
        })
        .collect()
}
