//! A cluster of real processes, made by `navarch up` in a folder of its own, removed when dropped.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::eventually::eventually;
use crate::kubectl::Kubectl;

/// How long a killed process may take to be gone.
const GONE_MAX: Duration = Duration::from_secs(5);

/// What to start.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    pub servers: u16,
    pub agents: u16,
}

/// A running cluster.
#[derive(Debug)]
pub struct Cluster {
    dir: TempDir,
    base_port: u16,
    /// What this test started itself, and must reap.
    restarted: Vec<Child>,
}

impl Cluster {
    /// # Panics
    /// With the output of `navarch up`, when it fails.
    pub fn start(size: Size) -> Self {
        Self::start_with(size, &[])
    }

    /// # Panics
    /// With the output of `navarch up`, when it fails.
    pub fn start_with(size: Size, flags: &[&str]) -> Self {
        let cluster = Self {
            dir: tempfile::tempdir().expect("a folder"),
            base_port: free_ports(size.servers),
            restarted: Vec::new(),
        };
        let (servers, agents) = (size.servers.to_string(), size.agents.to_string());
        let port = cluster.base_port.to_string();
        let output = Command::new(navarch())
            .args([
                "up",
                "--detach",
                "--no-example",
                "--servers",
                &servers,
                "--agents",
                &agents,
                "--base-port",
                &port,
            ])
            .arg("--dir")
            .arg(cluster.dir())
            .args(["--runtime", &runtime()])
            .args(flags)
            .output()
            .expect("navarch runs");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "navarch up failed:\n{said}");
        cluster
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn kubectl(&self, version: &str) -> Kubectl {
        Kubectl::new(version, &self.dir().join("kubeconfig"), self.dir())
    }

    /// `navarch status -o json`.
    ///
    /// # Panics
    /// When the command does not print JSON.
    pub fn status(&self) -> Result<Value, String> {
        let output = Command::new(navarch())
            .args(["status", "-o", "json", "--dir"])
            .arg(self.dir())
            .output()
            .expect("navarch runs");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(serde_json::from_slice(&output.stdout).expect("status is JSON"))
    }

    /// The name of the member that leads.
    pub fn leader(&self) -> Result<String, String> {
        let status = self.status()?;
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let leader = members.iter().find(|member| member["role"] == "leader");
        leader.and_then(|member| Some(member["name"].as_str()?.to_owned())).ok_or_else(|| status.to_string())
    }

    /// The port of a server's API, from its number.
    pub fn api_port(&self, server: u16) -> u16 {
        self.base_port + 10 * (server - 1)
    }

