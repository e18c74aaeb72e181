//! The paths and operations of a resource, before they are written as v2 or v3.

use serde_json::{Map, Value, json};

use super::super::{Schema, Type};
use super::{Resource, Speaks, Subresource, prefix};
use crate::Connect;

pub(super) struct Path {
    pub(super) template: String,
    /// Parameters of every operation: `name`, `namespace`.
    pub(super) parameters: Vec<&'static Parameter>,
    pub(super) operations: Vec<Operation>,
}

/// All paths, their operations and parameters written as one version of OpenAPI wants them.
pub(super) fn items(
    paths: &[Path],
    operation: fn(&Operation) -> Value,
    parameter: fn(&Parameter) -> Value,
) -> Map<String, Value> {
    let item = |path: &Path| {
        let mut item = Map::new();
        for of in &path.operations {
            item.insert(of.method.as_str().to_owned(), operation(of));
        }
        if !path.parameters.is_empty() {
            item.insert("parameters".to_owned(), path.parameters.iter().map(|it| parameter(it)).collect());
        }
        Value::Object(item)
    };
    paths.iter().map(|path| (path.template.clone(), item(path))).collect()
}

pub(super) struct Operation {
    pub(super) method: Method,
    /// `x-kubernetes-action`.
    pub(super) action: &'static str,
    /// Of a custom kind, which has no keys to merge lists by.
    pub(super) is_custom: bool,
    pub(super) id: String,
    pub(super) tag: String,
    /// `x-kubernetes-group-version-kind`.
    pub(super) kind: Value,
    pub(super) query: Vec<&'static Parameter>,
    /// The definition of the request's body.
    pub(super) body: Option<Body>,
    /// The definition of the answer; plain text when there is none.
    pub(super) answer: Option<String>,
    pub(super) statuses: &'static [(&'static str, &'static str)],
}

impl Operation {
    /// Media types of its body. kubectl sends strategic merge patches to whoever says here that it takes them.
    pub(super) fn consumes(&self) -> &'static [&'static str] {
        const PATCHES: &[&str] = &[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
            "application/strategic-merge-patch+json",
        ];
        match self.method {
            Method::Patch if self.is_custom => &PATCHES[..3],
            Method::Patch => PATCHES,
            Method::Get | Method::Put | Method::Post | Method::Delete => &["*/*"],
        }
    }

    /// The responses by status; `field` says what the answer looks like, where there is one.
    pub(super) fn responses(&self, field: &str, answer: &Value) -> Map<String, Value> {
        let response = |status: &str, description: &str| {
            let mut response = Map::from_iter([("description".to_owned(), description.into())]);
            if status != "401" {
                response.insert(field.to_owned(), answer.clone());
            }
            Value::Object(response)
        };
        self.statuses
            .iter()
            .map(|(status, description)| ((*status).to_owned(), response(status, description)))
            .collect()
    }
}

pub(super) struct Body {
    pub(super) definition: String,
    pub(super) required: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Put,
    Post,
    Delete,
    Patch,
}

impl Method {
    /// The method by which a named thing is asked to do this.
    fn of_verb(verb: &str) -> Option<Method> {
        Some(match verb {
            "get" => Method::Get,
            "create" => Method::Post,
            "update" => Method::Put,
            "patch" => Method::Patch,
            "delete" => Method::Delete,
            _ => return None,
        })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Method::Get => "get",
            Method::Put => "put",
            Method::Post => "post",
            Method::Delete => "delete",
            Method::Patch => "patch",
        }
    }
}

pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) place: &'static str,
    pub(super) ty: &'static str,
}

const fn query(name: &'static str, ty: &'static str) -> Parameter {
    Parameter { name, place: "query", ty }
}

static NAME: Parameter = Parameter { name: "name", place: "path", ty: "string" };
static NAMESPACE: Parameter = Parameter { name: "namespace", place: "path", ty: "string" };
static PRETTY: Parameter = query("pretty", "string");
static DRY_RUN: Parameter = query("dryRun", "string");
static FIELD_MANAGER: Parameter = query("fieldManager", "string");
static FIELD_VALIDATION: Parameter = query("fieldValidation", "string");
static FORCE: Parameter = query("force", "boolean");
static GRACE: Parameter = query("gracePeriodSeconds", "integer");
static ORPHANS: Parameter = query("orphanDependents", "boolean");
static PROPAGATION: Parameter = query("propagationPolicy", "string");
static LIST: [Parameter; 10] = [
    query("allowWatchBookmarks", "boolean"),
    query("continue", "string"),
    query("fieldSelector", "string"),
    query("labelSelector", "string"),
    query("limit", "integer"),
    query("resourceVersion", "string"),
    query("resourceVersionMatch", "string"),
    query("sendInitialEvents", "boolean"),
    query("timeoutSeconds", "integer"),
    query("watch", "boolean"),
];
static LOG: [Parameter; 9] = [
    query("container", "string"),
    query("follow", "boolean"),
    query("insecureSkipTLSVerifyBackend", "boolean"),
    query("limitBytes", "integer"),
    query("previous", "boolean"),
    query("sinceSeconds", "integer"),
    query("stream", "string"),
    query("tailLines", "integer"),
    query("timestamps", "boolean"),
];

