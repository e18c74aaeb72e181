//! The only place where an error becomes a Kubernetes `Status`, with Kubernetes' own words.
//!
//! Texts are part of the API: kubectl, client-go and people parse them.

use http::StatusCode;
use kinds::schema::apply::{Conflict, Conflicts};
use kinds::{FieldErrors, Kind};
use serde_json::{Map, Value, json};
use store::StoreError;

/// A failure as clients see it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Status(Box<Fields>);

#[derive(Clone, Debug, PartialEq)]
struct Fields {
    code: StatusCode,
    reason: Option<&'static str>,
    message: String,
    details: Map<String, Value>,
    /// For an expired list: where an inconsistent continuation may go on.
    continue_token: Option<String>,
}

/// The refusal of an update because someone else was first.
const MODIFIED: &str =
    "the object has been modified; please apply your changes to the latest version and try again";

impl Status {
    pub(crate) fn code(&self) -> StatusCode {
        self.0.code
    }

    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    pub(crate) fn reason(&self) -> &'static str {
        self.0.reason.unwrap_or_default()
    }

    /// Seconds after which a client may try again.
    pub(crate) fn retry_after_seconds(&self) -> Option<i64> {
        self.0.details.get("retryAfterSeconds").and_then(Value::as_i64)
    }

    pub(crate) fn to_json(&self) -> Value {
        let mut metadata = Map::new();
        if let Some(token) = &self.0.continue_token {
            metadata.insert("continue".to_owned(), json!(token));
        }
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": metadata, "status": "Failure",
            "message": self.0.message,
        });
        if let Some(reason) = self.0.reason {
            body["reason"] = json!(reason);
        }
        if !self.0.details.is_empty() {
            body["details"] = Value::Object(self.0.details.clone());
        }
        body["code"] = json!(self.0.code.as_u16());
        body
    }

    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Fields {
            code,
            reason: (!reason.is_empty()).then_some(reason),
            message: message.into(),
            details: Map::new(),
            continue_token: None,
        }))
    }

    fn detail(mut self, key: &str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if value != Value::String(String::new()) {
            self.0.details.insert(key.to_owned(), value);
        }
        self
    }

    /// `details` that name an object by its resource.
    fn about(self, kind: &Kind, name: &str) -> Self {
        self.detail("name", name).detail("group", kind.group).detail("kind", kind.plural)
    }

    fn retry_after(self, seconds: i64) -> Self {
        self.detail("retryAfterSeconds", seconds)
    }
}

/// The request itself.
impl Status {
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// A watch's version that is no number: not the client's fault, for Kubernetes.
    pub(crate) fn unparsable_version(text: &str) -> Self {
        let message = format!(
            "resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        );
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    pub(crate) fn not_acceptable() -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "NotAcceptable",
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        )
    }

    /// A watch is a stream of JSON or of protobuf.
    pub(crate) fn not_acceptable_for_watches() -> Self {
        Self::new(
            StatusCode::NOT_ACCEPTABLE,
            "NotAcceptable",
            "only the following media types are accepted: application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch",
        )
    }

    pub(crate) fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
        )
    }

    pub(crate) fn body_too_large(limit_bytes: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit_bytes}"),
        )
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
    }

    /// A resource or subresource that is not served.
    pub(crate) fn no_such_resource() -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
    }

    /// `what` of `kind_name` (`CreateOptions.meta.k8s.io`) is wrong.
    pub(crate) fn invalid_options(options_kind: &str, errors: &FieldErrors) -> Self {
        Self::invalid_named(&format!("{options_kind}.meta.k8s.io"), "", errors)
            .detail("group", "meta.k8s.io")
            .detail("kind", options_kind)
            .causes(errors)
    }

    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// `what` is `configmaps "a"` or a path; `why` starts with `User`.
    pub(crate) fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let resource = if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
        let what = if name.is_empty() { resource } else { format!("{resource} {name:?}") };
        Self::new(StatusCode::FORBIDDEN, "Forbidden", format!("{what} is forbidden: {why}"))
            .detail("name", name)
            .detail("group", group)
            .detail("kind", plural)
    }

    pub(crate) fn forbidden_path(why: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", format!("forbidden: {why}"))
    }

    pub(crate) fn panicked() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            "This request caused apiserver to panic. Look in the logs for details.",
        )
    }
}

