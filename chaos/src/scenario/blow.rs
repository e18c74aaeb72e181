//! What strikes them: the faults that a plague makes, before it is known who leads.

use serde::{Deserialize, Serialize};

use super::Aim;
use crate::cluster::{Impairment, Part, Syncs};
use crate::faults::{Damage, Fault, network};

/// How long a disk stands still when nobody thaws it.
const FREEZE_LONGEST_MS: u64 = 10_000;
const CRASHES: u32 = 3;
/// What a server may have left that gets on with the rest by giving back what it only keeps for later.
const MEMORY_LEFT: u64 = 4 * 1024 * 1024;
const CRASH_PAUSE_MS: u64 = 300;

/// What is done, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blow {
    Kill(Aim),
    Pause(Aim),
    /// In order, one after the other.
    Restart(Aim),
    CrashLoop(Aim),
    /// They and the rest do not reach each other.
    Isolate(Aim),
    /// Nobody hears them, and they hear everyone.
    Mute(Aim),
    /// They hear nobody, and everyone hears them.
    Deafen(Aim),
    /// Two halves meet in one member only.
    Bridge,
    /// Everyone reaches a majority, each another one.
    Ring,
    /// All links from and to them are slow, or bad.
    Impair(Aim, Impairment),
    LosePower(Aim),
    FillDisk(Aim),
    ReadOnlyDisk(Aim),
    FreezeDisk(Aim),
    Syncs(Aim, Syncs),
    Damage(Aim, Part, Damage),
    Wipe(Aim),
    /// The first two of those meant get each other's data.
    SwapData(Aim),
    CloneData(Aim),
    PutBack(Aim),
    BlockLog(Aim),
    LimitFiles(Aim),
    LimitMemory(Aim),
    ShiftClock(Aim, i64),
    Remove(Aim),
    /// One member more than there were.
    Add,
    /// To one of them.
    MoveLeader(Aim),
    Compact,
    Defragment(Aim),
    Snapshot(Aim),
    BackUp(Aim),
}

