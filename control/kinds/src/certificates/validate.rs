//! What a CertificateSigningRequest must be, in the words of Kubernetes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer as _;

use super::certificate_signing_request::VERDICTS;
use crate::{Field, FieldError, FieldErrors, names, tree};

const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const EXPIRATION_SECONDS_MIN: i64 = 600;
/// A domain, a slash, a namespace, a dot and a name.
const SIGNER_PATH_BYTES_MAX: usize = 253 + 63 + 1;
const DOMAIN_BYTES_MAX: usize = 253;
/// Conditions that are there or not, and never go again.
const FINAL: &[&str] = &["Approved", "Denied", "Failed"];
const STATUSES: &[&str] = &["False", "True", "Unknown"];
const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Which fields of the status a write may change.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    Nothing,
    Judge,
    Issue,
}

pub(super) fn validate_update(object: &Value, old: &Value) -> FieldErrors {
    changed(object, old, May::Nothing)
}

pub(super) fn validate_approval(object: &Value, old: &Value) -> FieldErrors {
    changed(object, old, May::Judge)
}

pub(super) fn validate_status(object: &Value, old: &Value) -> FieldErrors {
    changed(object, old, May::Issue)
}

/// What was wrong before may stay so.
pub(super) fn validate(object: &Value, old: Option<&Value>) -> FieldErrors {
    let known = old.map(all_errors).unwrap_or_default();
    let certificate = tree::text(object, "status.certificate");
    let is_known = |error: &FieldError| {
        known.iter().any(|known| known == error)
            || error.field == "status.certificate"
                && old.is_some_and(|old| tree::text(old, "status.certificate") == certificate)
    };
    let mut errors = FieldErrors::new();
    errors.extend(all_errors(object).into_iter().filter(|error| !is_known(error)));
    errors
}

fn all_errors(object: &Value) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let spec = Field::of(object, "spec");
    let request = spec.get("request");
    errors.extend(check_request(request.text()).err().map(|wrong| request.invalid(wrong)));
    let usages = spec.get("usages");
    if usages.list().is_empty() {
        errors.push(usages.required(""));
    }
    errors.extend(usages.items().filter_map(|usage| usage.one_of_if_set(USAGES)));
    errors.extend(usages.duplicates());
    let signer = spec.get("signerName");
    if signer.text() == LEGACY_SIGNER {
        errors.push(signer.invalid("the legacy signerName is not allowed via this API version"));
    } else {
        errors.extend(validate_signer(&signer));
    }
    let seconds = spec.get("expirationSeconds");
    if seconds.int().is_some_and(|seconds| seconds < EXPIRATION_SECONDS_MIN) {
        errors.push(seconds.invalid("may not specify a duration less than 600 seconds (10 minutes)"));
    }
    let status = Field::of(object, "status");
    errors.extend(validate_conditions(&status.get("conditions")));
    let certificate = status.get("certificate");
    if let Err(wrong) = check_certificate(certificate.text()) {
        errors.push(FieldError::invalid(&certificate.path, "<certificate data>", wrong));
    }
    errors
}

fn changed(object: &Value, old: &Value, may: May) -> FieldErrors {
    let mut errors = validate(object, Some(old));
    let of = |object: &Value, kind: &str| -> Vec<Value> {
        let conditions = tree::items(object, "status.conditions").iter();
        conditions.filter(|condition| tree::text(condition, "type") == kind).cloned().collect()
    };
    let refused = |what: &str, kind: &str| {
        FieldError::forbidden(
            "status.conditions",
            format!("updates may not {what} a condition of type {kind:?}"),
        )
    };
    for kind in FINAL.iter().filter(|kind| of(object, kind).len() < of(old, kind).len()) {
        errors.push(refused("remove", kind));
    }
    for kind in VERDICTS.iter().filter(|_| may != May::Judge) {
        let (now, before) = (of(object, kind), of(old, kind));
        match now.len().cmp(&before.len()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Greater => errors.push(refused("add", kind)),
            std::cmp::Ordering::Equal if tree::same(&json!(now), &json!(before)) => {}
            std::cmp::Ordering::Equal => errors.push(refused("modify", kind)),
        }
    }
    let certificate = Field::of(object, "status").get("certificate");
    let before = tree::text(old, "status.certificate");
    if certificate.text() != before {
        match may {
            May::Nothing | May::Judge => {
                errors.push(certificate.forbidden("updates may not set certificate content"));
            }
            May::Issue if !before.is_empty() => {
                errors.push(certificate.forbidden("updates may not modify existing certificate content"));
            }
            May::Issue => {}
        }
    }
    errors
}

