//! The example that `navarch up` applies: three web pods, and one answer of one of them.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use client::{Client, ListOptions};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tokio::time::Instant;

use super::layout::Layout;
use super::status::is_pod_ready;

const REPLICAS: usize = 3;
const PORT: u16 = 8080;

const PODS_READY_MAX: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Applies the Deployment, waits for its pods, and returns what one of them serves.
pub(crate) async fn apply(layout: &Layout, client: &Client) -> Result<String> {
    match client.create(&deployment()?).await {
        Err(error) if !error.is_already_exists() => return Err(error).context("cannot create the example"),
        Ok(_) | Err(_) => {}
    }
    let until = Instant::now() + PODS_READY_MAX;
    let options = ListOptions {
        namespace: "default".to_owned(),
        label_selector: "app=web".to_owned(),
        ..ListOptions::default()
    };
    let pods = loop {
        let pods = client.list::<Pod>(&options).await.context("cannot list the example's pods")?.items;
        if pods.iter().filter(|pod| is_pod_ready(pod)).count() >= REPLICAS {
            break pods;
        }
        if Instant::now() > until {
            bail!("the example's pods are not ready; ask `kubectl describe pods`");
        }
        tokio::time::sleep(LOOK_EVERY).await;
    };
    let addresses =
        pods.iter().filter(|pod| is_pod_ready(pod)).filter_map(|pod| pod.status.as_ref()?.pod_ip.clone());
    let address = addresses.into_iter().next().context("no pod of the example has an address")?;
    let netns = layout.netns(1);
    let url = format!("http://{address}:{PORT}/");
    let answer =
        tokio::task::spawn_blocking(move || fetch(&netns, &address)).await.context("fetching panicked")?;
    let answer = answer.with_context(|| format!("{url} does not answer"))?;
    Ok(format!("{url} says: {}", answer.trim()))
}

fn deployment() -> Result<Deployment> {
    let labels = json!({"app": "web"});
    let container = json!({
        "name": "web",
        "image": "localhost/web:1",
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/", "port": PORT}, "periodSeconds": 1},
    });
    let object = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": REPLICAS,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    });
    serde_json::from_value(object).context("the example is no Deployment")
}

/// The body that a pod serves, asked for from inside an agent's namespace.
fn fetch(netns: &str, address: &str) -> Result<String> {
    use std::io::{Read as _, Write as _};
    let target = format!("{address}:{PORT}").parse().context("the pod's address is none")?;
    let connect = move || std::net::TcpStream::connect_timeout(&target, ANSWER_MAX);
    let mut stream =
        agent::network::uplink::inside(netns, connect).context("cannot enter the namespace")??;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    write!(stream, "GET / HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut response = String::new();
    stream.read_to_string(&mut response)?;
    match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.contains(" 200 ") => Ok(body.to_owned()),
        Some((head, _)) => bail!("{}", head.lines().next().unwrap_or_default()),
        None => bail!("not HTTP: {response}"),
    }
}
