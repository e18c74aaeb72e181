//! `pods/proxy`, `services/proxy`, `nodes/proxy`: HTTP, passed on to a port of a pod or to a node, and the answer back.
//!
//! The server decides who may, and which pod is meant. The node of the pod is asked for a byte pipe to the port, over
//! the tunnel; through that pipe the request goes as it is, but for what concerns one hop only, credentials, and what
//! leads a client out of the proxy. Nothing is held whole, in either direction.

mod exchange;
mod headers;
mod html;
mod place;
mod target;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, HOST, LOCATION, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use hyper::upgrade::OnUpgrade;
use kinds::{Kind, Proxied, Serves, Subresource, Verb};

use crate::body::{Body, empty};
use crate::request::{ClientAddress, ResourcePath};
use crate::server::Shared;
use crate::status::Status;
use exchange::Exchange;
use headers::Links;
use place::Place;
use target::Target;

/// A request to be passed on.
pub(crate) struct Proxying<'a> {
    server: &'a Arc<Shared>,
    kind: &'static Kind,
    path: &'a ResourcePath,
    subresource: &'static Subresource,
    proxied: Proxied,
}

impl<'a> Proxying<'a> {
    /// `None` when something else is asked for.
    pub(crate) fn find(
        server: &'a Arc<Shared>,
        (kind, path): (&'static Kind, &'a ResourcePath),
    ) -> Option<Self> {
        let subresource = kind.subresource(path.subresource.as_deref()?)?;
        let Serves::Proxy(proxied) = subresource.serves else { return None };
        Some(Self { server, kind, path, subresource, proxied })
    }
}

/// Passes the request on, or says why not.
pub(crate) async fn proxy(
    asked: &Proxying<'_>,
    verb: Verb,
    request: Request<Body>,
) -> Result<Response<Body>, Status> {
    if !asked.subresource.verbs.contains(&verb) {
        return Err(Status::method_not_allowed());
    }
    let target = Target::parse(asked.path.name.as_deref().unwrap_or_default(), asked.kind)?;
    let place = place::find(asked, &target).await?;
    let (mut head, body) = request.into_parts();
    let (prefix, below) = target::split(head.uri.path(), asked.kind.namespaced);
    let upgrades = head.headers.contains_key(UPGRADE);
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    if below.is_empty() && reads && !upgrades {
        // Relative links of what answers are meant from its root.
        return Ok(redirect(&head.uri, prefix));
    }
    let path = target::clean(below);
    let host = host_of(&head.uri, &head.headers);
    let links = Links { prefix: prefix.to_owned(), host: host.clone(), backend: place.authority.clone() };
    let client = head.extensions.remove::<OnUpgrade>().filter(|_| upgrades);
    let from = head.extensions.get::<ClientAddress>().map(|address| address.0);
    let wants_html = head.method != Method::HEAD;
    let to_backend = to_backend(&head, (&path, &host), from, prefix, &place)?;
    let exchange = Exchange { server: asked.server, kind: asked.kind, client };
    let answer = exchange.run(&place, to_backend.map(|()| body)).await?;
    Ok(towards_client(answer, links, wants_html))
}

fn redirect(uri: &Uri, prefix: &str) -> Response<Body> {
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(location) = HeaderValue::try_from(format!("{prefix}/{query}")) {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}

/// As the client called this server.
fn host_of(uri: &Uri, headers: &HeaderMap) -> String {
    let named = headers.get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    named.or_else(|| uri.authority().map(|authority| authority.to_string())).unwrap_or_default()
}

/// The request's head as the backend gets it.
fn to_backend(
    head: &http::request::Parts,
    (path, host): (&str, &str),
    from: Option<IpAddr>,
    prefix: &str,
    place: &Place,
) -> Result<Request<()>, Status> {
    let query = head.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let uri = format!("{}{path}{query}", place.root);
    let mut request = Request::new(());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = uri.parse().map_err(|_| Status::bad_request("the path makes no URL"))?;
    *request.headers_mut() = headers::to_backend(&head.headers, from, &format!("{prefix}{path}"));
    let host = HeaderValue::try_from(host).map_err(|_| Status::bad_request("the Host is none"))?;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

/// The backend's answer as the client gets it.
fn towards_client(answer: Response<Body>, links: Links, has_body: bool) -> Response<Body> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return answer;
    }
    let (mut head, body) = answer.into_parts();
    headers::to_client(&mut head.headers);
    if let Some(location) = head.headers.get(LOCATION).and_then(|location| location.to_str().ok()) {
        if let Ok(location) = HeaderValue::try_from(links.rewritten(location)) {
            head.headers.insert(LOCATION, location);
        }
        return Response::from_parts(head, body);
    }
    let encoding = head.headers.get(CONTENT_ENCODING).map_or("", |it| it.to_str().unwrap_or("unreadable"));
    let packing = html::Packing::of(encoding).filter(|_| has_body && headers::is_html(&head.headers));
    let Some(packing) = packing else { return Response::from_parts(head, body) };
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, html::rewriting(body, links, packing))
}

#[cfg(test)]
mod tests;
