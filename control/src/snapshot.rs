//! `navarch snapshot`: what is in a snapshot of the store, and a new cluster's data directories from it.
//!
//! `etcdctl snapshot save` makes one; etcd's own `snapshot status` and `restore` read bolt files and nothing else.

use anyhow::{Context, Result};
use base::Timestamp;
use store::Raise;
use store::offline::{self, Restore, SnapshotStatus};

use crate::cli::{Output, SnapshotArgs, SnapshotCommand, SnapshotRestoreArgs};
use crate::server::members;

pub(crate) fn run(args: &SnapshotArgs) -> Result<()> {
    match &args.command {
        SnapshotCommand::Status(args) => {
            let status = offline::snapshot_status(&args.file)?;
            println!("{}", render(&status, args.output));
            Ok(())
        }
        SnapshotCommand::Restore(args) => restore(args),
    }
}

fn restore(args: &SnapshotRestoreArgs) -> Result<()> {
    let members = args.initial_cluster.iter().map(|text| members::parse(text)).collect::<Result<Vec<_>>>()?;
    let dir = args.data_dir.join("store");
    let restored = offline::restore(&Restore {
        snapshot: args.file.clone(),
        dir: dir.clone(),
        name: args.name.clone(),
        token: args.cluster_name.clone(),
        members,
        raise: Raise { by: args.bump_revision, mark_compacted: args.mark_compacted },
    })
    .with_context(|| format!("cannot restore {}", args.file.display()))?;
    println!(
        "restored {} into {}: member {} of cluster {:016x}, revision {}, readable from {}",
        args.file.display(),
        dir.display(),
        restored.node_id,
        restored.cluster_id,
        restored.revision,
        restored.compacted,
    );
    Ok(())
}

fn render(status: &SnapshotStatus, output: Output) -> String {
    let made =
        Timestamp::from_millisecond(status.time_ms).map_or_else(|_| String::new(), |at| at.to_string());
    let sha256: String = status.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
    match output {
        Output::Json => serde_json::json!({
            "cluster": format!("{:016x}", status.cluster_id),
            "member": status.member,
            "made": made,
            "revision": status.revision.get(),
            "compactedRevision": status.compacted.get(),
            "hash": format!("{:08x}", status.hash),
            "totalSize": status.size_bytes,
            "sha256": sha256,
        })
        .to_string(),
        Output::Table => [
            format!("HASH       {:08x}", status.hash),
            format!("REVISION   {}", status.revision),
            format!("COMPACTED  {}", status.compacted),
            format!("SIZE       {} bytes", status.size_bytes),
            format!("SHA-256    {sha256}"),
            format!("CLUSTER    {:016x}", status.cluster_id),
            format!("MADE       {made} by {}", status.member),
        ]
        .join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use base::Revision;
    use expect_test::expect;

    use super::*;

    #[test]
    fn a_status_is_a_list_or_json() {
        let status = SnapshotStatus {
            cluster_id: 0xab,
            member: "a".to_owned(),
            time_ms: 1000,
            revision: Revision::new(9),
            compacted: Revision::new(4),
            hash: 0xcd,
            size_bytes: 77,
            sha256: [1; 32],
        };
        expect![[r#"
            HASH       000000cd
            REVISION   9
            COMPACTED  4
            SIZE       77 bytes
            SHA-256    0101010101010101010101010101010101010101010101010101010101010101
            CLUSTER    00000000000000ab
            MADE       1970-01-01T00:00:01Z by a"#]]
        .assert_eq(&render(&status, Output::Table));
        assert!(render(&status, Output::Json).contains(r#""revision":9"#));
    }
}
