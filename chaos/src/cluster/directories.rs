//! Data directories that are copied, swapped and put back, processes on copies, and what is done to a directory while
//! nobody uses it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::command::CLUSTER_NAME;
use super::{CLIENT_PORT, Cluster, PEER_PORT};
use crate::history::Sight;

impl Cluster {
    /// Remembers what was seen, for the history.
    pub fn see(&mut self, sight: Sight) {
        self.sights.push(sight);
    }

    /// What was seen since the last time.
    pub fn take_sights(&mut self) -> Vec<Sight> {
        std::mem::take(&mut self.sights)
    }

    /// A copy of the member's data as they are, beside them.
    ///
    /// # Errors
    /// When it runs, or its files cannot be copied.
    pub fn copy_data(&mut self, name: &str) -> Result<PathBuf> {
        ensure!(!self.is_running(name)?, "{name} still runs");
        let copy = self.member(name)?.dir.join("copy");
        remove(&copy)?;
        copy_folder(&self.member(name)?.data_dir(), &copy)?;
        Ok(copy)
    }

    /// Puts a folder where the member's data are, which are removed.
    ///
    /// # Errors
    /// When it runs, or the folder cannot be moved.
    pub fn put_data(&mut self, name: &str, folder: &Path) -> Result<()> {
        self.wipe(name)?;
        let data = self.member(name)?.data_dir();
        fs::rename(folder, &data).with_context(|| format!("cannot move {}", folder.display()))
    }

    /// Each gets the other's data.
    ///
    /// # Errors
    /// When one runs, or a folder cannot be moved.
    pub fn swap_data(&mut self, one: &str, other: &str) -> Result<()> {
        for name in [one, other] {
            ensure!(!self.is_running(name)?, "{name} still runs");
        }
        let aside = self.member(one)?.dir.join("swapped");
        let (one, other) = (self.member(one)?.data_dir(), self.member(other)?.data_dir());
        let moved = fs::rename(&one, &aside).and_then(|()| fs::rename(&other, &one));
        moved.and_then(|()| fs::rename(&aside, &other)).context("cannot swap the data")
    }

    /// A host with a process that says it is `of`, on a copy of its data. It says that it has moved to where it is, or,
    /// `in_place`, that it is where the original is.
    ///
    /// # Errors
    /// When the host cannot be made.
    pub async fn start_twin(&mut self, twin: &str, of: &str, copy: &Path, in_place: bool) -> Result<()> {
        self.add_member(twin).await?;
        let data = self.member(twin)?.data_dir();
        fs::rename(copy, &data).with_context(|| format!("cannot move {}", copy.display()))?;
        let (here, there) = (self.member(twin)?.address, self.member(of)?.address);
        let founders = self.founders.iter().filter_map(|name| Some((name, self.members.get(name)?.address)));
        let founders: Vec<String> = founders
            .map(|(name, address)| {
                let address = if name == of && !in_place { here } else { address };
                format!("{name}={address}:{PEER_PORT}/{CLIENT_PORT}")
            })
            .collect();
        let mut command = self.command(twin)?;
        let arguments: Vec<String> = command
            .get_args()
            .map(|argument| argument.to_string_lossy().into_owned())
            .filter(|argument| !argument.starts_with("--name=") && !argument.starts_with("--join="))
            .collect();
        ensure!(here != there, "{twin} is where {of} is");
        command = std::process::Command::new(command.get_program());
        command.args(arguments);
        command.args([format!("--name={of}"), format!("--initial-cluster={}", founders.join(","))]);
        let nursery = &self.nursery;
        let member = self.members.get_mut(twin).with_context(|| format!("there is no member {twin}"))?;
        member.process.start(command, &member.namespace, nursery).await
    }

    /// The last lines of the member's log.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn last_words(&self, name: &str) -> Result<String> {
        Ok(self.member(name)?.process.last_words())
    }

    /// Takes a snapshot of a member into a file of its own; says which, and how long it is.
    ///
    /// # Errors
    /// When it is not whole in time.
    pub async fn back_up(&mut self, name: &str) -> Result<(PathBuf, usize)> {
        let folder = self.options.dir.join("backups");
        fs::create_dir_all(&folder)?;
        let file = folder.join(format!("{}.snapshot", self.backups.len() + 1));
        let bytes = self.endpoint(name)?.snapshot_to(&file).await?;
        self.backups.push(file.clone());
        Ok((file, bytes))
    }

    /// The files of all that were taken.
    pub fn backups(&self) -> &[PathBuf] {
        &self.backups
    }

    /// Makes the member's data from a snapshot, as one of a new cluster of the same founders.
    ///
    /// # Errors
    /// When it runs, or the program refuses.
    pub async fn restore_data(&mut self, name: &str, file: &Path) -> Result<String> {
        self.wipe(name)?;
        let founders = self.founders.iter().filter_map(|name| Some((name, self.members.get(name)?.address)));
        let founders: Vec<String> =
            founders.map(|(name, address)| format!("{name}={address}:{PEER_PORT}/{CLIENT_PORT}")).collect();
        let data = self.member(name)?.data_dir().to_string_lossy().into_owned();
        let file = file.to_string_lossy().into_owned();
        let flags = ["snapshot", "restore", &file, "--data-dir", &data, "--name", name];
        let founders = founders.join(",");
        let more = ["--initial-cluster", &founders, "--cluster-name", CLUSTER_NAME];
        self.run_tool(&[&flags[..], &more[..]].concat(), "").await
    }

    /// What `navarch snapshot status` says of a file.
    ///
    /// # Errors
    /// When the program refuses, or its answer is no JSON.
    pub async fn snapshot_status(&self, file: &Path) -> Result<serde_json::Value> {
        let file = file.to_string_lossy().into_owned();
        let said = self.run_tool(&["snapshot", "status", &file, "--output", "json"], "").await?;
        serde_json::from_str(&said).with_context(|| format!("no JSON: {said}"))
    }

    /// `navarch recover` on the member's data; `typed` is what the operator types. Says what it said.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn recover_data(&self, name: &str, typed: &str) -> Result<String> {
        let data = self.member(name)?.data_dir().to_string_lossy().into_owned();
        self.run_tool(&["recover", "--data-dir", &data], &format!("{typed}\n")).await
    }

    async fn run_tool(&self, arguments: &[&str], typed: &str) -> Result<String> {
        let mut child = Command::new(&self.options.binary)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the program")?;
        if let Some(mut input) = child.stdin.take() {
            // Who asks nothing may have ended.
            let _unread = input.write_all(typed.as_bytes()).await;
        }
        let done = child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        if !done.status.success() {
            bail!("{} refused: {said}{}", arguments[0], String::from_utf8_lossy(&done.stderr));
        }
        Ok(said)
    }
}

fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot copy {}", entry.path().display()))?;
        }
    }
    Ok(())
}
