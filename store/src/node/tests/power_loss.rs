//! Power that goes while a node writes: a file system of its own that forgets whatever was not synced.

use std::path::{Path, PathBuf};
use std::process::Command;

use base::{Entropy as _, SeededEntropy};

use super::victim::{End, Ledger, Plan, Victim};

const CUTS: &str = "NAVARCH_CUTS";
const CUTS_USUAL: u64 = 5;
const IMAGE_BYTES: u64 = 400 * 1024 * 1024;

/// An XFS in a file, mounted.
struct Device {
    dir: tempfile::TempDir,
}

impl Device {
    /// # Errors
    /// Why this machine cannot do it.
    fn make() -> Result<Self, String> {
        let device = Self { dir: tempfile::tempdir().map_err(|error| error.to_string())? };
        let image = std::fs::File::create(device.image()).map_err(|error| error.to_string())?;
        image.set_len(IMAGE_BYTES).map_err(|error| error.to_string())?;
        std::fs::create_dir(device.mounted()).map_err(|error| error.to_string())?;
        run("mkfs.xfs", &["-q".as_ref(), device.image().as_ref()])?;
        device.mount()?;
        Ok(device)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mounted(&self) -> PathBuf {
        self.dir.path().join("mounted")
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o".as_ref(), "loop".as_ref(), self.image().as_ref(), self.mounted().as_ref()])
    }

    /// From here on nothing reaches the disk, and what was not synced never did.
    fn cut_power(&self) {
        let arguments: [&Path; 4] = ["-x".as_ref(), "-c".as_ref(), "shutdown".as_ref(), &self.mounted()];
        run("xfs_io", &arguments).expect("the power is cut");
    }

    fn restore_power(&self) {
        run("umount", &[&self.mounted()]).expect("nobody uses it");
        self.mount().expect("it is sound");
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _unmounted = run("umount", &["-l".as_ref(), self.mounted().as_ref()]);
    }
}

fn run(program: &str, arguments: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program}: {}", said.trim())) }
}

#[expect(clippy::disallowed_methods, reason = "the only way to tell a test how much")]
fn cuts() -> u64 {
    std::env::var(CUTS).ok().map_or(CUTS_USUAL, |cuts| cuts.parse().expect("a number of cuts"))
}

#[test]
fn no_acknowledged_write_is_lost_when_the_power_is() {
    let device = match Device::make() {
        Ok(device) => device,
        Err(reason) => return println!("skipped: no power to cut here: {reason}"),
    };
    let data = device.mounted().join("data");
    let mut ledger = Ledger::default();
    let chance = SeededEntropy::new(7);
    for cut in 1..=cuts() {
        let mut victim =
            Victim::start(&data, &Plan { failpoint: None, writes: u64::MAX, defragments: false });
        let acks = usize::try_from(chance.u64() % 300).expect("it fits");
        victim.follow(&mut ledger, acks);
        device.cut_power();
        // A sync that is under way may say that it worked: with XFS two in 120 cuts of a busy machine, of a program that
        // does nothing else. What was heard before that was on the disk.
        victim.follow_unsure(&mut ledger);
        assert_eq!(victim.end(), Some(End::Failed), "a node whose disk fails ends by itself");
        device.restore_power();
        if cut % 50 == 0 {
            println!("{cut} cuts, {ledger:?}");
        }
    }
    let mut victim = Victim::start(&data, &Plan { failpoint: None, writes: 10, defragments: false });
    victim.follow(&mut ledger, usize::MAX);
    assert_eq!(victim.end(), Some(End::Done));
}
