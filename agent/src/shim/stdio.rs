//! The standard streams of a process in a container: pipes, or a terminal.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use bytes::{Bytes, BytesMut};
use nix::fcntl::OFlag;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::unix::pipe;

use super::spawn::Given;
use crate::runtime::{Streams, TerminalSize};

const PIECE_BYTES: usize = 32 * 1024;

pub(super) type Sink = Box<dyn AsyncWrite + Send + Sync + Unpin>;

/// What a process writes, piece by piece.
pub(super) struct Source {
    from: Box<dyn AsyncRead + Send + Sync + Unpin>,
    piece: BytesMut,
}

impl Source {
    fn new(from: impl AsyncRead + Send + Sync + Unpin + 'static) -> Self {
        Self { from: Box::new(from), piece: BytesMut::new() }
    }

    /// `None` at its end; a terminal's is an error.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.piece.reserve(PIECE_BYTES);
        match self.from.read_buf(&mut self.piece).await {
            Ok(1..) => Some(self.piece.split().freeze()),
            Ok(_) | Err(_) => None,
        }
    }
}

/// The shim's ends of them.
pub(super) struct Ours {
    /// What the process reads.
    pub(super) stdin: Option<Sink>,
    /// What it writes; everything, if it has a terminal.
    pub(super) stdout: Option<Source>,
    pub(super) stderr: Option<Source>,
    pub(super) terminal: Option<Terminal>,
    /// Where the process hands over its terminal, if it has one: then the others are still to come.
    coming: Option<UnixStream>,
}

impl Ours {
    /// With what a process that has started has handed over.
    pub(super) fn arrived(self) -> io::Result<Self> {
        match self.coming {
            Some(socket) => with_terminal(receive(&socket)?),
            None => Ok(self),
        }
    }
}

/// To tell the process how large its terminal is.
pub(super) struct Terminal(OwnedFd);

impl Terminal {
    /// A terminal that is gone has no size.
    pub(super) fn resize(&self, size: TerminalSize) {
        let size = Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        if let Err(error) = tcsetwinsize(&self.0, size) {
            tracing::debug!(%error, "cannot resize a terminal");
        }
    }
}

/// Makes those that are wanted; the others are at their end, or go nowhere.
pub(super) fn open(wanted: Streams) -> io::Result<(Given, Ours)> {
    if wanted.tty { open_terminal() } else { open_pipes(wanted) }
}

fn open_pipes(wanted: Streams) -> io::Result<(Given, Ours)> {
    let (mut given, mut ours) = (
        Given { stdin: Stdio::null(), stdout: Stdio::null(), stderr: Stdio::null() },
        Ours { stdin: None, stdout: None, stderr: None, terminal: None, coming: None },
    );
    if wanted.stdin {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        given.stdin = read.into();
        ours.stdin = Some(Box::new(pipe::Sender::from_owned_fd(write)?));
    }
    let output = || -> io::Result<(Stdio, Source)> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        Ok((write.into(), Source::new(pipe::Receiver::from_owned_fd(read)?)))
    };
    if wanted.stdout {
        let (theirs, mine) = output()?;
        (given.stdout, ours.stdout) = (theirs, Some(mine));
    }
    if wanted.stderr {
        let (theirs, mine) = output()?;
        (given.stderr, ours.stderr) = (theirs, Some(mine));
    }
    Ok((given, ours))
}

/// The process makes its terminal itself, on its container's file system of terminals.
fn open_terminal() -> io::Result<(Given, Ours)> {
    let (mine, theirs) = UnixStream::pair()?;
    mine.set_nonblocking(true)?;
    let theirs = OwnedFd::from(theirs);
    let given = Given { stdin: theirs.into(), stdout: Stdio::null(), stderr: Stdio::null() };
    Ok((given, Ours { stdin: None, stdout: None, stderr: None, terminal: None, coming: Some(mine) }))
}

/// One descriptor, which is there before the process has started.
fn receive(socket: &UnixStream) -> io::Result<OwnedFd> {
    let (mut byte, mut room) = ([0; 1], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
    let mut received = RecvAncillaryBuffer::new(&mut room);
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut received, RecvFlags::CMSG_CLOEXEC)?;
    let mut descriptors = received.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptors.next().ok_or_else(|| io::Error::other("no terminal was handed over"))
}

fn with_terminal(controller: OwnedFd) -> io::Result<Ours> {
    // What is to be polled needs a descriptor for each direction.
    let (reader, writer) = (controller.try_clone()?, controller.try_clone()?);
    Ok(Ours {
        stdin: Some(Box::new(pipe::Sender::from_file_unchecked(File::from(writer))?)),
        stdout: Some(Source::new(pipe::Receiver::from_file_unchecked(File::from(reader))?)),
        stderr: None,
        terminal: Some(Terminal(controller)),
        coming: None,
    })
}
