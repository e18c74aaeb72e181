//! Who is in the way of an apply, in Kubernetes' words.

use std::fmt;

use super::managers::Entry;
use super::set::Path;
use super::{FieldSet, Operation};

/// One field that another manager has set otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// `"kubectl-edit" using apps/v1`.
    pub manager: String,
    pub path: Path,
}

/// At least one conflict, sorted by manager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conflicts(Vec<Conflict>);

impl Conflicts {
    pub(super) fn of<'e>(found: impl IntoIterator<Item = (&'e Entry, FieldSet)>) -> Conflicts {
        let mut found: Vec<(&Entry, FieldSet)> = found.into_iter().collect();
        found.sort_by(|(a, _), (b, _)| a.identity().cmp(&b.identity()));
        let conflicts = found.into_iter().flat_map(|(entry, fields)| {
            let manager = shown(entry);
            fields.paths().into_iter().map(move |path| Conflict { manager: manager.clone(), path })
        });
        Conflicts(conflicts.collect())
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Conflict> {
        self.0.iter()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those that are not about a field of `allowed`.
    #[must_use]
    pub(super) fn beyond(&self, allowed: &FieldSet) -> Conflicts {
        Conflicts(self.0.iter().filter(|conflict| !allowed.has(&conflict.path.0)).cloned().collect())
    }
}

fn shown(entry: &Entry) -> String {
    let mut shown = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        shown.push_str(&format!(" with subresource {:?}", entry.subresource));
    }
    if entry.operation == Operation::Update {
        shown.push_str(&format!(" using {}", entry.api_version));
    }
    shown
}

impl fmt::Display for Conflicts {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = &self.0[..] {
            return write!(to, "Apply failed with 1 conflict: conflict with {}: {}", only.manager, only.path);
        }
        write!(to, "Apply failed with {} conflicts:", self.0.len())?;
        let mut last = None;
        for conflict in &self.0 {
            if last != Some(&conflict.manager) {
                let gap = if last.is_none() { ' ' } else { '\n' };
                write!(to, "{gap}conflicts with {}:", conflict.manager)?;
                last = Some(&conflict.manager);
            }
            write!(to, "\n- {}", conflict.path)?;
        }
        Ok(())
    }
}
