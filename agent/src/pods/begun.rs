//! What of a container's run an agent has begun and not ended: a file beside the container's termination log, from
//! before it begins until it has ended, so that an agent that is killed in between leaves it to the next.

use std::io;
use std::path::PathBuf;

use super::host::Host;

/// What has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// The runtime was told to start it, and has not answered.
    Start,
    /// Its postStart hook is owed.
    PostStart,
}

/// A run of a container of a pod.
#[derive(Clone, Copy)]
pub(crate) struct RunOf<'a> {
    pub(crate) uid: &'a str,
    pub(crate) container: &'a str,
    pub(crate) attempt: u32,
}

impl Host {
    pub(crate) fn note(&self, run: RunOf<'_>, begun: Begun) -> io::Result<()> {
        let path = self.note_path(run, begun);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, "")
    }

    pub(crate) fn is_noted(&self, run: RunOf<'_>, begun: Begun) -> bool {
        self.note_path(run, begun).exists()
    }

    pub(crate) fn settle(&self, run: RunOf<'_>, begun: Begun) -> io::Result<()> {
        match std::fs::remove_file(self.note_path(run, begun)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn note_path(&self, run: RunOf<'_>, begun: Begun) -> PathBuf {
        let name = match begun {
            Begun::Start => "start",
            Begun::PostStart => "post-start",
        };
        let folder = self.paths.pod_dir(run.uid).join("containers").join(run.container);
        folder.join(format!("{}.{name}", run.attempt))
    }
}
