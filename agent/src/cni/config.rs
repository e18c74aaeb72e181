//! The network configuration that a runtime passes on stdin.

use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::error::CniError;
use crate::network::Subnet;

/// The versions of the specification that we speak, oldest first. containerd's own loopback network is 0.3.1.
pub(super) const VERSIONS: &[&str] = &["0.3.1", "0.4.0", "1.0.0"];

/// What our plugin is configured with, written by [`super::conflist`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PluginConfig {
    pub(super) subnet: Subnet,
    pub(super) mtu: u32,
    pub(super) state_dir: PathBuf,
}

impl PluginConfig {
    pub(super) fn parse(stdin: &str) -> Result<Self, CniError> {
        serde_json::from_str(stdin).map_err(CniError::Config)
    }
}

/// The version that an answer must have: the caller's, or when it named none, the one that came before
/// versions were named.
pub(super) fn version_of(stdin: &str) -> String {
    let config: Value = serde_json::from_str(stdin).unwrap_or_default();
    config.get("cniVersion").and_then(Value::as_str).unwrap_or("0.1.0").to_owned()
}

pub(super) fn checked_version(stdin: &str) -> Result<String, CniError> {
    let _config: Value = serde_json::from_str(stdin).map_err(CniError::Config)?;
    let version = version_of(stdin);
    if VERSIONS.contains(&version.as_str()) { Ok(version) } else { Err(CniError::Version(version)) }
}

/// The result of the plugin before us in a chain: to be passed on.
pub(super) fn previous_result(stdin: &str) -> Option<Value> {
    let config: Value = serde_json::from_str(stdin).ok()?;
    config.get("prevResult").cloned()
}
