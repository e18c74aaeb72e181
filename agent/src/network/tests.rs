//! The pod network on the real kernel: two nodes on a bridge, pods connected by the plugin's own code.
//! Needs root. Every name is unique to the test, and everything is removed, also when an assertion fails.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use base::{Entropy, SystemEntropy};

use super::uplink::{Attachment, Uplink, UplinkError};
use super::*;
use crate::cni::{CniEnvironment, CniOutput, PLUGIN};
use crate::desired::Peer;

/// Two nodes, their directories, and the namespaces that stand for pods.
struct World {
    uplink: Uplink,
    directory: tempfile::TempDir,
    pods: Vec<String>,
    cluster: Subnet,
}

impl World {
    fn create() -> Self {
        let unique = format!("{:08x}", SystemEntropy.u64() >> 32);
        let network = block_on(uplink::free_network(u8::from_str_radix(&unique[..2], 16).expect("hex")))
            .expect("a free network");
        let address = |offset| network.nth(offset).expect("inside");
        let attachment = |number: u32| Attachment {
            netns: format!("nvtest-{unique}-{number}"),
            address: address(10 + number),
        };
        let uplink = Uplink {
            bridge: format!("nv{unique}"),
            address: address(1),
            attachments: vec![attachment(1), attachment(2)],
        };
        let world = Self {
            uplink,
            directory: tempfile::tempdir().expect("a directory"),
            pods: Vec::new(),
            cluster: "10.213.0.0/16".parse().expect("a network"),
        };
        block_on(world.uplink.create()).expect("the world is made");
        block_on(world.uplink.create()).expect("making it again changes nothing");
        world
    }

    fn settings(&self, node: usize) -> NetworkSettings {
        let directory = self.directory.path().join(format!("node-{node}"));
        NetworkSettings {
            node_name: format!("node-{node}"),
            node_ip: self.uplink.attachments[node].address,
            executable: "/proc/self/exe".into(),
            cni_conf_dir: directory.join("conf"),
            cni_bin_dir: directory.join("bin"),
            cni_state_dir: directory.join("state"),
        }
    }

    fn pod_cidr(node: usize) -> Subnet {
        format!("10.213.{}.0/24", node + 1).parse().expect("a network")
    }

    fn desired(&self, node: usize, with_peer: bool) -> Desired {
        let peer = |other: usize| Peer {
            internal_ip: self.uplink.attachments[other].address,
            pod_cidr: Self::pod_cidr(other),
        };
        let other = with_peer.then_some(1 - node);
        let peers: BTreeMap<Arc<str>, Peer> =
            other.into_iter().map(|other| (format!("node-{other}").into(), peer(other))).collect();
        Desired {
            peers: Arc::new(peers),
            pod_cidr: Some(Self::pod_cidr(node)),
            cluster_cidr: Some(self.cluster),
            synced: true,
            ..Desired::default()
        }
    }

    fn reconcile(&self, node: usize, with_peer: bool) {
        let (settings, desired) = (self.settings(node), self.desired(node, with_peer));
        let health = self.on(node, || block_on(reconcile(&settings, &desired)));
        assert_eq!(health.expect("reconciled"), NetworkHealth::Ready);
    }

    fn on<T: Send>(&self, node: usize, work: impl FnOnce() -> T + Send) -> T {
        uplink::inside(&self.uplink.attachments[node].netns, || std::thread::scope(|s| s.spawn(work).join()))
            .expect("inside the node")
            .expect("no panic")
    }

    /// An empty namespace, as a runtime makes one for a pod.
    fn sandbox(&mut self, name: &str) -> String {
        let name = format!("{}-{name}", self.uplink.attachments[0].netns);
        namespace::create_named(&name).expect("a namespace");
        self.pods.push(name.clone());
        name
    }

    fn cni(&self, node: usize, command: &str, sandbox: &str) -> CniOutput {
        let list = std::fs::read_to_string(self.settings(node).cni_conf_dir.join("10-navarch.conflist"));
        let list: serde_json::Value = serde_json::from_str(&list.expect("written")).expect("JSON");
        let mut config = list["plugins"][0].clone();
        config["cniVersion"] = list["cniVersion"].clone();
        let environment = CniEnvironment {
            called_as: PLUGIN.into(),
            command: command.into(),
            container: format!("container-{sandbox}"),
            namespace: namespace::named(sandbox).to_string_lossy().into_owned(),
            interface: "eth0".into(),
        };
        self.on(node, || crate::cni::run(&environment, &config.to_string()))
    }

