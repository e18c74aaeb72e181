//! What processes use, from `/proc`.

use std::path::Path;

use tests::process;

/// Processor time of this process so far.
pub(crate) fn cpu_seconds() -> f64 {
    process::cpu("self").as_secs_f64()
}

/// Resident memory of this process.
pub(crate) fn own_mib() -> f64 {
    process::resident_kib("self") as f64 / 1024.0
}

/// What the shims of the agent in this folder add to the machine's memory: shared pages are counted once per sharer's
/// part.
pub(crate) fn shims_mib(dir: &Path) -> f64 {
    let folder = dir.display().to_string();
    let mut kibs = 0;
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).into_owned();
        let is_shim = command.contains("pod-shim") || command.contains("containerd-shim");
        if is_shim && (command.contains(&folder) || command.contains("/run/navarch/")) {
            kibs += process::kib(&entry.path().join("smaps_rollup"), "Pss:");
        }
    }
    kibs as f64 / 1024.0
}