static EXEC: [Parameter; 6] = [
    query("command", "string"),
    query("container", "string"),
    query("stderr", "boolean"),
    query("stdin", "boolean"),
    query("stdout", "boolean"),
    query("tty", "boolean"),
];
static PORTS: Parameter = query("ports", "integer");
static BELOW: Parameter = query("path", "string");
static PATH: Parameter = Parameter { name: "path", place: "path", ty: "string" };

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const OK: &[(&str, &str)] = &[("200", "OK"), ("401", "Unauthorized")];
const WRITTEN: &[(&str, &str)] = &[("200", "OK"), ("201", "Created"), ("401", "Unauthorized")];
const CREATED: &[(&str, &str)] =
    &[("200", "OK"), ("201", "Created"), ("202", "Accepted"), ("401", "Unauthorized")];
const DELETED: &[(&str, &str)] = &[("200", "OK"), ("202", "Accepted"), ("401", "Unauthorized")];

/// Every path of a resource and its subresources.
pub(super) fn of(schema: &Schema, resource: &Resource<'_>) -> Vec<Path> {
    let base = format!("/{}", prefix(resource.group, resource.version));
    let plural = resource.plural;
    let (collection, scope): (String, Vec<&'static Parameter>) = if resource.namespaced {
        (format!("{base}/namespaces/{{namespace}}/{plural}"), vec![&NAMESPACE])
    } else {
        (format!("{base}/{plural}"), Vec::new())
    };
    let item = format!("{collection}/{{name}}");
    let item_parameters: Vec<&'static Parameter> = std::iter::once(&NAME).chain(scope.clone()).collect();
    let describe = Describe { resource, kind: gvk(resource.group, resource.version, resource.kind) };
    let mut paths = vec![
        Path { template: collection, parameters: scope, operations: describe.collection(schema) },
        Path { template: item.clone(), parameters: item_parameters.clone(), operations: describe.item() },
    ];
    if resource.namespaced && resource.verbs.contains(&"list") {
        let operations = vec![describe.list(schema, "ForAllNamespaces")];
        paths.push(Path { template: format!("{base}/{plural}"), parameters: Vec::new(), operations });
    }
    for sub in &resource.subresources {
        let template = format!("{item}/{}", sub.name);
        let operations = describe.subresource(schema, sub, &pascal(sub.name));
        if sub.speaks == Speaks::Http {
            let parameters = [item_parameters.as_slice(), &[&PATH]].concat();
            let operations = describe.subresource(schema, sub, &format!("{}WithPath", pascal(sub.name)));
            paths.push(Path { template: format!("{template}/{{path}}"), parameters, operations });
        }
        paths.push(Path { template, parameters: item_parameters.clone(), operations });
    }
    paths.retain(|path| !path.operations.is_empty());
    paths
}

struct Describe<'a> {
    resource: &'a Resource<'a>,
    kind: Value,
}

