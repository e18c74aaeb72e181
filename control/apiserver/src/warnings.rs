//! What a request is warned of on its way, each thing once: `Warning` headers of its answer.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Grows while a call is served; a step that is tried again says the same again.
#[derive(Default)]
pub(crate) struct Warnings(Mutex<Said>);

#[derive(Default)]
struct Said {
    texts: Vec<String>,
    known: BTreeSet<String>,
}

impl Warnings {
    pub(crate) fn say(&self, text: String) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.known.insert(text.clone()) {
            said.texts.push(text);
        }
    }

    pub(crate) fn say_all(&self, texts: impl IntoIterator<Item = String>) {
        texts.into_iter().for_each(|text| self.say(text));
    }

    /// All that was said, in order.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner)).texts
    }
}
