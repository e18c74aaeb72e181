//! `navarch recover`: makes a cluster of one member when the majority is lost for good. Says first what that costs.

use std::io::{BufRead, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use base::{Clock, Entropy, Timestamp};
use store::recover::{Recovery, Report};

use crate::cli::RecoverArgs;

/// Nothing happens unless the operator types the cluster's name.
pub(crate) fn run(
    args: &RecoverArgs,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
    answers: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<()> {
    let dir = store_dir(&args.data_dir);
    let recovery = Recovery::open(&dir).context("nothing was changed")?;
    let report = recovery.report().clone();
    write!(out, "{}", told(&report, clock.now())).context("cannot write to the terminal")?;
    write!(out, "\nType the name of the cluster to go on: ")
        .and_then(|()| out.flush())
        .context("cannot write to the terminal")?;
    let mut typed = String::new();
    answers.read_line(&mut typed).context("cannot read the answer")?;
    if typed.trim() != report.cluster_name {
        recovery.abandon()?;
        bail!("that is not {}: nothing was changed", report.cluster_name);
    }
    let done = recovery.commit(entropy)?;
    writeln!(
        out,
        "\ncluster {:016x} begins at revision {}; start {} to run it\nwhat was there is in {}",
        done.cluster_id,
        done.revision,
        report.name,
        done.set_aside.display()
    )
    .context("cannot write to the terminal")
}

/// A server keeps its store in a folder of its folder; either may be named.
fn store_dir(data_dir: &Path) -> std::path::PathBuf {
    let inner = data_dir.join("store");
    if inner.is_dir() { inner } else { data_dir.to_owned() }
}

fn told(report: &Report, now: Timestamp) -> String {
    let unconfirmed = report.last_index.saturating_sub(report.committed_index);
    let mut text = format!(
        "{} (id {}) of cluster {} ({:016x})\n\n\
         known here:  revision {}, log confirmed up to {}, end of the log {}\n",
        report.name,
        report.node_id,
        report.cluster_name,
        report.cluster_id,
        report.revision,
        report.committed_index,
        report.last_index,
    );
    let age = report.last_written.map_or_else(
        || "nothing that says when it was written".to_owned(),
        |at| format!("written {at}, {} ago", age(now.as_second() - at.as_second())),
    );
    text += &format!("last entry:  {age}\n");
    let members: Vec<String> = report
        .given_up
        .iter()
        .map(|member| {
            let role = if member.is_learner { ", learner" } else { "" };
            format!("{} (id {}, {}{role})", member.name, member.id, member.peer_url)
        })
        .collect();
    let members = if members.is_empty() { "nobody".to_owned() } else { members.join(", ") };
    text += &format!("given up:    {members}\n\n");
    text += &format!(
        "Lost for ever is what the others acknowledged after this member last heard of it: everything after log index {}.\n\
         Kept are also {unconfirmed} entries that this member does not know to be confirmed.\n\
         The new cluster has another id and this member alone; revisions go up by 1000000000. The members given up are\n\
         refused by it; started again, each sets its data aside and joins. Go on only if they cannot be brought back.\n",
        report.last_index
    );
    text
}

fn age(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        172_800.. => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use base::{NodeId, Revision};
    use expect_test::expect;
    use store::Member;

    use super::*;

    #[test]
    fn what_is_lost_is_told_in_full() {
        let member = |id: u64, is_learner| Member {
            id: NodeId::new(id),
            name: format!("server-{id}"),
            peer_url: format!("https://host-{id}:2380"),
            client_urls: Vec::new(),
            is_learner,
        };
        let report = Report {
            name: "server-3".to_owned(),
            cluster_name: "prod".to_owned(),
            cluster_id: 0xab,
            node_id: NodeId::new(3),
            revision: Revision::new(40),
            applied_index: 50,
            committed_index: 51,
            last_index: 53,
            last_written: Timestamp::from_second(1000).ok(),
            given_up: vec![member(1, false), member(2, true)],
        };
        let now = Timestamp::from_second(1600).expect("a time");
        expect![[r#"
            server-3 (id 3) of cluster prod (00000000000000ab)

            known here:  revision 40, log confirmed up to 51, end of the log 53
            last entry:  written 1970-01-01T00:16:40Z, 10 min ago
            given up:    server-1 (id 1, https://host-1:2380), server-2 (id 2, https://host-2:2380, learner)

            Lost for ever is what the others acknowledged after this member last heard of it: everything after log index 53.
            Kept are also 2 entries that this member does not know to be confirmed.
            The new cluster has another id and this member alone; revisions go up by 1000000000. The members given up are
            refused by it; started again, each sets its data aside and joins. Go on only if they cannot be brought back.
        "#]]
        .assert_eq(&told(&report, now));
    }
}
