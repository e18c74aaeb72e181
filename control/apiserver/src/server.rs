//! One server: what it is made of, and the way of a request through it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use base::{Clock, Entropy, Tasks};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::header::HeaderValue;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use kinds::schema::{Schema, TypeId};
use kinds::{CellContext, Kind, Registry, Verb};
use store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::allocation::ServiceNetwork;
use crate::body::{self, Body};
use crate::bootstrap;
use crate::chain::admission::PodAccounts;
use crate::chain::authn::{Authentication, Authenticator, Identity};
use crate::chain::authz::{Attributes, Authorizer, method_verb, name_of, node_of};
use crate::chain::impersonation;
use crate::discovery::{self, Documents};
use crate::measures::{self, Measures};
use crate::metrics;
use crate::negotiation::{Accepted, Encoding, Offer, Shape, accepted};
use crate::node_stream::NodeStreams;
use crate::reply::{self, Rendering, Reply};
use crate::request::{Query, RequestInfo, ResourcePath, Target};
use crate::status::Status;
use crate::storage::Storage;
use crate::subresources::{Connecting, Proxying, connect, proxy};
use crate::transactions::{self, Sent, Transaction};
use crate::turns::Turns;
use crate::warnings::Warnings;
use crate::{reviews, subresources, table, verbs};

/// What a server is made of.
pub struct ApiConfig {
    pub store: Store,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// The way to a node's own API, for logs.
    pub nodes: Arc<dyn NodeStreams>,
    /// The text of `/metrics`.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// How long pods stay on a node that is not ready or unreachable, unless they say so themselves.
    pub toleration_seconds: i64,
    /// Whether versions of kinds are served that Kubernetes has given up.
    pub legacy_versions: bool,
    /// Where clients reach this server: `host:port`, for discovery and the service `kubernetes`.
    pub address: String,
    /// Whose tokens are believed.
    pub authentication: Authentication,
    /// What pods get of their service accounts.
    pub pod_accounts: PodAccounts,
    /// What services are given of.
    pub service_network: ServiceNetwork,
    /// Takes what the server does by itself. Its end also ends watches and logs that are being followed.
    pub tasks: Tasks,
}

/// Serves the API. A cheap handle; clones are the same server.
#[derive(Clone)]
pub struct ApiServer {
    pub(crate) shared: Arc<Shared>,
}

/// What every request may look at.
pub(crate) struct Shared {
    pub(crate) storage: Storage,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) nodes: Arc<dyn NodeStreams>,
    pub(crate) metrics: Arc<dyn Fn() -> String + Send + Sync>,
    pub(crate) toleration_seconds: i64,
    pub(crate) address: String,
    pub(crate) stop: CancellationToken,
    /// Takes connections to nodes that outlive their requests.
    pub(crate) tasks: Tasks,
    pub(crate) registry: Registry,
    pub(crate) schema: Arc<Schema>,
    pub(crate) documents: Documents,
    /// Counts the changes of the registry's custom kinds.
    pub(crate) custom_changes: watch::Sender<u64>,
    pub(crate) authenticator: Authenticator,
    pub(crate) pod_accounts: PodAccounts,
    pub(crate) authorizer: Authorizer,
    pub(crate) service_network: ServiceNetwork,
    pub(crate) turns: Turns,
    pub(crate) measures: Measures,
}

impl Shared {
    /// The type of a definition.
    pub(crate) fn type_of(&self, definition: &str) -> Result<TypeId, Status> {
        let ty = self.schema.type_of(definition);
        ty.ok_or_else(|| Status::internal(format!("the schema lacks {definition}")))
    }

    /// The type of a kind, in the graph that it is in: custom kinds have one each.
    pub(crate) fn type_of_kind(&self, kind: &Kind) -> Result<TypeIn<'_>, Status> {
        match kind.custom {
            Some(custom) => Ok((&custom.graph, custom.ty)),
            None => Ok((&self.schema, self.type_of(kind.definition)?)),
        }
    }
}

/// A graph, and a type in it.
pub(crate) type TypeIn<'a> = (&'a Schema, TypeId);

