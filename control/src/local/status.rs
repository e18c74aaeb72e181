//! `navarch status`: what the members say of themselves, and the nodes and pods that the API knows.

use anyhow::{Context, Result};
use client::{Client, HasMetadata, ListOptions};
use k8s_openapi::api::core::v1::{Node, Pod};
use proto::etcdserverpb::StatusResponse;
use serde::Serialize;

use super::layout::Layout;
use super::{etcd, report};
use crate::cli::{Output, StatusArgs};

/// All that `status` shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ClusterStatus {
    pub(crate) members: Vec<Member>,
    pub(crate) nodes: Vec<NodeRow>,
    pub(crate) pods: Vec<PodRow>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Member {
    pub(crate) name: String,
    /// Absent when the member does not answer, as all that follows.
    pub(crate) id: Option<u64>,
    pub(crate) role: &'static str,
    pub(crate) term: Option<u64>,
    pub(crate) applied_index: Option<u64>,
    pub(crate) revision: Option<i64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeRow {
    pub(crate) name: String,
    pub(crate) status: String,
    pub(crate) address: String,
    pub(crate) pod_cidr: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PodRow {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) phase: String,
    pub(crate) ready: bool,
    pub(crate) restarts: i32,
    pub(crate) ip: String,
    pub(crate) node: String,
}

pub(crate) async fn run(args: &StatusArgs) -> Result<()> {
    let layout = Layout::load(&args.dir)?;
    let status = gather(&layout).await?;
    match args.output {
        Output::Json => {
            println!("{}", serde_json::to_string_pretty(&status).context("cannot encode the status")?)
        }
        Output::Table => print!("{}", report::tables(&status)),
    }
    Ok(())
}

/// Asks every member, and the API of the first server that answers.
pub(crate) async fn gather(layout: &Layout) -> Result<ClusterStatus> {
    let members = etcd::statuses(layout)
        .await?
        .into_iter()
        .map(|(name, status)| member(name, status.as_ref()))
        .collect();
    let mut failure = None;
    for server in layout.server_numbers() {
        let client = super::up::admin_client(layout, server)?;
        match nodes_and_pods(&client).await {
            Ok((nodes, pods)) => return Ok(ClusterStatus { members, nodes, pods }),
            Err(error) => failure = Some(error),
        }
    }
    let shown = ClusterStatus { members, nodes: Vec::new(), pods: Vec::new() };
    eprint!("{}", report::tables(&shown));
    Err(failure.map_or_else(|| anyhow::anyhow!("the cluster has no server"), anyhow::Error::from))
        .context("no server answers; see the log files in the cluster's folder")
}

async fn nodes_and_pods(client: &Client) -> Result<(Vec<NodeRow>, Vec<PodRow>), client::ClientError> {
    let all = ListOptions::default();
    let nodes = client.list::<Node>(&all).await?.items.iter().map(node_row).collect();
    let pods = client.list::<Pod>(&all).await?.items.iter().map(pod_row).collect();
    Ok((nodes, pods))
}

fn member(name: String, status: Option<&StatusResponse>) -> Member {
    let header = status.and_then(|status| status.header.as_ref());
    let id = header.map(|header| header.member_id);
    let role = match status {
        None => "unreachable",
        Some(status) if status.is_learner => "learner",
        Some(status) if Some(status.leader) == id => "leader",
        Some(_) => "follower",
    };
    Member {
        name,
        id,
        role,
        term: status.map(|status| status.raft_term),
        applied_index: status.map(|status| status.raft_applied_index),
        revision: header.map(|header| header.revision),
    }
}

pub(crate) fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn node_row(node: &Node) -> NodeRow {
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let internal = addresses.into_iter().find(|address| address.type_ == "InternalIP");
    let cordoned = node.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
    let ready = if is_ready(node) { "Ready" } else { "NotReady" };
    NodeRow {
        name: node.name().to_owned(),
        status: if cordoned { format!("{ready},SchedulingDisabled") } else { ready.to_owned() },
        address: internal.map(|address| address.address.clone()).unwrap_or_default(),
        pod_cidr: node.spec.as_ref().and_then(|spec| spec.pod_cidr.clone()).unwrap_or_default(),
    }
}

pub(crate) fn is_pod_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn pod_row(pod: &Pod) -> PodRow {
    let status = pod.status.clone().unwrap_or_default();
    PodRow {
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
        ready: is_pod_ready(pod),
        phase: status.phase.unwrap_or_default(),
        restarts: status.container_statuses.iter().flatten().map(|container| container.restart_count).sum(),
        ip: status.pod_ip.unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default(),
    }
}
