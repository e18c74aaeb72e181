//! The objects, their history, and what each verb does to them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use base::{Entropy, Timestamp};

use super::request::{Claim, Target};

#[derive(Default)]
pub(super) struct Objects {
    revision: i64,
    compacted: i64,
    /// By resource, namespace and name.
    objects: BTreeMap<(String, String, String), Value>,
    history: Vec<Event>,
}

struct Event {
    revision: i64,
    kind: &'static str,
    resource: String,
    object: Value,
}

/// A Status to be.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) code: u16,
    reason: &'static str,
    message: String,
}

impl Refusal {
    pub(super) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into() }
    }

    pub(super) fn status(&self) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure",
            "code": self.code, "reason": self.reason, "message": self.message,
        })
    }
}

impl Objects {
    pub(super) fn compact(&mut self) {
        self.revision += 1;
        self.compacted = self.revision;
        self.history.clear();
    }

    pub(super) fn get(&self, target: &Target) -> Result<Value, Refusal> {
        self.objects.get(&key_of(target)).cloned().ok_or_else(|| {
            let name = target.name.clone().unwrap_or_default();
            Refusal::new(404, "NotFound", format!("{} \"{name}\" not found", target.resource))
        })
    }

    pub(super) fn list(&self, target: &Target) -> Value {
        let items: Vec<_> = self
            .objects
            .iter()
            .filter(|((resource, namespace, _), _)| {
                *resource == target.resource
                    && (target.namespace.is_empty() || *namespace == target.namespace)
            })
            .map(|(_, object)| object.clone())
            .collect();
        json!({ "metadata": { "resourceVersion": self.revision.to_string() }, "items": items })
    }

    /// The watch lines after a revision, and the newest revision.
    pub(super) fn since(&self, target: &Target, from: i64) -> Result<(String, i64), Refusal> {
        if from < self.compacted {
            return Err(Refusal::new(410, "Expired", format!("too old resource version: {from}")));
        }
        let seen = self.history.partition_point(|event| event.revision <= from);
        let lines = self.history[seen..]
            .iter()
            .filter(|event| {
                let namespace = event.object["metadata"]["namespace"].as_str().unwrap_or_default();
                event.resource == target.resource
                    && (target.namespace.is_empty() || namespace == target.namespace)
            })
            .map(|event| format!("{}\n", json!({ "type": event.kind, "object": event.object })))
            .collect();
        Ok((lines, self.revision))
    }

    pub(super) fn check_fence(&self, claim: &Claim) -> Result<(), Refusal> {
        let key = ("coordination.k8s.io/leases".to_owned(), claim.namespace.clone(), claim.lease.clone());
        let spec = self.objects.get(&key).map(|lease| lease["spec"].clone()).unwrap_or_default();
        let (holder, epoch) = (spec["holderIdentity"].as_str(), spec["leaseTransitions"].as_i64());
        if holder == Some(claim.holder.as_str()) && epoch == Some(claim.epoch) {
            return Ok(());
        }
        let message = format!(
            "fenced: lease {}/{} is held by {} (epoch {}), not {} (epoch {})",
            claim.namespace,
            claim.lease,
            holder.unwrap_or_default(),
            epoch.unwrap_or_default(),
            claim.holder,
            claim.epoch
        );
        Err(Refusal::new(409, "Conflict", message))
    }

    pub(super) fn create(
        &mut self,
        target: &Target,
        mut object: Value,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<Value, Refusal> {
        if object["metadata"]["name"].as_str().is_none_or(str::is_empty) {
            let prefix = object["metadata"]["generateName"].as_str().unwrap_or_default();
            object["metadata"]["name"] = json!(format!("{prefix}{}", entropy.name_suffix(5)));
        }
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let key = (target.resource.clone(), target.namespace.clone(), name.clone());
        if self.objects.contains_key(&key) {
            let message = format!("{} \"{name}\" already exists", target.resource);
            return Err(Refusal::new(409, "AlreadyExists", message));
        }
        if !target.namespace.is_empty() {
            object["metadata"]["namespace"] = json!(target.namespace);
        }
        object["metadata"]["uid"] = json!(entropy.uid());
        object["metadata"]["creationTimestamp"] = json!(seconds(now));
        object["metadata"]["generation"] = json!(1);
        if target.resource == "/namespaces" {
            object["spec"] = json!({ "finalizers": ["kubernetes"] });
            object["status"] = json!({ "phase": "Active" });
        }
        Ok(self.store(key, object))
    }

    pub(super) fn replace(&mut self, target: &Target, mut object: Value) -> Result<Value, Refusal> {
        let mut current = self.get(target)?;
        check_revision(&current, &object)?;
        if target.subresource.as_deref() == Some("status") {
            // As in Kubernetes, a status update carries its metadata along.
            current["status"] = object["status"].take();
            if let Some(annotations) = object["metadata"].get("annotations") {
                current["metadata"]["annotations"] = annotations.clone();
            } else if let Some(metadata) = current["metadata"].as_object_mut() {
                metadata.remove("annotations");
            }
        } else {
            let status = current["status"].take();
            if status.is_null() {
                object.as_object_mut().map(|o| o.remove("status"));
            } else {
                object["status"] = status;
            }
            keep_identity(&current, &mut object);
            current = object;
        }
        self.update(target, current)
    }

    pub(super) fn patch(&mut self, target: &Target, patch: &Value) -> Result<Value, Refusal> {
        let mut current = self.get(target)?;
        check_revision(&current, patch)?;
        let old = current.clone();
        merge(&mut current, patch);
        let (kept, other) = match target.subresource.as_deref() {
            Some("status") => ("spec", "metadata"),
            _ => ("status", ""),
        };
        for field in [kept, other] {
            if let (Some(object), Some(old)) = (current.as_object_mut(), old.get(field)) {
                object.insert(field.to_owned(), old.clone());
            }
        }
        keep_identity(&old, &mut current);
        self.update(target, current)
    }

    pub(super) fn bind(&mut self, target: &Target, binding: &Value) -> Result<Value, Refusal> {
        let mut pod = self.get(target)?;
        let conflict = |message: &str| Err(Refusal::new(409, "Conflict", message));
        if binding["metadata"]["uid"].as_str().is_some_and(|uid| pod["metadata"]["uid"] != uid) {
            return conflict("the pod is another one");
        }
        if pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty()) {
            return conflict("the pod is bound already");
        }
        pod["spec"]["nodeName"] = binding["target"]["name"].clone();
        self.store(key_of(target), pod);
        Ok(json!({ "kind": "Status", "status": "Success" }))
    }

