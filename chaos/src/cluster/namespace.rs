//! Namespaces of the harness's own, so that nothing it makes is seen outside, and nothing outlives it.
//!
//! The kernel takes down links, mounts and loop devices of a namespace together with its last process.

use std::fs::File;
use std::future::Future;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context as _, Result, anyhow};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace without a name: it lives as long as this handle, or a process in it.
#[derive(Debug)]
pub struct NetworkNamespace {
    file: File,
}

impl NetworkNamespace {
    /// A new one, in which nothing is up, not even `lo`.
    ///
    /// # Errors
    /// Without the right to make one.
    pub fn create() -> Result<Self> {
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
            let file = File::open("/proc/thread-self/ns/net").context("cannot hold a network namespace")?;
            Ok(Self { file })
        })
    }

    /// Does `work` in it, on a thread of its own. What `work` opens and starts stays there.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_own_thread(|| {
            setns(&self.file, CloneFlags::CLONE_NEWNET).context("cannot enter a network namespace")?;
            work()
        })
    }
}

impl AsFd for NetworkNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Moves the calling thread, and every thread and process that it starts later, into a network and a mount namespace
/// of its own. What is mounted outside is seen inside, not the other way round.
///
/// # Errors
/// Without the right to make them.
pub fn enter_own_namespaces() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .context("cannot make a network and a mount namespace; is this root?")?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(None::<&str>, "/", None::<&str>, private, None::<&str>).context("cannot make the mounts private")
}

/// Does `work` on a thread and an event loop of its own, whose threads are all in namespaces of their own.
///
/// # Errors
/// Those of `work`, and without the right to make namespaces.
pub fn in_own_namespaces<T, F>(work: impl FnOnce() -> F + Send) -> Result<T>
where
    T: Send,
    F: Future<Output = Result<T>>,
{
    on_own_thread(|| {
        enter_own_namespaces()?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.context("cannot start an event loop")?.block_on(work())
    })
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let ended = std::thread::scope(|scope| scope.spawn(work).join());
    ended.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
        Err(anyhow!("a thread in a namespace panicked: {words}"))
    })
}
