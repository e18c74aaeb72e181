//! A member's own file system: a file, mounted, that can lose its power, fill up, turn read-only and stand still.
//!
//! It is unmounted with the harness's mount namespace, and the kernel gives back its loop device.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::errno::Errno;
use nix::fcntl::posix_fallocate;
use nix::mount::{MntFlags, umount2};
use nix::sys::statvfs::statvfs;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::{Instant, sleep, timeout};

use super::{Disk, kernel};

/// Enough for XFS, and for the logs that a server prepares.
pub(super) const BYTES: u64 = 768 * 1024 * 1024;
/// How long the last user of a file system may take to let go of it.
const UNUSED_MAX: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long `fsfreeze` may take to let those who write finish.
const FROZEN_WITHIN: Duration = Duration::from_secs(10);
/// The smallest piece that a full disk is filled with.
const FILL_BYTES_MIN: i64 = 4096;
/// Files that show whether a power cut was one: the first was synced, the second not.
const SYNCED: &str = "canary-synced";
const UNSYNCED: &str = "canary-unsynced";
const FILL: &str = "fill";

/// A mounted file system. Dropping it unmounts it.
#[derive(Debug)]
pub(super) struct Volume {
    disk: Disk,
    image: PathBuf,
    mounted: PathBuf,
    /// Holds the file system still; whoever drops it lets it go on.
    frozen: Option<Frozen>,
}

#[derive(Debug)]
struct Frozen {
    /// Closed, it ends the watchdog's wait, also when this process dies.
    hold: Option<ChildStdin>,
    watchdog: Child,
}

impl Volume {
    /// Makes the file system in `image`, and mounts it.
    pub(super) async fn create(disk: Disk, image: &Path, mounted: &Path) -> Result<Self> {
        let file = File::create(image).with_context(|| format!("cannot create {}", image.display()))?;
        file.set_len(BYTES)?;
        fs::create_dir_all(mounted)?;
        match disk {
            Disk::LoopExt4 => run("mkfs.ext4", &["-q", "-F", "-m0"], image).await?,
            Disk::LoopXfs => run("mkfs.xfs", &["-q", "-f"], image).await?,
            Disk::Folder => bail!("a folder is no file system"),
        }
        let volume = Self { disk, image: image.to_owned(), mounted: mounted.to_owned(), frozen: None };
        volume.mount().await?;
        Ok(volume)
    }

    /// Nothing more reaches the disk, and what was not synced never did. Whoever writes from here on, fails.
    pub(super) fn cut_power(&self) -> Result<()> {
        fs::write(self.mounted.join(UNSYNCED), "this was not synced").context("cannot write")?;
        kernel::cut_power(&self.mounted)
    }

    /// Power is back: mounts anew what nobody uses. Says what became of the canaries.
    pub(super) async fn restore_power(&self) -> Result<PowerLoss> {
        self.unmount().await?;
        self.mount_image().await?;
        let synced = fs::read(self.mounted.join(SYNCED)).is_ok_and(|text| !text.is_empty());
        let unsynced = fs::read(self.mounted.join(UNSYNCED)).is_ok_and(|text| !text.is_empty());
        self.sync_canary()?;
        Ok(PowerLoss { kept_synced: synced, lost_unsynced: !unsynced })
    }

    /// Takes every byte that is left; says how many.
    pub(super) fn fill(&self) -> Result<u64> {
        let file = OpenOptions::new().create(true).append(true).open(self.mounted.join(FILL))?;
        let (mut filled, mut piece) = (0_i64, i64::try_from(BYTES)?);
        while piece >= FILL_BYTES_MIN {
            match posix_fallocate(&file, filled, piece) {
                Ok(()) => filled += piece,
                Err(Errno::ENOSPC) => piece /= 2,
                Err(error) => return Err(error).context("cannot fill the disk"),
            }
        }
        Ok(filled.try_into()?)
    }

