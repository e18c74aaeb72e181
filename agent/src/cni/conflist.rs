//! What containerd finds on disk: links to this program, and the configuration that names it.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::json;
use thiserror::Error;

use super::{LOOPBACK, PLUGIN};
use crate::network::Subnet;

/// The file in the configuration directory. containerd takes the first in order.
const FILE: &str = "10-navarch.conflist";
/// Understood by containerd 1.4 and later.
const VERSION: &str = "0.4.0";

/// What the plugin is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PluginConfig {
    pub(crate) subnet: Subnet,
    pub(crate) mtu: u32,
    pub(crate) state_dir: PathBuf,
}

/// Why containerd would not find the plugin.
#[derive(Debug, Error)]
pub enum ConflistError {
    #[error("cannot write the network configuration {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot link the network plugin {}", path.display())]
    Link { path: PathBuf, source: io::Error },
}

/// Writes the configuration if it says something else. containerd watches the directory, so the file
/// appears whole.
pub(crate) fn write(directory: &Path, config: &PluginConfig) -> Result<(), ConflistError> {
    let path = directory.join(FILE);
    let text = text(config);
    if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
        return Ok(());
    }
    std::fs::create_dir_all(directory)
        .and_then(|()| replace_file(&path, text.as_bytes()))
        .map_err(|source| ConflistError::Write { path, source })
}

/// Replaces a file so that a reader, or the next boot, sees all of the old or all of the new.
fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = path.with_extension("tmp");
    let mut file = File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&unfinished, path)?;
    match path.parent() {
        Some(directory) => File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// Links the plugin's two names to `executable`, in one step each.
pub(crate) fn link_plugins(directory: &Path, executable: &Path) -> Result<(), ConflistError> {
    for name in [PLUGIN, LOOPBACK] {
        let path = directory.join(name);
        if std::fs::read_link(&path).is_ok_and(|target| target == executable) {
            continue;
        }
        let unfinished = directory.join(format!(".{name}.tmp"));
        let _leftover = std::fs::remove_file(&unfinished);
        std::fs::create_dir_all(directory)
            .and_then(|()| std::os::unix::fs::symlink(executable, &unfinished))
            .and_then(|()| std::fs::rename(&unfinished, &path))
            .map_err(|source| ConflistError::Link { path, source })?;
    }
    Ok(())
}

fn text(config: &PluginConfig) -> String {
    let plugin = json!({
        "type": PLUGIN,
        "subnet": config.subnet,
        "mtu": config.mtu,
        "stateDir": config.state_dir,
    });
    format!("{:#}\n", json!({ "cniVersion": VERSION, "name": "navarch", "plugins": [plugin] }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plugin_reads_what_is_written() {
        let directory = tempfile::tempdir().expect("a directory");
        let config = PluginConfig {
            subnet: "10.244.1.0/24".parse().expect("a network"),
            mtu: 1450,
            state_dir: "/x/state".into(),
        };
        write(directory.path(), &config).expect("written");
        write(directory.path(), &config).expect("and again");
        let written = std::fs::read_to_string(directory.path().join(FILE)).expect("read");
        let list: serde_json::Value = serde_json::from_str(&written).expect("JSON");
        // A runtime passes each plugin its own part with the list's name and version added.
        let plugin = super::super::config::PluginConfig::parse(&list["plugins"][0].to_string());
        let plugin = plugin.expect("our own configuration");
        assert_eq!((plugin.subnet, plugin.mtu, plugin.state_dir), (config.subnet, 1450, config.state_dir));
        assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 1, "no unfinished file");
    }

    #[test]
    fn both_names_lead_to_the_program_even_when_it_moved() {
        let directory = tempfile::tempdir().expect("a directory");
        for program in ["/old/navarch", "/new/navarch"] {
            link_plugins(directory.path(), Path::new(program)).expect("linked");
        }
        for name in [PLUGIN, LOOPBACK] {
            let target = std::fs::read_link(directory.path().join(name)).expect("a link");
            assert_eq!(target, Path::new("/new/navarch"));
        }
    }
}
