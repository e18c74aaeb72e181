//! openraft's types as our own records, so that an upgrade of openraft does not change what is on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use bytes::Bytes;
use openraft::EntryPayload;
use serde::{Deserialize, Serialize};

use super::types::{Entry, LeaderId, LogId, MemberRecord, Membership, Proposal, StoredMembership, Vote};
use crate::disk::codec;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct LogIdRecord {
    term: u64,
    node: u64,
    index: u64,
}

impl From<&LogId> for LogIdRecord {
    fn from(id: &LogId) -> Self {
        Self { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
    }
}

impl From<LogIdRecord> for LogId {
    fn from(record: LogIdRecord) -> Self {
        Self { leader_id: LeaderId { term: record.term, node_id: record.node }, index: record.index }
    }
}

#[derive(Serialize, Deserialize)]
struct VoteRecord {
    term: u64,
    node: u64,
    committed: bool,
}

#[derive(Clone, Serialize, Deserialize)]
struct MembershipRecord {
    configs: Vec<BTreeSet<u64>>,
    members: BTreeMap<u64, MemberRecord>,
}

impl From<&Membership> for MembershipRecord {
    fn from(membership: &Membership) -> Self {
        Self {
            configs: membership.get_joint_config().clone(),
            members: membership.nodes().map(|(id, member)| (*id, member.clone())).collect(),
        }
    }
}

impl MembershipRecord {
    fn restore(self) -> io::Result<Membership> {
        Membership::new(self.configs, self.members)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }
}

#[derive(Serialize, Deserialize)]
struct EntryRecord {
    id: LogIdRecord,
    body: BodyRecord,
}

#[derive(Serialize, Deserialize)]
enum BodyRecord {
    Blank,
    Proposal(Proposal),
    Membership(MembershipRecord),
}

#[derive(Serialize, Deserialize)]
struct AppliedRecord {
    id: Option<LogIdRecord>,
    membership_id: Option<LogIdRecord>,
    membership: MembershipRecord,
}

pub(crate) fn encode_log_id(id: &LogId) -> Bytes {
    codec::encode(&LogIdRecord::from(id))
}

pub(crate) fn decode_log_id(bytes: &[u8]) -> io::Result<LogId> {
    Ok(codec::decode::<LogIdRecord>(bytes)?.into())
}

pub(crate) fn encode_vote(vote: &Vote) -> Bytes {
    codec::encode(&VoteRecord {
        term: vote.leader_id.term,
        node: vote.leader_id.node_id,
        committed: vote.committed,
    })
}

pub(crate) fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    let VoteRecord { term, node, committed } = codec::decode(bytes)?;
    Ok(Vote { leader_id: LeaderId { term, node_id: node }, committed })
}

pub(crate) fn encode_entry(entry: &Entry) -> Bytes {
    let body = match &entry.payload {
        EntryPayload::Blank => BodyRecord::Blank,
        EntryPayload::Normal(proposal) => BodyRecord::Proposal(proposal.clone()),
        EntryPayload::Membership(membership) => BodyRecord::Membership(membership.into()),
    };
    codec::encode(&EntryRecord { id: (&entry.log_id).into(), body })
}

pub(crate) fn decode_entry(bytes: &[u8]) -> io::Result<Entry> {
    let EntryRecord { id, body } = codec::decode(bytes)?;
    let payload = match body {
        BodyRecord::Blank => EntryPayload::Blank,
        BodyRecord::Proposal(proposal) => EntryPayload::Normal(proposal),
        BodyRecord::Membership(record) => EntryPayload::Membership(record.restore()?),
    };
    Ok(Entry { log_id: id.into(), payload })
}

/// How far the state machine is, and the members as of then.
pub(crate) fn encode_applied(id: Option<&LogId>, membership: &StoredMembership) -> Bytes {
    codec::encode(&AppliedRecord {
        id: id.map(LogIdRecord::from),
        membership_id: membership.log_id().as_ref().map(LogIdRecord::from),
        membership: membership.membership().into(),
    })
}

pub(crate) fn decode_applied(bytes: &[u8]) -> io::Result<(Option<LogId>, StoredMembership)> {
    let AppliedRecord { id, membership_id, membership } = codec::decode(bytes)?;
    let membership = StoredMembership::new(membership_id.map(LogId::from), membership.restore()?);
    Ok((id.map(LogId::from), membership))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mutations::damaged;
    use crate::raft::commands::Commands;
    use crate::raft::network::SnapshotHead;
    use crate::raft::types::SnapshotMeta;

    fn id(index: u64) -> LogId {
        LogId { leader_id: LeaderId { term: 3, node_id: 2 }, index }
    }

    #[test]
    fn what_was_written_is_read() {
        let members = BTreeMap::from([(1, MemberRecord { name: "a".into(), ..MemberRecord::default() })]);
        let membership = Membership::new(vec![BTreeSet::from([1])], members).expect("a voter is a member");
        let proposal = Proposal {
            time_ms: 5,
            witness: Some((2, 7)),
            commands: Commands::pack(std::iter::once(&Bytes::from("c"))),
        };
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(proposal),
            EntryPayload::Membership(membership.clone()),
        ];
        for payload in payloads {
            let entry = Entry { log_id: id(9), payload };
            assert_eq!(decode_entry(&encode_entry(&entry)).expect("readable"), entry);
        }
        let stored = StoredMembership::new(Some(id(1)), membership);
        let applied = decode_applied(&encode_applied(Some(&id(9)), &stored)).expect("readable");
        assert_eq!(applied, (Some(id(9)), stored));
        let vote = Vote { leader_id: LeaderId { term: 4, node_id: 1 }, committed: true };
        assert_eq!(decode_vote(&encode_vote(&vote)).expect("readable"), vote);
    }

    proptest! {
        #[test]
        fn damaged_records_are_records_or_an_error(bytes in damaged(valid())) {
            let _ = decode_entry(&bytes);
            let _ = decode_vote(&bytes);
            let _ = decode_log_id(&bytes);
            let _ = decode_applied(&bytes);
            let _ = codec::decode::<SnapshotHead>(&bytes);
        }
    }

    fn valid() -> Vec<Vec<u8>> {
        let members = BTreeMap::from([(1, MemberRecord { name: "a".into(), ..MemberRecord::default() })]);
        let membership = Membership::new(vec![BTreeSet::from([1])], members).expect("a voter is a member");
        let stored = StoredMembership::new(Some(id(1)), membership.clone());
        let vote = Vote { leader_id: LeaderId { term: 4, node_id: 1 }, committed: true };
        let meta = SnapshotMeta { last_log_id: Some(id(7)), last_membership: stored.clone() };
        let entry = Entry { log_id: id(9), payload: EntryPayload::Membership(membership) };
        vec![
            encode_entry(&entry).to_vec(),
            encode_vote(&vote).to_vec(),
            encode_applied(Some(&id(9)), &stored).to_vec(),
            codec::encode(&SnapshotHead { vote, meta, inline: "rows".into() }).to_vec(),
        ]
    }
}
