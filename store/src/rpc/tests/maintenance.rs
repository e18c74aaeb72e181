//! The Maintenance service, asked by Debian's etcdctl.

use expect_test::expect;

use super::Served;
use super::etcdctl::Ctl;
use crate::NodeConfig;

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
