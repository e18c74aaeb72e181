//! Where items stand in a merged list, as Kubernetes orders them.
//!
//! Items that the patch names keep the patch's relative order, the others keep the server's; where both orders know a
//! pair the server's decides, else the patch's item comes first.

use serde_json::Value;

/// What tells the items of a list apart: a field of theirs, or the item itself.
#[derive(Clone, Copy)]
pub(super) enum Identity<'k> {
    Key(&'k str),
    Whole,
}

impl Identity<'_> {
    pub(super) fn of<'v>(&self, item: &'v Value) -> Option<&'v Value> {
        match self {
            Identity::Key(key) => item.get(*key),
            Identity::Whole => Some(item),
        }
    }

    pub(super) fn position(&self, list: &[Value], of: &Value) -> Option<usize> {
        let wanted = self.of(of)?;
        list.iter().position(|item| self.of(item) == Some(wanted))
    }
}

/// Orders `merged`, given the order that the patch asks for and the order that the server had.
pub(super) fn arrange(
    merged: Vec<Value>,
    asked: &[Value],
    server: &[Value],
    identity: Identity<'_>,
) -> Vec<Value> {
    let (mut named, mut others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| identity.position(asked, item).is_some());
    named.sort_by_key(|item| identity.position(asked, item).unwrap_or(usize::MAX));
    others.sort_by_key(|item| identity.position(server, item).unwrap_or(usize::MAX));
    let mut arranged = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for item in named {
        let place = identity.position(server, &item);
        while let Some(other) = others.next_if(|other| {
            matches!((identity.position(server, other), place), (Some(left), Some(right)) if left < right)
        }) {
            arranged.push(other);
        }
        arranged.push(item);
    }
    arranged.extend(others);
    arranged
}
