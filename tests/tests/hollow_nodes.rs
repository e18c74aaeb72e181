//! Many nodes, all in one process: heard of by few leases, and lost together.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;
use tests::cluster::{Cluster, Size};
use tests::eventually::{eventually, expect_that};
use tests::kubectl::Kubectl;

const NODES: usize = 50;
const SOON: Duration = Duration::from_secs(90);

#[test]
fn fifty_hollow_nodes_are_kept_alive_by_their_gateways_leases() {
    let count = NODES.to_string();
    // `up` returns when all nodes are Ready.
    let mut cluster = Cluster::start_with(Size { servers: 3, agents: 0 }, &["--hollow-agents", &count]);
    let kubectl = cluster.kubectl("1.36");
    assert_eq!(with_ready(&kubectl, "True").len(), NODES);

    let first = eventually(SOON, "the leases name every node", || named_by_leases(&kubectl));
    eventually(SOON, "the leases are renewed", || {
        let now = named_by_leases(&kubectl)?;
        let renewed = now.iter().any(|lease| !first.contains(lease));
        expect_that(renewed, "no renewal".to_owned())
    });
    eventually(SOON, "every node has a network of its own", || {
        let networks: BTreeSet<String> = nodes(&kubectl)
            .iter()
            .filter_map(|node| Some(node["spec"]["podCIDR"].as_str()?.to_owned()))
            .collect();
        expect_that(networks.len() == NODES, format!("{} networks", networks.len()))
    });

    kubectl.ok("delete node hollow-7");
    kubectl.ok("label node hollow-8 kubernetes.io/os-");
    eventually(SOON, "a node that lives is there again, with what it says of itself", || {
        let label = kubectl.run("get node hollow-8 -o jsonpath={.metadata.labels.kubernetes\\.io/os}");
        expect_that(label.stdout == "linux", label.stdout + &label.stderr)?;
        expect_that(with_ready(&kubectl, "True").len() == NODES, "not all are Ready".to_owned())
    });

    cluster.signal("hollow", "KILL");
    eventually(SOON, "all are lost with their process", || {
        let lost = with_ready(&kubectl, "Unknown").len();
        expect_that(lost == NODES, format!("{lost} of {NODES} are Unknown"))
    });
    cluster.restart("hollow");
    eventually(SOON, "all are back", || {
        let ready = with_ready(&kubectl, "True").len();
        expect_that(ready == NODES, format!("{ready} of {NODES} are Ready"))
    });
}

fn nodes(kubectl: &Kubectl) -> Vec<Value> {
    items(kubectl, "get nodes -o json")
}

fn items(kubectl: &Kubectl, arguments: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&kubectl.run(arguments).stdout).unwrap_or_default();
    list["items"].as_array().cloned().unwrap_or_default()
}

fn with_ready(kubectl: &Kubectl, status: &str) -> Vec<String> {
    let is = |node: &Value| {
        let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == status)
    };
    nodes(kubectl).iter().filter(|node| is(node)).map(|node| node["metadata"]["name"].to_string()).collect()
}

/// The times of renewal of the gateways' leases, once these name every node.
fn named_by_leases(kubectl: &Kubectl) -> Result<Vec<String>, String> {
    let leases = items(kubectl, "get leases -n kube-node-lease -o json");
    let named: BTreeSet<String> = leases
        .iter()
        .filter_map(|lease| lease["metadata"]["annotations"]["navarch.io/nodes"].as_str())
        .flat_map(|nodes| nodes.split(',').map(str::to_owned).collect::<Vec<_>>())
        .filter(|name| !name.is_empty())
        .collect();
    expect_that(named.len() == NODES, format!("{} nodes are named", named.len()))?;
    Ok(leases.iter().map(|lease| lease["spec"]["renewTime"].to_string()).collect())
}