impl Describe<'_> {
    fn collection(&self, schema: &Schema) -> Vec<Operation> {
        let mut operations = Vec::new();
        for verb in &self.resource.verbs {
            match *verb {
                "list" => operations.push(self.list(schema, "")),
                "create" => operations.push(self.write(Method::Post, self.resource.definition, "")),
                "deletecollection" => {
                    let mut operation = self.delete("deletecollection", "deleteCollection", "");
                    operation.query.extend(&LIST);
                    operations.push(operation);
                }
                _ => {}
            }
        }
        operations
    }

    fn item(&self) -> Vec<Operation> {
        let definition = self.resource.definition;
        let mut operations = Vec::new();
        for verb in &self.resource.verbs {
            match *verb {
                "get" => operations.push(self.read(Some(definition.to_owned()), "")),
                "update" => operations.push(self.write(Method::Put, definition, "")),
                "patch" => operations.push(self.write(Method::Patch, definition, "")),
                "delete" => operations.push(self.delete("delete", "delete", "")),
                _ => {}
            }
        }
        operations
    }

    fn subresource(&self, schema: &Schema, sub: &Subresource<'_>, suffix: &str) -> Vec<Operation> {
        let ty = schema.type_of_kind(sub.group, sub.version, sub.kind).map(|ty| schema.get(ty));
        let definition = match ty {
            Some(Type::Struct(of)) => of.definition.to_string(),
            Some(Type::List(_) | Type::Map(_) | Type::Scalar(_)) | None => {
                self.resource.definition.to_owned()
            }
        };
        let mut operations = Vec::new();
        for verb in &sub.verbs {
            let mut operation = match (*verb, sub.speaks) {
                ("get", Speaks::Text) => {
                    let mut operation = self.read(None, suffix);
                    operation.query.extend(&LOG);
                    operation
                }
                ("get", Speaks::Connection(connect)) => self.connect(Method::Get, connect, suffix),
                ("create", Speaks::Connection(connect)) => self.connect(Method::Post, connect, suffix),
                (verb, Speaks::Http) => match Method::of_verb(verb) {
                    Some(method) => self.pass_on(method, suffix),
                    None => continue,
                },
                ("get", Speaks::Kind) => self.read(Some(definition.clone()), suffix),
                ("create", _) => self.write(Method::Post, &definition, suffix),
                ("update", _) => self.write(Method::Put, &definition, suffix),
                ("patch", _) => self.write(Method::Patch, &definition, suffix),
                _ => continue,
            };
            operation.kind = gvk(sub.group, sub.version, sub.kind);
            operations.push(operation);
        }
        operations
    }

    fn connect(&self, method: Method, connect: Connect, suffix: &str) -> Operation {
        let query = match connect {
            Connect::Exec => EXEC.iter().collect(),
            // All but the command.
            Connect::Attach => EXEC.iter().skip(1).collect(),
            Connect::PortForward => vec![&PORTS],
        };
        Operation { query, ..self.operation(method, ("connect", "connect"), suffix, None) }
    }

    fn pass_on(&self, method: Method, suffix: &str) -> Operation {
        Operation { query: vec![&BELOW], ..self.operation(method, ("connect", "connect"), suffix, None) }
    }

    fn list(&self, schema: &Schema, suffix: &str) -> Operation {
        let list = format!("{}List", self.resource.definition);
        let is_known = self.resource.custom.is_some() || schema.type_of(&list).is_some();
        let answer = is_known.then_some(list);
        let mut operation = self.operation(Method::Get, ("list", "list"), suffix, answer);
        operation.query.extend(&LIST);
        operation
    }

    fn read(&self, answer: Option<String>, suffix: &str) -> Operation {
        self.operation(Method::Get, ("get", "read"), suffix, answer)
    }

    fn write(&self, method: Method, definition: &str, suffix: &str) -> Operation {
        let (words, statuses) = match method {
            Method::Post => (("post", "create"), CREATED),
            Method::Patch => (("patch", "patch"), WRITTEN),
            Method::Get | Method::Put | Method::Delete => (("put", "replace"), WRITTEN),
        };
        let mut operation = self.operation(method, words, suffix, Some(definition.to_owned()));
        operation.query.extend([&DRY_RUN, &FIELD_MANAGER, &FIELD_VALIDATION]);
        let body = if method == Method::Patch {
            operation.query.push(&FORCE);
            format!("{META}.Patch")
        } else {
            definition.to_owned()
        };
        operation.body = Some(Body { definition: body, required: true });
        operation.statuses = statuses;
        operation
    }

    fn delete(&self, action: &'static str, word: &str, suffix: &str) -> Operation {
        let answer = Some(format!("{META}.Status"));
        let mut operation = self.operation(Method::Delete, (action, word), suffix, answer);
        operation.query.extend([&DRY_RUN, &GRACE, &ORPHANS, &PROPAGATION]);
        operation.body = Some(Body { definition: format!("{META}.DeleteOptions"), required: false });
        operation.statuses = DELETED;
        operation
    }

    fn operation(
        &self,
        method: Method,
        (action, word): (&'static str, &str),
        suffix: &str,
        answer: Option<String>,
    ) -> Operation {
        let Resource { group, version, kind, namespaced, .. } = self.resource;
        let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
        let scope = if *namespaced && suffix != "ForAllNamespaces" { "Namespaced" } else { "" };
        let by = if action == "connect" { pascal(method.as_str()) } else { String::new() };
        let id = format!("{word}{}{}{by}{scope}{kind}{suffix}", pascal(group), pascal(version));
        let tag = format!("{}_{version}", first_lower(&pascal(group)));
        let kind = self.kind.clone();
        let is_custom = self.resource.custom.is_some();
        let query = vec![&PRETTY];
        Operation { method, action, is_custom, id, tag, kind, query, body: None, answer, statuses: OK }
    }
}

fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({ "group": group, "kind": kind, "version": version })
}

/// `rbac.authorization` as `RbacAuthorization`.
fn pascal(words: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    words.split(['.', '-']).map(capital).collect()
}

fn first_lower(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}
