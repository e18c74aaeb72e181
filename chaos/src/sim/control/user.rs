//! A user of one API server: Deployments that are created, scaled, rolled and deleted faster than anybody can follow,
//! their pods deleted under them, their namespaces taken away.
//!
//! What is asked of Deployments is told to the history, and judged.

use std::sync::Arc;
use std::time::Duration;

use ::client::{Cache, HasMetadata, Transport};
use http_body_util::BodyExt as _;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};

use super::wire::Wire;
use crate::client::{TIMEOUT, marked, open_end, plain, understand};
use crate::dice::Dice;
use crate::history::{Event, Failure, Reply, Request, Verb};
use crate::sim::client::Seat;
use crate::sim::world::Phase;
use crate::workloads::deployment;

const WORKLOAD: &str = "deployments";
const PAUSE_MAX: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(5);
/// Beside the one that is always there, which nobody deletes.
const NAMESPACES: u64 = 2;
/// In each namespace.
const DEPLOYMENTS: u64 = 2;
const REPLICAS_MAX: u64 = 4;
const REQUESTS: (&str, &str) = ("500m", "64Mi");

pub(super) struct User {
    seat: Seat,
    wire: Arc<Wire>,
    pods: Cache<Pod>,
    dice: Dice,
    process: u32,
    writes: u64,
}

impl User {
    pub(super) fn new(seat: &Seat, wire: Arc<Wire>, pods: Cache<Pod>, dice: Dice) -> Self {
        let process = seat.world.record.process();
        Self { seat: seat.clone(), wire, pods, dice, process, writes: 0 }
    }

    pub(super) async fn work(mut self) {
        loop {
            sleep(self.dice.between(Duration::ZERO, PAUSE_MAX)).await;
            if *self.seat.world.phase.borrow() != Phase::Work {
                return;
            }
            match self.dice.below(20) {
                0..3 => self.delete_a_pod().await,
                3 => self.change_a_namespace().await,
                _ => self.change_a_deployment().await,
            }
        }
    }

    async fn delete_a_pod(&self) {
        let pods = self.pods.list();
        let Some(pod) = self.dice.pick(&pods) else { return };
        let key = format!("/registry/pods/{}/{}", pod.namespace(), pod.name());
        // Whether it worked is to be seen in what becomes of its owner.
        let _whatever = self.ask(&self.request(Verb::Delete, key, Value::Null)).await;
    }

    /// Makes it anew if it is not there.
    async fn change_a_namespace(&self) {
        let name = format!("team-{}", self.dice.below(NAMESPACES));
        let key = format!("/registry/namespaces/{name}");
        let deleted = self.ask(&self.request(Verb::Delete, key.clone(), Value::Null)).await;
        if is_missing(&deleted) {
            let namespace = json!({"metadata": {"name": name}});
            let _whatever = self.ask(&self.request(Verb::Create, key, namespace)).await;
        }
    }

    async fn change_a_deployment(&mut self) {
        let namespace = match self.dice.below(NAMESPACES + 1) {
            0 => "default".to_owned(),
            number => format!("team-{}", number - 1),
        };
        let name = format!("web-{}", self.dice.below(DEPLOYMENTS));
        let key = format!("/registry/deployments/{namespace}/{name}");
        let replicas = self.dice.below(REPLICAS_MAX + 1);
        let (verb, body) = match self.dice.below(10) {
            0 => (Verb::Delete, Value::Null),
            1..5 => {
                let roll = json!({"metadata": {"annotations": {"roll": self.next_mark()}}});
                (Verb::Patch, self.marked(json!({"spec": {"template": roll}})))
            }
            _ => (Verb::Patch, self.marked(json!({"spec": {"replicas": replicas}}))),
        };
        let changed = self.call(self.request(verb, key.clone(), body)).await;
        if is_missing(&changed) && verb != Verb::Delete {
            let made = self.marked(deployment(&name, replicas, REQUESTS));
            let made = self.call(self.request(Verb::Create, key, made)).await;
            if is_missing(&made) {
                let key = format!("/registry/namespaces/{namespace}");
                let namespace = json!({"metadata": {"name": namespace}});
                let _whatever = self.ask(&self.request(Verb::Create, key, namespace)).await;
            }
        }
    }

    fn next_mark(&self) -> String {
        format!("p{}-{}", self.process, self.writes + 1)
    }

    fn marked(&mut self, object: Value) -> Value {
        let mark = self.next_mark();
        self.writes += 1;
        marked(object, &mark)
    }

    fn request(&self, verb: Verb, key: String, body: Value) -> Request {
        let (member, workload) = (self.seat.member.clone(), WORKLOAD.to_owned());
        Request { member, workload, verb, key, body, expected: 0, fence: None }
    }

    /// Asks, and tells the history. After an unknown outcome this is another process.
    async fn call(&mut self, request: Request) -> Reply {
        let record = &self.seat.world.record;
        record.tell_of(self.process, Event::Request(request.clone()));
        let reply = self.ask(&request).await;
        record.tell_of(self.process, Event::Reply { reply: reply.clone() });
        if matches!(reply, Reply::Unknown(_)) {
            self.process = record.process();
        }
        reply
    }

    async fn ask(&self, request: &Request) -> Reply {
        match timeout(PATIENCE, self.exchange(request)).await {
            Ok(reply) => reply,
            Err(_) => open_end(request, TIMEOUT, "no answer".to_owned()),
        }
    }

    async fn exchange(&self, request: &Request) -> Reply {
        let unsent = |why: String| Reply::Refused(Failure { code: "Unsent".to_owned(), message: why });
        let asked = match plain(request) {
            Ok(asked) => asked,
            Err(error) => return unsent(error.to_string()),
        };
        let answered = match self.wire.call(asked).await {
            Ok(answered) => answered,
            Err(error) => return open_end(request, "Broken", error.to_string()),
        };
        let status = answered.status().as_u16();
        match answered.into_body().collect().await {
            Ok(body) => understand(request, status, &body.to_bytes()),
            Err(error) => open_end(request, "Broken", error.to_string()),
        }
    }
}

fn is_missing(reply: &Reply) -> bool {
    matches!(reply, Reply::Refused(failure) if failure.code == "NotFound")
}
