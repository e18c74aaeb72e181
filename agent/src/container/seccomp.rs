//! Which calls of the kernel a container may make: a profile, made into the program that the kernel asks.
//!
//! The default profile and one of the cluster's user go the same way: both are files in the JSON format of
//! container runtimes, narrowed down to this machine and the container's capabilities.

mod bpf;
mod calls;
mod profile;

use std::path::Path;

use super::failure::{Explain as _, refusal};
use super::kernel;
use super::spec::{Seccomp, StartFailure};

/// What containerd and moby allow by default, as of 2026.
const DEFAULT: &str = include_str!("seccomp/default.json");

/// A filter that is ready to be loaded.
#[derive(Debug)]
pub(super) struct Filter(Vec<bpf::Instruction>);

impl Filter {
    /// Reads the profile, which is the node's file. None when everything is allowed.
    pub(super) fn read(wanted: &Seccomp, capabilities: &[String]) -> Result<Option<Self>, StartFailure> {
        let made = match wanted {
            Seccomp::Unconfined => return Ok(None),
            Seccomp::RuntimeDefault => Self::make(DEFAULT, capabilities),
            Seccomp::File(path) => Self::make(&text(path)?, capabilities),
        };
        made.map(Some).map_err(|why| refusal(format!("seccomp profile{}: {why}", named(wanted))))
    }

    /// From here on every call of this process, and of all that it becomes, is asked about. Takes CAP_SYS_ADMIN or
    /// no_new_privs.
    pub(super) fn load(&self) -> Result<(), StartFailure> {
        kernel::load_filter(&self.0).step("load the seccomp filter")
    }

    fn make(profile: &str, capabilities: &[String]) -> Result<Self, String> {
        let machine = profile::Machine { arch: calls::ARCH, capabilities };
        let rules = profile::parse(profile)?.rules(&machine)?;
        Ok(Self(bpf::assemble(&rules)))
    }
}

fn text(path: &Path) -> Result<String, StartFailure> {
    std::fs::read_to_string(path).at("read the seccomp profile", path)
}

fn named(wanted: &Seccomp) -> String {
    match wanted {
        Seccomp::File(path) => format!(" {}", path.display()),
        Seccomp::Unconfined | Seccomp::RuntimeDefault => String::new(),
    }
}

#[cfg(test)]
mod tests;
