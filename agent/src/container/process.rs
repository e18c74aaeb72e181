//! The last steps, inside the container: who the process is, what it may do, and then the program itself.
//!
//! The order is runc's. Groups and user come after what only root can do and before what a user must not keep;
//! after them nothing is opened but what the user may open.

use std::convert::Infallible;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Gid, Uid, chdir, setgroups, setresgid, setresuid, setsid};
use rustix::process::ioctl_tiocsctty;
use rustix::thread::{set_keep_capabilities, set_no_new_privs};

use super::accounts::{self, Account};
use super::failure::{Explain as _, refusal};
use super::program::Program;
use super::seccomp::Filter;
use super::spec::{ProcessSpec, StartFailure};
use super::{capabilities, kernel, streams};

const ACCOUNT_BYTES_MAX: u64 = 16 << 20;

/// Returns only when the program could not be started.
pub(super) fn turn_into(process: &ProcessSpec, filter: Option<&Filter>) -> Result<Infallible, StartFailure> {
    begin_session(process.tty)?;
    kernel::leave_session_keyring().step("leave the node's keys")?;
    let account = account(process)?;
    let capabilities = capabilities::wanted(&process.capabilities)?;
    if process.no_new_privileges {
        set_no_new_privs(true).step("set no_new_privs")?;
    }
    // It takes either of the two. With the first it can wait, and meets fewer calls of ours.
    let (now, last) = if process.no_new_privileges { (None, filter) } else { (filter, None) };
    if let Some(filter) = now {
        filter.load()?;
    }
    let as_root = chdir(&process.working_dir);
    capabilities::bound(capabilities)?;
    set_keep_capabilities(true).step("keep the capabilities")?;
    streams::hand_over(Uid::from_raw(account.user))?;
    become_user(&account)?;
    // What root may not enter, on a file system of somebody else, the user may.
    let entered = if as_root == Err(Errno::EACCES) { chdir(&process.working_dir) } else { as_root };
    entered.at("enter the working directory", &process.working_dir)?;
    set_keep_capabilities(false).step("keep the capabilities no longer")?;
    capabilities::keep(capabilities)?;
    std::env::current_dir().at("the working directory is not in the container:", &process.working_dir)?;
    umask(Mode::from_bits_truncate(0o022));
    let program = Program::find(&process.args, &environment(process, &account))?;
    streams::reset_signals()?;
    if let Some(filter) = last {
        filter.load()?;
    }
    program.start()
}

fn begin_session(tty: bool) -> Result<(), StartFailure> {
    setsid().step("begin a session")?;
    if tty { ioctl_tiocsctty(std::io::stdin()).step("take the terminal") } else { Ok(()) }
}

fn account(process: &ProcessSpec) -> Result<Account, StartFailure> {
    let passwd = account_file(Path::new("/etc/passwd"))?;
    let group = account_file(Path::new("/etc/group"))?;
    accounts::look_up(&process.user, &passwd, &group).map_err(refusal)
}

/// Empty when there is none. What is no file, or endless, is none.
fn account_file(path: &Path) -> Result<String, StartFailure> {
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = match opened {
        Ok(file) if file.metadata().at("look at", path)?.is_file() => file,
        Ok(_) => return Ok(String::new()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(error).at("open", path),
    };
    let mut bytes = Vec::new();
    file.take(ACCOUNT_BYTES_MAX).read_to_end(&mut bytes).at("read", path)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn become_user(account: &Account) -> Result<(), StartFailure> {
    let groups: Vec<Gid> = account.groups.iter().map(|group| Gid::from_raw(*group)).collect();
    setgroups(&groups).step("set the groups")?;
    let group = Gid::from_raw(account.group);
    setresgid(group, group, group).step("set the group")?;
    let user = Uid::from_raw(account.user);
    setresuid(user, user, user).step("set the user")
}

fn environment(process: &ProcessSpec, account: &Account) -> Vec<(String, String)> {
    let mut environment = process.environment.clone();
    if !environment.iter().any(|(name, value)| name == "HOME" && !value.is_empty()) {
        environment.retain(|(name, _)| name != "HOME");
        environment.push(("HOME".to_owned(), account.home.clone()));
    }
    environment
}