/// One request for a resource, its body read.
pub(crate) struct Call<'a> {
    pub(crate) server: &'a Arc<Shared>,
    pub(crate) who: &'a Identity,
    /// Where it reads and writes: the server's, or a draft.
    pub(crate) storage: &'a Storage,
    pub(crate) kind: &'static Kind,
    pub(crate) path: &'a ResourcePath,
    pub(crate) query: &'a Query,
    pub(crate) headers: &'a HeaderMap,
    pub(crate) accepted: &'a Accepted,
    pub(crate) body: Bytes,
    pub(crate) warnings: Warnings,
}

impl Call<'_> {
    /// The name in the path.
    pub(crate) fn name(&self) -> &str {
        self.path.name.as_deref().unwrap_or_default()
    }

    /// Refuses who may not create what this write makes, though it is no POST: a PUT or an apply of an absent object.
    pub(crate) async fn authorize_creation(&self) -> Result<(), Status> {
        let asked = Attributes::on(Verb::Create, self.path, self.name());
        self.server.authorizer.authorize(self.who, &asked).await
    }

    pub(crate) fn scope(&self) -> crate::storage::Scope {
        let namespace = if self.kind.namespaced { self.path.namespace.clone() } else { None };
        crate::storage::Scope { kind: self.kind, namespace }
    }
}

impl ApiServer {
    pub fn new(config: ApiConfig) -> Self {
        let registry = if config.legacy_versions { Registry::with_legacy() } else { Registry::builtin() };
        let schema = Schema::builtin();
        let storage = Storage::new(config.store);
        let authenticator = Authenticator::new(config.authentication, storage.clone(), config.clock.clone());
        metrics::describe();
        Self {
            shared: Arc::new(Shared {
                authenticator,
                pod_accounts: config.pod_accounts,
                authorizer: Authorizer::start(storage.clone(), &config.tasks, bootstrap::rules_of_nodes()),
                storage,
                clock: config.clock,
                entropy: config.entropy,
                nodes: config.nodes,
                metrics: config.metrics,
                toleration_seconds: config.toleration_seconds,
                address: config.address,
                service_network: config.service_network,
                turns: Turns::default(),
                measures: Measures::default(),
                stop: config.tasks.stop().clone(),
                tasks: config.tasks,
                registry,
                schema,
                documents: Documents::default(),
                custom_changes: watch::Sender::new(0),
            }),
        }
    }