impl Blow {
    /// The kind of the faults that it makes.
    pub fn kind(self) -> &'static str {
        let of = |name: &str| vec![name.to_owned()];
        self.on(&of("n1"), &of("n2"), 0).first().map_or("none", Fault::kind)
    }

    /// Who is meant; nobody where all are.
    const fn aim(self) -> Option<Aim> {
        match self {
            Self::Kill(aim)
            | Self::Pause(aim)
            | Self::Restart(aim)
            | Self::CrashLoop(aim)
            | Self::Isolate(aim)
            | Self::Mute(aim)
            | Self::Deafen(aim)
            | Self::Impair(aim, _)
            | Self::LosePower(aim)
            | Self::FillDisk(aim)
            | Self::ReadOnlyDisk(aim)
            | Self::FreezeDisk(aim)
            | Self::Syncs(aim, _)
            | Self::Damage(aim, ..)
            | Self::Wipe(aim)
            | Self::SwapData(aim)
            | Self::CloneData(aim)
            | Self::PutBack(aim)
            | Self::BlockLog(aim)
            | Self::LimitFiles(aim)
            | Self::LimitMemory(aim)
            | Self::ShiftClock(aim, _)
            | Self::Remove(aim)
            | Self::MoveLeader(aim)
            | Self::Defragment(aim)
            | Self::Snapshot(aim)
            | Self::BackUp(aim) => Some(aim),
            Self::Bridge | Self::Ring | Self::Add | Self::Compact => None,
        }
    }

    /// Whether whoever is struck stays broken until it is mended.
    pub const fn stays(self) -> bool {
        !matches!(
            self,
            Self::Restart(_)
                | Self::CrashLoop(_)
                | Self::Bridge
                | Self::Ring
                | Self::Damage(..)
                | Self::SwapData(_)
                | Self::CloneData(_)
                | Self::PutBack(_)
                | Self::Add
                | Self::MoveLeader(_)
                | Self::Compact
                | Self::Defragment(_)
                | Self::Snapshot(_)
                | Self::BackUp(_)
        )
    }

    /// What it puts to the test that nothing else does.
    pub const fn tests(self) -> &'static [&'static str] {
        match self {
            Self::SwapData(_) | Self::CloneData(_) | Self::PutBack(_) => &["impostor-refused"],
            Self::Damage(_, Part::Log, _) => &["damage-refused"],
            Self::BlockLog(_) => &["held-up-serves"],
            _ => &[],
        }
    }

    /// Whether it needs members whose syncs can be held.
    pub const fn holds_syncs(self) -> bool {
        matches!(self, Self::Syncs(..))
    }

    /// Whether it needs members whose logs can be held up.
    pub const fn gates_logs(self) -> bool {
        matches!(self, Self::BlockLog(_))
    }

    /// Whether it needs members whose memory can be limited.
    pub const fn limits_memory(self) -> bool {
        matches!(self, Self::LimitMemory(_))
    }

    /// Whether it needs members whose clocks can be shifted.
    pub const fn shifts_clocks(self) -> bool {
        matches!(self, Self::ShiftClock(..))
    }

    /// The faults themselves; none when there is nobody to be struck.
    pub fn faults(self, members: &[String], leader: Option<&str>, throw: u64) -> Vec<Fault> {
        let struck = self.aim().map(|aim| aim.choose(members, leader, throw)).unwrap_or_default();
        if struck.is_empty() && self.aim().is_some() {
            return Vec::new();
        }
        let rest: Vec<String> = members.iter().filter(|member| !struck.contains(member)).cloned().collect();
        self.on(&struck, &rest, throw)
    }

    /// The faults that do it to these, and keep them from the `rest`. `throw` chooses where there is a choice.
    pub fn on(self, struck: &[String], rest: &[String], throw: u64) -> Vec<Fault> {
        let members = || struck.to_vec();
        let each = |fault: &dyn Fn(String) -> Fault| struck.iter().cloned().map(fault).collect();
        match self {
            Self::Kill(_) => vec![Fault::Kill { members: members() }],
            Self::Pause(_) => vec![Fault::Pause { members: members() }],
            Self::Restart(_) => vec![Fault::Restart { members: members() }],
            Self::LosePower(_) => vec![Fault::LosePower { members: members() }],
            Self::ShiftClock(_, by_ms) => vec![Fault::ShiftClock { members: members(), by_ms }],
            Self::Isolate(_)
            | Self::Mute(_)
            | Self::Deafen(_)
            | Self::Bridge
            | Self::Ring
            | Self::Impair(..) => vec![self.on_links(struck, rest, throw)],
            Self::CrashLoop(_) => {
                each(&|member| Fault::CrashLoop { member, times: CRASHES, pause_ms: CRASH_PAUSE_MS })
            }
            Self::FillDisk(_) => each(&|member| Fault::FillDisk { member }),
            Self::ReadOnlyDisk(_) => each(&|member| Fault::ReadOnlyDisk { member }),
            Self::FreezeDisk(_) => {
                each(&|member| Fault::FreezeDisk { member, longest_ms: FREEZE_LONGEST_MS })
            }
            Self::Syncs(_, syncs) => each(&|member| Fault::Syncs { member, syncs }),
            Self::Damage(_, part, damage) => {
                each(&|member| Fault::Damage { member, part, damage, seed: throw })
            }
            Self::Wipe(_) => each(&|member| Fault::Wipe { member }),
            Self::SwapData(_) => match [struck, rest].concat().as_slice() {
                [one, other, ..] => vec![Fault::SwapData { one: one.clone(), other: other.clone() }],
                _ => Vec::new(),
            },
            Self::CloneData(_) => {
                let twin = format!("n{}", struck.len() + rest.len() + 1);
                let in_place = (throw >> 8) % 2 == 1;
                each(&|member| Fault::CloneData { member, twin: twin.clone(), in_place })
            }
            Self::PutBack(_) => each(&|member| Fault::PutBack { member }),
            Self::BlockLog(_) => each(&|member| Fault::BlockLog { member }),
            Self::LimitFiles(_) => each(&|member| Fault::LimitFiles { member }),
            Self::LimitMemory(_) => {
                let left_bytes = if (throw >> 8) % 2 == 1 { MEMORY_LEFT } else { 0 };
                each(&|member| Fault::LimitMemory { member, left_bytes })
            }
            Self::Remove(_) => each(&|member| Fault::RemoveMember { member }),
            Self::Add => vec![Fault::AddMember { member: format!("n{}", struck.len() + rest.len() + 1) }],
            Self::MoveLeader(_) => each(&|to| Fault::MoveLeader { to }),
            Self::Compact => vec![Fault::Compact],
            Self::Defragment(_) => each(&|member| Fault::Defragment { member }),
            Self::Snapshot(_) => each(&|member| Fault::Snapshot { member }),
            Self::BackUp(_) => each(&|member| Fault::BackUp { member }),
        }
    }

    fn on_links(self, struck: &[String], rest: &[String], throw: u64) -> Fault {
        let mut all = [struck, rest].concat();
        let of_each = |shape: fn(&str, &[String]) -> Vec<_>| {
            let mut links: Vec<_> = struck.iter().flat_map(|member| shape(member, &all)).collect();
            links.sort_unstable();
            links.dedup();
            links
        };
        let links = match self {
            Self::Mute(_) => of_each(network::muted),
            Self::Deafen(_) => of_each(network::deafened),
            Self::Impair(_, impairment) => {
                return Fault::Impair { links: of_each(network::isolated), impairment };
            }
            Self::Bridge | Self::Ring => {
                all.sort();
                let first = throw % all.len().max(1) as u64;
                all.rotate_left(usize::try_from(first).unwrap_or(0));
                if self == Self::Bridge { network::bridged(&all) } else { network::majorities_ring(&all) }
            }
            _ => network::apart(&[struck.to_vec(), rest.to_vec()]),
        };
        Fault::Partition { links }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const LOSS: Impairment = Impairment { loss_ppm: 300_000, ..Impairment::NONE };

    fn members(count: u8) -> Vec<String> {
        (1..=count).map(|number| format!("n{number}")).collect()
    }

    fn check(blow: Blow, count: u8, expected: Expect) {
        let faults = blow.faults(&members(count), Some("n2"), 1);
        let told = faults.iter().map(|fault| format!("{} {}", fault.kind(), fault.target().join(" ")));
        expected.assert_eq(&told.collect::<Vec<_>>().join(", "));
    }

    #[test]
    fn a_blow_becomes_faults() {
        check(Blow::Kill(Aim::Leader), 3, expect!["kill n2"]);
        check(Blow::Isolate(Aim::Leader), 3, expect!["partition n1>n2 n2>n1 n2>n3 n3>n2"]);
        check(
            Blow::Isolate(Aim::Minority),
            5,
            expect!["partition n1>n2 n1>n3 n2>n1 n2>n4 n2>n5 n3>n1 n3>n4 n3>n5 n4>n2 n4>n3 n5>n2 n5>n3"],
        );
        check(Blow::Mute(Aim::Leader), 3, expect!["partition n2>n1 n2>n3"]);
        check(Blow::Deafen(Aim::Leader), 3, expect!["partition n1>n2 n3>n2"]);
        check(Blow::Ring, 3, expect!["partition n1>n2 n2>n1"]);
        check(Blow::Impair(Aim::Follower, LOSS), 3, expect!["impair n1>n3 n2>n3 n3>n1 n3>n2"]);
        check(Blow::FillDisk(Aim::Minority), 5, expect!["fill-disk n2, fill-disk n3"]);
        check(Blow::SwapData(Aim::Majority), 3, expect!["swap-data n2 n3"]);
        check(Blow::CloneData(Aim::Follower), 3, expect!["clone-data n3"]);
        check(Blow::Add, 3, expect!["add-member n4"]);
        check(Blow::Compact, 3, expect!["compact "]);
    }

    #[test]
    fn who_is_not_there_is_not_struck() {
        assert_eq!(Blow::Kill(Aim::Leader).faults(&members(3), None, 0), []);
        assert_eq!(Blow::FillDisk(Aim::Leader).faults(&members(3), None, 0), []);
    }
}
