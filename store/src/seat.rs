//! Which place in which cluster a data directory holds: the file `member` in it.
//!
//! A directory draws a number by chance when it is made, its incarnation. A place is given to an incarnation, so a
//! directory that was wiped never passes for the one it replaces. Written atomically; unreadable is never "new".

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::NodeId;
use serde::{Deserialize, Serialize};

use crate::disk::files;
use crate::entrance::messages::Acknowledged;
use crate::error::StartError;
use crate::node::{Disk, Identity, InitialMember, MemoryDisk, NodeConfig};
use crate::raft::peers::Peer;
use crate::recover;
use crate::status::Addresses;

const FILE: &str = "member";
const HEADING: &str = "navarch member 1";
/// Everything else that a member's directory may hold.
const CONTENTS: [&str; 2] = ["log", "state"];
/// Where the members were last, for a member that can read neither its tables nor, it may be, its configuration's list.
const MEMBERS: &str = "members";
const MEMBERS_HEADING: &str = "navarch members 1";
const SET_ASIDE: &str = "set-aside";

/// What the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberFile {
    pub(crate) name: String,
    /// The cluster's name, as its operator gave it.
    pub(crate) token: String,
    pub(crate) incarnation: u64,
    /// What this directory once held is gone, of this cluster (0: nobody knows): it may join again, and never founds.
    pub(crate) lost: Option<u64>,
    pub(crate) place: Option<Place>,
}

/// A member's place, for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) cluster_id: u64,
    pub(crate) node_id: NodeId,
    /// Who founded the cluster together with this member; none when it came later.
    pub(crate) founders: Vec<Founder>,
    /// Clusters that were given up for this one.
    pub(crate) supersedes: Vec<u64>,
    /// It has a log, and may have voted: without that log it is nobody.
    pub(crate) started: bool,
    /// It was removed: its operator has to say that it may come back.
    pub(crate) removed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Founder {
    pub(crate) id: NodeId,
    pub(crate) incarnation: u64,
    pub(crate) name: String,
    pub(crate) peer_url: String,
    pub(crate) client_urls: Vec<String>,
}

/// Where the file is kept.
#[derive(Clone, Debug)]
pub(crate) enum SeatDisk {
    Directory(PathBuf),
    Memory(MemoryDisk),
}

/// The file of a node without a disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemorySeat(Arc<Mutex<Option<MemberFile>>>);

impl MemorySeat {
    fn lock(&self) -> MutexGuard<'_, Option<MemberFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who a node is when it starts.
pub(crate) struct Seating {
    pub(crate) file: MemberFile,
    /// Of this run of the program.
    pub(crate) process: u64,
    /// What its log must hold, as far as a leader has said.
    pub(crate) acknowledged: Option<Acknowledged>,
}

/// The place of a node that runs.
#[derive(Clone, Debug)]
pub(crate) struct Seated {
    disk: SeatDisk,
    pub(crate) file: MemberFile,
    pub(crate) process: u64,
    /// Where it wants to be found.
    pub(crate) addresses: Option<Addresses>,
}

impl Seated {
    pub(crate) fn new(disk: SeatDisk, (file, process): (MemberFile, u64), config: &NodeConfig) -> Self {
        let addresses = config
            .own_addresses()
            .map(|me| Addresses { peer_url: me.peer_url.clone(), client_urls: Some(me.client_urls.clone()) });
        Self { disk, file, process, addresses }
    }

    pub(crate) fn place(&self) -> Place {
        self.file.place.clone().unwrap_or_default()
    }

    /// From here on a log belongs to the place.
    pub(crate) fn save_started(&self) -> Result<(), StartError> {
        if self.place().started {
            return Ok(());
        }
        self.save(Place { started: true, ..self.place() })
    }

    pub(crate) fn save_removed(&self) -> Result<(), StartError> {
        self.save(Place { started: true, removed: true, ..self.place() })
    }

    /// Remembers where the members are now.
    pub(crate) fn save_members(&self, members: &[Peer]) -> io::Result<()> {
        let SeatDisk::Directory(path) = &self.disk else { return Ok(()) };
        files::write_atomically(&path.join(MEMBERS), members_text(members).as_bytes())
    }

