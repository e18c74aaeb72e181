//! This program as containerd's network plugin: `navarch-cni` and `loopback` of the CNI specification
//! (versions 0.3.1 to 1.0.0).
//!
//! containerd starts it once per call, in the node's network namespace, with the arguments in `CNI_…`
//! variables and the configuration on stdin. It needs no agent to be running.

mod config;
pub(crate) mod conflist;
mod error;
mod result;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use config::PluginConfig;
use error::CniError;

use crate::network::{Holder, Ipam, PodLink, bring_loopback_up, detach, node_name};

/// The name under which the plugin is linked and configured.
pub const PLUGIN: &str = "navarch-cni";
/// The other name: the plugin that containerd calls for every pod to bring up `lo`.
pub const LOOPBACK: &str = "loopback";

/// What a CNI runtime passes in the environment. Read by `main`, as nothing else reads the environment.
#[derive(Clone, Debug, Default)]
pub struct CniEnvironment {
    /// The last part of the name that the program was called by.
    pub called_as: String,
    /// `CNI_COMMAND`: ADD, DEL, CHECK or VERSION.
    pub command: String,
    /// `CNI_CONTAINERID`.
    pub container: String,
    /// `CNI_NETNS`: empty on a DEL after the namespace is gone.
    pub namespace: String,
    /// `CNI_IFNAME`.
    pub interface: String,
}

/// What `main` has to print and to exit with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CniOutput {
    /// JSON, also for an error: the specification wants both on stdout.
    pub stdout: String,
    pub exit_code: u8,
}

impl CniEnvironment {
    /// Takes what is needed from the program's name and its variables.
    pub fn from_variables(program: &str, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let called_as = Path::new(program).file_name().map(|name| name.to_string_lossy().into_owned());
        let mut environment = Self { called_as: called_as.unwrap_or_default(), ..Self::default() };
        for (name, value) in variables {
            match name.as_str() {
                "CNI_COMMAND" => environment.command = value,
                "CNI_CONTAINERID" => environment.container = value,
                "CNI_NETNS" => environment.namespace = value,
                "CNI_IFNAME" => environment.interface = value,
                _ => {}
            }
        }
        environment
    }
}

/// One call of the plugin, from its arguments to its answer. Blocks; must not be called in an event loop.
pub fn run(environment: &CniEnvironment, stdin: &str) -> CniOutput {
    match answer(environment, stdin) {
        Ok(stdout) => CniOutput { stdout, exit_code: 0 },
        Err(error) => CniOutput { stdout: error.to_json(&config::version_of(stdin)), exit_code: 1 },
    }
}

fn answer(environment: &CniEnvironment, stdin: &str) -> Result<String, CniError> {
    if environment.command == "VERSION" {
        return Ok(result::versions(&config::version_of(stdin)));
    }
    let version = config::checked_version(stdin)?;
    if environment.container.is_empty() {
        return Err(CniError::Environment("CNI_CONTAINERID"));
    }
    if environment.interface.is_empty() {
        return Err(CniError::Environment("CNI_IFNAME"));
    }
    if environment.called_as == LOOPBACK {
        return loopback(environment, stdin, &version);
    }
    let call = Call { environment, config: PluginConfig::parse(stdin)?, version };
    match environment.command.as_str() {
        "ADD" => call.add(),
        "DEL" => call.del(),
        "CHECK" => call.check(),
        other => Err(CniError::Command(other.to_owned())),
    }
}

fn loopback(environment: &CniEnvironment, stdin: &str, version: &str) -> Result<String, CniError> {
    match environment.command.as_str() {
        "ADD" => {
            bring_loopback_up(namespace(environment)?)?;
            Ok(result::loopback(version, &environment.namespace, config::previous_result(stdin)))
        }
        "CHECK" => Ok(String::new()),
        // The interface goes with its namespace.
        "DEL" => Ok(String::new()),
        other => Err(CniError::Command(other.to_owned())),
    }
}

fn namespace(environment: &CniEnvironment) -> Result<&Path, CniError> {
    if environment.namespace.is_empty() {
        return Err(CniError::Environment("CNI_NETNS"));
    }
    Ok(Path::new(&environment.namespace))
}

struct Call<'a> {
    environment: &'a CniEnvironment,
    config: PluginConfig,
    version: String,
}

impl Call<'_> {
    fn add(&self) -> Result<String, CniError> {
        let namespace = namespace(self.environment)?.to_owned();
        let holder = Holder {
            container: self.environment.container.clone(),
            interface: self.environment.interface.clone(),
            namespace: namespace.clone(),
        };
        let address = Ipam::open(&self.config.state_dir)?.allocate(self.config.subnet, holder)?;
        let link = self.link(namespace, address);
        let attached = block_on(link.attach())?;
        if let Err(error) = attached {
            // The runtime calls DEL after a failed ADD, but nothing should depend on it.
            let _undone = self.undo();
            return Err(error.into());
        }
        Ok(result::added(&self.version, &link))
    }

    fn del(&self) -> Result<String, CniError> {
        self.undo()?;
        Ok(String::new())
    }

    fn undo(&self) -> Result<(), CniError> {
        let name = node_name(&self.environment.container, &self.environment.interface);
        block_on(detach(&name))??;
        // Only now may another pod get the address: the route to it is gone.
        let mut ipam = Ipam::open(&self.config.state_dir)?;
        ipam.release(&self.environment.container, &self.environment.interface)?;
        Ok(())
    }

    fn check(&self) -> Result<String, CniError> {
        let held = Ipam::open(&self.config.state_dir)?
            .held_by(&self.environment.container, &self.environment.interface);
        let address = held.ok_or(CniError::NoAddress)?;
        block_on(self.link(namespace(self.environment)?.to_owned(), address).check())??;
        Ok(String::new())
    }

    fn link(&self, namespace: PathBuf, address: std::net::Ipv4Addr) -> PodLink {
        PodLink {
            node_name: node_name(&self.environment.container, &self.environment.interface),
            pod_name: self.environment.interface.clone(),
            namespace,
            address,
            mtu: self.config.mtu,
        }
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, CniError> {
    let event_loop =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(CniError::EventLoop)?;
    Ok(event_loop.block_on(work))
}
