//! `POST /apis/navarch.io/v1/transactions`: several writes, admitted one after the other and committed as one revision, or
//! none of them (`design/0004-transactions.md`).
//!
//! Each operation goes the way of a request of its own, on a draft of the store in which it sees what those before it
//! would make of it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{HeaderMap, StatusCode};
use kinds::schema::{self, Document};
use kinds::{FieldError, FieldErrors, Kind, Verb, meta, tree};
use serde_json::{Value, json};

use crate::chain::authn::Identity;
use crate::chain::fence::Fence;
use crate::negotiation::{Accepted, Encoding, Shape};
use crate::query::WriteOptions;
use crate::reply::{Content, Reply};
use crate::request::{Query, ResourcePath};
use crate::server::{Call, Shared, dispatch};
use crate::status::Status;
use crate::storage::Storage;
use crate::verbs::{ATTEMPTS_MAX, apply};
use crate::warnings::Warnings;

pub(crate) const GROUP: &str = "navarch.io";
pub(crate) const VERSION: &str = "v1";
pub(crate) const RESOURCE: &str = "transactions";
const API_VERSION: &str = "navarch.io/v1";
const KIND: &str = "Transaction";
/// The store compares as many keys again: namespaces, quotas and what else writes rely on.
const OPERATIONS_MAX: usize = 64;
const VERBS: [(&str, Verb); 4] =
    [("apply", Verb::Patch), ("create", Verb::Create), ("delete", Verb::Delete), ("update", Verb::Update)];
/// What an operation answers with is put into the transaction's answer.
const PLAIN: Accepted = Accepted { encoding: Encoding::Json, shape: Shape::Object };

/// The request.
pub(crate) struct Sent<'a> {
    pub(crate) server: &'a Arc<Shared>,
    pub(crate) who: &'a Identity,
    pub(crate) query: &'a Query,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) body: Bytes,
}

/// What is to happen, all or nothing.
pub(crate) struct Transaction {
    operations: Vec<Operation>,
    dry_run: bool,
}

/// One write: what is asked of which object.
pub(crate) struct Operation {
    word: &'static str,
    kind: &'static Kind,
    pub(crate) verb: Verb,
    pub(crate) path: ResourcePath,
    object: Value,
}

impl Transaction {
    /// Reads the body: a Transaction, or a List of what is to be created.
    pub(crate) fn parse(sent: &Sent<'_>) -> Result<Self, Status> {
        if Fence::of(sent.headers)?.is_some() {
            return Err(Status::bad_request("a transaction cannot carry the header Navarch-Fence"));
        }
        let dry_run = WriteOptions::parse(sent.query, "CreateOptions")?.dry_run;
        let Document { value, .. } = schema::read_document(&sent.body)
            .map_err(|error| Status::bad_request(format!("the transaction cannot be read: {error}")))?;
        let mut errors = FieldErrors::new();
        let (field, wanted) = match (tree::text(&value, "apiVersion"), tree::text(&value, "kind")) {
            ("v1", "List") => {
                ("items", tree::items(&value, "items").iter().map(|item| ("create", item)).collect())
            }
            (API_VERSION, KIND) => ("operations", wanted(&value)),
            (version, kind) => {
                let why = format!(
                    "the body must be a {KIND} of {API_VERSION} or a List of v1, not kind {kind:?} of {version:?}"
                );
                return Err(Status::bad_request(why));
            }
        };
        match wanted.len() {
            0 => errors.push(FieldError::required(field, "must name at least one object")),
            many if many > OPERATIONS_MAX => {
                let most = format!("must have at most {OPERATIONS_MAX} items");
                errors.push(FieldError::invalid(field, many, most));
            }
            _ => {}
        }
        let mut operations = Vec::new();
        for (number, (word, object)) in wanted.into_iter().enumerate() {
            let at = format!("{field}[{number}]");
            operations.extend(Operation::parse(sent.server, (word, object), &at, &mut errors));
        }
        errors.into_result().map_err(|errors| Status::invalid_body(GROUP, KIND, "", &errors))?;
        Ok(Self { operations, dry_run })
    }

    pub(crate) fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Makes all of it happen, or nothing.
    pub(crate) async fn run(&self, sent: &Sent<'_>) -> Result<Reply, Status> {
        for _ in 0..ATTEMPTS_MAX {
            let draft = sent.server.storage.drafting();
            let mut replies = Vec::new();
            for (number, operation) in self.operations.iter().enumerate() {
                let done = operation.run(sent, &draft).await;
                replies.push(done.map_err(|status| status.within(&operation.title(number)))?);
            }
            if self.dry_run {
                return self.answer(replies, None);
            }
            if let Some(revision) = draft.commit().await? {
                return self.answer(replies, Some(revision));
            }
        }
        Err(Status::transaction_contended())
    }

