//! Source translation by nftables: what leaves a private network for the outside carries the address of the
//! machine that it leaves by. One small table per user, replaced as a whole by the `nft` program.

use std::io;
use std::process::Stdio;

use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use super::Subnet;

/// Why the table is not in place.
#[derive(Debug, Error)]
pub enum MasqueradeError {
    #[error("cannot run `nft` (Debian package nftables)")]
    Missing(#[source] io::Error),
    #[error("cannot hand the rules to `nft`")]
    Pipe(#[source] io::Error),
    #[error("`nft` refused: {0}")]
    Refused(String),
}

/// One table that translates what `inside` sends to anywhere but `spared`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Masquerade {
    pub(crate) table: String,
    pub(crate) inside: Subnet,
    pub(crate) spared: Subnet,
}

impl Masquerade {
    /// Puts the table in place, in one transaction; an older one of the same name is replaced.
    pub(crate) async fn apply(&self) -> Result<(), MasqueradeError> {
        nft(&self.ruleset()).await
    }

    /// Whether the table is there and says this.
    pub(crate) async fn in_place(&self) -> Result<bool, MasqueradeError> {
        let output = Command::new("nft")
            .args(["list", "table", "ip", &self.table])
            .kill_on_drop(true)
            .output()
            .await
            .map_err(MasqueradeError::Missing)?;
        let listed = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(output.status.success() && listed.contains(&self.rule()))
    }

    fn rule(&self) -> String {
        format!("ip saddr {} ip daddr != {} masquerade fully-random", self.inside, self.spared)
    }

    /// `add` before `delete`: deleting what is not there would fail the transaction.
    fn ruleset(&self) -> String {
        let table = &self.table;
        format!(
            "add table ip {table}\ndelete table ip {table}\ntable ip {table} {{\n  chain egress {{\n    \
             type nat hook postrouting priority srcnat; policy accept;\n    {}\n  }}\n}}\n",
            self.rule()
        )
    }
}

/// Removes a table, if it is there.
pub(crate) async fn remove(table: &str) -> Result<(), MasqueradeError> {
    nft(&format!("add table ip {table}\ndelete table ip {table}\n")).await
}

async fn nft(ruleset: &str) -> Result<(), MasqueradeError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(MasqueradeError::Missing)?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(ruleset.as_bytes()).await.map_err(MasqueradeError::Pipe)?;
    }
    let output = child.wait_with_output().await.map_err(MasqueradeError::Pipe)?;
    if output.status.success() {
        return Ok(());
    }
    Err(MasqueradeError::Refused(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn the_table_is_replaced_in_one_transaction() {
        let masquerade = Masquerade {
            table: "navarch".into(),
            inside: "10.244.1.0/24".parse().expect("a network"),
            spared: "10.244.0.0/16".parse().expect("a network"),
        };
        expect![[r"
            add table ip navarch
            delete table ip navarch
            table ip navarch {
              chain egress {
                type nat hook postrouting priority srcnat; policy accept;
                ip saddr 10.244.1.0/24 ip daddr != 10.244.0.0/16 masquerade fully-random
              }
            }
        "]]
        .assert_eq(&masquerade.ruleset());
    }
}