    /// Where the members were when this node last ran, itself included; none when nobody wrote it down.
    pub(crate) fn remembered_members(&self) -> Vec<Peer> {
        self.disk.remembered_members()
    }

    fn save(&self, place: Place) -> Result<(), StartError> {
        self.disk.write(&MemberFile { place: Some(place), ..self.file.clone() })
    }
}

fn members_text(members: &[Peer]) -> String {
    let lines = members.iter().map(|member| format!("{} {}\n", member.id, member.url));
    format!("{MEMBERS_HEADING}\n{}end\n", lines.collect::<String>())
}

fn parse_members(text: &str) -> Option<Vec<Peer>> {
    let mut lines = text.strip_suffix("end\n")?.lines();
    if lines.next()? != MEMBERS_HEADING {
        return None;
    }
    let member = |line: &str| {
        let (id, url) = line.split_once(' ')?;
        Some(Peer { id: NodeId::new(id.parse().ok()?), url: url.to_owned() })
    };
    lines.map(member).collect()
}

/// FNV-1a, the same on every member.
fn mix(seed: u64, texts: &[&str]) -> u64 {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    bytes.fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)).max(1)
}

/// The same for all founders, different for clusters of other names or members. Addresses may change, so they have no
/// part in it.
pub(crate) fn cluster_id(token: &str, members: &[InitialMember]) -> u64 {
    let names = members.iter().map(|member| member.name.as_str());
    mix(0xcbf2_9ce4_8422_2325, &[token].into_iter().chain(names).collect::<Vec<_>>())
}

/// The incarnation of a founder who could not draw one together with the others: of a directory that was restored, or
/// a node that is started without asking anybody.
pub(crate) fn derived_incarnation(cluster_id: u64, name: &str) -> u64 {
    mix(cluster_id, &[name])
}

/// Founders in the order of the list, which gives them their ids.
pub(crate) fn founders(
    members: &[InitialMember],
    incarnation: impl Fn(&InitialMember) -> u64,
) -> Vec<Founder> {
    let ids = (1..).map(NodeId::new);
    let founder = |(id, member): (NodeId, &InitialMember)| Founder {
        id,
        incarnation: incarnation(member),
        name: member.name.clone(),
        peer_url: member.peer_url.clone(),
        client_urls: member.client_urls.clone(),
    };
    ids.zip(members).map(founder).collect()
}

