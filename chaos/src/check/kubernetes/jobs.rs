//! I3: a Job counts each completion once, and only what was completed.
//!
//! A Job whose creation the log does not show is passed over: its pods may have succeeded before the log begins.

use std::collections::{BTreeMap, BTreeSet};

use super::object::Object;
use super::{Invariant, Step};
use crate::check::tally::Tally;

const INDEX: &str = "/metadata/annotations/batch.kubernetes.io~1job-completion-index";

#[derive(Default)]
pub(super) struct CountedOnce {
    /// By uid of the Job.
    jobs: BTreeMap<String, Succeeded>,
}

/// The uids of pods that were ever seen to have succeeded, and the indexes that they completed.
#[derive(Default)]
struct Succeeded {
    pods: BTreeSet<String>,
    indexes: BTreeSet<i64>,
}

impl Invariant for CountedOnce {
    fn property(&self) -> &'static str {
        "job-completions"
    }

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally) {
        for one in &step.moves {
            let Some(object) = &one.after else { continue };
            if one.is_created && object.resource == "jobs" {
                self.jobs.insert(object.uid().to_owned(), Succeeded::default());
            }
            if object.is_pod() && object.text("/status/phase") == "Succeeded" {
                self.learn(object);
            }
        }
        for one in &step.moves {
            let Some(job) = one.after.as_ref().filter(|object| object.resource == "jobs") else { continue };
            let Some(succeeded) = self.jobs.get(job.uid()) else { continue };
            let before = one.before.as_deref().filter(|before| before.uid() == job.uid());
            let wrong = wrong(job, before, succeeded);
            step.test(tally, wrong.map(|what| format!("job {} {what}", job.shown())));
        }
    }
}

impl CountedOnce {
    fn learn(&mut self, pod: &Object<'_>) {
        let Some(job) = pod.controlled_by("Job").and_then(|uid| self.jobs.get_mut(uid)) else { return };
        job.pods.insert(pod.uid().to_owned());
        job.indexes.extend(pod.text(INDEX).parse::<i64>());
    }
}

fn wrong(job: &Object<'_>, before: Option<&Object<'_>>, seen: &Succeeded) -> Option<String> {
    let counted = job.number("/status/succeeded").unwrap_or(0);
    let before = before.and_then(|before| before.number("/status/succeeded")).unwrap_or(0);
    let real = i64::try_from(seen.pods.len()).unwrap_or(i64::MAX);
    let wanted = job.number("/spec/completions");
    if counted < before {
        return Some(format!("has counted {counted} completions after {before}"));
    }
    if counted > real {
        return Some(format!("has counted {counted} completions, of {real} pods that succeeded"));
    }
    if wanted.is_some_and(|wanted| counted > wanted) {
        return Some(format!("has counted {counted} completions, of {wanted:?}"));
    }
    if job.text("/spec/completionMode") == "Indexed" {
        return wrong_indexes(job, counted, seen);
    }
    let is_done = job.condition("Complete") == "True" && job.at("/spec/successPolicy").is_none();
    let lacks = wanted.filter(|wanted| is_done && counted < *wanted);
    lacks.map(|wanted| format!("is complete with {counted} completions of {wanted}"))
}

fn wrong_indexes(job: &Object<'_>, counted: i64, seen: &Succeeded) -> Option<String> {
    let text = job.text("/status/completedIndexes");
    let Some(indexes) = indexes(text) else { return Some(format!("has no indexes, but {text:?}")) };
    if i64::try_from(indexes.len()).ok() != Some(counted) {
        return Some(format!("has counted {counted} completions, and completed the indexes {text}"));
    }
    let strange = indexes.iter().find(|index| !seen.indexes.contains(index))?;
    Some(format!("has completed index {strange}, of which no pod succeeded"))
}

