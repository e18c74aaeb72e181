//! The kernel's IPv4 switches of the calling thread's network namespace.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A switch that could not be set.
#[derive(Debug, Error)]
#[error("cannot set {} to {value}", path.display())]
pub struct SysctlError {
    path: PathBuf,
    value: String,
    source: io::Error,
}

/// Sets `net.ipv4.<name>`.
pub(crate) fn set(name: &str, value: &str) -> Result<(), SysctlError> {
    write(PathBuf::from("/proc/sys/net/ipv4").join(name), value)
}

/// Sets `net.ipv4.conf.<interface>.<name>`; `interface` may be `all` or `default`.
pub(crate) fn set_interface(interface: &str, name: &str, value: &str) -> Result<(), SysctlError> {
    write(PathBuf::from("/proc/sys/net/ipv4/conf").join(interface).join(name), value)
}

fn write(path: PathBuf, value: &str) -> Result<(), SysctlError> {
    // Many containers mount /proc/sys read-only with the right value already in place.
    if std::fs::read_to_string(&path).is_ok_and(|present| present.trim() == value) {
        return Ok(());
    }
    std::fs::write(&path, value).map_err(|source| SysctlError { path, value: value.to_owned(), source })
}
