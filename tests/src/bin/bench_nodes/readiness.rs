//! Which nodes are Ready, read from one watch of kubectl's.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use tests::cluster::Cluster;
use tokio::sync::watch;

const SHOWN: &str = r#"jsonpath={.metadata.name} {.status.conditions[?(@.type=="Ready")].status}{"\n"}"#;

pub(crate) struct Readiness {
    kubectl: Child,
    seen: watch::Receiver<Seen>,
}

#[derive(Default)]
struct Seen {
    ready: BTreeMap<String, bool>,
    /// How often a node was seen to be Ready no more.
    losses: usize,
}

impl Readiness {
    pub(crate) fn watch(cluster: &Cluster) -> Self {
        let mut kubectl = cluster
            .kubectl("1.36")
            .command("get nodes -w -o")
            .arg(SHOWN)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(kubectl.stdout.take().unwrap()).lines();
        let (tell, seen) = watch::channel(Seen::default());
        let read = move || {
            for line in lines.map_while(Result::ok) {
                let (node, status) = line.split_once(' ').unwrap_or((&line, ""));
                tell.send_modify(|seen| {
                    let is_ready = status == "True";
                    let was_ready = seen.ready.insert(node.to_owned(), is_ready).unwrap_or(false);
                    seen.losses += usize::from(was_ready && !is_ready);
                });
            }
        };
        std::thread::Builder::new().spawn(read).unwrap();
        Self { kubectl, seen }
    }

    /// Until so many are Ready at a time.
    pub(crate) async fn all(&self, nodes: usize, deadline: Duration) {
        let mut seen = self.seen.clone();
        let all = seen.wait_for(|seen| seen.ready() >= nodes);
        let in_time = tokio::time::timeout(deadline, all).await.is_ok();
        assert!(in_time, "{} of {nodes} nodes are Ready", self.seen.borrow().ready());
    }

    /// How often a node has ceased to be Ready so far.
    pub(crate) fn losses(&self) -> usize {
        self.seen.borrow().losses
    }
}

impl Seen {
    fn ready(&self) -> usize {
        self.ready.values().filter(|ready| **ready).count()
    }
}

impl Drop for Readiness {
    fn drop(&mut self) {
        let _already_ended = self.kubectl.kill();
        let _already_reaped = self.kubectl.wait();
    }
}