    fn answer(&self, replies: Vec<Reply>, revision: Option<base::Revision>) -> Result<Reply, Status> {
        let mut operations = Vec::new();
        let mut warnings = Vec::new();
        for (operation, reply) in self.operations.iter().zip(replies) {
            warnings.extend(reply.warnings);
            let object = match reply.content {
                Content::Object(_, stored) => stored.settled(revision).parse_served()?,
                Content::Json(value) => value,
                Content::List(..) | Content::Long(_) | Content::Raw { .. } => Value::Null,
            };
            operations.push(json!({"verb": operation.word, "object": object}));
        }
        let version = revision.map(|revision| revision.to_string());
        let metadata = version.map_or_else(|| json!({}), |version| json!({"resourceVersion": version}));
        let answer =
            json!({"kind": KIND, "apiVersion": API_VERSION, "metadata": metadata, "operations": operations});
        Ok(Reply::ok(Content::Json(answer)).with_code(StatusCode::CREATED).with_warnings(warnings))
    }
}

/// The operations of a Transaction: verb and object.
fn wanted(transaction: &Value) -> Vec<(&str, &Value)> {
    let items = tree::items(transaction, "operations").iter();
    items.map(|item| (tree::text(item, "verb"), tree::get(item, "object"))).collect()
}

impl Operation {
    /// Nothing if there is something wrong with it.
    fn parse(
        server: &Shared,
        (word, object): (&str, &Value),
        at: &str,
        errors: &mut FieldErrors,
    ) -> Option<Self> {
        let known = VERBS.iter().find(|(known, _)| *known == word);
        let Some(&(word, verb)) = known else {
            let supported = VERBS.map(|(word, _)| word);
            errors.push(FieldError::not_supported(format!("{at}.verb"), word, &supported));
            return None;
        };
        let (api_version, kind) = (tree::text(object, "apiVersion"), tree::text(object, "kind"));
        let Some(kind) = server.registry.of_type(api_version, kind) else {
            let named = format!("{kind} of {api_version:?}");
            errors.push(FieldError::invalid(format!("{at}.object.kind"), named, "is not served"));
            return None;
        };
        let (namespace, name) = (meta::namespace(object), meta::name(object));
        let is_nowhere = kind.namespaced && namespace.is_empty();
        let is_nameless = verb != Verb::Create && name.is_empty();
        for (is_missing, field) in [(is_nowhere, "namespace"), (is_nameless, "name")] {
            if is_missing {
                errors.push(FieldError::required(format!("{at}.object.metadata.{field}"), ""));
            }
        }
        let path = ResourcePath {
            group: kind.group.to_owned(),
            version: kind.version.to_owned(),
            namespace: kind.namespaced.then(|| namespace.to_owned()),
            resource: kind.plural.to_owned(),
            name: (verb != Verb::Create).then(|| name.to_owned()),
            ..ResourcePath::default()
        };
        Some(Self { word, kind, verb, path, object: object.clone() })
    }

    async fn run(&self, sent: &Sent<'_>, draft: &Storage) -> Result<Reply, Status> {
        let mut headers = HeaderMap::new();
        if let Some(agent) = sent.headers.get(USER_AGENT) {
            headers.insert(USER_AGENT, agent.clone());
        }
        let media_type = if self.verb == Verb::Patch { apply::MEDIA_TYPE } else { "application/json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        let body = if self.verb == Verb::Delete { self.preconditions() } else { self.object.clone() };
        let call = Call {
            server: sent.server,
            who: sent.who,
            storage: draft,
            kind: self.kind,
            path: &self.path,
            query: &sent.query.without("dryRun"),
            headers: &headers,
            accepted: &PLAIN,
            body: body.to_string().into(),
            warnings: Warnings::default(),
        };
        dispatch(&call, self.verb).await
    }

    /// A delete is of the object that was meant, as far as that was said.
    fn preconditions(&self) -> Value {
        let mut options = json!({});
        for field in ["uid", "resourceVersion"] {
            let wanted = tree::text(&self.object, &format!("metadata.{field}"));
            if !wanted.is_empty() {
                tree::set(&mut options, &format!("preconditions.{field}"), wanted);
            }
        }
        options
    }

    /// `operation 2 (update deployments.apps "web")`.
    pub(crate) fn title(&self, number: usize) -> String {
        let name = match meta::name(&self.object) {
            "" => meta::generate_name(&self.object),
            name => name,
        };
        format!("operation {number} ({} {} {name:?})", self.word, self.kind.resource())
    }
}

/// Whether a path is that of transactions.
pub(crate) fn is_path(path: &ResourcePath) -> bool {
    (&*path.group, &*path.version, &*path.resource) == (GROUP, VERSION, RESOURCE)
        && path.name.is_none()
        && path.namespace.is_none()
}
