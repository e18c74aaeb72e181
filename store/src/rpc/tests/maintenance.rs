//! The Maintenance service, asked by Debian's etcdctl.

use expect_test::expect;

use sha2::{Digest, Sha256};

use super::Served;
use super::etcdctl::Ctl;
use crate::NodeConfig;
use crate::offline::snapshot_status;

#[tokio::test]
async fn etcdctl_sees_that_there_is_no_space_and_disarms() {
    let config = NodeConfig { quota_bytes: Some(16_000), ..NodeConfig::in_memory() };
    let ctl = Ctl::on(Served::start_with(config).await);
    let value = "v".repeat(9_000);
    ctl.check(&format!("put a {value}"), &expect!["OK\n"]).await;
    let no_space = expect![[r#"
        Error: etcdserver: mvcc: database space exceeded
        exit 1
    "#]];
    ctl.check(&format!("put b {value}"), &no_space).await;
    ctl.check("put b small", &no_space).await;
    ctl.check("alarm list", &expect!["memberID:1 alarm:NOSPACE \n"]).await;
    let status = ctl.run(&mut ctl.command("endpoint status -w json")).await;
    assert!(status.contains(r#""errors":["memberID:1 alarm:NOSPACE "]"#), "{status}");
    assert!(status.contains(r#""dbSizeInUse":"#), "{status}");
    let lease = ctl.run(&mut ctl.command("lease grant 60")).await;
    assert!(lease.contains("failed to grant lease (etcdserver: mvcc: database space exceeded)"), "{lease}");
    ctl.check("del a", &expect!["1\n"]).await;
    ctl.check("compaction 3", &expect!["compacted revision 3\n"]).await;
    ctl.check("alarm disarm", &expect!["memberID:1 alarm:NOSPACE \n"]).await;
    ctl.check("alarm disarm", &expect![""]).await;
    ctl.check(&format!("put b {value}"), &expect!["OK\n"]).await;
    ctl.stop().await;
}

#[tokio::test]
async fn etcdctl_saves_a_snapshot_with_its_hash_at_the_end() {
    let ctl = Ctl::on(Served::start().await);
    for n in 0..30 {
        ctl.check(&format!("put k{n} {}", "v".repeat(20_000)), &expect!["OK\n"]).await;
    }
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("saved");
    let said = ctl.run(&mut ctl.command(&format!("snapshot save {}", file.display()))).await;
    assert_eq!(said, format!("Snapshot saved at {}\n", file.display()));
    let status = snapshot_status(&file).unwrap();
    assert_eq!((status.revision.get(), status.compacted.get()), (31, 0));
    assert!(status.size_bytes > 30 * 20_000);
    let bytes = std::fs::read(&file).unwrap();
    assert_eq!(Sha256::digest(&bytes[..bytes.len() - 32])[..], bytes[bytes.len() - 32..]);
    ctl.stop().await;
}
