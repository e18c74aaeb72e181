//! The variables by which containers find Services: Kubernetes' own and those of Docker's links. Pure.

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};

use crate::desired::{Desired, ObjectKey};

/// The Service of the API itself, which every container is told of.
const API_SERVICE: (&str, &str) = ("default", "kubernetes");

/// By service name, the API's own first where the pod is in another namespace.
pub(crate) fn variables(pod: &Pod, desired: &Desired) -> Vec<(String, String)> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let links = pod.spec.as_ref().is_none_or(|spec| spec.enable_service_links != Some(false));
    let api = ObjectKey::new(API_SERVICE.0, API_SERVICE.1);
    let own = desired.services.iter().filter(|(key, _)| links && key.namespace == namespace);
    // One of the pod's own namespace that is called as the API's wins.
    let masked = links && desired.services.contains_key(&ObjectKey::new(namespace, API_SERVICE.1));
    let api = desired.services.get_key_value(&api).filter(|_| !masked);
    let services = api.into_iter().chain(own);
    services.flat_map(|(key, service)| of_service(&key.name, service)).collect()
}

fn of_service(name: &str, service: &Service) -> Vec<(String, String)> {
    let spec = service.spec.as_ref();
    let address = spec.and_then(|spec| spec.cluster_ip.as_deref()).unwrap_or_default();
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let Some(first) = ports.first().filter(|_| !matches!(address, "" | "None")) else { return Vec::new() };
    let prefix = as_variable(name);
    let mut variables = vec![
        (format!("{prefix}_SERVICE_HOST"), address.to_owned()),
        (format!("{prefix}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in ports {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            variables.push((format!("{prefix}_SERVICE_PORT_{}", as_variable(name)), port.port.to_string()));
        }
    }
    variables.push((format!("{prefix}_PORT"), url(address, first)));
    for port in ports {
        let link = format!("{prefix}_PORT_{}_{}", port.port, protocol(port).to_uppercase());
        variables.push((link.clone(), url(address, port)));
        variables.push((format!("{link}_PROTO"), protocol(port).to_lowercase()));
        variables.push((format!("{link}_PORT"), port.port.to_string()));
        variables.push((format!("{link}_ADDR"), address.to_owned()));
    }
    variables
}

fn protocol(port: &ServicePort) -> &str {
    port.protocol.as_deref().filter(|protocol| !protocol.is_empty()).unwrap_or("TCP")
}

fn url(address: &str, port: &ServicePort) -> String {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    format!("{}://{host}:{}", protocol(port).to_lowercase(), port.port)
}

fn as_variable(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};
    use serde_json::json;

    use super::*;

    fn check(spec: &serde_json::Value, expected: Expect) {
        let mut desired = Desired::default();
        let mut add = |namespace: &str, name: &str, spec: serde_json::Value| {
            let service = serde_json::from_value(json!({"metadata": {"name": name}, "spec": spec})).unwrap();
            desired.services.insert(ObjectKey::new(namespace, name), Arc::new(service));
        };
        add(
            "default",
            "kubernetes",
            json!({"clusterIP": "10.0.0.1", "ports": [{"name": "https", "port": 443}]}),
        );
        let ports = json!([
            {"name": "web-ui", "port": 80, "protocol": "TCP"}, {"name": "dns", "port": 53, "protocol": "UDP"},
        ]);
        add("shop", "my-db", json!({"clusterIP": "fd00::7", "ports": ports}));
        add("shop", "headless", json!({"clusterIP": "None", "ports": [{"port": 80}]}));
        add("shop", "outside", json!({"type": "ExternalName", "externalName": "x.org"}));
        add("other", "foreign", json!({"clusterIP": "10.0.0.9", "ports": [{"port": 80}]}));
        let pod = json!({"metadata": {"name": "p", "namespace": "shop"}, "spec": spec});
        let all = variables(&serde_json::from_value(pod).unwrap(), &desired);
        let lines: String = all.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        expected.assert_eq(&lines);
    }

    #[test]
    fn a_container_finds_the_api_and_the_services_beside_it() {
        check(
            &json!({"containers": []}),
            expect![[r#"
            KUBERNETES_SERVICE_HOST=10.0.0.1
            KUBERNETES_SERVICE_PORT=443
            KUBERNETES_SERVICE_PORT_HTTPS=443
            KUBERNETES_PORT=tcp://10.0.0.1:443
            KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443
            KUBERNETES_PORT_443_TCP_PROTO=tcp
            KUBERNETES_PORT_443_TCP_PORT=443
            KUBERNETES_PORT_443_TCP_ADDR=10.0.0.1
            MY_DB_SERVICE_HOST=fd00::7
            MY_DB_SERVICE_PORT=80
            MY_DB_SERVICE_PORT_WEB_UI=80
            MY_DB_SERVICE_PORT_DNS=53
            MY_DB_PORT=tcp://[fd00::7]:80
            MY_DB_PORT_80_TCP=tcp://[fd00::7]:80
            MY_DB_PORT_80_TCP_PROTO=tcp
            MY_DB_PORT_80_TCP_PORT=80
            MY_DB_PORT_80_TCP_ADDR=fd00::7
            MY_DB_PORT_53_UDP=udp://[fd00::7]:53
            MY_DB_PORT_53_UDP_PROTO=udp
            MY_DB_PORT_53_UDP_PORT=53
            MY_DB_PORT_53_UDP_ADDR=fd00::7
        "#]],
        );
    }

    #[test]
    fn without_links_only_the_api_is_told() {
        check(
            &json!({"containers": [], "enableServiceLinks": false}),
            expect![[r#"
            KUBERNETES_SERVICE_HOST=10.0.0.1
            KUBERNETES_SERVICE_PORT=443
            KUBERNETES_SERVICE_PORT_HTTPS=443
            KUBERNETES_PORT=tcp://10.0.0.1:443
            KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443
            KUBERNETES_PORT_443_TCP_PROTO=tcp
            KUBERNETES_PORT_443_TCP_PORT=443
            KUBERNETES_PORT_443_TCP_ADDR=10.0.0.1
        "#]],
        );
    }
}
