//! Real servers on this machine, and that every fault is felt by them.
//!
//! Each test works on a thread in namespaces of its own; needs root.

mod clock;
mod damage;
mod disk;
mod etcd;
mod members;
mod network;
mod process;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chaos::cluster::{Cluster, ClusterOptions, Endpoint, in_own_namespaces};
use chaos::faults::{Fault, Nemesis};
use chaos::history::{self, Step};
use proto::etcdserverpb::kv_client::KvClient;
use proto::etcdserverpb::{PutRequest, RangeRequest};

/// How long a member may take to serve again.
const SERVES_MAX: Duration = Duration::from_secs(30);

/// How long a call may take.
const ANSWERS_MAX: Duration = Duration::from_secs(3);

/// Three of ours.
fn three(dir: &Path) -> ClusterOptions {
    ClusterOptions { seed: 1, ..ClusterOptions::new(navarch(), dir.to_owned()) }
}

/// Does `work` with a cluster, in namespaces of its own.
fn with_cluster(options: ClusterOptions, work: impl AsyncFnOnce(&mut Cluster) + Send) {
    let done = in_own_namespaces(|| async {
        let mut cluster = Cluster::start(options).await?;
        work(&mut cluster).await;
        Ok(())
    });
    done.expect("the work is done");
}

/// Installs a fault; its number and evidence.
async fn install(nemesis: &mut Nemesis, cluster: &mut Cluster, fault: &Fault) -> (u64, String) {
    let history::Fault { fault: number, step, .. } = nemesis.install(cluster, fault).await;
    let Step::Installed { evidence } = step else { panic!("{fault:?}: {step:?}") };
    (number, evidence)
}

/// The same while somebody writes through a member: who has nothing to write does not sync.
async fn install_busy(
    nemesis: &mut Nemesis,
    cluster: &mut Cluster,
    fault: &Fault,
    member: &str,
) -> (u64, String) {
    let endpoint = cluster.endpoint(member).expect("it is a member");
    let writes = async {
        loop {
            // The fault may be in its way.
            let _answer = put_at(&endpoint, "/busy").await;
        }
    };
    tokio::select! {
        biased;
        installed = install(nemesis, cluster, fault) => installed,
        () = writes => unreachable!("nobody stops writing"),
    }
}

/// Heals a fault; the evidence.
async fn heal(nemesis: &mut Nemesis, cluster: &mut Cluster, number: u64) -> String {
    let told = nemesis.heal(cluster, number).await.expect("it was installed");
    let Step::Healed { evidence } = told.step else { panic!("{told:?}") };
    evidence
}

/// Writes a key through a member.
async fn put(cluster: &Cluster, member: &str, key: &str) -> anyhow::Result<()> {
    put_at(&cluster.endpoint(member)?, key).await
}

async fn put_at(endpoint: &Endpoint, key: &str) -> anyhow::Result<()> {
    let put = PutRequest { key: key.to_owned().into(), value: "v".into(), ..PutRequest::default() };
    let address = endpoint.address()?.timeout(ANSWERS_MAX);
    let put = async { anyhow::Ok(KvClient::new(address.connect().await?).put(put).await?) };
    tokio::time::timeout(ANSWERS_MAX, put).await??;
    Ok(())
}

/// Reads with consensus which keys there are.
async fn keys(cluster: &Cluster, member: &str, prefix: &str) -> anyhow::Result<Vec<String>> {
    let range_end = format!("{prefix}\u{7f}").into();
    let range = RangeRequest { key: prefix.to_owned().into(), range_end, ..RangeRequest::default() };
    let channel = cluster.endpoint(member)?.address()?.timeout(ANSWERS_MAX).connect().await?;
    let found = KvClient::new(channel).range(range).await?.into_inner();
    Ok(found.kvs.into_iter().map(|kv| String::from_utf8_lossy(&kv.key).into_owned()).collect())
}

/// The binary under test: what `make` built, or what cargo built beside this test.
#[expect(clippy::disallowed_methods, reason = "the Makefile tells tests where things are")]
fn navarch() -> PathBuf {
    let told = std::env::var("NAVARCH_BIN").map(PathBuf::from);
    told.unwrap_or_else(|_| {
        let test = std::env::current_exe().expect("this test is a file");
        test.ancestors().nth(2).expect("target/debug").join("navarch")
    })
}
