//! Deployments, each of one worker: created, scaled up in bursts, rolled before the last roll is over, deleted.

use serde_json::{Value, json};

use super::Worker;
use crate::client::{Api, Ask, marked};
use crate::dice::Dice;
use crate::history::{Reply, Verb};

/// Of each worker.
const COUNT: u64 = 2;
const REPLICAS_MAX: u64 = 10;
const REQUESTS: (&str, &str) = ("50m", "16Mi");

pub(super) struct Deployer {
    dice: Dice,
    number: u64,
    writes: u64,
}

impl Worker<Api> for Deployer {
    async fn step(&mut self, api: &mut Api) -> bool {
        let name = format!("chaos-{}-{}", self.number, self.dice.below(COUNT));
        let key = format!("/registry/deployments/default/{name}");
        let replicas = self.dice.below(REPLICAS_MAX + 1);
        let ask = match self.dice.below(20) {
            0..3 => Ask::new(Verb::Get, &key),
            3 => Ask::new(Verb::Delete, &key),
            4..12 => Ask::new(Verb::Patch, &key).with(self.marked(json!({"spec": {"replicas": replicas}}))),
            _ => {
                let roll =
                    json!({"spec": {"template": {"metadata": {"annotations": {"roll": self.next()}}}}});
                Ask::new(Verb::Patch, &key).with(self.marked(roll))
            }
        };
        match api.call(ask).await {
            Reply::Ok { .. } => true,
            Reply::Refused(failure) if failure.code == "NotFound" => {
                let made = self.marked(deployment(&name, replicas, REQUESTS));
                matches!(api.call(Ask::new(Verb::Create, &key).with(made)).await, Reply::Ok { .. })
            }
            Reply::Refused(_) | Reply::Unknown(_) => false,
        }
    }
}

impl Deployer {
    pub(super) fn new(number: u64, dice: Dice) -> Self {
        Self { dice, number, writes: 0 }
    }

    fn next(&self) -> String {
        format!("deployments-{}-{}", self.number, self.writes + 1)
    }

    fn marked(&mut self, object: Value) -> Value {
        let mark = self.next();
        self.writes += 1;
        marked(object, &mark)
    }
}

/// A Deployment of pods that each request so much.
pub(crate) fn deployment(name: &str, replicas: u64, (cpu, memory): (&str, &str)) -> Value {
    let container = json!({
        "name": "c",
        "image": "localhost/none:1",
        "resources": {"requests": {"cpu": cpu, "memory": memory}},
    });
    json!({
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    })
}