    pub(super) fn delete(
        &mut self,
        target: &Target,
        options: &Value,
        now: Timestamp,
    ) -> Result<Value, Refusal> {
        let mut object = self.get(target)?;
        let uid = options["preconditions"]["uid"].as_str();
        if uid.is_some_and(|uid| object["metadata"]["uid"] != uid) {
            return Err(Refusal::new(409, "Conflict", "the uid is another one"));
        }
        let finalizer = match options["propagationPolicy"].as_str() {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        let terminating = object["metadata"]["deletionTimestamp"].is_string();
        if let Some(finalizer) = finalizer
            && !terminating
        {
            let finalizers = &mut object["metadata"]["finalizers"];
            match finalizers.as_array_mut() {
                Some(list) => list.push(json!(finalizer)),
                None => *finalizers = json!([finalizer]),
            }
        }
        let grace = options["gracePeriodSeconds"].as_i64().unwrap_or(30);
        let bound = target.resource == "/pods" && object["spec"]["nodeName"].is_string();
        let graceful = bound && grace > 0;
        if !terminating {
            object["metadata"]["deletionTimestamp"] = json!(seconds(now));
            object["metadata"]["deletionGracePeriodSeconds"] = json!(if graceful { grace } else { 0 });
        } else if !graceful {
            object["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        }
        if target.resource == "/namespaces" {
            object["status"]["phase"] = json!("Terminating");
        }
        self.update(target, object)
    }

    /// Stores a changed object, or drops it when nothing holds it any more.
    fn update(&mut self, target: &Target, mut object: Value) -> Result<Value, Refusal> {
        let key = key_of(target);
        let old = self.get(target)?;
        if old == object {
            return Ok(object);
        }
        if old["spec"] != object["spec"] {
            let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
            object["metadata"]["generation"] = json!(generation);
        }
        let metadata = &object["metadata"];
        let held = metadata["finalizers"].as_array().is_some_and(|list| !list.is_empty())
            || metadata["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) > 0
            || (target.resource == "/namespaces"
                && object["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty()));
        if metadata["deletionTimestamp"].is_string() && !held {
            return Ok(self.remove(&key, object));
        }
        Ok(self.store(key, object))
    }

    fn store(&mut self, key: (String, String, String), mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        let kind = if self.objects.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        let (revision, resource) = (self.revision, key.0.clone());
        self.history.push(Event { revision, kind, resource, object: object.clone() });
        self.objects.insert(key, object.clone());
        object
    }

    fn remove(&mut self, key: &(String, String, String), mut object: Value) -> Value {
        self.revision += 1;
        object["metadata"]["resourceVersion"] = json!(self.revision.to_string());
        self.objects.remove(key);
        let (revision, resource) = (self.revision, key.0.clone());
        self.history.push(Event { revision, kind: "DELETED", resource, object: object.clone() });
        object
    }
}

fn key_of(target: &Target) -> (String, String, String) {
    (target.resource.clone(), target.namespace.clone(), target.name.clone().unwrap_or_default())
}

fn seconds(at: Timestamp) -> String {
    k8s_openapi::jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%SZ", at).unwrap_or_default()
}

fn check_revision(current: &Value, sent: &Value) -> Result<(), Refusal> {
    match sent["metadata"]["resourceVersion"].as_str() {
        Some(version) if current["metadata"]["resourceVersion"] != version => {
            Err(Refusal::new(409, "Conflict", "the object has been modified"))
        }
        _ => Ok(()),
    }
}

/// What a writer cannot change.
fn keep_identity(old: &Value, new: &mut Value) {
    for field in ["uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    {
        if let Some(value) = old["metadata"].get(field) {
            new["metadata"][field] = value.clone();
        }
    }
    new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
}

/// RFC 7386, but conditions by their type, as a strategic merge would.
fn merge(target: &mut Value, patch: &Value) {
    let Some(fields) = patch.as_object() else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (name, value) in fields {
        match (name.as_str(), value, &mut target[name]) {
            (_, Value::Null, _) => {
                target.as_object_mut().map(|object| object.remove(name));
            }
            ("conditions", Value::Array(changes), Value::Array(known)) => {
                for change in changes {
                    match known.iter_mut().find(|condition| condition["type"] == change["type"]) {
                        Some(condition) => merge(condition, change),
                        None => known.push(change.clone()),
                    }
                }
            }
            (_, value, target) => merge(target, value),
        }
    }
}
