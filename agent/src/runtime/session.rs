//! The streams of a process in a container, as a runtime hands them out: an exec's, or a container's own.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Pieces that wait, per direction.
pub const PIECES_WAITING_MAX: usize = 8;

/// Which streams are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Streams {
    pub stdin: bool,
    pub stdout: bool,
    /// Never together with `tty`, which has one output only.
    pub stderr: bool,
    pub tty: bool,
}

/// An open session. Dropping it hangs up on the process, which may go on without its streams.
pub struct Session {
    /// What the process reads; dropping it is the end of its input.
    pub stdin: Option<mpsc::Sender<Bytes>>,
    /// How large the terminal is from now on.
    pub resize: Option<mpsc::Sender<TerminalSize>>,
    /// What the process writes; the last is how it ended. Without that, the runtime hung up.
    pub output: mpsc::Receiver<Output>,
    /// Moves the bytes: nothing comes or goes unless it is polled.
    pub work: BoxFuture<'static, ()>,
}

impl Session {
    /// One that has ended before it began.
    pub fn failed(message: String) -> Self {
        let (outputs, output) = mpsc::channel(1);
        let work = async move {
            let _gone = outputs.send(Output::Ended(Ending::Failed(message))).await;
        };
        Self { stdin: None, resize: None, output, work: work.boxed() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    Stdout(Bytes),
    Stderr(Bytes),
    Ended(Ending),
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code; 0 also when the runtime does not tell, as of a container that was attached to.
    Exited(i32),
    /// The process could not be started, or its streams broke.
    Failed(String),
}

/// In characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TerminalSize {
    pub width: u16,
    pub height: u16,
}