    /// etcdctl with the variables of `etcd.env`; its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn etcdctl(&self, arguments: &str) -> String {
        self.ask_etcdctl(arguments).unwrap_or_else(|complaint| panic!("etcdctl {arguments}: {complaint}"))
    }

    /// What etcdctl prints.
    ///
    /// # Errors
    /// What it complains of, when it fails.
    pub fn ask_etcdctl(&self, arguments: &str) -> Result<String, String> {
        let output = self.run_etcdctl(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// Whether etcdctl succeeds. What the arguments name wins over `etcd.env`.
    pub fn try_etcdctl(&self, arguments: &str) -> bool {
        self.run_etcdctl(arguments).status.success()
    }

    /// The variables of `etcd.env`.
    ///
    /// # Panics
    /// When `up` did not write the file as a shell reads it.
    pub fn etcd_variables(&self) -> Vec<(String, String)> {
        let text = std::fs::read_to_string(self.dir().join("etcd.env")).expect("etcd.env");
        let variable = |line: &str| {
            let (name, value) = line.strip_prefix("export ")?.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').to_owned()))
        };
        text.lines().map(|line| variable(line).expect("export NAME='VALUE'")).collect()
    }

    fn run_etcdctl(&self, arguments: &str) -> Output {
        let unset = if arguments.contains("--endpoints") { "unset ETCDCTL_ENDPOINTS;" } else { "" };
        let script = format!(". '{}'; {unset} etcdctl {arguments}", self.dir().join("etcd.env").display());
        Command::new("sh").args(["-c", &script]).output().expect("sh runs")
    }

    /// What an agent was told when `up` started it.
    ///
    /// # Panics
    /// When `up` has not written it as JSON.
    pub fn agent_config(&self, agent: &str) -> Value {
        let text = std::fs::read_to_string(self.dir().join(agent).join("config.yaml"));
        serde_json::from_str(&text.expect("a configuration")).expect("JSON")
    }

    /// The pid of one of our processes.
    ///
    /// # Panics
    /// When its pid file cannot be read.
    pub fn pid(&self, process: &str) -> i32 {
        let text = std::fs::read_to_string(self.dir().join(process).join("pid")).expect("a pid file");
        text.trim().parse().expect("a pid")
    }

    /// Sends a signal to one of our processes, and waits for its end if it is KILL.
    pub fn signal(&self, process: &str, signal: &str) {
        let pid = self.pid(process);
        run("kill", &[&format!("-{signal}"), &pid.to_string()]);
        if signal == "KILL" {
            eventually(GONE_MAX, "the process is gone", || if is_alive(pid) { Err(pid) } else { Ok(()) });
        }
    }

    /// Starts one of our processes again, as `up` did.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn restart(&mut self, process: &str) {
        let dir = self.dir().join(process);
        let role = if process.starts_with("server") { "server" } else { "agent" };
        let log = std::fs::OpenOptions::new().append(true).open(dir.join("log")).expect("a log");
        let child = Command::new(navarch())
            .arg(role)
            .arg("--config")
            .arg(dir.join("config.yaml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("navarch starts");
        std::fs::write(dir.join("pid"), child.id().to_string()).expect("a pid file");
        self.restarted.push(child);
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.show_logs();
            self.show_objects();
        }
        let down = Command::new(navarch()).arg("down").arg("--dir").arg(self.dir()).output();
        match down {
            Ok(output) if output.status.success() => {}
            Ok(output) => eprintln!("navarch down failed: {}", String::from_utf8_lossy(&output.stderr)),
            Err(error) => eprintln!("navarch down cannot run: {error}"),
        }
        for child in &mut self.restarted {
            // `down` has stopped what `up` knows; a server that joined later is ours alone.
            let _already_ended = child.kill();
            let _already_reaped = child.wait();
        }
    }
}

/// What tells most about a cluster that did not come to where a test wanted it.
const TELLING: &str =
    "get deployments,replicasets,pods,events --all-namespaces --output wide --request-timeout 5s";

impl Cluster {
    fn show_objects(&self) {
        let said = self.kubectl("1.36").run(TELLING);
        eprintln!("--- kubectl {TELLING}\n{}{}", said.stdout, said.stderr);
    }

    fn show_logs(&self) {
        for entry in std::fs::read_dir(self.dir()).into_iter().flatten().flatten() {
            for log in ["log", "data/containerd/log"] {
                let path = entry.path().join(log);
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = &lines[lines.len().saturating_sub(40)..];
                if !last.is_empty() {
                    eprintln!("--- the end of {}\n{}", path.display(), last.join("\n"));
                }
            }
        }
    }
}

/// What runs the containers: `NAVARCH_RUNTIME`, so that a test can be run again with another.
#[expect(clippy::disallowed_methods, reason = "tests are configured by their environment")]
pub fn runtime() -> String {
    std::env::var("NAVARCH_RUNTIME").unwrap_or_else(|_| "containerd".to_owned())
}

/// The binary under test: what `make` built, or what cargo built beside this test.
#[expect(clippy::disallowed_methods, reason = "the Makefile tells tests where things are")]
pub fn navarch() -> PathBuf {
    let told = std::env::var("NAVARCH_BIN").map(PathBuf::from);
    told.unwrap_or_else(|_| {
        let test = std::env::current_exe().expect("this test is a file");
        test.ancestors().nth(2).expect("target/debug").join("navarch")
    })
}

/// Runs a program that must succeed.
///
/// # Panics
/// When it fails.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().expect("the program runs");
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A zombie is not alive; its parent may be this test.
fn is_alive(pid: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after_name = state.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    !after_name.is_empty() && !after_name.starts_with('Z')
}

/// The first of enough free ports in a row. Below the ephemeral range, so that no client takes one.
fn free_ports(servers: u16) -> u16 {
    let offset = u16::try_from(std::process::id() % 100).unwrap_or(0) * 100;
    let candidates = (0..100).map(|step| 20_000 + (offset + step * 100) % 10_000);
    let is_free =
        |base: &u16| (*base..*base + 10 * servers).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
    candidates.into_iter().find(is_free).expect("free ports")
}
