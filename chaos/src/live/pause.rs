//! A process of somebody else's that stands still for a while, and goes on whatever becomes of us: a dead man's switch,
//! which is a process of its own, wakes it up when its time is over.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

const FELT_MAX: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Wakes up the process of this number and this time of birth: another of the same number is left alone.
const SWITCH: &str = r#"pid=$1; born=$2; sleep "$3"
stat=$(cat "/proc/$pid/stat") || exit 0
set -- ${stat##*) }
[ "${20}" = "$born" ] && kill -CONT "$pid""#;

/// Who stands still. Dropping it wakes it up.
#[derive(Debug)]
pub(super) struct Paused {
    pid: Pid,
    switch: Child,
}

impl Paused {
    /// Until it is dropped, and for this long at most.
    pub(super) async fn stop(pid: u32, longest: Duration) -> Result<Self> {
        let (_, born) = state(pid).with_context(|| format!("there is no process {pid}"))?;
        let switch = Command::new("/bin/sh")
            .args(["-c", SWITCH, "switch", &pid.to_string(), &born, &longest.as_secs_f64().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What ends us in a terminal must not end it.
            .process_group(0)
            .spawn()
            .context("the dead man's switch does not start, so nothing was stopped")?;
        let paused = Self { pid: Pid::from_raw(pid.cast_signed()), switch };
        kill(paused.pid, Signal::SIGSTOP).with_context(|| format!("cannot stop {pid}"))?;
        let deadline = Instant::now() + FELT_MAX;
        while state(pid).is_some_and(|(state, _)| state != "T") {
            if Instant::now() > deadline {
                bail!("{pid} does not stand still");
            }
            sleep(LOOK_EVERY).await;
        }
        Ok(paused)
    }
}

impl Drop for Paused {
    fn drop(&mut self) {
        // It may have ended meanwhile, as may the switch.
        let _gone = kill(self.pid, Signal::SIGCONT);
        let _gone = killpg(Pid::from_raw(self.switch.id().cast_signed()), Signal::SIGKILL);
        let _reaped = self.switch.wait();
    }
}

/// `S`, `T` …, and when it was born.
fn state(pid: u32) -> Option<(String, String)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    Some((fields.next()?.to_owned(), fields.nth(18)?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Victim(Child);

    impl Victim {
        fn start() -> Self {
            Self(Command::new("/bin/sleep").arg("60").spawn().unwrap())
        }

        fn state(&self) -> String {
            state(self.0.id()).unwrap().0
        }

        async fn goes_on_within(&self, within: Duration) -> bool {
            let woken = async {
                while self.state() == "T" {
                    sleep(LOOK_EVERY).await;
                }
            };
            tokio::time::timeout(within, woken).await.is_ok()
        }
    }

    impl Drop for Victim {
        fn drop(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    #[tokio::test]
    async fn who_stands_still_goes_on_when_it_is_dropped() {
        let victim = Victim::start();
        let paused = Paused::stop(victim.0.id(), Duration::from_secs(60)).await.unwrap();
        assert_eq!(victim.state(), "T");
        drop(paused);
        assert!(victim.goes_on_within(Duration::from_secs(5)).await);
    }

    #[tokio::test]
    async fn who_stands_still_goes_on_by_itself_when_nobody_is_left_to_wake_it() {
        let victim = Victim::start();
        let paused = Paused::stop(victim.0.id(), Duration::from_millis(300)).await.unwrap();
        assert_eq!(victim.state(), "T");
        // As if we had been killed: nothing of ours is run any more.
        let paused = std::mem::ManuallyDrop::new(paused);
        assert!(victim.goes_on_within(Duration::from_secs(10)).await);
        drop(std::mem::ManuallyDrop::into_inner(paused));
    }

    #[tokio::test]
    async fn nobody_is_stopped_who_is_not_there() {
        let mut gone = Command::new("/bin/true").spawn().unwrap();
        let pid = gone.id();
        gone.wait().unwrap();
        assert!(Paused::stop(pid, Duration::from_secs(1)).await.is_err());
    }
}
