//! From a file to the pod that a node runs of it. Pure.

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, Toleration, Volume};
use serde_json::Value;
use sha2::{Digest, Sha256};
use thiserror::Error;

use super::mirror;

#[derive(Debug, Error)]
pub(super) enum ManifestError {
    #[error("it is neither YAML nor JSON: {0}")]
    Syntax(String),
    #[error("it holds a {0}, not a v1 Pod")]
    Kind(String),
    #[error("the pod is not as the API has it")]
    Shape(#[source] serde_json::Error),
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("static pods may not reference {0}: no server may be there to ask for it")]
    Reference(&'static str),
}

/// Of the same text and node always the same pod, with the same uid.
pub(super) fn parse(node: &str, text: &str) -> Result<Pod, ManifestError> {
    let value: Value =
        serde_saphyr::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string()))?;
    let word = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    if (word("apiVersion"), word("kind")) != ("v1", "Pod") {
        return Err(ManifestError::Kind(format!("{} {}", word("apiVersion"), word("kind"))));
    }
    let digest = Sha256::digest(format!("{node}\0{value}").as_bytes());
    let uid: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let mut pod: Pod = serde_json::from_value(value).map_err(ManifestError::Shape)?;
    let name = pod.metadata.name.take().filter(|name| !name.is_empty());
    let name = name.ok_or(ManifestError::Missing("metadata.name"))?;
    let spec = pod.spec.as_mut().ok_or(ManifestError::Missing("spec"))?;
    check(spec)?;
    spec.node_name = Some(node.to_owned());
    spec.restart_policy.get_or_insert_with(|| "Always".to_owned());
    // It stays on its node whatever is wrong with it.
    let toleration = Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    };
    spec.tolerations.get_or_insert_default().push(toleration);
    pod.status = None;
    let metadata = &mut pod.metadata;
    metadata.name = Some(format!("{name}-{}", node.to_lowercase()));
    metadata.namespace.get_or_insert_with(|| "default".to_owned());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(mirror::SOURCE.to_owned(), "file".to_owned());
    annotations.insert(mirror::HASH.to_owned(), uid.clone());
    metadata.uid = Some(uid);
    Ok(pod)
}

/// True for a pod that comes from a file of this node.
pub(crate) fn is_static(pod: &Pod) -> bool {
    mirror::annotation(pod, mirror::SOURCE) == Some("file") && !mirror::is_mirror(pod)
}

fn check(spec: &PodSpec) -> Result<(), ManifestError> {
    if spec.containers.is_empty() {
        return Err(ManifestError::Missing("spec.containers"));
    }
    if spec.service_account_name.as_ref().is_some_and(|name| !name.is_empty()) {
        return Err(ManifestError::Reference("service accounts"));
    }
    spec.volumes.iter().flatten().try_for_each(check_volume)?;
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).try_for_each(check_container)
}

fn check_volume(volume: &Volume) -> Result<(), ManifestError> {
    if volume.config_map.is_some() {
        return Err(ManifestError::Reference("config maps"));
    }
    if volume.secret.is_some() {
        return Err(ManifestError::Reference("secrets"));
    }
    if volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some() {
        return Err(ManifestError::Reference("persistent volume claims"));
    }
    Ok(())
}

fn check_container(container: &Container) -> Result<(), ManifestError> {
    let sources = container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref());
    let from = container.env_from.iter().flatten();
    let maps = sources.clone().any(|source| source.config_map_key_ref.is_some())
        || from.clone().any(|source| source.config_map_ref.is_some());
    let secrets = sources.into_iter().any(|source| source.secret_key_ref.is_some())
        || from.into_iter().any(|source| source.secret_ref.is_some());
    match (maps, secrets) {
        (true, _) => Err(ManifestError::Reference("config maps")),
        (_, true) => Err(ManifestError::Reference("secrets")),
        (false, false) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, image: 'localhost/web:1'}]}
";

    #[test]
    fn a_static_pod_says_where_it_is_and_what_it_comes_from() {
        let pod = parse("N1", WEB).unwrap();
        assert_eq!(pod.metadata.name.as_deref(), Some("web-n1"));
        assert_eq!(pod.metadata.namespace.as_deref(), Some("default"));
        assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("N1"));
        assert!(is_static(&pod));
        assert_eq!(parse("N1", WEB).unwrap(), pod, "the same file is the same pod");
        assert_ne!(parse("N2", WEB).unwrap().metadata.uid, pod.metadata.uid);
        assert_ne!(parse("N1", &WEB.replace("web:1", "web:2")).unwrap().metadata.uid, pod.metadata.uid);
    }

    #[test]
    fn what_cannot_run_without_a_server_is_named() {
        let said = |text: &str| crate::causes::in_full(&parse("n", text).unwrap_err());
        assert!(said("{").starts_with("it is neither YAML nor JSON"), "{}", said("{"));
        assert_eq!(said("kind: Job"), "it holds a  Job, not a v1 Pod");
        assert_eq!(said(&WEB.replace("name: web,", "")), "metadata.name is missing");
        assert_eq!(
            said(&WEB.replace("[{name: c, image: 'localhost/web:1'}]", "[]")),
            "spec.containers is missing"
        );
        let with = |more: &str| said(&WEB.replace("containers:", &format!("{more}, containers:")));
        assert!(with("volumes: [{name: v, secret: {secretName: s}}]").contains("secrets"));
        assert!(with("serviceAccountName: builder").contains("service accounts"));
        assert!(with("restartPolicy: [1]").starts_with("the pod is not as the API has it: "));
    }
}
