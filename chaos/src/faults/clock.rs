//! Wall clocks that jump.

use anyhow::Result;

use super::disk::skipped;
use crate::cluster::Cluster;
use crate::history::Step;

/// How far a clock may be from where it was put, for the time that it takes to look.
const OFF_MS_MAX: u64 = 1000;

pub(super) fn shift(cluster: &mut Cluster, members: &[String], by_ms: i64) -> Result<Step> {
    if !cluster.options().fake_clocks {
        return Ok(skipped("the members go by the machine's clock"));
    }
    let (mut seen, mut are_off) = (Vec::new(), true);
    for member in members {
        let ahead_ms = cluster.shift_clock(member, by_ms)?;
        are_off &= ahead_ms.abs_diff(by_ms) < OFF_MS_MAX;
        seen.push(format!("a process beside {member} is {ahead_ms} ms ahead"));
    }
    let evidence = seen.join(", ");
    Ok(match are_off {
        true => Step::Installed { evidence },
        false => Step::Indeterminate { reason: evidence },
    })
}

pub(super) fn mend(cluster: &mut Cluster, members: &[String]) -> Result<String> {
    let mut seen = Vec::new();
    for member in members {
        seen.push(format!("a process beside {member} is {} ms ahead", cluster.shift_clock(member, 0)?));
    }
    Ok(seen.join(", "))
}
