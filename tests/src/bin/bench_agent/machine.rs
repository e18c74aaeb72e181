//! What processes use, from `/proc`.

use std::path::Path;

/// Processor time of this process so far.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks: f64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    // USER_HZ is 100 on every Linux that we run on.
    ticks / 100.0
}

/// Resident memory of this process.
pub(crate) fn own_mib() -> f64 {
    kib("/proc/self/status", "VmRSS:") / 1024.0
}

/// What the shims of the agent in this folder add to the machine's memory: shared pages are counted once per sharer's
/// part.
pub(crate) fn shims_mib(dir: &Path) -> f64 {
    let folder = dir.display().to_string();
    let mut kibs = 0.0;
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        let is_shim = command.contains("pod-shim") || command.contains("containerd-shim");
        if is_shim && (command.contains(&folder) || command.contains("/run/navarch/")) {
            kibs += kib(&entry.path().join("smaps_rollup").display().to_string(), "Pss:");
        }
    }
    kibs / 1024.0
}

fn kib(file: &str, name: &str) -> f64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
