//! Everything that is no resource: which resources there are, documents about them, version, health, metrics.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};

use crate::body::{self, Body, full};
use crate::negotiation::{Accepted, Encoding, Offer, PROTOBUF, Shape, accepted};
use crate::protobuf;
use crate::reply::{encoded, respond};
use crate::request::RequestInfo;
use crate::server::Shared;
use crate::status::Status;

mod aggregated;
mod health;
mod legacy;
mod openapi;

pub(crate) use openapi::Documents;

/// The version of Kubernetes whose API this is.
const KUBERNETES_MINOR: &str = "36";

/// Where others learn who signs the tokens of service accounts (OpenID Connect Discovery 1.0), and with what.
const ISSUER: &str = "/.well-known/openid-configuration";
const JWKS: &str = "/openid/v1/jwks";
/// How long they may remember it.
const ISSUER_CACHE_CONTROL: &str = "public, max-age=3600";

pub(crate) async fn serve(
    server: &Shared,
    info: &RequestInfo,
    head: Parts,
) -> Result<Response<Body>, Status> {
    let path = info.path.trim_end_matches('/');
    if !matches!(head.method, Method::GET | Method::HEAD) {
        let refused = Status::method_not_allowed();
        let mut refused = crate::reply::failure(&server.schema, &head.headers, &refused);
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(refused);
    }
    let response = match path {
        "" => json_answer(&roots(server)),
        "/api" | "/apis" => groups(server, path, &head)?,
        "/version" => json_answer(&version()),
        "/metrics" => {
            respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", full((server.metrics)()))
        }
        _ if health::is_health(path) => health::answer(server, path, &info.query).await,
        ISSUER | JWKS => issuer(server, path),
        _ if path.starts_with("/openapi/") => openapi::answer(server, path, &head)?,
        _ => match legacy::below(server, path) {
            Some(document) => {
                let encoding = accepted(&head.headers, Offer::Plain)?.encoding;
                let (content_type, body) = encoded(&server.schema, encoding, &document)?;
                respond(StatusCode::OK, content_type, body)
            }
            None => page_not_found(),
        },
    };
    Ok(if head.method == Method::HEAD { response.map(|_| body::empty()) } else { response })
}

/// What is public about the keys that sign tokens.
fn issuer(server: &Shared, path: &str) -> Response<Body> {
    let Some(issuer) = &server.authenticator.known.service_accounts else { return page_not_found() };
    let (content_type, document) = match path {
        JWKS => ("application/jwk-set+json", issuer.keys.to_jwks()),
        _ => {
            let about = json!({
                "issuer": issuer.issuer,
                "jwks_uri": issuer.jwks_uri,
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["ES256"],
            });
            ("application/json", about)
        }
    };
    let mut response = respond(StatusCode::OK, content_type, full(document.to_string()));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(ISSUER_CACHE_CONTROL));
    response
}

/// What a path outside the API gets.
pub(crate) fn page_not_found() -> Response<Body> {
    respond(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", full("404 page not found\n"))
}

/// `/api` and `/apis`: the aggregated document for clients that take it, else the old lists.
fn groups(server: &Shared, path: &str, head: &Parts) -> Result<Response<Body>, Status> {
    let Accepted { encoding, shape } = accepted(&head.headers, Offer::Discovery)?;
    let mut response = match shape {
        Shape::AggregatedDiscovery { version } => {
            let document = aggregated::document(&server.registry, path == "/api", version);
            let json = Bytes::from(document.to_string());
            // The tag is of what is said, however it is written.
            let tag = Tagged::new(json.clone()).tag;
            let (content_type, bytes) = match encoding {
                Encoding::Protobuf => (PROTOBUF, protobuf::value(&server.schema, &document)?),
                Encoding::Json | Encoding::Yaml => ("application/json", json),
            };
            let mut response = tagged(head, content_type, &Tagged { bytes, tag });
            let whole = format!("{content_type};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
            if let Ok(content_type) = HeaderValue::from_str(&whole) {
                response.headers_mut().insert(CONTENT_TYPE, content_type);
            }
            response
        }
        Shape::Object | Shape::Table { .. } | Shape::PartialMetadata { .. } => {
            let (content_type, body) = encoded(&server.schema, encoding, &legacy::groups(server, path))?;
            respond(StatusCode::OK, content_type, body)
        }
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

/// Bytes that a client may keep, and the tag by which it asks whether they are still the same.
pub(crate) struct Tagged {
    bytes: Bytes,
    tag: String,
}

impl Tagged {
    /// Tagged with its SHA-512 in upper-case hexadecimal, as Kubernetes tags documents.
    fn new(bytes: Bytes) -> Self {
        let hash: String = Sha512::digest(&bytes).iter().map(|byte| format!("{byte:02X}")).collect();
        Self { bytes, tag: format!("\"{hash}\"") }
    }
}

/// The document, or 304 when the client has it already.
fn tagged(head: &Parts, content_type: &'static str, document: &Tagged) -> Response<Body> {
    let known = head
        .headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim() == document.tag);
    let mut response = match known {
        true => respond(StatusCode::NOT_MODIFIED, content_type, body::empty()),
        false => respond(StatusCode::OK, content_type, full(document.bytes.clone())),
    };
    if let Ok(tag) = HeaderValue::from_str(&document.tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn json_answer(value: &Value) -> Response<Body> {
    respond(StatusCode::OK, "application/json", full(value.to_string()))
}

fn roots(server: &Shared) -> Value {
    let signs = server.authenticator.known.service_accounts.is_some();
    let mut paths: Vec<String> = signs.then(|| ISSUER.to_owned()).into_iter().collect();
    paths.extend(["/api", "/api/v1", "/apis"].map(str::to_owned));
    for (group, versions) in server.registry.groups().into_iter().filter(|(group, _)| !group.is_empty()) {
        paths.push(format!("/apis/{group}"));
        paths.extend(versions.into_iter().map(|version| format!("/apis/{group}/{version}")));
    }
    let others = ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"];
    paths.extend(others.map(str::to_owned));
    // Between its neighbours in the alphabet.
    let at = paths.iter().position(|path| path == "/readyz").filter(|_| signs);
    at.into_iter().for_each(|at| paths.insert(at, JWKS.to_owned()));
    json!({"paths": paths})
}

fn version() -> Value {
    json!({
        "major": "1",
        "minor": KUBERNETES_MINOR,
        "gitVersion": git_version(),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, platform()),
    })
}

fn git_version() -> String {
    format!("v1.{KUBERNETES_MINOR}.0+navarch.{}", env!("CARGO_PKG_VERSION"))
}

/// The architecture in Go's words, which clients know.
fn platform() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
