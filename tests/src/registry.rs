//! A registry of images, Debian's, where only `user` may read, pushed to by skopeo: what we read is what others write.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::cluster::{Cluster, run};
use crate::eventually::eventually;

pub const USER: &str = "user";
pub const PASSWORD: &str = "p4ss";
/// Of `USER`, with bcrypt.
const HTPASSWD: &str = "user:$2b$05$OLmMuK283bapX.LLiZFtLOb1WEvfT1j/MCFQVYmYMLGU.3xL48weG\n";
const STARTS_WITHIN: Duration = Duration::from_secs(30);
const PROGRAMS: &[&str] = &["sh", "cat", "hostname", "ls", "mkdir", "sleep", "stat", "touch", "true", "tty"];

/// What an image holds besides a shell.
#[derive(Debug, Default)]
pub struct Content<'a> {
    /// Paths from the root, and what is in them.
    pub files: &'a [(&'a str, &'a str)],
    /// Folders that the image declares as `VOLUME`.
    pub volumes: &'a [&'a str],
}

/// A registry on the loopback of an agent's network. It ends when dropped.
#[derive(Debug)]
pub struct Registry {
    process: Child,
    dir: PathBuf,
    netns: String,
    address: String,
}

impl Registry {
    /// # Panics
    /// When it does not start.
    pub fn start(cluster: &Cluster, agent: &str) -> Self {
        let netns = cluster.agent_config(agent)["netns"].as_str().expect("a network namespace").to_owned();
        let dir = cluster.dir().join("registry");
        fs::create_dir_all(&dir).expect("a folder");
        fs::write(dir.join("htpasswd"), HTPASSWD).expect("a file");
        let at = dir.display();
        let config = format!(
            "version: 0.1\nlog: {{ level: info, formatter: json }}\n\
             storage: {{ filesystem: {{ rootdirectory: {at}/data }} }}\nhttp: {{ addr: '127.0.0.1:0' }}\n\
             auth: {{ htpasswd: {{ realm: test, path: {at}/htpasswd }} }}\n"
        );
        fs::write(dir.join("config.yml"), config).expect("a file");
        let log = dir.join("log");
        let process = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{netns}"))
            .args(["docker-registry", "serve", "config.yml"])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a file"))
            .spawn()
            .expect("apt-get install docker-registry");
        let mut registry = Self { process, dir, netns, address: String::new() };
        registry.address = eventually(STARTS_WITHIN, "the registry listens", || {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let address = log.split_once("listening on ").and_then(|(_, rest)| rest.split_once('"'));
            address.map(|(address, _)| address.to_owned()).ok_or(log)
        });
        registry
    }

    /// `127.0.0.1:PORT`: what its images' names begin with.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes an image and pushes it under this name; its name in full.
    ///
    /// # Panics
    /// When a program that it takes is missing.
    pub fn push(&self, name: &str, content: &Content<'_>) -> String {
        let archive = self.dir.join("image.tar");
        self.build(content, &archive.display().to_string());
        let full = format!("{}/{name}", self.address);
        let netns = format!("--net=/run/netns/{}", self.netns);
        let login = format!("--dest-creds={USER}:{PASSWORD}");
        let (from, to) = (format!("docker-archive:{}", archive.display()), format!("docker://{full}"));
        let skopeo = ["skopeo", "copy", "--insecure-policy", "--dest-tls-verify=false", &login, &from, &to];
        run("nsenter", &[&[netns.as_str()], &skopeo[..]].concat());
        full
    }

    /// One layer, in the format of `docker save`.
    fn build(&self, content: &Content<'_>, archive: &str) {
        let image = tempfile::tempdir_in(&self.dir).expect("a folder");
        let root = image.path().join("root");
        fs::create_dir_all(root.join("bin")).expect("a folder");
        fs::copy("/bin/busybox", root.join("bin/busybox")).expect("apt-get install busybox-static");
        for program in PROGRAMS {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(program)).expect("a link");
        }
        for (path, text) in content.files {
            let path = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        }
        let at = |name: &str| image.path().join(name).display().to_string();
        run("tar", &["--owner=0", "--group=0", "-C", &at("root"), "-cf", &at("layer.tar"), "."]);
        let digest = run("sha256sum", &[&at("layer.tar")]);
        let digest = digest.split_whitespace().next().expect("a digest");
        let architecture = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let volumes: serde_json::Map<_, _> =
            content.volumes.iter().map(|path| ((*path).to_owned(), json!({}))).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["sleep", "1000000"], "Volumes": volumes},
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        let manifest = json!([{"Config": "config.json", "RepoTags": ["image:1"], "Layers": ["layer.tar"]}]);
        fs::write(image.path().join("config.json"), config.to_string()).expect("a file");
        fs::write(image.path().join("manifest.json"), manifest.to_string()).expect("a file");
        run("tar", &["-C", &at("."), "-cf", archive, "manifest.json", "config.json", "layer.tar"]);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // nsenter is replaced by what it starts.
        let _already_ended = self.process.kill();
        let _already_reaped = self.process.wait();
    }
}
