//! Real servers on this machine, and that every fault is felt by them.
//!
//! Each test works on a thread in namespaces of its own; needs root.

mod process;

use std::path::{Path, PathBuf};
use std::time::Duration;

use chaos::cluster::{Cluster, ClusterOptions, Disk, System, in_own_namespaces};
use chaos::faults::{Fault, Nemesis};
use chaos::history::{self, Step};

/// How long a member may take to serve again.
const SERVES_MAX: Duration = Duration::from_secs(30);

/// Three of ours.
fn three(dir: &Path) -> ClusterOptions {
    ClusterOptions {
        system: System::Navarch,
        servers: 3,
        dir: dir.to_owned(),
        binary: navarch(),
        disk: Disk::Folder,
        flags: Vec::new(),
    }
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

/// Heals a fault; the evidence.
async fn heal(nemesis: &mut Nemesis, cluster: &mut Cluster, number: u64) -> String {
    let told = nemesis.heal(cluster, number).await.expect("it was installed");
    let Step::Healed { evidence } = told.step else { panic!("{told:?}") };
    evidence
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
