//! Many clients, each with one connection and one request at a time, for some seconds.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::Plan;
use crate::http::Ask;
use crate::site::Site;
use crate::table::{Measured, Table};

/// What an object of 1 KB holds beside its metadata.
const PAYLOAD_BYTES: usize = 800;
const ROLES: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces";

/// When clients stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Time(Duration),
    /// How many requests each client makes.
    Count(usize),
}

/// Lets `clients` ask what `make` says for (client, number) until the time is over.
pub(crate) async fn run(
    site: &Site,
    clients: usize,
    until: Until,
    make: impl Fn(usize, usize) -> Ask + Send + Sync + 'static,
) -> Result<Measured> {
    let make = Arc::new(make);
    let mut connections = Vec::new();
    for client in 0..clients {
        connections.push(site.connect(client).await?);
    }
    let mut running = Vec::new();
    let began = Instant::now();
    for (client, mut connection) in connections.into_iter().enumerate() {
        let make = Arc::clone(&make);
        let work = async move {
            let (mut times, mut bytes) = (Vec::new(), 0);
            loop {
                let enough = match until {
                    Until::Time(time) => began.elapsed() >= time,
                    Until::Count(count) => times.len() >= count,
                };
                if enough {
                    return anyhow::Ok((times, bytes));
                }
                let ask = make(client, times.len());
                let asked = Instant::now();
                bytes += connection.weigh(&ask).await?;
                times.push(asked.elapsed());
            }
        };
        running.push(spawn(work));
    }
    let mut measured = Measured::default();
    for client in running {
        let (times, bytes) = client.await??;
        measured.times.extend(times);
        measured.bytes += bytes;
    }
    measured.elapsed = began.elapsed();
    Ok(measured)
}

/// A client of its own. What goes wrong in it is its result.
#[expect(
    clippy::disallowed_methods,
    reason = "clients end with the process, and each is waited for or aborted"
)]
pub(crate) fn spawn<T: Send + 'static>(client: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(client)
}

pub(crate) fn config_map(name: &str) -> String {
    json!({"metadata": {"name": name}, "data": {"payload": "x".repeat(PAYLOAD_BYTES)}}).to_string()
}

pub(crate) async fn config_maps(site: &Site, plan: &Plan, table: &mut Table) -> Result<()> {
    let until = Until::Time(plan.time);
    let path = site.path("configmaps");
    let create = {
        let path = path.clone();
        move |client: usize, number: usize| {
            Ask::create(path.clone(), config_map(&format!("c-{client}-{number}")))
        }
    };
    table.load("create ConfigMap", run(site, plan.clients, until, create).await?);
    let get = {
        let path = path.clone();
        move |client: usize, number: usize| Ask::get(format!("{path}/c-{client}-{}", number % 2))
    };
    table.load("get ConfigMap", run(site, plan.clients, until, get.clone()).await?);
    let in_protobuf = move |client: usize, number: usize| {
        get(client, number).with("accept", "application/vnd.kubernetes.protobuf")
    };
    table.load("get ConfigMap in protobuf", run(site, plan.clients, until, in_protobuf).await?);
    let patch = move |client: usize, number: usize| {
        let body = json!({"data": {"number": number.to_string()}}).to_string();
        Ask::merge(format!("{path}/c-{client}-0"), body)
    };
    table.load("merge patch of a ConfigMap", run(site, plan.clients, until, patch).await?);
    Ok(())
}

/// Nobody schedules them, so that only the API works.
pub(crate) async fn pods(site: &Site, plan: &Plan, table: &mut Table) -> Result<()> {
    let path = site.path("pods");
    let create = move |client: usize, number: usize| {
        let pod = json!({
            "metadata": {"name": format!("p-{client}-{number}"), "annotations": {"payload": "x".repeat(600)}},
            "spec": {
                "schedulerName": "nobody",
                "containers": [{"name": "c", "image": "localhost/none:1", "command": ["sleep", "1"]}],
            },
        });
        Ask::create(path.clone(), pod.to_string())
    };
    table.load("create Pod", run(site, plan.clients, Until::Time(plan.time), create).await?);
    Ok(())
}

/// What a role costs: the same reads by someone who may do everything, and by someone whom a role allows them. Both
/// are impersonated, so that nothing else differs.
pub(crate) async fn roles(site: &Site, plan: &Plan, table: &mut Table) -> Result<()> {
    let mut connection = site.connect(0).await?;
    let path = site.path("configmaps");
    connection.ask(&Ask::create(path.clone(), config_map("read"))).await?;
    let rules = [json!({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]})];
    let role = json!({"metadata": {"name": "reader"}, "rules": rules}).to_string();
    let binding = json!({
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "reader"}],
    });
    connection.ask(&Ask::create(format!("{ROLES}/{}/roles", site.namespace), role)).await?;
    let bindings = format!("{ROLES}/{}/rolebindings", site.namespace);
    connection.ask(&Ask::create(bindings, binding.to_string())).await?;
    let by_role = Ask::get(format!("{path}/read")).with("impersonate-user", "reader");
    // A role counts a moment after it is written, on each server.
    for client in 0..plan.clients.min(16) {
        let mut connection = site.connect(client).await?;
        while connection.ask(&by_role).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let by_group = by_role.clone().with("impersonate-group", "system:masters");
    for (who, ask) in [("everything is allowed to", by_group), ("a role allows it to", by_role)] {
        let what = format!("get ConfigMap by whom {who}");
        let make = move |_: usize, _: usize| ask.clone();
        table.load(&what, run(site, plan.clients, Until::Time(plan.time), make).await?);
    }
    Ok(())
}
