//! The current context of a kubeconfig: a server, and who asks it.

use std::path::Path;

use anyhow::{Context as _, Result};
use base64::Engine as _;
use serde_json::Value;

/// A server and what to show it; PEM texts, empty when there are none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    /// `https://HOST:PORT`
    pub(crate) server: String,
    pub(crate) authority: String,
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) token: Option<String>,
}

/// The current context, or with `all` every one: the servers of one cluster of ours.
pub(crate) fn read(path: &Path, all: bool) -> Result<Vec<Access>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let config: Value = serde_saphyr::from_str(&text).context("the kubeconfig is no YAML")?;
    let current = &config["current-context"];
    let contexts = config["contexts"].as_array().map(Vec::as_slice).unwrap_or_default();
    let wanted = contexts.iter().filter(|context| all || context["name"] == *current);
    wanted.map(|context| access(&config, &context["context"], path)).collect()
}

fn access(config: &Value, context: &Value, path: &Path) -> Result<Access> {
    let named = |list: &str, field: &str| {
        let entries = config[list].as_array().map(Vec::as_slice).unwrap_or_default();
        let found = entries.iter().find(|entry| entry["name"] == context[field]);
        found.map(|entry| entry[field].clone()).with_context(|| format!("the kubeconfig lacks its {field}"))
    };
    let (cluster, user) = (named("clusters", "cluster")?, named("users", "user")?);
    let folder = path.parent().unwrap_or(Path::new(""));
    Ok(Access {
        server: cluster["server"].as_str().context("the cluster names no server")?.to_owned(),
        authority: pem(folder, &cluster, "certificate-authority")?,
        certificate: pem(folder, &user, "client-certificate")?,
        key: pem(folder, &user, "client-key")?,
        token: user["token"].as_str().map(str::to_owned),
    })
}

fn pem(folder: &Path, of: &Value, field: &str) -> Result<String> {
    if let Some(data) = of[format!("{field}-data")].as_str() {
        let bytes = base64::engine::general_purpose::STANDARD.decode(data.trim())?;
        return Ok(String::from_utf8(bytes)?);
    }
    match of[field].as_str() {
        Some(file) => {
            std::fs::read_to_string(folder.join(file)).with_context(|| format!("cannot read {file}"))
        }
        None => Ok(String::new()),
    }
}