    fn add_pod(&mut self, node: usize, name: &str) -> (String, Ipv4Addr) {
        let sandbox = self.sandbox(name);
        let output = self.cni(node, "ADD", &sandbox);
        assert_eq!(output.exit_code, 0, "{}", output.stdout);
        let result: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        let address = result["ips"][0]["address"].as_str().expect("an address").to_owned();
        (sandbox, address.trim_end_matches("/32").parse().expect("an address"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for pod in &self.pods {
            namespace::remove_named(pod).expect("the pod's namespace is removed");
        }
        block_on(self.uplink.remove()).expect("the world is removed");
        block_on(self.uplink.remove()).expect("removing it again is fine");
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop").block_on(work)
}

/// What a server in `to` sees as the client's address, when somebody in `from` connects to it.
fn connect(from: &Path, to: &Path, address: Ipv4Addr) -> std::io::Result<String> {
    let listener = namespace::run_in(to, || async { TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)) })
        .expect("inside")
        .expect("a listener");
    let port = listener.local_addr().expect("bound").port();
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            namespace::run_in(from, || async {
                let to = SocketAddr::from((address, port));
                let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
                let mut said = String::new();
                stream.read_to_string(&mut said).map(|_| said)
            })
            .expect("inside")
        });
        listener.set_nonblocking(true).expect("set");
        while !client.is_finished() {
            if let Ok((mut stream, peer)) = listener.accept() {
                stream.write_all(peer.ip().to_string().as_bytes()).expect("answered");
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        client.join().expect("no panic")
    })
}

#[test]
fn pods_reach_each_other_on_one_node_and_across_nodes() {
    let mut world = World::create();
    for node in [0, 1] {
        world.reconcile(node, true);
        world.reconcile(node, true);
    }
    let table =
        masquerade::Masquerade { table: TABLE.into(), inside: World::pod_cidr(0), spared: world.cluster };
    assert!(world.on(0, || block_on(table.in_place())).expect("listed"), "seen as in place, not made anew");
    let (first, first_address) = world.add_pod(0, "a");
    let (second, second_address) = world.add_pod(0, "b");
    let (other, other_address) = world.add_pod(1, "c");
    assert_eq!(other_address, Ipv4Addr::new(10, 213, 2, 2));
    let path = namespace::named;
    let node = |number: usize| path(&world.uplink.attachments[number].netns);

    let seen = |from: &Path, to: &Path, address| connect(from, to, address).expect("connected");
    assert_eq!(seen(&path(&first), &path(&second), second_address), first_address.to_string(), "same node");
    assert_eq!(seen(&path(&first), &path(&other), other_address), first_address.to_string(), "other node");
    assert_eq!(seen(&path(&other), &path(&first), first_address), other_address.to_string(), "and back");
    let from_node = seen(&node(0), &path(&other), other_address);
    assert_eq!(from_node, "10.213.1.0", "a node shows its overlay address");
    seen(&node(1), &path(&other), other_address);
    let machine = Path::new("/proc/self/ns/net");
    let outside = seen(&path(&first), machine, world.uplink.address);
    assert_eq!(outside, world.uplink.attachments[0].address.to_string(), "egress is masqueraded");

    let checked = world.cni(0, "CHECK", &first);
    assert_eq!((checked.exit_code, checked.stdout.as_str()), (0, ""));
    for _again in 0..2 {
        let deleted = world.cni(0, "DEL", &first);
        assert_eq!((deleted.exit_code, deleted.stdout.as_str()), (0, ""));
    }
    assert_eq!(world.cni(0, "CHECK", &first).exit_code, 1);

    world.reconcile(0, false);
    connect(&path(&second), &path(&other), other_address).expect_err("the peer left, and so did its route");
    world.reconcile(0, true);
    seen(&path(&second), &path(&other), other_address);

    let settings = world.settings(0);
    world.on(0, || block_on(purge(&settings))).expect("purged");
    let left = world.on(0, || block_on(netlink::connected(|netlink| async move { netlink.links().await })));
    let mut left: Vec<String> = left.expect("listed").into_iter().map(|link| link.name).collect();
    left.retain(|name| name != "lo" && name != "eth0");
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn an_add_after_an_interrupted_one_replaces_what_is_left() {
    let mut world = World::create();
    world.reconcile(0, false);
    let (sandbox, address) = world.add_pod(0, "a");
    let again = world.cni(0, "ADD", &sandbox);
    assert_eq!(again.exit_code, 0, "{}", again.stdout);
    assert!(again.stdout.contains(&format!("{address}/32")), "the same address: {}", again.stdout);
    let seen =
        connect(&namespace::named(&world.uplink.attachments[0].netns), &namespace::named(&sandbox), address);
    seen.expect("connected");
}

#[test]
fn a_node_without_its_address_says_so() {
    let world = World::create();
    let settings = NetworkSettings { node_ip: Ipv4Addr::new(192, 0, 2, 1), ..world.settings(0) };
    let desired = world.desired(0, false);
    let error = world.on(0, || block_on(reconcile(&settings, &desired))).expect_err("refused");
    assert_eq!(in_full(&error), "no network interface has this node's address 192.0.2.1");
}

#[test]
fn a_namespace_that_is_not_there_is_named() {
    let error = uplink::enter("nv-no-such-namespace").expect_err("refused");
    let UplinkError::Namespace(error) = error else { panic!("{error}") };
    assert_eq!(error.to_string(), "cannot open the network namespace /run/netns/nv-no-such-namespace");
}