    pub(super) fn empty(&self) -> Result<()> {
        match fs::remove_file(self.mounted.join(FILL)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).context("cannot empty the disk"),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    pub(super) fn free_bytes(&self) -> Result<u64> {
        let seen = statvfs(&self.mounted).context("cannot look at the disk")?;
        Ok(seen.blocks_available() * seen.fragment_size())
    }

    /// Has the kernel find an error, upon which ext4 refuses all writes, under whoever has files open.
    pub(super) fn turn_read_only(&self) -> Result<()> {
        ensure!(self.disk == Disk::LoopExt4, "only ext4 can be turned read-only while it is written to");
        let device = self.device()?;
        let trigger = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
        fs::write(&trigger, "1").with_context(|| format!("cannot write to {}", trigger.display()))
    }

    /// Whether a file can be made.
    pub(super) fn is_writable(&self) -> bool {
        let file = self.mounted.join("probe");
        let written = File::create(&file).and_then(|mut made| made.write_all(b"x"));
        // Where it could not be made, it need not be removed.
        let _gone = fs::remove_file(&file);
        written.is_ok()
    }

    /// Checks and mends the file system, which nobody may use.
    pub(super) async fn repair(&self) -> Result<()> {
        self.unmount().await?;
        if self.disk == Disk::LoopExt4 {
            // One means that there was something to mend.
            let checked = Command::new("e2fsck").arg("-fy").arg(&self.image).output().await?;
            ensure!(checked.status.code().is_some_and(|code| code <= 1), "e2fsck cannot mend the disk");
        }
        self.mount().await
    }

    /// Everyone who writes stands still until `thaw`, but no longer than this: nothing else ends their wait, not even a
    /// kill. A watchdog of its own process thaws, also when the harness is gone.
    pub(super) async fn freeze(&mut self, longest: Duration) -> Result<()> {
        ensure!(self.frozen.is_none(), "it is frozen already");
        let script = "fsfreeze -f \"$1\" && echo frozen && { timeout \"$2\" cat; fsfreeze -u \"$1\"; }";
        let mut watchdog = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&self.mounted)
            .arg(longest.as_secs_f64().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("cannot run sh")?;
        let hold = watchdog.stdin.take();
        let said = watchdog.stdout.take().context("the watchdog says nothing")?;
        let mut line = String::new();
        let told = timeout(FROZEN_WITHIN, BufReader::new(said).read_line(&mut line)).await;
        self.frozen = Some(Frozen { hold, watchdog });
        told.context("it does not freeze")?.context("the watchdog is gone")?;
        ensure!(line.trim() == "frozen", "it cannot be frozen");
        Ok(())
    }

    /// Whether it stands still: then it cannot be frozen once more.
    pub(super) async fn is_frozen(&self) -> Result<bool> {
        let again = Command::new("fsfreeze").arg("-f").arg(&self.mounted).output().await?;
        if again.status.success() {
            run("fsfreeze", &["-u"], &self.mounted).await?;
        }
        Ok(!again.status.success())
    }

    pub(super) async fn thaw(&mut self) -> Result<()> {
        let Some(mut frozen) = self.frozen.take() else { return Ok(()) };
        drop(frozen.hold.take());
        timeout(FROZEN_WITHIN, frozen.watchdog.wait()).await.context("it does not thaw")??;
        Ok(())
    }

    async fn mount(&self) -> Result<()> {
        self.mount_image().await?;
        self.sync_canary()
    }

    async fn mount_image(&self) -> Result<()> {
        let options = match self.disk {
            Disk::LoopExt4 => "loop,errors=remount-ro",
            Disk::LoopXfs | Disk::Folder => "loop",
        };
        let mount = Command::new("mount").args(["-o", options]).arg(&self.image).arg(&self.mounted).output();
        let output = mount.await.context("cannot run mount")?;
        ensure!(
            output.status.success(),
            "cannot mount {}: {}",
            self.image.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(())
    }

    /// A process that was killed lets go of its files a moment later.
    async fn unmount(&self) -> Result<()> {
        let deadline = Instant::now() + UNUSED_MAX;
        loop {
            match umount2(&self.mounted, MntFlags::empty()) {
                // It was not mounted.
                Ok(()) | Err(Errno::EINVAL) => return Ok(()),
                Err(Errno::EBUSY) if Instant::now() < deadline => sleep(LOOK_EVERY).await,
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot unmount {}", self.mounted.display()));
                }
            }
        }
    }

    fn sync_canary(&self) -> Result<()> {
        let mut file = File::create(self.mounted.join(SYNCED)).context("cannot write to the disk")?;
        file.write_all(b"this was synced")?;
        file.sync_all()?;
        File::open(&self.mounted)?.sync_all()?;
        Ok(())
    }

    /// `loop3`
    fn device(&self) -> Result<String> {
        let mounts = fs::read_to_string("/proc/thread-self/mounts")?;
        let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
        let ours = mounts.rfind(|words| words.get(1).map(Path::new) == Some(&self.mounted));
        let device = ours.and_then(|words| Some(words.first()?.strip_prefix("/dev/")?.to_owned()));
        device.with_context(|| format!("{} is not mounted", self.mounted.display()))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        drop(self.frozen.take());
        // The namespace's end does it otherwise.
        let _unmounted = umount2(&self.mounted, MntFlags::MNT_DETACH);
    }
}

/// What a power cut did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PowerLoss {
    pub(super) kept_synced: bool,
    pub(super) lost_unsynced: bool,
}

async fn run(program: &str, flags: &[&str], path: &Path) -> Result<()> {
    let arguments = flags.iter().map(OsStr::new).chain([path.as_os_str()]);
    let output = Command::new(program).args(arguments).output().await;
    let output = output.with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        path.display(),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
