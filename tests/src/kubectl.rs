//! The real kubectl, as a user runs it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::eventually::{eventually, expect_that};

/// One version of kubectl against one cluster.
#[derive(Clone, Debug)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
    context: Option<String>,
}

/// What a finished command said.
#[derive(Clone, Debug)]
pub struct Said {
    pub ok: bool,
    pub stdout: String,
    pub stderr: String,
}

/// The versions that the tests run.
pub const VERSIONS: &[&str] = &["1.32", "1.36"];

impl Kubectl {
    /// `home` takes kubectl's caches.
    pub fn new(version: &str, kubeconfig: &Path, home: &Path) -> Self {
        let program = folder().join(version).join("kubectl");
        assert!(program.exists(), "{} is missing: `make test` fetches it", program.display());
        Self { program, kubeconfig: kubeconfig.to_owned(), home: home.to_owned(), context: None }
    }

    /// Where the program is, alone.
    pub fn folder(&self) -> &Path {
        self.program.parent().expect("a program is in a folder")
    }

    /// The same, through another server.
    #[must_use]
    pub fn through(&self, server: &str) -> Self {
        Self { context: Some(server.to_owned()), ..self.clone() }
    }

    /// A command that must succeed; its standard output.
    ///
    /// # Panics
    /// When it fails.
    pub fn ok(&self, arguments: &str) -> String {
        let said = self.run(arguments);
        assert!(said.ok, "kubectl {arguments}: {}{}", said.stdout, said.stderr);
        said.stdout
    }

    /// A command that must fail; its standard error.
    ///
    /// # Panics
    /// When it succeeds.
    pub fn fails(&self, arguments: &str) -> String {
        let said = self.run(arguments);
        assert!(!said.ok, "kubectl {arguments} should have failed: {}", said.stdout);
        said.stderr
    }

    /// Arguments are separated by blanks.
    pub fn run(&self, arguments: &str) -> Said {
        said(self.command(arguments).output())
    }

    /// A command that reads a manifest from its standard input.
    ///
    /// # Panics
    /// When kubectl cannot be started.
    pub fn with_input(&self, arguments: &str, input: &str) -> Said {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        child.stdin.take().expect("its input is piped").write_all(input.as_bytes()).expect("kubectl reads");
        said(child.wait_with_output())
    }

    /// Applies a manifest, which must succeed.
    ///
    /// # Panics
    /// When it is refused.
    pub fn apply(&self, manifest: &str) -> String {
        let said = self.with_input("apply -f -", manifest);
        assert!(said.ok, "kubectl apply: {}{}", said.stdout, said.stderr);
        said.stdout
    }

    /// A pod of the namespace `default`; null when there is none.
    pub fn pod(&self, name: &str) -> Value {
        let said = self.run(&format!("get pod {name} -o json"));
        serde_json::from_str(&said.stdout).unwrap_or_default()
    }

    /// The pod, once `fits` holds of it.
    ///
    /// # Panics
    /// When the deadline passes.
    pub fn until_pod(
        &self,
        within: Duration,
        name: &str,
        what: &str,
        fits: impl Fn(&Value) -> bool,
    ) -> Value {
        eventually(within, &format!("{name} is {what}"), || {
            let pod = self.pod(name);
            expect_that(fits(&pod), pod["status"].to_string())?;
            Ok::<_, String>(pod)
        })
    }

    /// The command itself, for who wants to read its output while it runs.
    pub fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.program);
        command
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", &self.home)
            .args(arguments.split_whitespace());
        if let Some(context) = &self.context {
            command.args(["--context", context]);
        }
        command
    }
}

fn said(output: std::io::Result<Output>) -> Said {
    let output = output.expect("kubectl runs");
    Said {
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Where `.ci/kubectl` put the versions.
#[expect(clippy::disallowed_methods, reason = "the Makefile tells tests where things are")]
fn folder() -> PathBuf {
    let told = std::env::var("NAVARCH_KUBECTL").map(PathBuf::from);
    let cache = || {
        let home = std::env::var("HOME").unwrap_or_default();
        std::env::var("XDG_CACHE_HOME").unwrap_or_else(|_| format!("{home}/.cache"))
    };
    told.unwrap_or_else(|_| Path::new(&cache()).join("navarch/kubectl"))
}
