//! The fence: a leader's write carries its lease and epoch, and lands only while that lease says the same.
//!
//! See `design/0001-fencing.md`. The Lease is read here; its revision becomes a guard of the write's transaction,
//! so nothing can slip in between.

use base::Revision;
use http::HeaderMap;
use kinds::tree;
use store::seeded::{self, Bug};
use tracing::debug;

use crate::object::Stored;
use crate::status::Status;
use crate::storage::{Freshness, Guard, Storage};

const HEADER: &str = "navarch-fence";

/// `<namespace>/<lease>; holder=<holderIdentity>; epoch=<leaseTransitions>`
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fence {
    namespace: String,
    lease: String,
    holder: String,
    epoch: i64,
}

impl Fence {
    /// The fence of a request, if it carries one.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, Status> {
        let Some(value) = headers.get(HEADER) else { return Ok(None) };
        let text = value.to_str().unwrap_or_default();
        Self::parse(text).map(Some).ok_or_else(|| {
            Status::bad_request(format!(
                "the header Navarch-Fence must read `<namespace>/<lease>; holder=<identity>; epoch=<number>`, not `{text}`"
            ))
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (namespace, lease) = parts.next()?.split_once('/')?;
        let holder = parts.next()?.strip_prefix("holder=")?;
        let epoch = parts.next()?.strip_prefix("epoch=")?.parse().ok()?;
        let complete = parts.next().is_none() && !namespace.is_empty() && !lease.is_empty();
        complete.then(|| Self {
            namespace: namespace.to_owned(),
            lease: lease.to_owned(),
            holder: holder.to_owned(),
            epoch,
        })
    }

    /// A guard on the lease as it is now, or the refusal of a sender that leads no longer.
    ///
    /// A stale read is safe: the guard refuses the write when the lease has moved since. A refusal is never taken
    /// from a stale read: this server may lag behind the one that granted the lease.
    pub(crate) async fn guard(&self, storage: &Storage, freshness: Freshness) -> Result<Guard, Status> {
        let key = format!("/registry/leases/{}/{}", self.namespace, self.lease);
        let mut found = storage.get(&key, freshness).await?;
        let mut verdict = self.check_against(parsed(found.as_ref())?.as_ref());
        if verdict.is_err() && !matches!(freshness, Freshness::Newest) {
            found = storage.get(&key, Freshness::Newest).await?;
            verdict = self.check_against(parsed(found.as_ref())?.as_ref());
        }
        if !seeded::is(Bug::DeposedLeaderWrites) {
            verdict?;
        }
        let revision = found.map_or(Revision::new(0), |lease| lease.written_at());
        Ok(Guard::at(key, revision))
    }

    /// Says that a write under this fence happened: who looks after the cluster can compare it with the Lease.
    pub(crate) fn landed(&self, revision: Revision) {
        let Self { namespace, lease, holder, epoch } = self;
        debug!(%revision, %namespace, %lease, %holder, epoch, "a leader's write landed");
    }

    fn check_against(&self, lease: Option<&serde_json::Value>) -> Result<(), Status> {
        let Self { namespace, lease: name, holder, epoch } = self;
        let Some(lease) = lease else {
            return Err(Status::fenced(&format!("lease {namespace}/{name} does not exist")));
        };
        let held_by = tree::text(lease, "spec.holderIdentity");
        let epoch_now = tree::int(lease, "spec.leaseTransitions").unwrap_or_default();
        if held_by == holder && epoch_now == *epoch {
            return Ok(());
        }
        Err(Status::fenced(&format!(
            "lease {namespace}/{name} is held by {held_by} (epoch {epoch_now}), not {holder} (epoch {epoch})"
        )))
    }
}

fn parsed(found: Option<&Stored>) -> Result<Option<serde_json::Value>, Status> {
    found.map(Stored::parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};
    use serde_json::{Value, json};

    fn check(fence: &str, lease: Option<Value>, expected: Expect) {
        let answer = match Fence::parse(fence) {
            None => "no fence".to_owned(),
            Some(fence) => match fence.check_against(lease.as_ref()) {
                Ok(()) => "holds".to_owned(),
                Err(status) => status.message().to_owned(),
            },
        };
        expected.assert_eq(&answer);
    }

    #[test]
    fn only_the_present_holder_in_its_present_epoch_passes() {
        let lease = |holder: &str, epoch: i64| {
            Some(json!({"spec": {"holderIdentity": holder, "leaseTransitions": epoch}}))
        };
        check("kube-system/x; holder=z; epoch=3", lease("z", 3), expect!["holds"]);
        check(
            "kube-system/x; holder=z; epoch=3",
            lease("y", 4),
            expect!["fenced: lease kube-system/x is held by y (epoch 4), not z (epoch 3)"],
        );
        check(
            "kube-system/x; holder=z; epoch=3",
            lease("z", 5),
            expect!["fenced: lease kube-system/x is held by z (epoch 5), not z (epoch 3)"],
        );
        check(
            "kube-system/x; holder=z; epoch=3",
            None,
            expect!["fenced: lease kube-system/x does not exist"],
        );
        check("x; holder=z; epoch=3", None, expect!["no fence"]);
        check("kube-system/x; epoch=3; holder=z", None, expect!["no fence"]);
    }
}
