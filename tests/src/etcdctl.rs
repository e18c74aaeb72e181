//! The real etcdctl against any cluster: what it says, and what it goes on saying while it runs.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::cluster::run;
use crate::eventually::{eventually, expect_that};

/// How long a line may be waited for.
const LINE_MAX: Duration = Duration::from_secs(30);

/// etcdctl with the endpoints and certificates of one cluster.
#[derive(Debug)]
pub struct Ctl {
    variables: Vec<(String, String)>,
    scratch: TempDir,
}

impl Ctl {
    /// # Panics
    /// When there is no room for a folder.
    pub fn new(variables: Vec<(String, String)>) -> Self {
        Self { variables, scratch: tempfile::tempdir().expect("a folder") }
    }

    /// Every endpoint of the cluster, with its scheme.
    pub fn endpoints(&self) -> Vec<String> {
        self.variable("ETCDCTL_ENDPOINTS").split(',').map(str::to_owned).collect()
    }

    /// One of etcdctl's variables; empty where it is not set.
    pub fn variable(&self, name: &str) -> String {
        let found = self.variables.iter().find(|(variable, _)| variable == name);
        found.map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// A file that is gone when the test is.
    pub fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// What etcdctl prints, then the line with its error, then its exit code unless that is 0. Ids, addresses and
    /// durations are replaced by words, so that two clusters can say the same. Arguments are the shell's.
    pub fn said(&self, arguments: &str) -> String {
        let output = self.output(arguments);
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            if !line.starts_with('{') && !line.trim().is_empty() {
                text += &format!("{line}\n");
            }
        }
        if !output.status.success() {
            text += &format!("exit {}\n", output.status.code().unwrap_or(-1));
        }
        text.lines().map(|line| neutral(line) + "\n").collect()
    }

    /// The JSON that a command prints.
    ///
    /// # Panics
    /// When it does not.
    pub fn json(&self, arguments: &str) -> Value {
        let output = self.output(&format!("{arguments} -w json"));
        let said = String::from_utf8_lossy(&output.stderr);
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("etcdctl {arguments}: {error}: {said}"))
    }

    /// The newest revision.
    ///
    /// # Panics
    /// When the cluster does not answer.
    pub fn revision(&self) -> i64 {
        self.json("get nothing")["header"]["revision"].as_i64().expect("a revision")
    }

    /// # Panics
    /// When etcdctl cannot be run.
    pub fn output(&self, arguments: &str) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("etcdctl runs")
    }

    /// etcdctl in the background, its output in a file.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(&self, name: &str, arguments: &str) -> Running {
        let path = self.file(name);
        let out = File::create(&path).expect("a file for the output");
        let err = out.try_clone().expect("the same file");
        let mut command = self.command(arguments);
        let mut child =
            command.stdin(Stdio::piped()).stdout(out).stderr(err).spawn().expect("etcdctl starts");
        let input = child.stdin.take();
        Running { child, input, path }
    }

    fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("sh");
        command
            .env("ETCDCTL_API", "3")
            // What etcdctl fetches over plain HTTPS it trusts by Go's own variable.
            .env("SSL_CERT_FILE", self.variable("ETCDCTL_CACERT"))
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .args(["-c", &format!("exec etcdctl {arguments}")]);
        if arguments.contains("--endpoints") {
            // etcdctl takes the flag or the variable, not both.
            command.env_remove("ETCDCTL_ENDPOINTS");
        }
        command
    }
}

/// An etcdctl that has not ended; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    path: PathBuf,
}

impl Running {
    /// Types a line.
    ///
    /// # Panics
    /// When etcdctl reads no more.
    pub fn say(&mut self, line: &str) {
        let input = self.input.as_mut().expect("its input is open");
        writeln!(input, "{line}").expect("etcdctl reads");
    }

    /// Waits until the output so far, ids replaced, is as told.
    pub fn prints(&self, expected: &str) {
        eventually(LINE_MAX, "etcdctl prints", || expect_that(self.printed() == expected, self.printed()));
    }

    /// Waits until the output has a line with this text.
    pub fn mentions(&self, text: &str) {
        eventually(LINE_MAX, "etcdctl mentions", || {
            expect_that(self.printed().contains(text), self.printed())
        });
    }

    /// All output so far, ids replaced.
    pub fn printed(&self) -> String {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        text.lines().filter(|line| !line.starts_with('{')).map(|line| neutral(line) + "\n").collect()
    }

    /// Ctrl-C, then waits for the end.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn interrupt(mut self) {
        run("kill", &["-INT", &self.child.id().to_string()]);
        self.child.wait().expect("etcdctl ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A line without what differs from run to run: ids of more than ten hex digits, durations, addresses.
fn neutral(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let word: String = rest.chars().take_while(|c| !is_between(*c)).collect();
        if word.is_empty() {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        out.push_str(neutral_word(&word));
        rest = &rest[word.len()..];
    }
    out
}

fn is_between(c: char) -> bool {
    matches!(c, ' ' | ',' | '[' | ']' | '(' | ')' | '/' | '"') || c.is_whitespace()
}

fn neutral_word(word: &str) -> &str {
    let is_id = word.len() > 10 && word.chars().all(|c| c.is_ascii_hexdigit());
    let is_address = word.starts_with("127.0.0.1:");
    let is_duration = word.starts_with(|c: char| c.is_ascii_digit())
        && ["µs", "ms", "s"].iter().any(|unit| {
            word.strip_suffix(unit)
                .is_some_and(|number| number.contains('.') && number.parse::<f64>().is_ok())
        });
    match word {
        _ if is_id => "ID",
        _ if is_address => "ADDRESS",
        _ if is_duration => "TIME",
        "http:" | "https:" => "http:",
        other => other,
    }
}
