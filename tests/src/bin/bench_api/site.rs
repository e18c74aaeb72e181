//! What is measured: three servers of ours, started for it, or whatever a kubeconfig leads to.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use tests::cluster::{Cluster, Size};

use crate::Plan;
use crate::http::{Ask, Connection, Target};
use crate::kubeconfig;

const SERVERS: u16 = 3;
const ACCOUNT_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(crate) struct Site {
    targets: Vec<Target>,
    pids: Vec<i32>,
    /// Where everything happens.
    pub(crate) namespace: String,
    /// Ours, if we started it; its drop ends it.
    cluster: Option<Cluster>,
}

impl Site {
    pub(crate) async fn open(plan: &Plan) -> Result<Self> {
        let mut cluster = None;
        let (accesses, pids) = match &plan.kubeconfig {
            Some(path) => (kubeconfig::read(path, false)?, plan.pids.clone()),
            None => {
                let started = cluster.insert(Cluster::start(Size { servers: SERVERS, agents: 1 }));
                let pids = (1..=SERVERS).map(|number| started.pid(&format!("server-{number}"))).collect();
                (kubeconfig::read(&started.dir().join("kubeconfig"), true)?, pids)
            }
        };
        let targets = accesses.iter().map(Target::new).collect::<Result<Vec<Target>>>()?;
        if targets.is_empty() {
            bail!("the kubeconfig has no current context");
        }
        let namespace = format!("bench-api-{}", std::process::id());
        let site = Self { targets, pids, namespace, cluster };
        let mut connection = site.connect(0).await?;
        let namespace = json!({"metadata": {"name": site.namespace}}).to_string();
        connection.ask(&Ask::create("/api/v1/namespaces", namespace)).await?;
        // Pods are refused before their account is there.
        let account = Ask::get(site.path("serviceaccounts/default"));
        let waited = tokio::time::timeout(ACCOUNT_MAX, async {
            while connection.ask(&account).await.is_err() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        waited.await.context("the namespace gets no service account")?;
        Ok(site)
    }

    /// A connection for a client; clients are spread over the servers.
    pub(crate) async fn connect(&self, client: usize) -> Result<Connection> {
        self.targets[client % self.targets.len()].connect().await
    }

    /// A path in the namespace of the core group.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/api/v1/namespaces/{}/{rest}", self.namespace)
    }

    /// The resident memory of each process, in MiB.
    pub(crate) fn weights(&self) -> Vec<u64> {
        self.pids.iter().map(|pid| tests::process::resident_kib(&pid.to_string()) / 1024).collect()
    }

    pub(crate) async fn close(self) -> Result<()> {
        if self.cluster.is_none() {
            let path = format!("/api/v1/namespaces/{}", self.namespace);
            self.connect(0).await?.ask(&Ask::delete(path)).await?;
        }
        Ok(())
    }
}
