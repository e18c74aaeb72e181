//! The guard of certificates: a verdict on a request needs the verb `approve` on its signer, a certificate the verb `sign`,
//! and nobody may ask to become a member of `system:masters` by the signer whose certificates this API believes.
//!
//! A signer is allowed by its name or, all of a domain at once, by `example.com/*`. Words as in Kubernetes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kinds::{certificates, meta, tree};
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

use super::{Asked, Attributes, Resource};
use crate::chain::authn::MASTERS;
use crate::server::Call;
use crate::status::Status;

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

/// Refuses a write of a request that its sender may not make. Everything else passes.
pub(crate) async fn check(call: &Call<'_>, old: Option<&Value>, new: &Value) -> Result<(), Status> {
    if call.kind.group != certificates::GROUP {
        return Ok(());
    }
    let refused = |why: String| Status::forbidden_object(call.kind, meta::name(new), &why);
    let Some(old) = old else {
        let wants_all = tree::text(new, "spec.signerName") == CLIENT_SIGNER && asks_for_masters(new);
        let why = format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed");
        return if wants_all { Err(refused(why)) } else { Ok(()) };
    };
    let signer = tree::text(old, "spec.signerName");
    let verb = match call.path.subresource.as_deref() {
        Some("approval") => "approve",
        Some("status") if issues(old, new) => "sign",
        _ => return Ok(()),
    };
    if may(call, verb, signer).await? {
        return Ok(());
    }
    Err(refused(format!("user not permitted to {verb} requests with signerName {signer:?}")))
}

async fn may(call: &Call<'_>, verb: &str, signer: &str) -> Result<bool, Status> {
    let domain = signer.split('/').next().unwrap_or_default();
    for name in [signer, &format!("{domain}/*")] {
        let resource =
            Resource { group: certificates::GROUP, resource: "signers", name, ..Resource::default() };
        let asked = Attributes { verb, asked: Asked::Resource(resource) };
        if call.server.authorizer.decide(call.who, &asked).await?.allowed {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a status update says something only a signer says.
fn issues(old: &Value, new: &Value) -> bool {
    let failures = |object: &Value| {
        let conditions = tree::items(object, "status.conditions").iter();
        json!(conditions.filter(|it| tree::text(it, "type") == "Failed").collect::<Vec<_>>())
    };
    tree::text(old, "status.certificate") != tree::text(new, "status.certificate")
        || failures(old) != failures(new)
}

/// Whether the request's subject is of the group that may everything; validation refuses what cannot be read.
fn asks_for_masters(object: &Value) -> bool {
    let request = STANDARD.decode(tree::text(object, "spec.request")).unwrap_or_default();
    let Ok((pem, _)) = Pem::read(std::io::Cursor::new(request)) else { return false };
    let Ok((_, request)) = X509CertificationRequest::from_der(&pem.contents) else { return false };
    let mut groups = request.certification_request_info.subject.iter_organization();
    groups.any(|group| group.as_str().is_ok_and(|group| group == MASTERS))
}