    /// Answers one request as `who`. Never fails and never panics: whatever goes wrong is a `Status`.
    ///
    /// Components in this process call it directly; dropping the future or the body abandons the request.
    pub fn handle(&self, who: Identity, request: Request<Body>) -> BoxFuture<'static, Response<Body>> {
        let server = self.clone();
        Box::pin(async move { server.handle_guarded(who, request).await })
    }

    async fn handle_guarded(self, who: Identity, request: Request<Body>) -> Response<Body> {
        let info = RequestInfo::parse(request.method(), request.uri());
        let observed = metrics::Observed::begin(request.method(), &info);
        let audit_id = request.headers().get("audit-id").cloned();
        let request_headers = request.headers().clone();
        let answered = AssertUnwindSafe(self.answer(who, &info, request)).catch_unwind().await;
        let response = answered.unwrap_or_else(|_| {
            tracing::error!(path = %info.path, "a request panicked");
            Err(Status::panicked())
        });
        let response = response.unwrap_or_else(|status| {
            if status.code().is_server_error() {
                tracing::warn!(path = %info.path, code = %status.code(), message = status.message(), "a request failed");
            }
            reply::failure(&self.shared.schema, &request_headers, &status)
        });
        let mut response = reply::compressed(&self.shared.schema, &request_headers, response).await;
        let audit_id = audit_id.or_else(|| HeaderValue::from_str(&self.shared.entropy.uid()).ok());
        if let Some(audit_id) = audit_id {
            response.headers_mut().insert("audit-id", audit_id);
        }
        observed.end(response)
    }

    async fn answer(
        &self,
        who: Identity,
        info: &RequestInfo,
        request: Request<Body>,
    ) -> Result<Response<Body>, Status> {
        let who = self.shared.authenticator.sender(who, request.headers()).await?;
        let wanted = impersonation::wanted(request.headers())?;
        let method = method_verb(request.method());
        let who = self.authorized((who, wanted), info, &method).await?;
        match &info.target {
            Target::NonResource => {
                let (head, _) = request.into_parts();
                discovery::serve(&self.shared, info, head).await
            }
            Target::UnknownMethod => Err(Status::method_not_allowed()),
            Target::Resource { verb: Verb::Create, path } if transactions::is_path(path) => {
                self.transaction(&who, &info.query, request).await
            }
            Target::Resource { verb, path } => self.resource(&who, (*verb, path), &info.query, request).await,
        }
    }

    /// Several writes at once. Each must be allowed for itself.
    async fn transaction(
        &self,
        who: &Identity,
        query: &Query,
        request: Request<Body>,
    ) -> Result<Response<Body>, Status> {
        let accepted = accepted(request.headers(), Offer::WithoutMessage)?;
        let (parts, body) = request.into_parts();
        let body = body::read(body).await?;
        let sent = Sent { server: &self.shared, who, query, headers: &parts.headers, body };
        let transaction = Transaction::parse(&sent)?;
        for (number, operation) in transaction.operations().iter().enumerate() {
            let name = operation.path.name.as_deref().unwrap_or_default();
            let asked = Attributes::on(operation.verb, &operation.path, name);
            let allowed = self.shared.authorizer.authorize(who, &asked).await;
            allowed.map_err(|status| status.within(&operation.title(number)))?;
        }
        let reply = transaction.run(&sent).await?;
        reply.render(&self.shared.rendering(&accepted, query)?)
    }

    /// As whom the request is served, if they may. Who has not said who they are is asked to.
    async fn authorized(
        &self,
        (who, wanted): (Identity, Option<Identity>),
        info: &RequestInfo,
        method: &str,
    ) -> Result<Identity, Status> {
        let authorizer = &self.shared.authorizer;
        let nobody = who.is_anonymous();
        let judged = async {
            let who = impersonation::impersonated(authorizer, who, wanted).await?;
            let (name, node) = (name_of(info), node_of(info));
            let asked = Attributes::of(info, method, &name).on_node(&node);
            let judged = authorizer.authorize(&who, &asked).await;
            match asked.of_part(info).filter(|_| judged.is_err()) {
                // Whoever may not read the part is told of the whole.
                Some(part) if authorizer.authorize(&who, &part).await.is_ok() => {}
                Some(_) | None => judged?,
            }
            Ok(who)
        };
        judged.await.map_err(|status: Status| match nobody && status.reason() == "Forbidden" {
            true => Status::unauthorized(),
            false => status,
        })
    }

    async fn resource(
        &self,
        who: &Identity,
        (verb, path): (Verb, &ResourcePath),
        query: &Query,
        request: Request<Body>,
    ) -> Result<Response<Body>, Status> {
        let found = self.shared.registry.resource(&path.group, &path.version, &path.resource);
        let Some(kind) = found else {
            // Among custom kinds, what is not served is a path like any other.
            let mut others = self.shared.registry.in_version(&path.group, &path.version);
            let is_built_in = others.any(|kind| kind.custom.is_none());
            return if is_built_in {
                Err(Status::no_such_resource())
            } else {
                Ok(discovery::page_not_found())
            };
        };
        if kind.namespaced && path.namespace.is_none() && !is_across_namespaces(verb, path)
            || !kind.namespaced && path.namespace.is_some() && path.resource != "namespaces"
        {
            return Err(Status::no_such_resource());
        }
        if let Some(proxying) = Proxying::find(&self.shared, (kind, path)) {
            return proxy(&proxying, verb, request).await;
        }
        let accepted = match &path.subresource {
            // Logs are text whatever the client accepts.
            Some(subresource) if subresource == "log" => {
                Accepted { encoding: Encoding::Json, shape: Shape::Object }
            }
            Some(subresource) if subresource == "scale" => accepted(request.headers(), Offer::Objects)?,
            _ if kind.custom.is_some() || kind.strategy.measured.is_some() => {
                accepted(request.headers(), Offer::CustomObjects)?
            }
            _ => accepted(request.headers(), Offer::Objects)?,
        };
        if let Some(connecting) = Connecting::find(&self.shared, (kind, path), who) {
            return connect(&connecting, verb, query, request).await;
        }
        let head_only = request.method() == Method::HEAD;
        let (parts, request_body) = request.into_parts();
        let body = body::read(request_body).await?;
        let call = Call {
            server: &self.shared,
            who,
            storage: &self.shared.storage,
            kind,
            path,
            query,
            headers: &parts.headers,
            accepted: &accepted,
            body,
            warnings: Warnings::default(),
        };
        let reply = dispatch(&call, verb).await?;
        let rendering = self.shared.rendering(&accepted, query)?;
        let response = reply.render(&rendering)?;
        Ok(if head_only { response.map(|_| body::empty()) } else { response })
    }
}

