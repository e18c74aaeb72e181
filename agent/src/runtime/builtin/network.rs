//! A sandbox's network, made as the container network interface has it: by the plugins of the first
//! configuration in the node's folder. Our own plugin is called, all others are started.
//!
//! Everything here blocks.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use thiserror::Error;

use crate::cni::{self, CniEnvironment};
use crate::network::{NamespaceError, PodLinkError, bring_loopback_up};

/// What a pod's interface is called.
const INTERFACE: &str = "eth0";

#[derive(Debug, Error)]
pub(super) enum PodNetworkError {
    #[error("network is not ready: no configuration in {}", .0.display())]
    NoConfiguration(PathBuf),
    #[error("cannot read the network configuration {}", path.display())]
    Configuration { path: PathBuf, source: io::Error },
    #[error("cannot run the network plugin {}", path.display())]
    Plugin { path: PathBuf, source: io::Error },
    #[error("the network plugin {plugin} failed: {message}")]
    Refused { plugin: String, message: String },
    #[error("cannot use the pod's network namespace")]
    Namespace(#[from] NamespaceError),
    #[error("cannot bring the loopback interface up")]
    Loopback(#[source] PodLinkError),
}

/// The node's plugins.
#[derive(Clone, Debug)]
pub(super) struct Plugins {
    pub(super) conf_dir: PathBuf,
    pub(super) bin_dir: PathBuf,
}

impl Plugins {
    /// Connects the namespace at `network`; its addresses.
    pub(super) fn add(&self, id: &str, network: &Path) -> Result<Vec<String>, PodNetworkError> {
        bring_loopback_up(network).map_err(PodNetworkError::Loopback)?;
        let list = self.configuration()?;
        let mut result = Value::Null;
        for plugin in list.plugins() {
            let answer = self.call("ADD", id, network, &list.input(plugin, &result), plugin)?;
            result = serde_json::from_str(&answer).unwrap_or(Value::Null);
        }
        let ips = result["ips"].as_array().into_iter().flatten();
        let addresses = ips.filter_map(|ip| ip["address"].as_str()?.split('/').next());
        Ok(addresses.map(str::to_owned).collect())
    }

    /// Takes back what [`Plugins::add`] gave, also half of it, also when the namespace is gone.
    pub(super) fn remove(&self, id: &str, network: &Path) -> Result<(), PodNetworkError> {
        let list = match self.configuration() {
            Ok(list) => list,
            // Whoever took the configuration away has taken the network with it.
            Err(PodNetworkError::NoConfiguration(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        for plugin in list.plugins().rev() {
            self.call("DEL", id, network, &list.input(plugin, &Value::Null), plugin)?;
        }
        Ok(())
    }

    fn configuration(&self) -> Result<List, PodNetworkError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| PodNetworkError::Configuration { path, source }
        };
        let entries = match std::fs::read_dir(&self.conf_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            entries => entries.map_err(failed(&self.conf_dir))?.flatten().collect(),
        };
        let files = entries.into_iter().map(|entry| entry.path());
        let first = files.filter(|path| path.extension().is_some_and(|ext| ext == "conflist")).min();
        let path = first.ok_or_else(|| PodNetworkError::NoConfiguration(self.conf_dir.clone()))?;
        let text = std::fs::read(&path).map_err(failed(&path))?;
        Ok(List(serde_json::from_slice(&text).map_err(io::Error::from).map_err(failed(&path))?))
    }

    fn call(
        &self,
        command: &str,
        id: &str,
        network: &Path,
        input: &str,
        plugin: &Value,
    ) -> Result<String, PodNetworkError> {
        let name = plugin["type"].as_str().unwrap_or_default();
        let path = self.bin_dir.join(name);
        let (succeeded, answer) = if name == cni::PLUGIN {
            let environment = CniEnvironment {
                called_as: name.to_owned(),
                command: command.to_owned(),
                container: id.to_owned(),
                namespace: network.display().to_string(),
                interface: INTERFACE.to_owned(),
            };
            let output = cni::run(&environment, input);
            (output.exit_code == 0, output.stdout)
        } else {
            let environment = [
                ("CNI_COMMAND", command),
                ("CNI_CONTAINERID", id),
                ("CNI_NETNS", &network.display().to_string()),
                ("CNI_IFNAME", INTERFACE),
                ("CNI_PATH", &self.bin_dir.display().to_string()),
            ];
            start(&path, environment, input).map_err(|source| PodNetworkError::Plugin { path, source })?
        };
        if succeeded {
            return Ok(answer);
        }
        let error: Value = serde_json::from_str(&answer).unwrap_or(Value::Null);
        let message = match (error["msg"].as_str(), error["details"].as_str()) {
            (Some(message), Some(details)) if !details.is_empty() => format!("{message}: {details}"),
            (Some(message), _) => message.to_owned(),
            (None, _) => answer,
        };
        Err(PodNetworkError::Refused { plugin: name.to_owned(), message })
    }
}

fn start(path: &Path, environment: [(&str, &str); 5], input: &str) -> io::Result<(bool, String)> {
    let mut child = Command::new(path)
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A plugin that does not read what it is told has its reasons.
        let _unread = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
}

/// A configuration: some plugins, one after the other.
struct List(Value);

impl List {
    fn plugins(&self) -> impl DoubleEndedIterator<Item = &Value> {
        self.0["plugins"].as_array().into_iter().flatten()
    }

    /// What one of them is told, with the result of the one before.
    fn input(&self, plugin: &Value, before: &Value) -> String {
        let mut input = plugin.clone();
        input["cniVersion"] = self.0["cniVersion"].clone();
        input["name"] = self.0["name"].clone();
        if !before.is_null() {
            input["prevResult"] = before.clone();
        }
        json!(input).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn plugins(folder: &Path, script: &str) -> Plugins {
        let plugins = Plugins { conf_dir: folder.join("conf"), bin_dir: folder.join("bin") };
        std::fs::create_dir_all(&plugins.conf_dir).unwrap();
        std::fs::create_dir_all(&plugins.bin_dir).unwrap();
        let list =
            json!({"cniVersion": "0.4.0", "name": "n", "plugins": [{"type": "a"}, {"type": "b", "x": 1}]});
        std::fs::write(plugins.conf_dir.join("10-a.conflist"), list.to_string()).unwrap();
        std::fs::write(plugins.conf_dir.join("20-b.conflist"), "not this one").unwrap();
        for name in ["a", "b"] {
            let path = plugins.bin_dir.join(name);
            std::fs::write(&path, script).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        plugins
    }

    #[test]
    fn plugins_follow_one_another_and_are_undone_in_reverse() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let script = format!(
            "#!/bin/sh\nread -r input; echo \"${{0##*/}} $CNI_COMMAND $input\" >>{}\necho '{{\"ips\":[{{\"address\":\"10.0.0.2/24\"}}]}}'\n",
            log.display()
        );
        let plugins = plugins(folder.path(), &script);
        let list = plugins.configuration().unwrap();
        let mut result = Value::Null;
        for plugin in list.plugins() {
            let input = list.input(plugin, &result);
            let answer =
                plugins.call("ADD", "id", Path::new("/proc/self/ns/net"), &format!("{input}\n"), plugin);
            result = serde_json::from_str(&answer.unwrap()).unwrap();
        }
        plugins.remove("id", Path::new("/nowhere")).unwrap();
        let calls = std::fs::read_to_string(log).unwrap();
        let calls: Vec<String> =
            calls.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(calls, ["a ADD", "b ADD", "b DEL", "a DEL"]);
    }

    #[test]
    fn a_plugin_that_fails_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let script =
            "#!/bin/sh\necho '{\"code\":11,\"msg\":\"no addresses\",\"details\":\"left\"}'\nexit 1\n";
        let plugins = plugins(folder.path(), script);
        let error = plugins.remove("id", Path::new("/nowhere")).unwrap_err();
        assert_eq!(error.to_string(), "the network plugin b failed: no addresses: left");
        let none = Plugins { conf_dir: folder.path().join("none"), ..plugins };
        assert!(matches!(none.configuration(), Err(PodNetworkError::NoConfiguration(_))));
    }
}