/// The object.
impl Status {
    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} not found", kind.resource());
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(kind, name)
    }

    /// What is there, but not measured.
    pub(crate) fn not_measured(kind: &Kind, name: &str) -> Self {
        // Not by its plural, which is that of what is measured.
        let plural = kind.kind.to_ascii_lowercase();
        let message = format!("{plural}.{} {name:?} not found", kind.group);
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
            .detail("name", name)
            .detail("group", kind.group)
            .detail("kind", plural)
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} already exists", kind.resource());
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(kind, name)
    }

    /// A write that lost against another one.
    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(kind, name, MODIFIED)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        Self::conflict_on(kind, &kind.resource(), name, why)
    }

    /// `resource` is what was written: `pods/binding`, say.
    pub(crate) fn conflict_on(kind: &Kind, resource: &str, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} {name:?}: {why}");
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(kind, name)
    }

    /// A precondition of a delete that does not hold; these name the kind, not the resource.
    pub(crate) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        Self::other_object(kind.group, kind.kind, name, why)
    }

    /// A body that means another object than the one that has its name now.
    pub(crate) fn other_object(group: &str, kind: &str, name: &str, why: &str) -> Self {
        let qualified = if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") };
        let message = format!("Operation cannot be fulfilled on {qualified} {name:?}: {why}");
        Self::new(StatusCode::CONFLICT, "Conflict", message)
            .detail("name", name)
            .detail("group", group)
            .detail("kind", kind)
    }

    /// A write of a component that no longer leads.
    pub(crate) fn fenced(why: &str) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", format!("fenced: {why}"))
    }

    pub(crate) fn forbidden_object(kind: &Kind, name: &str, why: &str) -> Self {
        Self::forbidden(kind.group, kind.plural, name, why)
    }

    /// A create inside a namespace that is going away.
    pub(crate) fn namespace_terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut status = Self::forbidden_object(kind, name, &why);
        let cause = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
        status.0.details.insert("causes".to_owned(), cause);
        status
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, errors: &FieldErrors) -> Self {
        Self::invalid_named(&kind.qualified_kind(), name, errors)
            .detail("name", name)
            .detail("group", kind.group)
            .detail("kind", kind.kind)
            .causes(errors)
    }

    /// As [`Status::invalid`], but named by its resource, as updates without resourceVersion are.
    pub(crate) fn invalid_resource(kind: &Kind, name: &str, errors: &FieldErrors) -> Self {
        Self::invalid_named(&kind.resource(), name, errors).about(kind, name).causes(errors)
    }

    /// As [`Status::invalid`], of a body that is no object.
    pub(crate) fn invalid_body(group: &str, kind: &str, name: &str, errors: &FieldErrors) -> Self {
        Self::invalid_named(&format!("{kind}.{group}"), name, errors)
            .detail("name", name)
            .detail("group", group)
            .detail("kind", kind)
            .causes(errors)
    }

    /// A patch whose outcome is no object of the kind.
    pub(crate) fn invalid_patch(errors: &FieldErrors) -> Self {
        Self::invalid_named("", "", errors).causes(errors)
    }

    /// A JSON patch that does not apply.
    pub(crate) fn patch_rejected() -> Self {
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
    }

    /// The body names another object than the path does.
    pub(crate) fn misnamed(own: &str, name: &str) -> Self {
        Self::bad_request(format!(
            "the name of the object ({own}) does not match the name on the URL ({name})"
        ))
    }

    /// An applied configuration that is none of its type.
    pub(crate) fn untyped(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// An apply of fields that others manage.
    pub(crate) fn apply_conflict(conflicts: &Conflicts) -> Self {
        let mut status = Self::new(StatusCode::CONFLICT, "Conflict", conflicts.to_string());
        let cause = |conflict: &Conflict| {
            json!({
                "reason": "FieldManagerConflict",
                "message": format!("conflict with {}", conflict.manager),
                "field": conflict.path.to_string(),
            })
        };
        let causes = conflicts.iter().map(cause).collect();
        status.0.details.insert("causes".to_owned(), Value::Array(causes));
        status
    }

    pub(crate) fn version_on_create() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "",
            "resourceVersion should not be set on objects to be created",
        )
    }

    fn invalid_named(what: &str, name: &str, errors: &FieldErrors) -> Self {
        let message = format!("{what} {name:?} is invalid: {errors}");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    fn causes(mut self, errors: &FieldErrors) -> Self {
        let causes: Vec<Value> = errors
            .iter()
            .map(|error| {
                json!({"reason": error.reason.as_str(), "message": error.body(), "field": error.field})
            })
            .collect();
        self.0.details.insert("causes".to_owned(), Value::Array(causes));
        self
    }
}

