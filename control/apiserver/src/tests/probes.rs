//! What a real server was asked, asked of ours: its answers stand in `probes/*.txt`, recorded from kube-apiserver 1.36
//! for custom kinds and from 1.20 for ConfigMaps, there with 1.36's words where both were asked the same.
//!
//! A probe is `# name`, `> METHOD URI`, `> Header: value`, `>> a line of the body`, `< what the answer is`, and
//! `! why ours differs`, if it does. `$p1` is that object as it stands, `$p1.revision` its resource version,
//! `$revision` that of the collection. Of an answer are written: its code with reason and message, or kind and name;
//! `details` and each `cause` of a Status (`...` where the recording was cut); `field PATH=JSON` for what matters of an
//! object, `same PATH` for what the answer before had, too; `event TYPE NAME` for all that a watch told.

use kinds::tree;
use serde_json::{Value, json};

use super::bench::{Answer, Bench};
use crate::custom::tests::{define, foo};

#[tokio::test]
async fn config_maps_answer_as_theirs_do() {
    let bench = Bench::start().await;
    check(&bench, include_str!("probes/config_maps.txt"), "/api/v1/namespaces/default/configmaps").await;
}

#[tokio::test]
async fn custom_objects_answer_as_theirs_do() {
    let bench = Bench::start().await;
    define(&bench, "POST", &foo()).await;
    check(&bench, include_str!("probes/foos.txt"), "/apis/lab.io/v1/namespaces/default/foos").await;
}