impl SeatDisk {
    pub(crate) fn of(disk: &Disk) -> Self {
        match disk {
            Disk::Directory(path) => Self::Directory(path.clone()),
            Disk::Memory(memory) => Self::Memory(memory.clone()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Directory(path) => path,
            Self::Memory(_) => Path::new("memory"),
        }
    }

    /// Whether an operator has begun to recover this directory, and not finished.
    pub(crate) fn is_half_recovered(&self) -> Result<bool, StartError> {
        match self {
            Self::Directory(path) => recover::is_unfinished(path),
            Self::Memory(_) => Ok(false),
        }
    }

    /// `None`: the directory is new. One that holds a log or tables but no such file is not.
    pub(crate) fn read(&self) -> Result<Option<MemberFile>, StartError> {
        match self {
            Self::Directory(path) => MemberFile::read(path),
            Self::Memory(memory) => Ok(memory.seat.lock().clone()),
        }
    }

    pub(crate) fn write(&self, file: &MemberFile) -> Result<(), StartError> {
        match self {
            Self::Directory(path) => file.write(path),
            Self::Memory(memory) => {
                *memory.seat.lock() = Some(file.clone());
                Ok(())
            }
        }
    }

    /// As [`Seated::remembered_members`].
    pub(crate) fn remembered_members(&self) -> Vec<Peer> {
        let Self::Directory(path) = self else { return Vec::new() };
        let text = std::fs::read_to_string(path.join(MEMBERS)).unwrap_or_default();
        parse_members(&text).unwrap_or_default()
    }

    /// Whether there is a log or there are tables.
    pub(crate) fn holds_something(&self) -> bool {
        match self {
            Self::Directory(path) => CONTENTS.iter().any(|name| path.join(name).exists()),
            Self::Memory(_) => false,
        }
    }

    /// Moves what is there into a directory beside it, and returns that. Nothing is deleted, except from memory.
    pub(crate) fn set_aside(&self) -> Result<PathBuf, StartError> {
        let path = match self {
            Self::Directory(path) => path,
            Self::Memory(memory) => {
                memory.empty();
                *memory.seat.lock() = None;
                return Ok(PathBuf::new());
            }
        };
        let moved = || -> io::Result<PathBuf> {
            let number = files::numbered(path, SET_ASIDE)?.last().map_or(1, |last| last + 1);
            let aside = path.join(format!("{SET_ASIDE}-{number}"));
            std::fs::create_dir(&aside)?;
            for name in CONTENTS.into_iter().chain([FILE, MEMBERS]) {
                match std::fs::rename(path.join(name), aside.join(name)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            files::sync_dir(path)?;
            Ok(aside)
        };
        moved().map_err(|error| StartError::open(path, error))
    }
}

impl MemberFile {
    /// # Errors
    /// When it has no place yet.
    pub(crate) fn identity(&self) -> Result<Identity, StartError> {
        let name = self.name.clone();
        match &self.place {
            Some(Place { cluster_id, node_id, .. }) => {
                Ok(Identity { cluster_id: *cluster_id, node_id: *node_id, name })
            }
            None => Err(StartError::NotInvited { name }),
        }
    }

    /// `None`: there is no such file.
    ///
    /// # Errors
    /// When it cannot be read, or is not one.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, StartError> {
        let failed = |error| StartError::open(dir, error);
        match std::fs::read_to_string(dir.join(FILE)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(error)),
            Ok(text) => match Self::parse(&text) {
                Some(file) => Ok(Some(file)),
                None => Err(StartError::MemberFile { path: dir.join(FILE).display().to_string() }),
            },
        }
    }

    pub(crate) fn write(&self, dir: &Path) -> Result<(), StartError> {
        let written = std::fs::create_dir_all(dir)
            .and_then(|()| files::write_atomically(&dir.join(FILE), self.text().as_bytes()));
        written.map_err(|error| StartError::open(dir, error))
    }

    fn text(&self) -> String {
        let mut lines = vec![
            HEADING.to_owned(),
            format!("name {}", self.name),
            format!("token {}", self.token),
            format!("incarnation {:016x}", self.incarnation),
        ];
        lines.extend(self.lost.map(|former| format!("lost {former:016x}")));
        if let Some(place) = &self.place {
            lines.push(format!("cluster {:016x}", place.cluster_id));
            lines.push(format!("node {}", place.node_id));
            lines.extend(place.founders.iter().map(|founder| {
                format!(
                    "founder {} {:016x} {} {} {}",
                    founder.id,
                    founder.incarnation,
                    founder.peer_url,
                    founder.client_urls.join(","),
                    founder.name
                )
            }));
            lines.extend(place.supersedes.iter().map(|cluster| format!("supersedes {cluster:016x}")));
            lines.extend(place.started.then(|| "started".to_owned()));
            lines.extend(place.removed.then(|| "removed".to_owned()));
        }
        // The last line shows that nothing is missing.
        lines.push("end\n".to_owned());
        lines.join("\n")
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix("\nend\n")?.lines();
        if lines.next()? != HEADING {
            return None;
        }
        let mut file = Self {
            name: lines.next()?.strip_prefix("name ")?.to_owned(),
            token: lines.next()?.strip_prefix("token ")?.to_owned(),
            incarnation: hex(lines.next()?.strip_prefix("incarnation ")?)?,
            lost: None,
            place: None,
        };
        for line in lines {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            match (word, &mut file.place) {
                ("lost", None) => file.lost = Some(hex(rest)?),
                ("cluster", place @ None) => {
                    *place = Some(Place { cluster_id: hex(rest)?, ..Place::default() });
                }
                ("node", Some(place)) => place.node_id = NodeId::new(rest.parse().ok()?),
                ("founder", Some(place)) => place.founders.push(founder(rest)?),
                ("supersedes", Some(place)) => place.supersedes.push(hex(rest)?),
                ("started", Some(place)) => place.started = true,
                ("removed", Some(place)) => place.removed = true,
                _ => return None,
            }
        }
        let complete = file.place.as_ref().is_none_or(|place| place.node_id.get() > 0);
        complete.then_some(file)
    }
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}

fn founder(line: &str) -> Option<Founder> {
    let mut words = line.splitn(5, ' ');
    let id = NodeId::new(words.next()?.parse().ok()?);
    let incarnation = hex(words.next()?)?;
    let peer_url = words.next()?.to_owned();
    let client_urls = words.next()?.split(',').filter(|url| !url.is_empty()).map(str::to_owned).collect();
    Some(Founder { id, incarnation, name: words.next()?.to_owned(), peer_url, client_urls })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(name: &str) -> InitialMember {
        InitialMember {
            name: name.to_owned(),
            peer_url: "https://host:2380".to_owned(),
            client_urls: vec!["https://a:1".to_owned(), "https://b:2".to_owned()],
        }
    }

    fn file() -> MemberFile {
        let place = Place {
            cluster_id: 7,
            node_id: NodeId::new(2),
            founders: founders(&[member("one"), member("the other")], |_| 5),
            supersedes: vec![1, u64::MAX],
            started: true,
            removed: true,
        };
        let (name, token) = ("the other".to_owned(), "a cluster".to_owned());
        MemberFile { name, token, incarnation: 5, lost: Some(9), place: Some(place) }
    }

    #[test]
    fn what_was_written_is_read_and_half_of_it_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(MemberFile::read(dir.path()).expect("readable"), None);
        let new = MemberFile { place: None, lost: None, ..file() };
        for written in [file(), new] {
            written.write(dir.path()).expect("written");
            assert_eq!(MemberFile::read(dir.path()).expect("readable"), Some(written));
        }
        let text = file().text();
        for end in 0..text.len() {
            assert_eq!(MemberFile::parse(&text[..end]), None, "the first {end} bytes");
        }
    }

