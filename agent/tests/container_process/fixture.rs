//! What a pod's shim does, as far as a test needs it: an image of busybox, a PID namespace, the streams, and the
//! program that becomes the container.

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use nix::sched::{CloneFlags, setns, unshare};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A status descriptor must not be inherited by what another test starts.
static STARTING: Mutex<()> = Mutex::new(());

const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:Web:/srv/web:/bin/sh\n";
const GROUP: &str = "root:x:0:\nwww:x:33:web\nweb:x:102:\n";

/// A node with one image and one container, all in one folder.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
}

/// A process that became one of the container's.
pub(crate) struct Started {
    pub(crate) child: Child,
    status: OwnedFd,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// What it wrote.
    pub(crate) text: String,
    pub(crate) code: i32,
    /// Why it did not start.
    pub(crate) failure: Option<String>,
}

impl Fixture {
    pub(crate) fn make() -> Self {
        assert!(nix::unistd::geteuid().is_root(), "run as root: containers need it");
        let fixture = Self { dir: tempfile::tempdir().unwrap() };
        for folder in ["layer/bin", "layer/etc", "layer/tmp", "layer/root", "upper", "work", "merged"] {
            std::fs::create_dir_all(fixture.path(folder)).unwrap();
        }
        std::fs::copy("/bin/busybox", fixture.path("layer/bin/busybox")).unwrap();
        let list = Command::new("/bin/busybox").arg("--list").output().unwrap().stdout;
        for applet in String::from_utf8(list).unwrap().lines().filter(|applet| *applet != "busybox") {
            std::os::unix::fs::symlink("busybox", fixture.path("layer/bin").join(applet)).unwrap();
        }
        fixture.image_file("etc/passwd", PASSWD);
        fixture.image_file("etc/group", GROUP);
        fixture
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    pub(crate) fn image_file(&self, path: &str, text: &str) {
        let path = self.path("layer").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A container that runs this script, as a plain pod's container is.
    pub(crate) fn container(&self, script: &str) -> Value {
        json!({
            "id": "c",
            "root": {
                "layers": [self.path("layer")], "upper": self.path("upper"), "work": self.path("work"),
                "merged": self.path("merged"), "readonly": false,
            },
            "mounts": [], "devices": [], "cgroups": [], "pid_namespace": "Own",
            "process": process(&["sh", "-c", script]),
            "privileged": false,
            "masked_paths": ["/proc/keys", "/sys/firmware", "/proc/nothing"],
            "readonly_paths": ["/proc/sys", "/proc/nothing"],
            "log": self.path("log"), "stdin": false, "stdin_once": false, "stop_signal": "SIGTERM",
        })
    }

    /// Becomes a container's first process, in a PID namespace of its own.
    pub(crate) fn start(&self, container: &Value) -> Started {
        self.launch(&json!({"Container": container}), Processes::Own, Streams::Pipes)
    }

    pub(crate) fn run(&self, container: &Value) -> Outcome {
        self.start(container).end()
    }

    pub(crate) fn launch(&self, launch: &Value, processes: Processes, streams: Streams) -> Started {
        let file = tempfile::NamedTempFile::new_in(self.dir.path()).unwrap().into_temp_path().keep().unwrap();
        std::fs::write(&file, launch.to_string()).unwrap();
        // The namespace for children is the thread's, so it takes a thread of its own.
        std::thread::scope(|scope| scope.spawn(|| start(&file, processes, streams)).join().unwrap())
    }
}

/// Whose processes it sees.
pub(crate) enum Processes {
    Own,
    Of(u32),
}

pub(crate) enum Streams {
    Pipes,
    /// Where it hands over its terminal.
    Terminal(UnixStream),
}

fn start(file: &Path, processes: Processes, streams: Streams) -> Started {
    match processes {
        Processes::Own => unshare(CloneFlags::CLONE_NEWPID).unwrap(),
        Processes::Of(pid) => {
            let namespace = File::open(format!("/proc/{pid}/ns/pid")).unwrap();
            setns(namespace, CloneFlags::CLONE_NEWPID).unwrap();
        }
    }
    let program = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().join("navarch");
    let mut command = Command::new(program);
    match streams {
        Streams::Pipes => command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()),
        Streams::Terminal(socket) => {
            command.stdin(OwnedFd::from(socket)).stdout(Stdio::null()).stderr(Stdio::null())
        }
    };
    let _one_at_a_time = STARTING.lock().unwrap();
    let (status, told) = nix::unistd::pipe().unwrap();
    command.arg("container-process").arg(file).arg(told.as_raw_fd().to_string());
    Started { child: command.spawn().unwrap(), status }
}

impl Started {
    /// Waits until the program runs, or does not.
    pub(crate) fn failure(&mut self) -> Option<(i32, String)> {
        let mut text = String::new();
        File::from(self.status.try_clone().unwrap()).read_to_string(&mut text).unwrap();
        let told: Value = serde_json::from_str(&text).ok()?;
        let code = i32::try_from(told["code"].as_i64().unwrap()).unwrap();
        Some((code, told["message"].as_str().unwrap().to_owned()))
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> Outcome {
        let failure = self.failure();
        let output = self.child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let code = output.status.code().or(output.status.signal().map(|signal| 128 + signal)).unwrap();
        assert!(failure.as_ref().is_none_or(|(told, _)| *told == code), "{failure:?} but exited with {code}");
        Outcome { text, code, failure: failure.map(|(_, message)| message) }
    }
}

/// A process of root with what containers are given by default, as far as a test needs it.
pub(crate) fn process(args: &[&str]) -> Value {
    json!({
        "args": args,
        "environment": [["PATH", "/bin"], ["A", "b c"]],
        "working_dir": "/",
        "user": {"name": "", "group": null, "supplemental_groups": []},
        "capabilities": {"Only": ["CAP_CHOWN", "CAP_SETUID", "CAP_SETGID", "CAP_KILL", "CAP_NET_BIND_SERVICE"]},
        "no_new_privileges": false,
        "seccomp": "Unconfined",
        "oom_score_adj": 500,
        "tty": false,
    })
}

pub(crate) fn bind(source: &Path, target: &str) -> Value {
    json!({
        "source": source, "target": target, "readonly": false, "recursive_readonly": false,
        "propagation": "Private",
    })
}
