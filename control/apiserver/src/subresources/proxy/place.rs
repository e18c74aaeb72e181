//! Where a proxied request goes: a node, and a port of a pod there, of the node, or the node itself.

use kinds::core::pod::POD;
use kinds::discovery::endpoint_slice::ENDPOINT_SLICE;
use kinds::{Kind, Proxied, tree};
use serde_json::Value;

use super::Proxying;
use super::target::Target;
use crate::status::Status;
use crate::storage::{Freshness, Scope};

/// What a node serves itself is asked for under this port, or under none.
const NODE_PORT: &str = "10250";
/// Names the service of a slice.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Where a request goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) node: String,
    /// Where on the node a pipe to the port begins; `None`: the node answers itself.
    pub(super) pipe: Option<String>,
    /// What comes before the path, there.
    pub(super) root: &'static str,
    /// `host[:port]`, as links of the backend to itself may name it.
    pub(super) authority: String,
}

pub(super) async fn find(asked: &Proxying<'_>, target: &Target) -> Result<Place, Status> {
    match asked.proxied {
        Proxied::Pod => pod(asked, target).await,
        Proxied::Service => service(asked, target).await,
        Proxied::Node => node(asked, target).await,
    }
}

async fn pod(asked: &Proxying<'_>, target: &Target) -> Result<Place, Status> {
    let pod = read(asked, asked.kind, &target.name).await?;
    let pod = pod.ok_or_else(|| Status::not_found(asked.kind, &target.name))?;
    let port = match target.port.as_str() {
        "" => first_port(&pod).unwrap_or(if target.tls { 443 } else { 80 }),
        port => port
            .parse()
            .ok()
            .or_else(|| named_port(&pod, port))
            .ok_or_else(|| Status::cannot_reach(&format!("dial tcp: lookup tcp/{port}: unknown port")))?,
    };
    let address = tree::text(&pod, "status.podIP").to_owned();
    at_pod(&pod, &address, port, target.tls)
}

async fn node(asked: &Proxying<'_>, target: &Target) -> Result<Place, Status> {
    let node = read(asked, asked.kind, &target.name).await?;
    let node = node.ok_or_else(|| Status::not_found(asked.kind, &target.name))?;
    let addresses = tree::items(&node, "status.addresses");
    let internal = addresses.iter().find(|address| tree::text(address, "type") == "InternalIP");
    let address = internal.map(|address| tree::text(address, "address")).unwrap_or_default();
    let (pipe, root) = match target.port.as_str() {
        "" | NODE_PORT => (None, "/node"),
        port => {
            let port: u16 = port
                .parse()
                .map_err(|_| Status::cannot_reach(&format!("dial tcp: lookup tcp/{port}: unknown port")))?;
            (Some(format!("/reach/{}/{port}/node", scheme(target.tls))), "")
        }
    };
    let authority =
        if target.port.is_empty() { address.to_owned() } else { authority(address, &target.port) };
    Ok(Place { node: target.name.clone(), pipe, root, authority })
}

async fn service(asked: &Proxying<'_>, target: &Target) -> Result<Place, Status> {
    let service = read(asked, asked.kind, &target.name).await?;
    let service = service.ok_or_else(|| Status::not_found(asked.kind, &target.name))?;
    let port = port_name(&service, target)?;
    let mut ready = ready(&slices(asked, &target.name).await?, &port);
    // Any of them; the next when one has just gone.
    if !ready.is_empty() {
        let first = asked.server.entropy.u64() % ready.len() as u64;
        ready.rotate_left(usize::try_from(first).unwrap_or_default());
    }
    for Ready { pod, address, port } in ready {
        let Some(pod) = read(asked, &POD, &pod).await? else { continue };
        let addresses = tree::items(&pod, "status.podIPs").iter().map(|ip| tree::text(ip, "ip"));
        if addresses.chain([tree::text(&pod, "status.podIP")]).any(|own| own == address) {
            return at_pod(&pod, &address, port, target.tls);
        }
    }
    let asked_for = asked.path.name.as_deref().unwrap_or_default();
    Err(Status::service_unavailable(format!("no endpoints available for service {asked_for:?}")))
}