/// `0-2,5`: each once, upwards.
fn indexes(text: &str) -> Option<Vec<i64>> {
    let mut all: Vec<i64> = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        if all.last().is_some_and(|before| *before >= first) {
            return None;
        }
        all.extend(first..=last);
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::script::Log;
    use super::indexes;

    const JOB: &str = "/registry/jobs/default/sum";

    fn job(log: &mut Log, completions: i64, mode: &str, status: &Value) {
        let spec = json!({"completions": completions, "completionMode": mode});
        log.put(JOB, &json!({"metadata": {"uid": "j1"}, "spec": spec, "status": status}));
    }

    fn succeed(log: &mut Log, name: &str, index: &str) {
        let owner = json!({"kind": "Job", "uid": "j1", "controller": true});
        let annotations = json!({"batch.kubernetes.io/job-completion-index": index});
        let metadata = json!({"uid": name, "ownerReferences": [owner], "annotations": annotations});
        log.put(
            &format!("/registry/pods/default/{name}"),
            &json!({"metadata": metadata, "status": {"phase": "Succeeded"}}),
        );
    }

    #[test]
    fn completions_that_happened_pass() {
        let mut log = Log::default();
        job(&mut log, 2, "NonIndexed", &json!({}));
        succeed(&mut log, "a", "");
        job(&mut log, 2, "NonIndexed", &json!({"succeeded": 1}));
        log.delete("/registry/pods/default/a");
        succeed(&mut log, "b", "");
        let done = json!([{"type": "Complete", "status": "True"}]);
        job(&mut log, 2, "NonIndexed", &json!({"succeeded": 2, "conditions": done}));
        log.passes("job-completions");
    }

    #[test]
    fn a_completion_counted_twice_fails() {
        let mut log = Log::default();
        job(&mut log, 2, "NonIndexed", &json!({}));
        succeed(&mut log, "a", "");
        job(&mut log, 2, "NonIndexed", &json!({"succeeded": 2}));
        log.fails("job-completions", "counted 2 completions, of 1 pods");
    }

    #[test]
    fn a_completion_that_is_forgotten_fails() {
        let mut log = Log::default();
        job(&mut log, 2, "NonIndexed", &json!({}));
        succeed(&mut log, "a", "");
        job(&mut log, 2, "NonIndexed", &json!({"succeeded": 1}));
        job(&mut log, 2, "NonIndexed", &json!({"succeeded": 0}));
        log.fails("job-completions", "counted 0 completions after 1");
    }

    #[test]
    fn a_job_that_ends_too_soon_or_runs_too_far_fails() {
        let mut log = Log::default();
        job(&mut log, 2, "NonIndexed", &json!({}));
        let mut early = log.clone();
        let done = json!([{"type": "Complete", "status": "True"}]);
        job(&mut early, 2, "NonIndexed", &json!({"conditions": done}));
        early.fails("job-completions", "complete with 0 completions of 2");
        for name in ["a", "b", "c"] {
            succeed(&mut log, name, "");
        }
        job(&mut log, 2, "NonIndexed", &json!({"succeeded": 3}));
        log.fails("job-completions", "3 completions, of Some(2)");
    }

    #[test]
    fn indexes_are_counted_once_each() {
        let mut log = Log::default();
        job(&mut log, 3, "Indexed", &json!({}));
        succeed(&mut log, "a", "0");
        succeed(&mut log, "b", "2");
        job(&mut log, 3, "Indexed", &json!({"succeeded": 2, "completedIndexes": "0,2"}));
        log.passes("job-completions");
        let mut strange = log.clone();
        job(&mut strange, 3, "Indexed", &json!({"succeeded": 2, "completedIndexes": "0,1"}));
        strange.fails("job-completions", "completed index 1");
        succeed(&mut log, "again", "2");
        job(&mut log, 3, "Indexed", &json!({"succeeded": 3, "completedIndexes": "0,2"}));
        log.fails("job-completions", "counted 3 completions, and completed the indexes 0,2");
    }

    #[test]
    fn index_lists_are_read_as_jobs_write_them() {
        assert_eq!(indexes(""), Some(vec![]));
        assert_eq!(indexes("0-2,5"), Some(vec![0, 1, 2, 5]));
        assert_eq!(indexes("2,1"), None);
        assert_eq!(indexes("0,0"), None);
        assert_eq!(indexes("x"), None);
    }
}
