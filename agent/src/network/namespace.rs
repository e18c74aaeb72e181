//! Network namespaces: entering one, working in one for a moment, making and removing named ones.
//!
//! A namespace belongs to a thread, so a process enters one before it has any other thread; whoever needs
//! another one for a moment takes a thread of its own. `ip netns exec` is never used: it hides the cgroups.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use thiserror::Error;

/// Where named namespaces live, as `ip netns` has it.
pub(crate) const NAMED_DIR: &str = "/run/netns";

/// Why a namespace cannot be used.
#[derive(Debug, Error)]
pub enum NamespaceError {
    #[error("cannot open the network namespace {}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot enter the network namespace {}", path.display())]
    Enter { path: PathBuf, source: io::Error },
    #[error("cannot make the network namespace {}", path.display())]
    Create { path: PathBuf, source: io::Error },
    #[error("cannot remove the network namespace {}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error("cannot start an event loop")]
    EventLoop(#[source] io::Error),
    #[error("the thread for the network namespace {} panicked", path.display())]
    Panicked { path: PathBuf },
}

/// Moves the calling thread, and every thread that it starts later, into the namespace at `path`. To move a
/// whole process, call it before it has a second thread.
///
/// # Errors
/// When the file is no network namespace, or the caller may not enter it.
pub fn enter(path: &Path) -> Result<(), NamespaceError> {
    let file = open(path)?;
    setns(&file, CloneFlags::CLONE_NEWNET)
        .map_err(|errno| NamespaceError::Enter { path: path.to_owned(), source: errno.into() })
}

/// Opens the namespace at `path`, to hand it to the kernel.
pub(crate) fn open(path: &Path) -> Result<File, NamespaceError> {
    File::open(path).map_err(|source| NamespaceError::Open { path: path.to_owned(), source })
}

/// Runs `work` to its end inside the namespace at `path`, on a thread and an event loop of its own. Blocks
/// the caller for as long: the work is a handful of netlink messages.
pub(crate) fn run_in<T, F>(path: &Path, work: impl FnOnce() -> F + Send) -> Result<T, NamespaceError>
where
    T: Send,
    F: Future<Output = T>,
{
    let inside = move || {
        enter(path)?;
        let event_loop = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(NamespaceError::EventLoop)?;
        Ok(event_loop.block_on(work()))
    };
    on_own_thread(path, inside)
}

/// The path of the namespace called `name`.
pub(crate) fn named(name: &str) -> PathBuf {
    Path::new(NAMED_DIR).join(name)
}

/// Makes a namespace called `name`, if there is none. Its `lo` is down.
///
/// # Errors
/// When the caller may not, or the directory cannot be written.
pub(crate) fn create_named(name: &str) -> Result<PathBuf, NamespaceError> {
    let path = named(name);
    create(&path)?;
    Ok(path)
}

/// Makes a namespace and binds it to the file at `path`, if there is none. Its `lo` is down.
///
/// # Errors
/// When the caller may not, or the file cannot be made.
pub(crate) fn create(path: &Path) -> Result<(), NamespaceError> {
    if is_mounted(path) {
        return Ok(());
    }
    let failed = |source: io::Error| NamespaceError::Create { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    // The new namespace begins and ends with this thread, unless it is bound to a file.
    on_own_thread(path, || {
        unshare(CloneFlags::CLONE_NEWNET)
            .and_then(|()| {
                mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            })
            .map_err(|errno| failed(errno.into()))
    })
}

/// Removes the namespace called `name`, if there is one. The kernel frees it when its last process is gone.
///
/// # Errors
/// When the caller may not.
pub(crate) fn remove_named(name: &str) -> Result<(), NamespaceError> {
    remove(&named(name))
}

/// Removes the namespace that is bound to the file at `path`, and the file, if there is one.
///
/// # Errors
/// When the caller may not.
pub(crate) fn remove(path: &Path) -> Result<(), NamespaceError> {
    let failed = |source: io::Error| NamespaceError::Remove { path: path.to_owned(), source };
    // Bound several times, by a crash between two attempts, it must be unbound as often.
    while is_mounted(path) {
        umount2(path, MntFlags::MNT_DETACH).map_err(|errno| failed(errno.into()))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(error)),
        Err(_) | Ok(()) => Ok(()),
    }
}

/// A file that a namespace is bound to lies on the kernel's `nsfs`.
fn is_mounted(path: &Path) -> bool {
    nix::sys::statfs::statfs(path).is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::NSFS_MAGIC)
}

fn on_own_thread<T: Send>(
    path: &Path,
    work: impl FnOnce() -> Result<T, NamespaceError> + Send,
) -> Result<T, NamespaceError> {
    std::thread::scope(|scope| scope.spawn(work).join())
        .unwrap_or_else(|_panic| Err(NamespaceError::Panicked { path: path.to_owned() }))
}
