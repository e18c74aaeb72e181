//! Commands by each version of kubectl, one after the other, as in `tests/commands/commands.txt`: they end as on a real
//! server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tests::cluster::{Cluster, Size};
use tests::kubectl::Kubectl;

const COMMANDS: &str = include_str!("../commands/commands.txt");
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/commands/manifests");
const VERSIONS: [&str; 3] = ["1.20", "1.32", "1.36"];

/// What `timeout` says of a command that it had to stop.
const STOPPED: i32 = 124;
/// Seconds for a command that ends, and for one that waits.
const PATIENCE: (u32, u32) = (90, 1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Succeeds,
    Fails,
    Waits,
}

#[test]
fn every_command_ends_as_it_must() {
    let cluster = Cluster::start_with(Size { servers: 3, agents: 3 }, &["--legacy-api-versions"]);
    let cluster = &cluster;
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let begin = |(version, node)| scope.spawn(move || Tour::begin(cluster, version, node).go());
        let tours: Vec<_> = VERSIONS.into_iter().zip(1..).map(begin).collect();
        tours.into_iter().flat_map(|tour| tour.join().expect("the tour ends")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One version's way through the commands, in a folder, a namespace and with a node of its own.
struct Tour {
    version: &'static str,
    kubectl: Kubectl,
    folder: PathBuf,
    namespace: String,
    node: String,
}

impl Tour {
    fn begin(cluster: &Cluster, version: &'static str, node: usize) -> Self {
        let namespace = format!("t{}", version.replace('.', "-"));
        let folder = cluster.dir().join(&namespace);
        copy(Path::new(MANIFESTS), &folder, &namespace);
        let kubeconfig = folder.join("kubeconfig");
        fs::copy(cluster.dir().join("kubeconfig"), &kubeconfig).expect("a kubeconfig");
        let kubectl = Kubectl::new(version, &kubeconfig, &folder);
        kubectl.ok(&format!("config set-context --current --namespace={namespace}"));
        Self { version, kubectl, folder, namespace, node: format!("agent-{node}") }
    }

    /// What went another way than it must.
    fn go(&self) -> Vec<String> {
        let lines = COMMANDS.lines().filter(|line| !line.starts_with('#'));
        lines.filter_map(|line| self.run(line)).collect()
    }

    fn run(&self, line: &str) -> Option<String> {
        let line = match line.strip_prefix("1.32+ ") {
            Some(_) if self.version == "1.20" => return None,
            Some(later) => later,
            None => line,
        };
        let (ending, line) = match (line.strip_prefix('!'), line.strip_prefix('~')) {
            (Some(line), _) => (Ending::Fails, line),
            (_, Some(line)) => (Ending::Waits, line),
            _ => (Ending::Succeeds, line),
        };
        let seconds = if ending == Ending::Waits { PATIENCE.1 } else { PATIENCE.0 };
        let line = line.replace("NS", &self.namespace).replace("NODE", &self.node);
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("exec timeout {seconds} kubectl {line}")])
            .current_dir(&self.folder)
            .env("PATH", format!("{}:/usr/bin:/bin", self.kubectl.folder().display()))
            .env("KUBECONFIG", self.folder.join("kubeconfig"))
            .env("HOME", &self.folder)
            .env("EDITOR", r"sed -i s/replicas:.2/replicas:\ 1/")
            .stdin(Stdio::null());
        let output = command.output().expect("sh runs");
        let ended = match output.status.code() {
            Some(0) => Ending::Succeeds,
            Some(STOPPED) => Ending::Waits,
            _ => Ending::Fails,
        };
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (ended != ending)
            .then(|| format!("{} kubectl {line}: {ended:?}, not {ending:?}\n{said}", self.version))
    }
}

/// Copies a folder of manifests; `NS` in them becomes the namespace.
fn copy(from: &Path, to: &Path, namespace: &str) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("manifests") {
        let path = entry.expect("a manifest").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target, namespace);
        } else {
            let text = fs::read_to_string(&path).expect("a manifest");
            fs::write(target, text.replace("NS", namespace)).expect("a copy");
        }
    }
}
