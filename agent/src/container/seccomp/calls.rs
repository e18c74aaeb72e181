//! The names of the kernel's calls and their numbers on the machines that this program runs on.

use std::collections::BTreeMap;

/// A line per call: its name, its number on x86_64 and on aarch64, or `-` where there is none.
const TABLE: &str = include_str!("calls.txt");

/// As profiles name this machine.
pub(super) const ARCH: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };

/// As the kernel names this machine's calls to a filter.
pub(super) const AUDIT_ARCH: u32 = if cfg!(target_arch = "aarch64") { 0xC000_00B7 } else { 0xC000_003E };

/// On x86_64 this and more are the calls of another binary interface.
pub(super) const FOREIGN: u32 = 0x4000_0000;

/// This machine's.
pub(super) fn numbers() -> BTreeMap<&'static str, u32> {
    TABLE.lines().filter_map(number).collect()
}

fn number(line: &'static str) -> Option<(&'static str, u32)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let (x86_64, aarch64) = (words.next()?, words.next()?);
    Some((name, if cfg!(target_arch = "aarch64") { aarch64 } else { x86_64 }.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use nix::libc;

    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        let numbers = numbers();
        for (name, number) in [
            ("read", libc::SYS_read),
            ("clone3", libc::SYS_clone3),
            ("unshare", libc::SYS_unshare),
            ("keyctl", libc::SYS_keyctl),
            ("mount_setattr", libc::SYS_mount_setattr),
        ] {
            assert_eq!(numbers.get(name).copied().map(i64::from), Some(number), "{name}");
        }
        assert!(numbers.len() > 300, "{}", numbers.len());
    }
}
