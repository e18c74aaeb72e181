//! Carries packets over a network that loses, delays and reorders: each is sent again until it is acknowledged or too
//! late, and handed out once. What TCP does for the real members, without its order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use turmoil::net::UdpSocket;

use super::packet::Packet;
use crate::sim::world::World;

const PORT: u16 = 2380;
/// More than a snapshot of a simulated store has.
pub(super) const DATAGRAM_BYTES_MAX: usize = 2 * 1024 * 1024;
/// How soon an unacknowledged packet is sent again, doubled each time.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);

const DATA: u8 = 0;
const ACKNOWLEDGED: u8 = 1;

/// One end, of one life of a node.
pub(super) struct Courier {
    world: Arc<World>,
    me: String,
    /// Tells the packets of this life from those of earlier ones.
    life: u64,
    socket: UdpSocket,
    state: Mutex<State>,
    sent: Notify,
}

#[derive(Default)]
struct State {
    next_number: u64,
    unacknowledged: BTreeMap<u64, Sent>,
    due: BTreeSet<(Instant, u64)>,
    heard: BTreeMap<(IpAddr, u64), Heard>,
}

struct Sent {
    to: String,
    datagram: Bytes,
    due: Instant,
    pause: Duration,
    until: Instant,
}

/// Which packets of one sender's life have come.
#[derive(Default)]
struct Heard {
    all_below: u64,
    beyond: BTreeSet<u64>,
}

impl Heard {
    /// Whether this one is new.
    fn take(&mut self, number: u64) -> bool {
        if number < self.all_below || !self.beyond.insert(number) {
            return false;
        }
        while self.beyond.remove(&self.all_below) {
            self.all_below += 1;
        }
        true
    }
}

/// A packet, and who sent it in which of its lives.
pub(super) struct Arrived {
    pub(super) from: (IpAddr, u64),
    pub(super) packet: Packet,
}

impl Courier {
    pub(super) async fn bind(world: Arc<World>, me: String, life: u64) -> std::io::Result<Self> {
        let socket = UdpSocket::bind(("0.0.0.0", PORT)).await?;
        Ok(Self { world, me, life, socket, state: Mutex::default(), sent: Notify::new() })
    }

    /// Sends until it is acknowledged or `until`.
    pub(super) fn send(&self, to: &str, packet: &Packet, until: Instant) {
        let now = Instant::now();
        let mut state = self.lock();
        let number = state.next_number;
        state.next_number += 1;
        let mut datagram = BytesMut::new();
        datagram.put_u8(DATA);
        datagram.put_u64(self.life);
        datagram.put_u64(number);
        packet.encode(&mut datagram);
        let datagram = datagram.freeze();
        self.transmit(to, &datagram);
        let due = now + AGAIN_AFTER;
        state.due.insert((due, number));
        let sent = Sent { to: to.to_owned(), datagram, due, pause: AGAIN_AFTER, until };
        state.unacknowledged.insert(number, sent);
        self.sent.notify_one();
    }

    /// The next packet that is new here. Sends again what must be meanwhile. The buffer holds any datagram.
    pub(super) async fn next(&self, buffer: &mut [u8]) -> Arrived {
        loop {
            let due = self.lock().due.first().map(|(due, _)| *due);
            tokio::select! {
                biased;
                received = self.socket.recv_from(buffer) => {
                    let Ok((size, from)) = received else { continue };
                    let arrived = self.receive(from, Bytes::copy_from_slice(&buffer[..size]));
                    if let Some(arrived) = arrived {
                        return arrived;
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => self.send_again(),
                () = self.sent.notified() => {}
            }
        }
    }

    fn receive(&self, from: SocketAddr, mut datagram: Bytes) -> Option<Arrived> {
        self.world.trace(format_args!("{} hears {from}", self.me), &datagram);
        let kind = datagram.try_get_u8().ok()?;
        let life = datagram.try_get_u64().ok()?;
        let number = datagram.try_get_u64().ok()?;
        let mut state = self.lock();
        if kind == ACKNOWLEDGED {
            if life == self.life
                && let Some(sent) = state.unacknowledged.remove(&number)
            {
                state.due.remove(&(sent.due, number));
            }
            return None;
        }
        let is_new = state.heard.entry((from.ip(), life)).or_default().take(number);
        drop(state);
        let mut acknowledgement = BytesMut::new();
        acknowledgement.put_u8(ACKNOWLEDGED);
        acknowledgement.put_u64(life);
        acknowledgement.put_u64(number);
        let to = turmoil::reverse_lookup(from.ip())?;
        self.transmit(&to, &acknowledgement);
        let packet = Packet::decode(datagram)?;
        is_new.then_some(Arrived { from: (from.ip(), life), packet })
    }

    fn send_again(&self) {
        let now = Instant::now();
        let mut state = self.lock();
        while let Some((due, number)) = state.due.first().copied().filter(|(due, _)| *due <= now) {
            state.due.remove(&(due, number));
            let Some(mut sent) = state.unacknowledged.remove(&number) else { continue };
            if now >= sent.until {
                continue;
            }
            self.transmit(&sent.to, &sent.datagram);
            sent.pause = (sent.pause * 2).min(AGAIN_AFTER_MAX);
            sent.due = now + sent.pause;
            state.due.insert((sent.due, number));
            state.unacknowledged.insert(number, sent);
        }
    }

    fn transmit(&self, to: &str, datagram: &[u8]) {
        if self.world.links.loses(&self.me, to) {
            return;
        }
        // A host that is down is silent; nothing else is wrong with a network that exists in memory.
        let _silence = self.socket.try_send_to(datagram, (to, PORT));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_packet_is_new_once() {
        let mut heard = Heard::default();
        let news: Vec<bool> = [0, 2, 2, 1, 0, 3, 5, 4, 5].map(|number| heard.take(number)).to_vec();
        assert_eq!(news, [true, true, false, true, false, true, true, true, false]);
        assert_eq!((heard.all_below, heard.beyond.len()), (6, 0));
    }
}
