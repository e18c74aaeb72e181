//! The events that a node writes about its pods, in the kubelet's words.

use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::Node;
use super::status::whole_seconds;

/// What an event is about.
#[derive(Clone, Copy)]
pub(crate) enum About<'a> {
    Pod,
    Container(&'a str),
    InitContainer(&'a str),
    EphemeralContainer(&'a str),
}

impl<'a> About<'a> {
    /// A container of the pod, by name.
    pub(crate) fn container(pod: &Pod, name: &'a str) -> Self {
        let spec = pod.spec.as_ref();
        let mut inits = spec.and_then(|spec| spec.init_containers.as_ref()).into_iter().flatten();
        let mut ephemeral = spec.and_then(|spec| spec.ephemeral_containers.as_ref()).into_iter().flatten();
        if inits.any(|container| container.name == name) {
            Self::InitContainer(name)
        } else if ephemeral.any(|container| container.name == name) {
            Self::EphemeralContainer(name)
        } else {
            Self::Container(name)
        }
    }
}

impl Node {
    /// Something went as planned.
    pub(crate) async fn normal(&self, pod: &Pod, about: About<'_>, reason: &str, message: String) {
        self.event("Normal", pod, about, reason, message).await;
    }

    /// Something did not.
    pub(crate) async fn warning(&self, pod: &Pod, about: About<'_>, reason: &str, message: String) {
        self.event("Warning", pod, about, reason, message).await;
    }

    /// Something of the node itself did not go as planned.
    pub(crate) async fn warn_of_node(&self, reason: &str, message: String) {
        let about = ObjectReference {
            kind: Some("Node".to_owned()),
            name: Some(self.name.clone()),
            uid: Some(self.name.clone()),
            ..ObjectReference::default()
        };
        // Events of what has no namespace are kept in this one.
        self.write("Warning", Some("default".to_owned()), about, (reason, message)).await;
    }

    async fn event(&self, kind: &str, pod: &Pod, about: About<'_>, reason: &str, message: String) {
        let field_path = match about {
            About::Pod => None,
            About::Container(name) => Some(format!("spec.containers{{{name}}}")),
            About::InitContainer(name) => Some(format!("spec.initContainers{{{name}}}")),
            About::EphemeralContainer(name) => Some(format!("spec.ephemeralContainers{{{name}}}")),
        };
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            resource_version: pod.metadata.resource_version.clone(),
            field_path,
        };
        self.write(kind, pod.metadata.namespace.clone(), object, (reason, message)).await;
    }

    async fn write(
        &self,
        kind: &str,
        namespace: Option<String>,
        involved_object: ObjectReference,
        (reason, message): (&str, String),
    ) {
        let now = Time(whole_seconds(self.clock.now()));
        let event = Event {
            metadata: ObjectMeta { namespace, ..ObjectMeta::default() },
            involved_object,
            type_: Some(kind.to_owned()),
            reason: Some(reason.to_owned()),
            message: Some(message),
            source: Some(EventSource {
                component: Some("kubelet".to_owned()),
                host: Some(self.name.clone()),
            }),
            reporting_component: Some("kubelet".to_owned()),
            reporting_instance: Some(self.name.clone()),
            first_timestamp: Some(now.clone()),
            last_timestamp: Some(now),
            count: Some(1),
            ..Event::default()
        };
        self.reports.event(event).await;
    }
}
