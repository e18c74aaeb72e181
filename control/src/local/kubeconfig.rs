//! What clients need to reach a cluster: a kubeconfig for kubectl, `etcd.env` for etcdctl.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine as _;
use serde_json::json;

use crate::pki::{Authority, CertificateFiles, Pki, write_private};

/// A kubeconfig with one context for each server; the first is current. JSON, which is YAML.
pub(crate) fn write_kubeconfig(
    path: &Path,
    pki: &Pki,
    admin: &CertificateFiles,
    servers: &[(String, String)],
) -> Result<()> {
    let encode = |file: &Path| -> Result<String> {
        let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(base64::engine::general_purpose::STANDARD.encode(bytes))
    };
    let authority = encode(&pki.authority_certificate(Authority::Api))?;
    let clusters: Vec<_> = servers
        .iter()
        .map(|(name, url)| json!({"name": name, "cluster": {"server": url, "certificate-authority-data": authority}}))
        .collect();
    let contexts: Vec<_> = servers
        .iter()
        .map(|(name, _)| json!({"name": name, "context": {"cluster": name, "user": "admin"}}))
        .collect();
    let user = json!({
        "client-certificate-data": encode(&admin.certificate)?,
        "client-key-data": encode(&admin.key)?,
    });
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": clusters,
        "contexts": contexts,
        "users": [{"name": "admin", "user": user}],
        "current-context": servers.first().map(|(name, _)| name.as_str()).unwrap_or_default(),
    });
    let text = serde_json::to_string_pretty(&kubeconfig).context("cannot encode the kubeconfig")?;
    write_private(path, &text)
}

/// Lines for a shell to source, so that etcdctl finds the store.
pub(crate) fn write_etcd_env(
    path: &Path,
    pki: &Pki,
    client: &CertificateFiles,
    endpoints: &[String],
) -> Result<()> {
    let lines = [
        ("ETCDCTL_API", "3".to_owned()),
        ("ETCDCTL_ENDPOINTS", endpoints.join(",")),
        ("ETCDCTL_CACERT", pki.authority_certificate(Authority::Store).display().to_string()),
        ("ETCDCTL_CERT", client.certificate.display().to_string()),
        ("ETCDCTL_KEY", client.key.display().to_string()),
    ];
    let text: String = lines.iter().map(|(name, value)| format!("export {name}='{value}'\n")).collect();
    write_private(path, &text)
}
