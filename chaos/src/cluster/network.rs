//! The hosts' network: namespaces, devices and addresses around the switch, faults of links, and probes that show them.
//!
//! All packets between hosts go through the switch. The harness is a host too, named `client`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Error, Result, bail, ensure};
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout_at};

use super::kernel;
use super::namespace::NetworkNamespace;
use super::switch::Switch;
use super::switch::wire::{Direction, Host, Impairment, Packets};

/// The harness among the hosts.
pub const CLIENT: &str = "client";
const CLIENT_HOST: Host = 254;
/// As on most networks; larger packets would make faults of packets too rare.
const PACKET_BYTES_MAX: u16 = 1500;
/// How many packets a device keeps for a switch that is busy.
const DEVICE_QUEUE: u16 = 5000;
/// How long a device may be another network's that was dropped before.
const FREE_MAX: Duration = Duration::from_secs(10);
/// How many datagrams a probe sends in each direction, and how far apart.
const PROBE_COUNT: u32 = 20;
const PROBE_PAUSE: Duration = Duration::from_millis(5);
/// How long a probe waits for what is late.
const PROBE_WAIT: Duration = Duration::from_millis(300);

/// One direction between two hosts, as text `n1>n2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Link {
    pub from: String,
    pub to: String,
}

/// What a probe of one link has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    pub sent: u32,
    pub arrived: u32,
    /// Of the fastest.
    pub delay: Duration,
}

pub(super) struct Network {
    switch: Switch,
    hosts: BTreeMap<String, Connected>,
    /// The rules of each fault.
    faults: BTreeMap<u64, BTreeMap<Direction, Impairment>>,
    probes: u64,
}

struct Connected {
    host: Host,
    /// Bound in the host's namespace.
    probe: UdpSocket,
}

fn is_busy(error: &Error) -> bool {
    error.downcast_ref::<Errno>() == Some(&Errno::EBUSY)
}

/// The address of the host of this number.
pub(super) const fn address(host: Host) -> Ipv4Addr {
    Ipv4Addr::new(10, 99, 0, host)
}

impl Network {
    /// A network of the harness alone, in the calling thread's namespace.
    pub(super) async fn start(seed: u64) -> Result<Self> {
        let switch = Switch::start(seed).await?;
        let mut network = Self { switch, hosts: BTreeMap::new(), faults: BTreeMap::new(), probes: 0 };
        // The thread of a task is in the harness's namespace, as all its threads are.
        let deadline = Instant::now() + FREE_MAX;
        let (device, probe) = loop {
            match set_up(CLIENT_HOST) {
                // A network before this one gives its device back on a thread of its own.
                Err(error) if is_busy(&error) && Instant::now() < deadline => sleep(PROBE_PAUSE).await,
                done => break done?,
            }
        };
        network.connect(CLIENT, CLIENT_HOST, device, probe).await;
        Ok(network)
    }

    /// A namespace that the network reaches under this number's address.
    pub(super) async fn join(&mut self, name: &str, host: Host) -> Result<NetworkNamespace> {
        let namespace = NetworkNamespace::create()?;
        let (device, probe) = namespace.run(|| set_up(host))?;
        self.connect(name, host, device, probe).await;
        Ok(namespace)
    }

    /// Forgets a host, whose namespace may end then.
    pub(super) fn leave(&mut self, name: &str) {
        if let Some(left) = self.hosts.remove(name) {
            self.switch.unplug(left.host);
        }
    }

    async fn connect(&mut self, name: &str, host: Host, device: File, probe: UdpSocket) {
        self.switch.plug(host, device).await;
        self.hosts.insert(name.to_owned(), Connected { host, probe });
    }

    /// Adds a fault's rules to those of the others, all at once.
    pub(super) fn impair(&mut self, fault: u64, rules: &BTreeMap<Link, Impairment>) -> Result<()> {
        let known = rules.iter().map(|(link, rule)| Ok((self.direction(link)?, *rule)));
        let known = known.collect::<Result<_>>()?;
        self.faults.insert(fault, known);
        self.apply();
        Ok(())
    }

    /// Takes back a fault's rules; those of others stay.
    pub(super) fn mend(&mut self, fault: u64) {
        self.faults.remove(&fault);
        self.apply();
    }

    fn apply(&self) {
        let mut together: BTreeMap<Direction, Impairment> = BTreeMap::new();
        for (direction, rule) in self.faults.values().flatten() {
            let known = together.entry(*direction).or_default();
            *known = known.and(*rule);
        }
        self.switch.rule(together);
    }

    /// What became of the packets of the link since it was first used.
    pub(super) fn packets(&self, link: &Link) -> Result<Packets> {
        Ok(self.switch.packets(self.direction(link)?))
    }