fn at_pod(pod: &Value, address: &str, port: u16, tls: bool) -> Result<Place, Status> {
    let node = tree::text(pod, "spec.nodeName");
    if node.is_empty() || address.is_empty() {
        return Err(Status::bad_request("address not allowed"));
    }
    let (namespace, name) = (tree::text(pod, "metadata.namespace"), tree::text(pod, "metadata.name"));
    Ok(Place {
        node: node.to_owned(),
        pipe: Some(format!("/reach/{}/{port}/pod/{namespace}/{name}", scheme(tls))),
        root: "",
        authority: authority(address, &port.to_string()),
    })
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

/// `host:port`, with brackets around an IPv6 address.
fn authority(address: &str, port: &str) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

fn ports(pod: &Value) -> impl Iterator<Item = &Value> {
    tree::items(pod, "spec.containers").iter().flat_map(|container| tree::items(container, "ports"))
}

fn number(port: &Value, field: &str) -> Option<u16> {
    tree::int(port, field).and_then(|number| u16::try_from(number).ok())
}

fn first_port(pod: &Value) -> Option<u16> {
    ports(pod).next().and_then(|port| number(port, "containerPort"))
}

fn named_port(pod: &Value, name: &str) -> Option<u16> {
    ports(pod).find(|port| tree::text(port, "name") == name).and_then(|port| number(port, "containerPort"))
}

/// What the asked port of a service is called in its slices.
fn port_name(service: &Value, target: &Target) -> Result<String, Status> {
    let Ok(asked) = target.port.parse::<i64>() else { return Ok(target.port.clone()) };
    let mut ports = tree::items(service, "spec.ports").iter();
    let found = ports.find(|port| tree::int(port, "port") == Some(asked));
    let found = found.ok_or_else(|| {
        Status::service_unavailable(format!("no service port {asked} found for service {:?}", target.name))
    })?;
    Ok(tree::text(found, "name").to_owned())
}

/// A pod that is ready to answer.
#[derive(Debug, PartialEq, Eq)]
struct Ready {
    pod: String,
    address: String,
    port: u16,
}

/// Those of `slices` that have the port.
fn ready(slices: &[Value], port_name: &str) -> Vec<Ready> {
    let mut found = Vec::new();
    for slice in slices {
        let mut ports = tree::items(slice, "ports").iter();
        let port = ports.find(|port| tree::text(port, "name") == port_name);
        let Some(port) = port.and_then(|port| number(port, "port")) else { continue };
        for endpoint in tree::items(slice, "endpoints") {
            // Unknown counts as ready.
            let is_ready = tree::get(endpoint, "conditions.ready").as_bool().unwrap_or(true);
            let is_pod = tree::text(endpoint, "targetRef.kind") == "Pod";
            let address = tree::items(endpoint, "addresses").first().and_then(Value::as_str);
            let Some(address) = address.filter(|_| is_ready && is_pod) else { continue };
            let pod = tree::text(endpoint, "targetRef.name").to_owned();
            found.push(Ready { pod, address: address.to_owned(), port });
        }
    }
    found
}

async fn slices(asked: &Proxying<'_>, service: &str) -> Result<Vec<Value>, Status> {
    let prefix = scope(asked, &ENDPOINT_SLICE).prefix();
    let page = asked.server.storage.page(&prefix, "", 0, Freshness::Newest).await?;
    let mut slices = Vec::new();
    for (_, stored) in page.items {
        let slice = stored.parse()?;
        let labels = tree::map(&slice, "metadata.labels");
        let of = labels.and_then(|labels| labels.get(SERVICE_LABEL)).and_then(Value::as_str);
        if of == Some(service) {
            slices.push(slice);
        }
    }
    Ok(slices)
}

async fn read(asked: &Proxying<'_>, kind: &'static Kind, name: &str) -> Result<Option<Value>, Status> {
    let key = scope(asked, kind).key(name);
    asked.server.storage.get(&key, Freshness::Newest).await?.map(|stored| stored.parse()).transpose()
}

fn scope(asked: &Proxying<'_>, kind: &'static Kind) -> Scope {
    let namespace = if kind.namespaced { asked.path.namespace.clone() } else { None };
    Scope { kind, namespace }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_pods_that_are_ready_answer() {
        let endpoint = |name: &str, ready: Value| {
            json!({"addresses": [format!("10.0.0.{name}")], "conditions": {"ready": ready},
                   "targetRef": {"kind": "Pod", "name": name}})
        };
        let slices = [
            json!({"ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 9}],
                   "endpoints": [endpoint("1", json!(true)), endpoint("2", json!(false)),
                                 endpoint("3", Value::Null), {"addresses": ["192.0.2.1"]}]}),
            json!({"ports": [{"name": "http", "port": 80}], "endpoints": [endpoint("4", json!(true))]}),
        ];
        let shown = |name: &str| {
            let all = ready(&slices, name);
            all.iter().map(|it| format!("{} {}:{}", it.pod, it.address, it.port)).collect::<Vec<_>>()
        };
        assert_eq!(shown("http"), ["1 10.0.0.1:8080", "3 10.0.0.3:8080", "4 10.0.0.4:80"]);
        assert_eq!(shown("admin"), ["1 10.0.0.1:9", "3 10.0.0.3:9"]);
        assert!(shown("").is_empty());
    }

    #[test]
    fn a_service_calls_its_ports_by_number_or_name() {
        let service = json!({"spec": {"ports": [{"port": 80, "name": "web"}, {"port": 81}]}});
        let shown = |port: &str| {
            let target = Target { tls: false, name: "s".to_owned(), port: port.to_owned() };
            port_name(&service, &target).unwrap_or_else(|status| status.message().to_owned())
        };
        assert_eq!(shown("80"), "web");
        assert_eq!(shown("81"), "");
        assert_eq!(shown("web"), "web");
        assert_eq!(shown("82"), r#"no service port 82 found for service "s""#);
    }

    #[test]
    fn a_pods_first_port_is_meant_when_none_is_said() {
        let pod = json!({"spec": {"containers": [
            {"name": "a"}, {"name": "b", "ports": [{"containerPort": 7, "name": "seven"}, {"containerPort": 8}]},
        ]}});
        assert_eq!(
            (first_port(&pod), named_port(&pod, "seven"), named_port(&pod, "x")),
            (Some(7), Some(7), None)
        );
        assert_eq!(authority("::1", "7"), "[::1]:7");
    }
}
