//! Three servers of one kind, in processes of their own, with the same certificates and an empty folder each.
//!
//! Dropping a fleet kills its processes and removes its folders.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use tempfile::TempDir;
use tests::process;
use tokio::time::{Instant, sleep, timeout};

use crate::member::ORGANIZATION;

const MEMBERS: usize = 3;
/// How many connections the client has, spread over the members.
pub(crate) const CONNECTIONS: usize = 9;
const START_TIME_MAX: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum System {
    Etcd,
    Ours,
    Wall,
}

impl System {
    pub(crate) const ALL: [Self; 3] = [Self::Etcd, Self::Ours, Self::Wall];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::Ours => "ours",
            Self::Wall => "wall",
        }
    }

    pub(crate) fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|system| system.name() == name);
        found.with_context(|| format!("no system is named {name}"))
    }
}

pub(crate) struct Fleet {
    system: System,
    dir: TempDir,
    members: Vec<Member>,
    options: ConnectOptions,
}

struct Member {
    client_port: u16,
    peer_port: u16,
    process: Option<Child>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for at in 0..self.members.len() {
            self.kill(at);
        }
    }
}

impl Fleet {
    /// Starts the servers and waits until they answer.
    pub(crate) async fn start(system: System) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let options = certify(&dir.path().join("certificates"))?;
        let count = if system == System::Wall { 1 } else { MEMBERS };
        let mut ports = free_ports(2 * count)?.into_iter();
        let mut members = Vec::new();
        while let (Some(client_port), Some(peer_port)) = (ports.next(), ports.next()) {
            members.push(Member { client_port, peer_port, process: None });
        }
        let mut fleet = Self { system, dir, members, options };
        for at in 0..count {
            fleet.launch(at)?;
        }
        for at in 0..count {
            fleet.until_it_serves(at).await?;
        }
        Ok(fleet)
    }

    pub(crate) fn launch(&mut self, at: usize) -> Result<()> {
        let mut command = match self.system {
            System::Etcd => self.etcd(at),
            System::Ours => self.ours(at)?,
            System::Wall => self.wall()?,
        };
        let log = fs::File::create(self.dir.path().join(format!("log-{at}")))?;
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let name = self.system.name();
        self.members[at].process = Some(command.spawn().with_context(|| format!("cannot start {name}"))?);
        Ok(())
    }

    /// As pulling the plug of the process: nothing is said, nothing is flushed.
    pub(crate) fn kill(&mut self, at: usize) {
        if let Some(mut process) = self.members[at].process.take() {
            // It may have ended by itself.
            let _gone_already = process.kill();
            let _reaped = process.wait();
        }
    }

    /// Waits until a member answers a linearizable read.
    pub(crate) async fn until_it_serves(&mut self, at: usize) -> Result<Duration> {
        let began = Instant::now();
        while began.elapsed() < START_TIME_MAX {
            if let Some(process) = &mut self.members[at].process
                && let Some(status) = process.try_wait()?
            {
                let log = fs::read_to_string(self.dir.path().join(format!("log-{at}")))?;
                let end = log.lines().rev().take(5).collect::<Vec<_>>();
                bail!("{} {at} has ended, {status}: {end:#?}", self.system.name());
            }
            let answered = async {
                let mut client = self.connect(at).await?;
                client.get("anything", None).await?;
                anyhow::Ok(())
            };
            if let Ok(Ok(())) = timeout(Duration::from_secs(10), answered).await {
                return Ok(began.elapsed());
            }
            sleep(LOOK_EVERY).await;
        }
        bail!("{} {at} does not serve", self.system.name())
    }

    pub(crate) fn members(&self) -> usize {
        self.members.len()
    }

    /// Which member leads, as soon as one says so.
    pub(crate) async fn leader(&self) -> Result<usize> {
        let deadline = Instant::now() + START_TIME_MAX;
        while Instant::now() < deadline {
            for at in 0..self.members.len() {
                let status = self.connect(at).await?.status().await?;
                if status.header().is_some_and(|header| header.member_id() == status.leader()) {
                    return Ok(at);
                }
            }
            sleep(LOOK_EVERY).await;
        }
        bail!("nobody leads")
    }

    /// The resident memory of each member, in bytes.
    pub(crate) fn resident(&self) -> Vec<u64> {
        self.pids().map(|pid| process::resident_kib(&pid.to_string()) * 1024).collect()
    }

    pub(crate) async fn connect(&self, at: usize) -> Result<Client> {
        let url = self.url(at);
        Ok(Client::connect([url], Some(self.options.clone())).await?)
    }

    /// The connections that all clients of a run share, evenly over the members.
    pub(crate) async fn connections(&self) -> Result<Vec<Client>> {
        let mut all = Vec::new();
        for number in 0..CONNECTIONS {
            all.push(self.connect(number % self.members.len()).await?);
        }
        Ok(all)
    }

    /// The processor time that the servers have used, all together.
    pub(crate) fn cpu(&self) -> Duration {
        self.pids().map(|pid| process::cpu(&pid.to_string())).sum()
    }

    fn pids(&self) -> impl Iterator<Item = u32> {
        self.members.iter().filter_map(|member| member.process.as_ref().map(Child::id))
    }

    fn url(&self, at: usize) -> String {
        format!("https://127.0.0.1:{}", self.members[at].client_port)
    }

    fn certificates(&self) -> std::path::PathBuf {
        self.dir.path().join("certificates")
    }

    fn ours(&self, at: usize) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("member").arg(self.dir.path().join(format!("data-{at}"))).arg(self.certificates());
        command.arg((at + 1).to_string()).arg(self.members[at].client_port.to_string());
        command.args(self.members.iter().map(|member| member.peer_port.to_string()));
        Ok(command)
    }

    fn wall(&self) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("wall").arg(self.certificates()).arg(self.members[0].client_port.to_string());
        Ok(command)
    }

    fn etcd(&self, at: usize) -> Command {
        let peer_url = |member: &Member| format!("https://127.0.0.1:{}", member.peer_port);
        let all: Vec<String> = (0..)
            .zip(&self.members)
            .map(|(number, member): (usize, _)| format!("member-{number}={}", peer_url(member)))
            .collect();
        let own = peer_url(&self.members[at]);
        let mut command = Command::new("etcd");
        let mut flag = |name: &str, value: &str| {
            command.arg(format!("--{name}={value}"));
        };
        flag("name", &format!("member-{at}"));
        flag("data-dir", &self.dir.path().join(format!("data-{at}")).to_string_lossy());
        flag("listen-client-urls", &self.url(at));
        flag("advertise-client-urls", &self.url(at));
        flag("listen-peer-urls", &own);
        flag("initial-advertise-peer-urls", &own);
        flag("initial-cluster", &all.join(","));
        flag("initial-cluster-token", "bench");
        flag("quota-backend-bytes", &(8_u64 << 30).to_string());
        flag("logger", "zap");
        flag("log-level", "error");
        for prefix in ["", "peer-"] {
            let file = |name: &str| self.certificates().join(name).to_string_lossy().into_owned();
            flag(&format!("{prefix}cert-file"), &file("cert.pem"));
            flag(&format!("{prefix}key-file"), &file("key.pem"));
            flag(&format!("{prefix}trusted-ca-file"), &file("ca.pem"));
            flag(&format!("{prefix}client-cert-auth"), "true");
        }
        command
    }
}

/// Ports that nobody has now. The next moment somebody may: then the start fails, and says so.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind(("127.0.0.1", 0))).collect::<Result<_, _>>()?;
    Ok(listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<std::io::Result<_>>()?)
}

/// One authority and one certificate, which every process of a run uses in both roles.
fn certify(dir: &Path) -> Result<ConnectOptions> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, "bench authority");
    let key = KeyPair::generate()?;
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);

    let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    params.distinguished_name.push(DnType::CommonName, "bench");
    params.distinguished_name.push(DnType::OrganizationName, ORGANIZATION);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, &issuer)?.pem();
    fs::create_dir(dir)?;
    fs::write(dir.join("ca.pem"), &authority)?;
    fs::write(dir.join("cert.pem"), &certificate)?;
    fs::write(dir.join("key.pem"), key.serialize_pem())?;
    let tls = TlsOptions::new()
        .ca_certificate(Certificate::from_pem(authority))
        .identity(Identity::from_pem(certificate, key.serialize_pem()));
    Ok(ConnectOptions::new().with_tls(tls))
}