impl Shared {
    pub(crate) fn rendering<'a>(
        &'a self,
        accepted: &'a Accepted,
        query: &Query,
    ) -> Result<Rendering<'a>, Status> {
        let cells = CellContext { now: self.clock.now() };
        let include = table::Include::parse(query)?;
        Ok(Rendering { schema: &self.schema, accepted, include, cells })
    }
}

/// Whether the request may leave out the namespace of a kind that has them.
fn is_across_namespaces(verb: Verb, path: &ResourcePath) -> bool {
    path.name.is_none() && matches!(verb, Verb::List | Verb::Watch)
}

/// Serves the call, and adds what it is warned of.
pub(crate) async fn dispatch(call: &Call<'_>, verb: Verb) -> Result<Reply, Status> {
    let reply = serve(call, verb).await?;
    call.warnings.say_all(call.kind.custom.and_then(|custom| custom.deprecation.clone()));
    Ok(reply.with_warnings(call.warnings.take()))
}

async fn serve(call: &Call<'_>, verb: Verb) -> Result<Reply, Status> {
    if let Some(name) = &call.path.subresource {
        let subresource = call.kind.subresource(name).ok_or_else(|| match call.kind.custom {
            Some(_) => Status::not_found(call.kind, call.name()),
            None => Status::no_such_resource(),
        })?;
        if !subresource.verbs.contains(&verb) {
            return Err(Status::method_not_allowed());
        }
        return subresources::serve(call, subresource, verb).await;
    }
    if call.kind.custom.is_some() && verb == Verb::Update && call.path.name.is_none() {
        return Err(Status::bad_request("name must be provided"));
    }
    if !call.kind.allows(verb) || !fits(verb, call.path.name.is_some()) {
        return Err(Status::method_not_allowed());
    }
    if let Some(measured) = call.kind.strategy.measured {
        return measures::answer(call, measured, verb).await;
    }
    match verb {
        Verb::Get => verbs::get::get(call).await,
        Verb::List => verbs::list::list(call).await,
        Verb::Watch => verbs::watch::watch(call).await,
        Verb::Create => match call.kind.strategy.review {
            Some(review) => reviews::answer(call, review).await,
            None => verbs::create::create(call).await,
        },
        Verb::Update => verbs::update::update(call).await,
        Verb::Patch => verbs::patch::patch(call).await,
        Verb::Delete => verbs::delete::delete(call).await,
        Verb::DeleteCollection => verbs::delete_collection::delete_collection(call).await,
    }
}

/// Whether `verb` is for a named object or for a collection, as the path says.
fn fits(verb: Verb, named: bool) -> bool {
    match verb {
        Verb::Get | Verb::Update | Verb::Patch | Verb::Delete => named,
        Verb::List | Verb::Create | Verb::DeleteCollection => !named,
        Verb::Watch => true,
    }
}

/// A Status that says that all went well, about one object.
pub(crate) fn success(kind: &Kind, name: &str, uid: &str) -> serde_json::Value {
    let mut details = serde_json::json!({"name": name});
    if !kind.group.is_empty() {
        details["group"] = kind.group.into();
    }
    details["kind"] = kind.plural.into();
    if !uid.is_empty() {
        details["uid"] = uid.into();
    }
    serde_json::json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    })
}

/// 201 for what was made, 200 for what was there.
pub(crate) fn code_of(created: bool) -> StatusCode {
    if created { StatusCode::CREATED } else { StatusCode::OK }
}
