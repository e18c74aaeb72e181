//! Where a member is, and how to get there.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

use super::Prefix;

/// Less than any call's deadline: who cannot be reached is then known not to have been asked.
const CONNECT_TIME_MAX: Duration = Duration::from_millis(800);

type Connect = dyn Fn() -> Channel + Send + Sync;

/// One member's port for etcd clients.
#[derive(Clone)]
pub struct Target {
    /// Its name in the history.
    pub member: String,
    pub(super) prefix: Prefix,
    connect: Arc<Connect>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("member", &self.member).finish_non_exhaustive()
    }
}

impl Target {
    /// `connect` makes a connection, at the latest when it is first used; a simulation brings its own network.
    pub fn new(member: impl Into<String>, connect: impl Fn() -> Channel + Send + Sync + 'static) -> Self {
        Self { member: member.into(), prefix: Prefix::default(), connect: Arc::new(connect) }
    }

    /// At an address of this machine's network; TLS, if any, is set there.
    pub fn at(member: impl Into<String>, address: Endpoint) -> Self {
        let address = address.connect_timeout(CONNECT_TIME_MAX).tcp_nodelay(true);
        Self::new(member, move || address.connect_lazy())
    }

    /// The same member under another name.
    #[must_use]
    pub fn named(self, member: String) -> Self {
        Self { member, ..self }
    }

    /// The same member, of which only what is below the prefix is seen.
    #[must_use]
    pub fn below(self, prefix: Prefix) -> Self {
        Self { prefix, ..self }
    }

    /// Whether it is seen as a whole.
    pub const fn sees_everything(&self) -> bool {
        self.prefix.is_none()
    }

    /// A connection that nobody else uses.
    pub fn connect(&self) -> Channel {
        (self.connect)()
    }
}
