//! Who is at the other end of a connection, and how many bytes are held on its behalf.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One connection's client. Every request on the connection carries it.
#[derive(Debug)]
pub(super) struct Client {
    /// The common name of its certificate, unless that is empty.
    pub(super) name: Option<Arc<str>>,
    /// It has shown a certificate that is admitted. Who has not gets no further than the public pages.
    pub(super) is_admitted: bool,
    /// Requests that were read and are not answered.
    pub(super) unanswered: Arc<Budget>,
    /// Answers that were given and are not taken.
    pub(super) unread: Arc<Budget>,
}

/// Bytes that are held, in a client's name and its server's.
#[derive(Debug)]
pub(super) struct Budget {
    held: AtomicUsize,
    max: usize,
    parent: Option<Arc<Budget>>,
}

impl Budget {
    /// For the whole port.
    pub(super) fn of_server(max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), max, parent: None })
    }

    pub(super) fn of_client(max: usize, server: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), max, parent: Some(server.clone()) })
    }

    /// Whether more is held than may be, here or in the server.
    pub(super) fn is_exceeded(&self) -> bool {
        self.held() > self.max || self.parent.as_ref().is_some_and(|parent| parent.is_exceeded())
    }

    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.add(bytes);
        }
    }

    fn remove(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.parent {
            parent.remove(bytes);
        }
    }
}

/// Some bytes of a budget; given back when dropped.
#[derive(Debug)]
pub(super) struct Held {
    budget: Arc<Budget>,
    bytes: AtomicUsize,
}

impl Held {
    pub(super) fn new(budget: &Arc<Budget>, bytes: usize) -> Self {
        budget.add(bytes);
        Self { budget: budget.clone(), bytes: AtomicUsize::new(bytes) }
    }

    /// Holds this many from now on; false: that is more than there may be.
    pub(super) fn set(&self, bytes: usize) -> bool {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        if bytes >= before {
            self.budget.add(bytes - before);
        } else {
            self.budget.remove(before - bytes);
        }
        bytes <= before || !self.budget.is_exceeded()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.remove(self.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_client_holds_counts_for_the_server() {
        let server = Budget::of_server(100);
        let (one, other) = (Budget::of_client(80, &server), Budget::of_client(80, &server));
        let first = Held::new(&one, 0);
        assert!(first.set(80), "as much as a client may hold");
        assert!(!first.set(81), "and no more");
        let second = Held::new(&other, 0);
        assert!(!second.set(20), "the server holds 101");
        assert!(first.set(60), "holding less is never refused");
        assert!(second.set(30));
        drop((first, second));
        assert_eq!((one.held(), other.held(), server.held()), (0, 0, 0));
    }
}