    /// Sends datagrams over each link and looks which arrive: over all links at once, within half a second.
    pub(super) async fn probe(&mut self, links: &[Link]) -> Result<BTreeMap<Link, Probed>> {
        self.probes += 1;
        let (began, serial) = (Instant::now(), self.probes);
        let mut expected: BTreeMap<&String, u32> = BTreeMap::new();
        for link in links {
            self.direction(link)?;
            *expected.entry(&link.to).or_default() += PROBE_COUNT;
        }
        let deadline = began + PROBE_PAUSE * PROBE_COUNT + PROBE_WAIT;
        let receiving = expected.into_iter().map(|(host, count)| {
            let probe = &self.hosts[host].probe;
            async move { receive(probe, serial, count, (began, deadline)).await }
        });
        let receiving = futures::future::try_join_all(receiving);
        let (sent, received) = tokio::join!(self.send_probes(links, serial, began), receiving);
        sent?;
        let none = Probed { sent: PROBE_COUNT, arrived: 0, delay: Duration::MAX };
        let mut probed: BTreeMap<Link, Probed> = links.iter().map(|link| (link.clone(), none)).collect();
        for (link, delay) in received?.into_iter().flatten() {
            if let Some(seen) = probed.get_mut(&link) {
                seen.arrived += 1;
                seen.delay = seen.delay.min(delay);
            }
        }
        Ok(probed)
    }

    async fn send_probes(&self, links: &[Link], serial: u64, began: Instant) -> Result<()> {
        for _ in 0..PROBE_COUNT {
            for link in links {
                let token = format!("{serial} {link} {}", began.elapsed().as_nanos());
                let to = self.hosts[&link.to].probe.local_addr()?;
                // What a device does not take is lost, which is for the probe to show.
                let _lost = self.hosts[&link.from].probe.send_to(token.as_bytes(), to);
            }
            sleep(PROBE_PAUSE).await;
        }
        Ok(())
    }

    fn direction(&self, link: &Link) -> Result<Direction> {
        let host = |name: &String| {
            self.hosts.get(name).map(|host| host.host).with_context(|| format!("there is no host {name}"))
        };
        let direction = Direction { from: host(&link.from)?, to: host(&link.to)? };
        ensure!(direction.from != direction.to, "{link} leads nowhere");
        Ok(direction)
    }
}

/// The datagrams of one probe that arrive before the deadline, with the time that they took.
async fn receive(
    probe: &UdpSocket,
    serial: u64,
    count: u32,
    (began, deadline): (Instant, Instant),
) -> Result<Vec<(Link, Duration)>> {
    let socket = tokio::net::UdpSocket::from_std(probe.try_clone()?)?;
    let (mut seen, mut buffer) = (Vec::new(), [0; 128]);
    while seen.len() < count as usize
        && let Ok(received) = timeout_at(deadline, socket.recv(&mut buffer)).await
    {
        let token = String::from_utf8_lossy(&buffer[..received?]).into_owned();
        let parsed = || {
            let mut words = token.split(' ');
            let is_ours = words.next()?.parse() == Ok(serial);
            let (link, sent_ns) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let delay = began.elapsed().saturating_sub(Duration::from_nanos(sent_ns));
            is_ours.then_some((link, delay))
        };
        // Others are late ones of an earlier probe, or damaged.
        seen.extend(parsed());
    }
    Ok(seen)
}

/// Makes the host's device and address in the calling thread's namespace, and a socket to probe with.
fn set_up(host: Host) -> Result<(File, UdpSocket)> {
    let device = kernel::tun("chaos")?;
    let address = address(host);
    ip(&format!(
        "link set lo up\n\
         address add {address}/24 dev chaos\n\
         link set chaos mtu {PACKET_BYTES_MAX} txqueuelen {DEVICE_QUEUE} up\n"
    ))?;
    let probe =
        UdpSocket::bind(SocketAddr::from((address, 0))).context("cannot make a socket to probe with")?;
    probe.set_nonblocking(true)?;
    Ok((device, probe))
}

/// Runs `ip` with these commands, one a line, all of which must succeed.
fn ip(commands: &str) -> Result<()> {
    let mut ip = Command::new("ip");
    ip.args(["-batch", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = ip.spawn().context("cannot run ip, of iproute2")?;
    running.stdin.take().context("ip reads no commands")?.write_all(commands.as_bytes())?;
    let output = running.wait_with_output()?;
    ensure!(output.status.success(), "ip: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

impl Link {
    pub fn new(from: &str, to: &str) -> Self {
        Self { from: from.to_owned(), to: to.to_owned() }
    }

    #[must_use]
    pub fn back(&self) -> Self {
        Self::new(&self.to, &self.from)
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}>{}", self.from, self.to)
    }
}

impl FromStr for Link {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.split_once('>') {
            Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok(Self::new(from, to)),
            _ => bail!("{text} is no link: it should be like n1>n2"),
        }
    }
}

impl TryFrom<String> for Link {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Link> for String {
    fn from(link: Link) -> Self {
        link.to_string()
    }
}
