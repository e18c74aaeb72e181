//! What the kernel says about this process, under the names that every Prometheus client library uses.

use std::fs;

use metrics::{counter, describe_counter, describe_gauge, gauge};

const RESIDENT_MEMORY: &str = "process_resident_memory_bytes";
const VIRTUAL_MEMORY: &str = "process_virtual_memory_bytes";
const CPU: &str = "process_cpu_seconds_total";
const OPEN_FDS: &str = "process_open_fds";
const MAX_FDS: &str = "process_max_fds";
const START_TIME: &str = "process_start_time_seconds";

/// Clock ticks in /proc are hundredths of a second on every Linux.
const TICKS_PER_SECOND: u64 = 100;

pub(super) fn describe() {
    describe_gauge!(RESIDENT_MEMORY, "Resident memory in bytes.");
    describe_gauge!(VIRTUAL_MEMORY, "Virtual memory in bytes.");
    describe_counter!(CPU, "User and system CPU time in seconds.");
    describe_gauge!(OPEN_FDS, "Open file descriptors.");
    describe_gauge!(MAX_FDS, "The most file descriptors that may be open.");
    describe_gauge!(START_TIME, "When the process started, in seconds since 1970.");
}

/// Looks now. What cannot be read keeps its last value.
pub(super) fn observe() {
    let status = read("self/status");
    if let Some(bytes) = kibibytes(&status, "VmRSS:") {
        gauge!(RESIDENT_MEMORY).set(bytes);
    }
    if let Some(bytes) = kibibytes(&status, "VmSize:") {
        gauge!(VIRTUAL_MEMORY).set(bytes);
    }
    let stat = read("self/stat");
    if let Some([ran, started]) = ticks(&stat) {
        counter!(CPU).absolute(ran / TICKS_PER_SECOND);
        if let Some(booted) = number_after(&read("stat"), "btime ") {
            gauge!(START_TIME).set((booted + started / TICKS_PER_SECOND) as f64);
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // One of them is this directory.
        gauge!(OPEN_FDS).set(open.count().saturating_sub(1) as f64);
    }
    if let Some(max) = number_after(&read("self/limits"), "Max open files") {
        gauge!(MAX_FDS).set(max as f64);
    }
}

fn read(file: &str) -> String {
    fs::read_to_string(format!("/proc/{file}")).unwrap_or_default()
}

fn kibibytes(status: &str, name: &str) -> Option<f64> {
    Some((number_after(status, name)? * 1024) as f64)
}

/// The first number after a line's beginning.
fn number_after(text: &str, beginning: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(beginning))?;
    rest.split_whitespace().next()?.parse().ok()
}

/// CPU time used, and when the process started after the boot. Its name may hold blanks and parentheses.
fn ticks(stat: &str) -> Option<[u64; 2]> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = after_name.split(' ').collect();
    let field = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some([field(11)? + field(12)?, field(19)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_does_not_shift_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 3 0 9900 1 2";
        assert_eq!(ticks(stat), Some([300, 9900]));
    }

    #[test]
    fn this_process_can_be_seen() {
        assert!(kibibytes(&read("self/status"), "VmRSS:").is_some_and(|bytes| bytes > 1_000_000.0));
        assert!(ticks(&read("self/stat")).is_some());
        assert!(number_after(&read("self/limits"), "Max open files").is_some());
    }
}