/// Time and the store.
impl Status {
    /// The asked history is compacted away.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// The asked page is compacted away; `token` continues without consistency.
    pub(crate) fn continue_expired(token: String) -> Self {
        let mut status = Self::expired(
            "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.",
        );
        status.0.continue_token = Some(token);
        status
    }

    pub(crate) fn version_too_large(asked: i64, current: i64) -> Self {
        let mut status = Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
        );
        let cause = json!([{
            "reason": "ResourceVersionTooLarge", "message": "Too large resource version",
        }]);
        status.0.details.insert("causes".to_owned(), cause);
        status.retry_after(1)
    }

    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message).retry_after(1)
    }

    /// What the request is for cannot be had now; nobody knows when.
    pub(crate) fn service_unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// Nobody answers a request that was to be passed on.
    pub(crate) fn cannot_reach(why: &str) -> Self {
        Self::service_unavailable(format!("error trying to reach service: {why}"))
    }

    /// Too many writers fought over one object.
    pub(crate) fn contended(kind: &Kind, name: &str) -> Self {
        let message = format!("{} {name:?} is changed by too many writers at once", kind.resource());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    pub(crate) fn transaction_contended() -> Self {
        let message = "what the transaction relies on is changed by too many writers at once";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// More than the store does at once.
    pub(crate) fn too_many_keys(limit: usize) -> Self {
        let message = format!(
            "the request would change or rely on more than {limit} keys at once, those of addresses and quotas included"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// The same, and where it happened.
    pub(crate) fn within(mut self, place: &str) -> Self {
        self.0.message = format!("{place}: {}", self.0.message);
        self
    }

    /// Something that we stored or computed is not what it must be.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        let message = format!("Internal error occurred: {}", message.into());
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// The node that an answer must come from does not give one.
    pub(crate) fn node_unreachable(message: impl Into<String>) -> Self {
        Self::internal(message)
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Compacted { .. } => {
                Self::expired("The resourceVersion for the provided list is too old.")
            }
            StoreError::BeforeHistory { .. } => Self::expired(error.to_string()),
            StoreError::NoLeader => Self::unavailable("the store has no leader"),
            StoreError::QuorumLost { .. } => Self::unavailable(error.to_string()),
            StoreError::NoSpace => Self::internal("etcdserver: mvcc: database space exceeded"),
            StoreError::Timeout => Self::new(
                StatusCode::GATEWAY_TIMEOUT,
                "Timeout",
                "the server was unable to return a response in the time allotted, but may still be processing the request",
            ),
            StoreError::TooLarge { limit, .. } => Self::body_too_large(limit),
            StoreError::TooManyOps { limit } => Self::too_many_keys(limit),
            StoreError::Fenced { .. } => Self::fenced(&error.to_string()),
            StoreError::Corrupt => Self::unavailable("this server's copy of the data cannot be trusted"),
            StoreError::Stopping => Self::unavailable("the server is stopping"),
            StoreError::FutureRevision { asked, newest } => {
                Self::version_too_large(asked.get(), newest.get())
            }
            // What we never ask for, or never wrongly.
            StoreError::EmptyKey
            | StoreError::ValueProvided
            | StoreError::LeaseProvided
            | StoreError::KeyNotFound
            | StoreError::DuplicateKey
            | StoreError::LeaseNotFound
            | StoreError::LeaseExists
            | StoreError::LeaseTtlTooLarge { .. }
            | StoreError::MemberNotFound
            | StoreError::MemberExists
            | StoreError::MemberNotLearner
            | StoreError::LearnerNotReady
            | StoreError::MembershipBusy
            | StoreError::TooManyLearners
            | StoreError::TooFewRunning
            | StoreError::LastVoter
            | StoreError::Auth(_) => {
                tracing::error!(%error, "the store refused a request of the API server");
                Self::internal(error.to_string())
            }
        }
    }
}
