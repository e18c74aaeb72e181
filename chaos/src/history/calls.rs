//! Calls of the Kubernetes API, as a history has them, and seen as a whole.
//!
//! Every write bears a mark that no other has, as the annotation [`MARK`]: by it a revision of the store is known as the
//! write's.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Event, Failure, History, Place};

/// The annotation that says which call wrote an object last.
pub const MARK: &str = "chaos.navarch/mark";

/// How an API server's log says that it let a leader's write through.
const LANDED: &str = "a leader's write landed ";

/// What is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// Whose API server.
    pub member: String,
    pub workload: String,
    pub verb: Verb,
    /// Where the store keeps the object: `/registry/configmaps/default/a`.
    pub key: String,
    /// The whole object, or the merge patch.
    #[serde(skip_serializing_if = "Value::is_null", default)]
    pub body: Value,
    /// The resourceVersion that the object must have for the write to happen; zero is any.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub expected: u64,
    /// The write is an elected leader's.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fence: Option<Fence>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    Get,
    Create,
    Update,
    Patch,
    Delete,
}

/// What a leader proves: that it holds a Lease, in an epoch (`leaseTransitions`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Fence {
    /// Where the store keeps the Lease.
    pub lease: String,
    pub holder: String,
    pub epoch: i64,
}

/// A leader's write, as the member that let it through tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Landed {
    pub member: String,
    pub revision: u64,
    pub fence: Fence,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// The object as it is answered; a deletion is answered with what the server likes.
    Ok { object: Value },
    /// It certainly did not happen.
    Refused(Failure),
    /// It happened once, or not at all.
    Unknown(Failure),
}

/// What one client wanted once.
#[derive(Clone, Debug)]
pub struct ApiCall<'a> {
    pub process: u32,
    pub request: &'a Request,
    pub sent: Place,
    /// None of a call that never returned.
    pub replied: Option<(Place, &'a Reply)>,
}

impl Request {
    pub fn writes(&self) -> bool {
        self.verb != Verb::Get
    }

    /// What the write is known by. A deletion leaves nothing to bear it.
    pub fn mark(&self) -> Option<&str> {
        mark(&self.body)
    }

    /// For people.
    pub fn tell(&self) -> String {
        let expected = if self.expected == 0 { String::new() } else { format!(" at {}", self.expected) };
        let fence = self.fence.as_ref().map_or_else(String::new, |fence| format!(" as {fence}"));
        format!("{} {}{expected}{fence}", self.verb.word(), self.key)
    }
}

impl Verb {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }
}

impl Landed {
    /// What an API server says of a leader's write, if the line is that:
    /// `… a leader's write landed revision=9 namespace=kube-system lease=deployment holder=n1-x epoch=3`
    pub fn heard(member: &str, line: &str) -> Option<Self> {
        let (_, fields) = line.split_once(LANDED)?;
        let field = |name: &str| {
            fields
                .split(' ')
                .find_map(|field| field.split_once('=').filter(|(key, _)| *key == name))
                .map(|(_, value)| value)
        };
        let fence = Fence {
            lease: format!("/registry/leases/{}/{}", field("namespace")?, field("lease")?),
            holder: field("holder")?.to_owned(),
            epoch: field("epoch")?.parse().ok()?,
        };
        Some(Self { member: member.to_owned(), revision: field("revision")?.parse().ok()?, fence })
    }
}

impl Reply {
    /// For people.
    pub fn tell(&self) -> String {
        match self {
            Self::Ok { object } => format!("ok at {}", version(object)),
            Self::Refused(failure) => format!("refused: {}", failure.code),
            Self::Unknown(failure) => format!("unknown: {}", failure.code),
        }
    }
}

impl ApiCall<'_> {
    /// The object that was answered, and the line that answered it.
    pub fn ok(&self) -> Option<(u64, &Value)> {
        match self.replied {
            Some((place, Reply::Ok { object })) => Some((place.line, object)),
            Some((_, Reply::Refused(_) | Reply::Unknown(_))) | None => None,
        }
    }

    pub fn refused(&self) -> Option<&Failure> {
        match self.replied {
            Some((_, Reply::Refused(failure))) => Some(failure),
            Some((_, Reply::Ok { .. } | Reply::Unknown(_))) | None => None,
        }
    }

    /// The lines that show it.
    pub fn lines(&self) -> Vec<u64> {
        std::iter::once(self.sent.line).chain(self.replied.map(|(place, _)| place.line)).collect()
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} in epoch {}", self.holder, self.lease, self.epoch)
    }
}

/// The mark that an object bears.
pub fn mark(object: &Value) -> Option<&str> {
    object["metadata"]["annotations"][MARK].as_str()
}

/// An object's resourceVersion, zero if it has none.
pub fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl History {
    /// Every call of the Kubernetes API, in the order in which they were sent.
    pub fn calls(&self) -> Vec<ApiCall<'_>> {
        let mut calls: Vec<ApiCall<'_>> = Vec::new();
        let mut open: BTreeMap<u32, usize> = BTreeMap::new();
        for (place, process, event) in self.events() {
            match event {
                Event::Request(request) => {
                    open.insert(process, calls.len());
                    calls.push(ApiCall { process, request, sent: place, replied: None });
                }
                Event::Reply { reply } => {
                    if let Some(index) = open.remove(&process) {
                        calls[index].replied = Some((place, reply));
                    }
                }
                _ => {}
            }
        }
        calls
    }

    /// Every write of a leader that a member let through, as told after the run.
    pub fn landed(&self) -> impl Iterator<Item = (Place, &Landed)> {
        self.events().filter_map(|(place, _, event)| match event {
            Event::Landed(landed) => Some((place, landed)),
            _ => None,
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaders_write_is_found_in_a_log() {
        let line = "2026-11-21T15:00:00Z DEBUG request: apiserver::chain::fence: a leader's write landed \
                    revision=9 namespace=kube-system lease=deployment holder=n1-x epoch=3";
        let found = Landed::heard("n1", line).unwrap();
        assert_eq!(found.revision, 9);
        assert_eq!(found.fence.to_string(), "n1-x of /registry/leases/kube-system/deployment in epoch 3");
        assert_eq!(Landed::heard("n1", "INFO became the leader"), None);
    }
}
