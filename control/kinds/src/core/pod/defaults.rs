//! What a pod's spec says where the user said nothing.

use serde_json::{Map, Value, json};

use crate::tree;

/// The file modes of mounted ConfigMaps, Secrets and the like: 0644.
const FILE_MODE: i64 = 0o644;

/// A pod's own defaults, beyond those of every pod spec.
pub(super) fn pod_defaults(object: &mut Value) {
    if let Some(spec) = tree::get_mut(object, "spec") {
        spec_defaults(spec);
        tree::set_default(spec, "enableServiceLinks", true);
        for list in ["containers", "initContainers"] {
            tree::items_mut(spec, list).for_each(request_what_is_limited);
        }
    }
    tree::set_default_text(object, "status.phase", "Pending");
}

/// The defaults of the pod template at `template` in `object`.
pub(crate) fn template_defaults(object: &mut Value, template: &str) {
    if let Some(spec) = tree::get_mut(object, template).and_then(|template| tree::get_mut(template, "spec")) {
        spec_defaults(spec);
    }
}

/// The defaults of a pod spec, a template's included.
fn spec_defaults(spec: &mut Value) {
    let host_network = tree::flag(spec, "hostNetwork");
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in tree::items_mut(spec, list) {
            container_defaults(container);
            if host_network {
                tree::items_mut(container, "ports").for_each(|port| {
                    let number = tree::get(port, "containerPort").clone();
                    tree::set_default(port, "hostPort", number);
                });
            }
        }
    }
    tree::items_mut(spec, "volumes").for_each(volume_defaults);
    tree::set_default_text(spec, "restartPolicy", "Always");
    tree::set_default(spec, "terminationGracePeriodSeconds", 30);
    tree::set_default_text(spec, "dnsPolicy", "ClusterFirst");
    align_service_account(spec);
    tree::set_default(spec, "securityContext", json!({}));
    tree::set_default_text(spec, "schedulerName", "default-scheduler");
}

/// `serviceAccount` is the old name of `serviceAccountName`; either may be given, both are shown.
fn align_service_account(spec: &mut Value) {
    let name = match tree::text(spec, "serviceAccountName") {
        "" => tree::text(spec, "serviceAccount").to_owned(),
        name => name.to_owned(),
    };
    if !name.is_empty() {
        tree::set(spec, "serviceAccountName", name.clone());
        tree::set(spec, "serviceAccount", name);
    }
}

fn container_defaults(container: &mut Value) {
    for port in tree::items_mut(container, "ports") {
        tree::set_default_text(port, "protocol", "TCP");
    }
    for variable in tree::items_mut(container, "env") {
        if let Some(reference) = tree::get_mut(variable, "valueFrom.fieldRef") {
            tree::set_default_text(reference, "apiVersion", "v1");
        }
    }
    tree::set_default(container, "resources", json!({}));
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = tree::get_mut(container, probe) {
            probe_defaults(probe);
        }
    }
    for hook in ["lifecycle.postStart", "lifecycle.preStop"] {
        if let Some(hook) = tree::get_mut(container, hook) {
            handler_defaults(hook);
        }
    }
    tree::set_default_text(container, "terminationMessagePath", "/dev/termination-log");
    tree::set_default_text(container, "terminationMessagePolicy", "File");
    let policy = default_pull_policy(tree::text(container, "image"));
    tree::set_default_text(container, "imagePullPolicy", policy);
}

fn default_pull_policy(image: &str) -> &'static str {
    if is_latest(image) { "Always" } else { "IfNotPresent" }
}

/// Whether an image is pulled each time: tagged `latest`, or neither tag nor digest.
fn is_latest(image: &str) -> bool {
    if image.contains('@') {
        return false;
    }
    let name = image.rsplit('/').next().unwrap_or(image);
    match name.split_once(':') {
        Some((_, tag)) => tag == "latest",
        None => true,
    }
}

fn probe_defaults(probe: &mut Value) {
    handler_defaults(probe);
    for (field, value) in
        [("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)]
    {
        if tree::int(probe, field).unwrap_or_default() == 0 {
            tree::set(probe, field, value);
        }
    }
}

fn handler_defaults(handler: &mut Value) {
    if let Some(get) = tree::get_mut(handler, "httpGet") {
        tree::set_default_text(get, "path", "/");
        tree::set_default_text(get, "scheme", "HTTP");
    }
    if let Some(call) = tree::get_mut(handler, "grpc") {
        tree::set_default(call, "service", "");
    }
}

fn volume_defaults(volume: &mut Value) {
    let Some(fields) = volume.as_object_mut() else { return };
    if fields.iter().all(|(field, value)| field == "name" || value.is_null()) {
        fields.insert("emptyDir".to_owned(), json!({}));
    }
    for source in ["configMap", "secret", "downwardAPI", "projected"] {
        if let Some(source) = tree::get_mut(volume, source) {
            tree::set_default(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(path) = tree::get_mut(volume, "hostPath") {
        tree::set_default(path, "type", "");
    }
    if let Some(image) = tree::get_mut(volume, "image") {
        let policy = default_pull_policy(tree::text(image, "reference"));
        tree::set_default_text(image, "pullPolicy", policy);
    }
    tree::items_mut(volume, "downwardAPI.items").for_each(file_defaults);
    for source in tree::items_mut(volume, "projected.sources") {
        tree::items_mut(source, "downwardAPI.items").for_each(file_defaults);
        if let Some(token) = tree::get_mut(source, "serviceAccountToken") {
            tree::set_default(token, "expirationSeconds", 3600);
        }
    }
}

fn file_defaults(file: &mut Value) {
    if let Some(reference) = tree::get_mut(file, "fieldRef") {
        tree::set_default_text(reference, "apiVersion", "v1");
    }
}

/// A limit without a request is a request too.
fn request_what_is_limited(container: &mut Value) {
    let Some(limits) = tree::map(container, "resources.limits").cloned() else { return };
    tree::set_default(container, "resources.requests", Map::new());
    let requests = tree::get_mut(container, "resources.requests").and_then(Value::as_object_mut);
    if let Some(requests) = requests {
        for (resource, limit) in limits {
            requests.entry(resource).or_insert(limit);
        }
    }
}
