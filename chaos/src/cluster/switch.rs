//! The network between the hosts: one TUN device each, and a switch in this process that carries every packet.
//!
//! What becomes of a packet is decided in `wire`; here are only the devices and the clock. Delays are as exact as tokio's
//! timers, a millisecond.

mod packet;
pub(super) mod wire;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use base::{OwnThread, Tasks};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use wire::{Direction, Host, Impairment, Packets, Wire};

/// Larger than any packet that a device is set up to take.
const PACKET_BYTES_MAX: usize = 65_536;

/// A running switch. Dropping it unplugs everyone.
pub(super) struct Switch {
    state: Arc<State>,
    tasks: Tasks,
    thread: OwnThread,
}

struct State {
    began: Instant,
    wire: Mutex<Wire>,
    devices: Mutex<BTreeMap<Host, Plugged>>,
    /// Told when something arrives earlier than was known before.
    earlier: Notify,
}

struct Plugged {
    device: Arc<File>,
    reader: AbortHandle,
}

impl Switch {
    pub(super) async fn start(seed: u64) -> Result<Self> {
        let state = Arc::new(State {
            began: Instant::now(),
            wire: Mutex::new(Wire::new(seed)),
            devices: Mutex::default(),
            earlier: Notify::new(),
        });
        let thread = OwnThread::start("switch").context("cannot start a thread")?;
        let tasks = Tasks::new(CancellationToken::new());
        let switch = Self { state: state.clone(), tasks, thread };
        switch.spawn("arrivals", async move { state.deliver_in_time().await }).await;
        Ok(switch)
    }

    /// Carries what the device of `host` sends. The device must not block.
    pub(super) async fn plug(&self, host: Host, device: File) {
        let (state, device) = (self.state.clone(), Arc::new(device));
        let reads = {
            let device = device.clone();
            async move {
                // It ends when the device is gone, with its namespace.
                let _gone = state.carry(host, device).await;
            }
        };
        let reader = self.spawn(format!("device {host}"), reads).await;
        lock(&self.state.devices).insert(host, Plugged { device, reader });
    }

    pub(super) fn unplug(&self, host: Host) {
        if let Some(plugged) = lock(&self.state.devices).remove(&host) {
            plugged.reader.abort();
        }
    }

    /// From now on these hold and no others: all at once, between two packets.
    pub(super) fn rule(&self, rules: BTreeMap<Direction, Impairment>) {
        lock(&self.state.wire).rule(rules);
    }

    pub(super) fn packets(&self, direction: Direction) -> Packets {
        lock(&self.state.wire).packets(direction)
    }

    async fn spawn(
        &self,
        name: impl Into<String>,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> AbortHandle {
        let (tasks, name) = (self.tasks.clone(), name.into());
        self.thread.run(async move { tasks.spawn_infallible(name, task) }).await
    }
}

impl State {
    /// Takes every packet that the device sends, for ever.
    #[expect(deprecated, reason = "its successor is unsafe; the descriptor of a File never changes")]
    async fn carry(&self, from: Host, device: Arc<File>) -> io::Result<()> {
        let device = AsyncFd::new(device)?;
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            let mut ready = device.readable().await?;
            match device.get_ref().as_ref().read(&mut buffer) {
                Ok(length) => self.take(from, &buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&self, from: Host, packet: &[u8]) {
        let Some(to) = packet::destination(packet) else { return };
        let (now, mut wire) = (self.began.elapsed(), lock(&self.wire));
        let before = wire.next_arrival();
        wire.send(now, Direction { from, to }, packet.to_vec());
        self.deliver(now, &mut wire);
        let is_earlier = wire.next_arrival().is_some_and(|next| before.is_none_or(|before| next < before));
        drop(wire);
        if is_earlier {
            self.earlier.notify_one();
        }
    }

    async fn deliver_in_time(&self) {
        loop {
            let next = lock(&self.wire).next_arrival();
            let due = async {
                match next {
                    Some(next) => sleep_until(self.began + next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = due => self.deliver(self.began.elapsed(), &mut lock(&self.wire)),
                () = self.earlier.notified() => {}
            }
        }
    }

    fn deliver(&self, now: Duration, wire: &mut Wire) {
        while let Some((to, packet)) = wire.receive(now) {
            if let Some(to) = lock(&self.devices).get(&to) {
                // A device that takes nothing has lost the packet, as devices do.
                let _lost = to.device.as_ref().write(&packet);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