/// Asks everything, in order. What differs without a reason given fails, and so does a reason for what is alike.
async fn check(bench: &Bench, probes: &str, collection: &str) {
    let probes: Vec<Probe<'_>> = probes.split("\n\n").map(Probe::parse).collect();
    let (mut wrong, mut before) = (String::new(), Value::Null);
    for probe in &probes {
        let replay = Replay::prepare(bench, collection).await;
        let answer = replay.ask(probe).await;
        let told = replay.tell(&answer, probe, &before);
        before = answer.json();
        let expected: Vec<String> = probe.expected.iter().map(|line| replay.fill(line)).collect();
        if (told == expected) == probe.differs.is_some() {
            wrong.push_str(&format!(
                "# {}\n  expected{}\n    {}\n  told\n    {}\n",
                probe.name,
                probe.differs.map(|why| format!(" to differ, {why}")).unwrap_or_default(),
                expected.join("\n    "),
                told.join("\n    "),
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    let alike = probes.iter().filter(|probe| probe.differs.is_none()).count();
    assert!(alike * 100 >= probes.len() * 95, "{alike} of {} are as a real server's", probes.len());
}

struct Probe<'t> {
    name: &'t str,
    method: &'t str,
    uri: &'t str,
    headers: Vec<(&'t str, &'t str)>,
    body: String,
    expected: Vec<&'t str>,
    differs: Option<&'t str>,
}

impl<'t> Probe<'t> {
    fn parse(stanza: &'t str) -> Self {
        let starting = |start: &'static str| stanza.lines().filter_map(move |line| line.strip_prefix(start));
        let mut asked = starting("> ");
        let (method, uri) = asked.next().and_then(|line| line.split_once(' ')).expect("what is asked");
        Self {
            name: starting("# ").next().expect("a name"),
            method,
            uri,
            headers: asked.map(|line| line.split_once(": ").expect("a header")).collect(),
            body: starting(">> ").collect::<Vec<_>>().join("\n"),
            expected: starting("< ").collect(),
            differs: starting("! ").next(),
        }
    }
}

/// One probe's server, and what the object of the probes is before it.
struct Replay<'b> {
    bench: &'b Bench,
    p1: Value,
    revision: String,
}

impl<'b> Replay<'b> {
    async fn prepare(bench: &'b Bench, collection: &str) -> Self {
        let p1 = bench.get(&format!("{collection}/p1")).await;
        let list = bench.get(&format!("{collection}?limit=1")).await;
        Self { bench, p1, revision: tree::text(&list, "metadata.resourceVersion").to_owned() }
    }

    async fn ask(&self, probe: &Probe<'_>) -> Answer {
        let body = self.fill(&probe.body).into_bytes();
        self.bench.send_with(probe.method, &self.fill(probe.uri), &probe.headers, body).await
    }

    fn fill(&self, text: &str) -> String {
        text.replace("$p1.revision", tree::text(&self.p1, "metadata.resourceVersion"))
            .replace("$p1", &self.p1.to_string())
            .replace("$revision", &self.revision)
    }

    /// The answer, said in lines of the kinds that are expected.
    fn tell(&self, answer: &Answer, probe: &Probe<'_>, before: &Value) -> Vec<String> {
        let json = answer.json();
        let mut lines = vec![self.mask(&head(answer).replace('\n', "\\n"))];
        if probe.expected.iter().any(|line| line.starts_with("details ")) {
            lines.extend(details(&json["details"]).iter().map(|line| self.mask(line)));
        }
        for line in &probe.expected[1..] {
            if let Some((path, _)) = line.strip_prefix("field ").and_then(|field| field.split_once('=')) {
                lines.push(self.mask(&format!("field {path}={}", at(&json, path))));
            } else if let Some(path) = line.strip_prefix("same ") {
                let is_same = at(&json, path) == at(before, path);
                lines.push(format!("{} {path}", if is_same { "same" } else { "other" }));
            }
        }
        if head(answer) == "200 watch" {
            lines.extend(answer.text.lines().filter_map(event).map(|line| self.mask(&line)));
        }
        if probe.expected.last() == Some(&"...") {
            lines.truncate(probe.expected.len() - 1);
            lines.push("...".to_owned());
        }
        lines
    }

    /// What is another in each run becomes a word.
    fn mask(&self, line: &str) -> String {
        let uid = tree::text(&self.p1, "metadata.uid");
        let own = tree::text(&self.p1, "metadata.resourceVersion");
        let mut line = line.replace("2026-11-21T00:00:00Z", "TIME");
        if !uid.is_empty() {
            line = line.replace(uid, "UID").replace(&format!("record ({own})"), "record (N)");
        }
        line = line.replace(&format!("current: {}", self.revision), "current: N");
        match line.find("gen-") {
            Some(at) if line.len() >= at + 9 => format!("{}gen-.....{}", &line[..at], &line[at + 9..]),
            _ => line,
        }
    }
}

/// `200 watch` for a stream of events, `200 application/yaml`, else as [`Answer::line`] has it; a name that is a number
/// of letters of chance is left to [`Replay::mask`].
fn head(answer: &Answer) -> String {
    let json = answer.json();
    let content =
        answer.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    match tree::text(&json, "kind") {
        "" if answer.text.starts_with("{\"type\":") || (answer.code == 200 && answer.text.is_empty()) => {
            format!("{} watch", answer.code)
        }
        "" if content.ends_with("yaml") => format!("{} {content}", answer.code),
        "Status" if tree::text(&json, "status") == "Success" => format!("{} Success", answer.code),
        _ => answer.line(),
    }
}

/// The details of a Status without its causes, then these.
fn details(details: &Value) -> Vec<String> {
    let mut plain = serde_json::Map::new();
    for name in ["name", "group", "kind", "uid", "retryAfterSeconds"] {
        if let Some(value) = details.get(name) {
            plain.insert(name.to_owned(), value.clone());
        }
    }
    let mut lines = vec![format!("details {}", Value::Object(plain))];
    for cause in details["causes"].as_array().into_iter().flatten() {
        let (reason, field) = (tree::text(cause, "reason"), tree::text(cause, "field"));
        lines.push(format!("cause {reason} {field}: {}", tree::text(cause, "message")).replace('\n', "\\n"));
    }
    lines
}

/// One event in short; none of a bookmark that only tells how far the watch is.
fn event(line: &str) -> Option<String> {
    let event: Value = serde_json::from_str(line).unwrap_or_default();
    let (kind, name) = (tree::text(&event, "type"), tree::text(&event, "object.metadata.name"));
    let annotations = tree::get(&event, "object.metadata.annotations");
    match (kind, annotations.is_null()) {
        ("BOOKMARK", true) => None,
        ("BOOKMARK", false) => Some(format!("event {kind} {annotations}")),
        _ => Some(format!("event {kind} {name}")),
    }
}

/// `a.b[0].c`, null if there is none; its keys are sorted, for their order says nothing.
fn at(value: &Value, path: &str) -> Value {
    let pointer = format!("/{}", path.replace(']', "").replace(['.', '['], "/"));
    let mut found = value.pointer(&pointer).cloned().unwrap_or(json!(null));
    found.sort_all_objects();
    found
}