    #[test]
    fn the_members_are_remembered_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = SeatDisk::Directory(dir.path().to_owned());
        let seat = Seated { disk, file: file(), process: 0, addresses: None };
        assert_eq!(seat.remembered_members(), []);
        let peer = |id, url: &str| Peer { id: NodeId::new(id), url: url.to_owned() };
        let members = [peer(2, "https://two:1"), peer(7, "https://seven:1")];
        seat.save_members(&members).expect("written");
        assert_eq!(seat.remembered_members(), members);
        let text = members_text(&members);
        for end in 0..text.len() {
            assert_eq!(parse_members(&text[..end]), None, "the first {end} bytes");
        }
    }

    proptest! {
        #[test]
        fn garbage_is_refused(text: String) {
            prop_assert_eq!(MemberFile::parse(&text), None);
            prop_assert_eq!(parse_members(&text), None);
        }
    }

    #[test]
    fn what_is_set_aside_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = SeatDisk::Directory(dir.path().to_owned());
        for number in 1..=2 {
            disk.write(&file()).expect("written");
            std::fs::create_dir(dir.path().join("log")).expect("a log");
            assert!(disk.holds_something());
            let aside = disk.set_aside().expect("moved");
            assert_eq!(aside, dir.path().join(format!("set-aside-{number}")));
            assert!(aside.join("log").exists() && aside.join("member").exists());
            assert!(!disk.holds_something() && disk.read().expect("readable").is_none());
        }
    }

    #[test]
    fn a_cluster_is_known_by_its_names_and_not_by_its_addresses() {
        let moved = InitialMember { peer_url: "https://elsewhere:1".to_owned(), ..member("a") };
        assert_eq!(cluster_id("t", &[member("a")]), cluster_id("t", &[moved]));
        assert_ne!(cluster_id("t", &[member("a")]), cluster_id("u", &[member("a")]));
        assert_ne!(cluster_id("t", &[member("a")]), cluster_id("t", &[member("b")]));
    }
}
