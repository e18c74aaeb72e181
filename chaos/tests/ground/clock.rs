//! Wall clocks that jump.

use std::fs;

use base::{Clock as _, SystemClock, Timestamp};
use chaos::cluster::ClusterOptions;
use chaos::faults::{Fault, Nemesis};

use crate::{SERVES_MAX, heal, install, three, with_cluster};

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_server_goes_by_its_shifted_clock() {
    if !chaos::doctor::has("libfaketime") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    with_cluster(ClusterOptions { fake_clocks: true, ..three(dir.path()) }, async |cluster| {
        let mut nemesis = Nemesis::default();
        let shift = Fault::ShiftClock { members: vec!["n1".to_owned()], by_ms: HOUR_MS };
        let (number, _) = install(&mut nemesis, cluster, &shift).await;
        install(&mut nemesis, cluster, &Fault::Restart { members: vec!["n1".to_owned()] }).await;
        let log = fs::read_to_string(cluster.log("n1").unwrap()).unwrap();
        let last: Timestamp = log.lines().next_back().unwrap().split(' ').next().unwrap().parse().unwrap();
        let ahead_ms = last.as_millisecond() - SystemClock.now().as_millisecond();
        assert!((HOUR_MS - 60_000..=HOUR_MS).contains(&ahead_ms), "{ahead_ms}");
        heal(&mut nemesis, cluster, number).await;
        cluster.wait_ready("n1", SERVES_MAX).await.unwrap();
    });
}
