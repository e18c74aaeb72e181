//! A few ConfigMaps that everybody writes. Each worker counts its writes in a field of its own, so that a lost update
//! shows; some updates are based on what was read long ago, and must be refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::Worker;
use crate::client::{Api, Ask, marked};
use crate::dice::Dice;
use crate::history::{Reply, Verb, version};

pub(super) const COUNT: u64 = 4;

pub(super) struct Editor {
    dice: Dice,
    number: u64,
    namespace: Arc<str>,
    writes: u64,
    /// As this worker has seen them last.
    known: BTreeMap<String, Value>,
}

impl Worker<Api> for Editor {
    async fn step(&mut self, api: &mut Api) -> bool {
        let which = self.dice.below(COUNT);
        let (name, key) = (name(which), key(&self.namespace, which));
        let ask = match (self.dice.below(20), self.known.get(&key).cloned()) {
            (0..6, _) => Ask::new(Verb::Get, &key),
            (6..9, _) => Ask::new(Verb::Patch, &key).with(self.write(json!({}))),
            (9, Some(known)) => Ask::new(Verb::Delete, &key).at(version(&known)),
            (10, Some(_)) => Ask::new(Verb::Delete, &key),
            (_, Some(known)) => {
                let at = version(&known);
                Ask::new(Verb::Update, &key).with(self.write(known)).at(at)
            }
            (_, None) => Ask::new(Verb::Create, &key).with(self.write(json!({"metadata": {"name": name}}))),
        };
        let (verb, stays) = (ask.verb, self.dice.percent(40));
        match api.call(ask).await {
            Reply::Ok { object } if verb != Verb::Delete => {
                self.known.insert(key, object);
                true
            }
            Reply::Ok { .. } => self.known.remove(&key).is_some(),
            // What lost is read anew, or tried again as it was: it must lose again.
            Reply::Refused(failure) => {
                match failure.code.as_str() {
                    "AlreadyExists" => {
                        self.known.extend(api.ask(Ask::new(Verb::Get, &key)).await.map(|o| (key, o)))
                    }
                    "Conflict" if stays => {}
                    "Conflict" | "NotFound" => drop(self.known.remove(&key)),
                    _ => return false,
                }
                true
            }
            Reply::Unknown(_) => false,
        }
    }
}

impl Editor {
    pub(super) fn new(number: u64, dice: Dice, namespace: &Arc<str>) -> Self {
        Self { dice, number, namespace: Arc::clone(namespace), writes: 0, known: BTreeMap::new() }
    }

    /// One more write of this worker, on top of what is there.
    fn write(&mut self, mut object: Value) -> Value {
        self.writes += 1;
        object["data"][format!("w{}", self.number)] = self.writes.to_string().into();
        marked(object, &format!("objects-{}-{}", self.number, self.writes))
    }
}

fn name(which: u64) -> String {
    format!("chaos-{which}")
}

/// Where the store keeps one of them.
pub(super) fn key(namespace: &str, which: u64) -> String {
    format!("/registry/configmaps/{namespace}/{}", name(which))
}