fn validate_conditions(conditions: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    let mut seen: Vec<&str> = Vec::new();
    for condition in conditions.items() {
        let (kind, status) = (condition.get("type"), condition.get("status"));
        if kind.text().is_empty() {
            errors.push(kind.required(""));
        }
        errors.extend(status.one_of(if FINAL.contains(&kind.text()) { &["True"] } else { STATUSES }));
        let other = VERDICTS.iter().find(|verdict| **verdict != kind.text());
        if VERDICTS.contains(&kind.text()) && other.is_some_and(|other| seen.contains(other)) {
            errors.push(kind.invalid("Approved and Denied conditions are mutually exclusive"));
        }
        if seen.contains(&kind.text()) {
            errors.push(kind.duplicate());
        }
        seen.push(kind.text());
    }
    errors
}

/// `example.com/signer-name`.
fn validate_signer(signer: &Field<'_>) -> FieldErrors {
    let mut errors = FieldErrors::new();
    if signer.text().is_empty() {
        errors.push(signer.required(""));
        return errors;
    }
    let segments: Vec<&str> = signer.text().split('/').collect();
    let [domain, path] = segments[..] else {
        errors.push(
            signer.invalid("must be a fully qualified domain and path of the form 'example.com/signer-name'"),
        );
        return errors;
    };
    if domain.len() > DOMAIN_BYTES_MAX {
        errors.push(FieldError::too_long(&signer.path, DOMAIN_BYTES_MAX));
    }
    for label in domain.split('.') {
        errors.extend(
            names::label(label).map(|wrong| signer.invalid(format!("validating label {label:?}: {wrong}"))),
        );
    }
    if domain.split('.').count() < 2 {
        errors.push(signer.invalid("should be a domain with at least two segments separated by dots"));
    }
    if path.len() > SIGNER_PATH_BYTES_MAX {
        errors.push(FieldError::too_long(&signer.path, SIGNER_PATH_BYTES_MAX));
    }
    for label in path.split('.') {
        errors.extend(
            names::subdomain(label)
                .map(|wrong| signer.invalid(format!("validating label {label:?}: {wrong}"))),
        );
    }
    errors
}

/// A PKCS#10 request as PEM, in base64, signed with its own key.
fn check_request(text: &str) -> Result<(), String> {
    let no_pem = || "PEM block type must be CERTIFICATE REQUEST".to_owned();
    let bytes = STANDARD.decode(text).map_err(|_| no_pem())?;
    let (pem, _) = Pem::read(std::io::Cursor::new(bytes)).map_err(|_| no_pem())?;
    if pem.label != "CERTIFICATE REQUEST" {
        return Err(no_pem());
    }
    let (_, request) = X509CertificationRequest::from_der(&pem.contents)
        .map_err(|_| "asn1: structure error: the block is no certificate request".to_owned())?;
    request.verify_signature().map_err(|_| "x509: the signature is not that of the request's key".to_owned())
}

/// Certificates as PEM, in base64.
fn check_certificate(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    let none = || "must contain at least one CERTIFICATE PEM block".to_owned();
    let bytes = STANDARD.decode(text).map_err(|_| none())?;
    let mut blocks = 0;
    for pem in Pem::iter_from_buffer(&bytes) {
        let pem = pem.map_err(|_| none())?;
        if pem.label != "CERTIFICATE" {
            return Err(format!("only CERTIFICATE PEM blocks are allowed, found {:?}", pem.label));
        }
        pem.parse_x509().map_err(|_| "x509: malformed certificate".to_owned())?;
        blocks += 1;
    }
    if blocks == 0 { Err(none()) } else { Ok(()) }
}
