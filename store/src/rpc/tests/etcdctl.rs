//! Debian's etcdctl against the client port: an etcd client that knows nothing of us.

use std::process::Stdio;
use std::time::Duration;

use expect_test::{Expect, expect};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::{ADMITTED, Served};

pub(super) struct Ctl {
    pub(super) served: Served,
    pub(super) files: tempfile::TempDir,
}

impl Ctl {
    async fn start() -> Self {
        Self::on(Served::start().await)
    }

    pub(super) fn on(served: Served) -> Self {
        Self::with(served, "somebody")
    }

    /// With a certificate of this common name.
    pub(super) async fn start_as(name: &str) -> Self {
        Self::with(Served::start().await, name)
    }

    fn with(served: Served, name: &str) -> Self {
        let files = tempfile::tempdir().unwrap();
        let tls = served.authority.tls_of(ADMITTED, name);
        for (name, pem) in [("ca", &tls.ca_pem), ("cert", &tls.certificate_pem), ("key", &tls.key_pem)] {
            std::fs::write(files.path().join(name), pem).unwrap();
        }
        Self { served, files }
    }

    pub(super) fn command(&self, arguments: &str) -> Command {
        let mut command = Command::new("/usr/bin/etcdctl");
        let file = |name: &str| self.files.path().join(name);
        command
            .env_clear()
            .env("ETCDCTL_API", "3")
            .env("ETCDCTL_CACERT", file("ca"))
            .env("ETCDCTL_CERT", file("cert"))
            .env("ETCDCTL_KEY", file("key"))
            .env("ETCDCTL_ENDPOINTS", format!("https://127.0.0.1:{}", self.served.port))
            .args(arguments.split(' '))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(super) async fn stop(self) {
        self.served.stop().await;
    }

    /// Both outputs; the exit code when it is not 0.
    pub(super) async fn run(&self, command: &mut Command) -> String {
        let output = tokio::time::timeout(Duration::from_secs(30), command.output()).await.unwrap().unwrap();
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in String::from_utf8_lossy(&output.stderr).lines() {
            // Log lines carry times; the last line is what matters.
            if line.starts_with("Error") {
                text = format!("{text}{line}\n");
            }
        }
        if !output.status.success() {
            text = format!("{text}exit {}\n", output.status.code().unwrap_or(-1));
        }
        text
    }

    pub(super) async fn check(&self, arguments: &str, expected: &Expect) {
        expected.assert_eq(&self.run(&mut self.command(arguments)).await);
    }
}

#[tokio::test]
async fn etcdctl_reads_and_writes() {
    let ctl = Ctl::start().await;
    ctl.check("put a 1", &expect!["OK\n"]).await;
    ctl.check("put b 2", &expect!["OK\n"]).await;
    ctl.check("put --prev-kv a 3", &expect!["OK\na\n1\n"]).await;
    ctl.check("get a", &expect!["a\n3\n"]).await;
    ctl.check("get --rev=2 a", &expect!["a\n1\n"]).await;
    ctl.check("get --from-key --order=DESCEND --sort-by=KEY --limit=1 --print-value-only a", &expect!["2\n"])
        .await;
    ctl.check("get --from-key --keys-only a", &expect!["a\n\nb\n\n"]).await;
    ctl.check("get --from-key --order=DESCEND --sort-by=MODIFY --limit=1 a", &expect!["a\n3\n"]).await;
    ctl.check("del --prev-kv a", &expect!["1\na\n3\n"]).await;
    ctl.check("get a", &expect![""]).await;
    ctl.check("compaction 3", &expect!["compacted revision 3\n"]).await;
    ctl.check(
        "get --rev=2 a",
        &expect![[r#"
        Error: etcdserver: mvcc: required revision has been compacted
        exit 1
    "#]],
    )
    .await;
    ctl.check(
        "put",
        &expect![[r#"
        Error: put command needs 1 argument and input from stdin or 2 arguments
        exit 128
    "#]],
    )
    .await;
    ctl.served.stop().await;
}

#[tokio::test]
async fn etcdctl_runs_transactions() {
    let ctl = Ctl::start().await;
    let dir = ctl.files.path().join("txn");
    std::fs::write(&dir, "mod(\"k\") = \"0\"\n\nput k made\nget k\n\nget k\n\n").unwrap();
    let txn = |ctl: &Ctl| {
        let mut command = ctl.command("txn");
        command.stdin(std::fs::File::open(&dir).unwrap());
        command
    };
    expect![[r#"
        SUCCESS

        OK

        k
        made
    "#]]
    .assert_eq(&ctl.run(&mut txn(&ctl)).await);
    expect![[r#"
        FAILURE

        k
        made
    "#]]
    .assert_eq(&ctl.run(&mut txn(&ctl)).await);
    ctl.served.stop().await;
}

#[tokio::test]
async fn etcdctl_grants_and_revokes_leases() {
    let ctl = Ctl::start().await;
    let granted = ctl.run(&mut ctl.command("lease grant 60")).await;
    let id = granted.split(' ').nth(1).expect("lease <id> granted").to_owned();
    ctl.check(&format!("put --lease={id} k v"), &expect!["OK\n"]).await;
    let kept = ctl.run(&mut ctl.command(&format!("lease keep-alive --once {id}"))).await;
    assert_eq!(kept, format!("lease {id} keepalived with TTL(60)\n"));
    let known = ctl.run(&mut ctl.command(&format!("lease timetolive --keys {id}"))).await;
    assert!(known.contains("granted with TTL(60s)") && known.contains("attached keys([k])"), "{known}");
    let list = ctl.run(&mut ctl.command("lease list")).await;
    assert_eq!(list, format!("found 1 leases\n{id}\n"));
    ctl.run(&mut ctl.command(&format!("lease revoke {id}"))).await;
    ctl.check("get k", &expect![""]).await;
    ctl.served.stop().await;
}

#[tokio::test]
async fn etcdctl_watches() {
    let ctl = Ctl::start().await;
    ctl.check("put w/1 before", &expect!["OK\n"]).await;
    let mut watch =
        ctl.command("watch --prefix --rev=2 --prev-kv w/").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut seen = Vec::new();
    let mut expected = vec!["PUT", "w/1", "before"];
    for (arguments, more) in [
        ("get w/1", &[][..]),
        ("put w/1 after", &["PUT", "w/1", "before", "w/1", "after"]),
        ("del w/1", &["DELETE", "w/1", "after", "w/1", ""]),
    ] {
        ctl.run(&mut ctl.command(arguments)).await;
        expected.extend(more);
        while seen.len() < expected.len() {
            let line = tokio::time::timeout(Duration::from_secs(10), lines.next_line()).await;
            seen.push(line.expect("a line in time").unwrap().expect("etcdctl goes on"));
        }
    }
    assert_eq!(seen, expected);
    watch.kill().await.unwrap();
    ctl.served.stop().await;
}

#[tokio::test]
async fn etcdctl_sees_members_and_health() {
    let ctl = Ctl::start().await;
    let members = ctl.run(&mut ctl.command("member list")).await;
    assert_eq!(members, "1, started, memory, https://memory, , false\n");
    let status = ctl.run(&mut ctl.command("endpoint status")).await;
    assert!(status.contains(", 1, 3.7.0, ") && status.contains(", true, false, "), "{status}");
    let health = ctl.run(&mut ctl.command("endpoint health")).await;
    assert!(!health.contains("exit"), "{health}");
    ctl.check("alarm list", &expect![""]).await;
    let hash = ctl.run(&mut ctl.command("endpoint hashkv")).await;
    assert!(hash.starts_with("https://127.0.0.1:"), "{hash}");
    ctl.served.stop().await;
}
