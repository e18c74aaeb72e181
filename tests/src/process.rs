//! What a process uses, from `/proc`; nothing, once it is gone.

use std::path::Path;
use std::time::Duration;

/// USER_HZ on every Linux that we run on.
const TICKS_PER_SECOND: u64 = 100;

/// User and system time so far; the process `self` is this one.
pub fn cpu(process: &str) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 1000 / TICKS_PER_SECOND)
}

/// Resident memory.
pub fn resident_kib(process: &str) -> u64 {
    kib(Path::new(&format!("/proc/{process}/status")), "VmRSS:")
}

/// The figure behind `name` in one of a process' files.
pub fn kib(file: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
}
