//! What witnesses saw who stand in containers, and trust no part of the system: who of one identity runs twice at once.
//!
//! A witness takes the lock of its identity, which the kernel gives back when its container is gone, and writes lines to a
//! file that all of them share:
//!
//! ```text
//! start IDENTITY UID NODE BOOT RUN NS      it has the lock
//! stop IDENTITY UID NODE BOOT RUN NS       it is about to give it back
//! refused IDENTITY UID NODE BOOT RUN NS    somebody else has it, at this moment
//! ```
//!
//! `RUN` is another in every container, `NS` a time of the machine's monotonic clock; of times, only those of one `BOOT`
//! are compared. Who is killed writes no end.

use std::collections::BTreeMap;

use crate::check::tally::Tally;
use crate::verdict::Finding;

/// One container's life.
#[derive(Debug)]
struct Run<'a> {
    identity: &'a str,
    uid: &'a str,
    node: &'a str,
    boot: &'a str,
    start_ns: u64,
    line: u64,
    /// Its line, and its time.
    stop: Option<(u64, u64)>,
}

/// As it is written.
struct Word<'a> {
    kind: &'a str,
    identity: &'a str,
    uid: &'a str,
    node: &'a str,
    boot: &'a str,
    run: &'a str,
    ns: u64,
}

/// Everything that is in a file of witnesses.
#[derive(Debug, Default)]
pub struct Testimony<'a> {
    /// In the order in which they began.
    runs: Vec<Run<'a>>,
    /// Who found its lock taken, in words, and the line.
    refused: Vec<(String, u64)>,
    /// Lines that nobody can have written who is a witness.
    strange: Vec<(String, u64)>,
}

impl<'a> Testimony<'a> {
    /// A last line without an end is of somebody who was killed while writing.
    pub fn read(text: &'a str) -> Self {
        let mut testimony = Self::default();
        let mut by_run: BTreeMap<&str, usize> = BTreeMap::new();
        for (line, said) in (0..).zip(text.split_inclusive('\n').filter(|said| said.ends_with('\n'))) {
            let said = said.trim_end();
            let word = word(said);
            let known = word.as_ref().and_then(|word| by_run.get(word.run).copied());
            match (word, known) {
                (Some(word), None) if word.kind == "start" => {
                    by_run.insert(word.run, testimony.runs.len());
                    let Word { identity, uid, node, boot, ns, .. } = word;
                    testimony.runs.push(Run { identity, uid, node, boot, start_ns: ns, line, stop: None });
                }
                (Some(word), Some(run)) if word.kind == "stop" && testimony.runs[run].stop.is_none() => {
                    testimony.runs[run].stop = Some((line, word.ns));
                }
                (Some(word), None) if word.kind == "refused" => {
                    let what = format!("{} of pod {} on {}", word.identity, word.uid, word.node);
                    testimony.refused.push((what, line));
                }
                _ => testimony.strange.push((said.to_owned(), line)),
            }
        }
        testimony
    }

    /// The identity and the uid of every run, in the order in which they began.
    pub fn runs(&self) -> impl Iterator<Item = (&'a str, &'a str)> + '_ {
        self.runs.iter().map(|run| (run.identity, run.uid))
    }

    /// `witness-alone`: no identity ran twice at once. `witness-once`: no pod's container was started again.
    /// `witness-ended`: of every run it is known how it ended. Lines are those of the file, from zero.
    pub fn judge(&self) -> Vec<Finding> {
        let mut findings = vec![self.alone(), self.once(), self.ended()];
        for finding in &mut findings {
            if let Some((said, line)) = self.strange.first() {
                finding.inconclusive = Some(format!("line {line} is no witness's: {said}"));
            }
        }
        findings
    }

    fn alone(&self) -> Finding {
        let mut tally = Tally::of("witness-alone");
        for (who, line) in &self.refused {
            tally.hold(false, || (format!("{who} found another of its identity running"), vec![*line]));
        }
        let mut last: BTreeMap<&str, &Run<'_>> = BTreeMap::new();
        for run in &self.runs {
            let Some(before) = last.insert(run.identity, run) else {
                tally.hold(true, || unreachable!("it holds"));
                continue;
            };
            // Who wrote no end was killed, or the lock was no lock: then its end would be later.
            let ended = before.stop.map(|(line, ns)| (line, ns, before.boot == run.boot));
            let is_apart = ended.is_none_or(|(line, ns, is_one_boot)| {
                line < run.line && (!is_one_boot || ns <= run.start_ns)
            });
            tally.hold(is_apart, || {
                let what = format!(
                    "{} ran on {} for pod {}, and at the same time on {} for pod {}",
                    run.identity, before.node, before.uid, run.node, run.uid
                );
                let lines = [Some(before.line), Some(run.line), before.stop.map(|(line, _)| line)];
                (what, lines.into_iter().flatten().collect())
            });
        }
        tally.finish()
    }

    fn once(&self) -> Finding {
        let mut tally = Tally::of("witness-once");
        let mut first: BTreeMap<&str, u64> = BTreeMap::new();
        for run in &self.runs {
            let before = *first.entry(run.uid).or_insert(run.line);
            tally.hold(before == run.line, || {
                let what = format!("pod {} ({}) was started again on {}", run.uid, run.identity, run.node);
                (what, vec![before, run.line])
            });
        }
        tally.finish()
    }

    fn ended(&self) -> Finding {
        let mut tally = Tally::of("witness-ended");
        for run in &self.runs {
            tally.hold(run.stop.is_some(), || {
                let what = format!("nobody saw {} of pod {} end on {}", run.identity, run.uid, run.node);
                (what, vec![run.line])
            });
        }
        tally.finish()
    }
}

fn word(said: &str) -> Option<Word<'_>> {
    let parts: Vec<&str> = said.split(' ').collect();
    let [kind, identity, uid, node, boot, run, ns] = parts[..] else { return None };
    Some(Word { kind, identity, uid, node, boot, run, ns: ns.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Verdict;

    fn check(text: &str) -> String {
        let findings = Testimony::read(text).judge();
        let one = |finding: &Finding| {
            let name = finding.property.trim_start_matches("witness-");
            let first = finding.violations.first().map_or("", |violation| violation.what.as_str());
            format!("{name} {:?} {first}", finding.verdict()).trim_end().to_owned()
        };
        findings.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    /// Moved from one node to the other when it had ended.
    const MOVED: &str = "\
start w-0 u1 a b r1 100
stop w-0 u1 a b r1 200
start w-0 u2 c b r2 200
stop w-0 u2 c b r2 300
";

    #[test]
    fn who_moves_when_it_has_ended_is_alone() {
        assert_eq!(check(MOVED), "alone Pass; once Pass; ended Pass");
        assert_eq!(Testimony::read(MOVED).runs().collect::<Vec<_>>(), [("w-0", "u1"), ("w-0", "u2")]);
        let torn = format!("{MOVED}start w-0 u3 c");
        assert_eq!(check(&torn), "alone Pass; once Pass; ended Pass", "it was killed while writing");
    }

    #[test]
    fn two_runs_that_overlap_are_seen_by_the_lock_and_without_it() {
        let refused = "start w-0 u1 a b r1 100\nrefused w-0 u2 c b r2 150\nstop w-0 u1 a b r1 200\n";
        assert_eq!(
            check(refused),
            "alone Fail w-0 of pod u2 on c found another of its identity running; once Pass; ended Pass"
        );
        let both = "\
start w-0 u1 a b r1 100
start w-0 u2 c b r2 150
stop w-0 u1 a b r1 200
stop w-0 u2 c b r2 300
";
        let said = "alone Fail w-0 ran on a for pod u1, and at the same time on c for pod u2";
        assert!(check(both).starts_with(said), "{}", check(both));
        let early = MOVED.replace("r2 200", "r2 199");
        assert!(check(&early).starts_with(said), "{}", check(&early));
        let other_boot = early.replace("start w-0 u2 c b", "start w-0 u2 c b2");
        assert!(check(&other_boot).starts_with("alone Pass"), "clocks of two boots say nothing");
        let others = both.replace("w-0 u2", "w-1 u2");
        assert!(check(&others).starts_with("alone Pass"), "two identities");
    }

    #[test]
    fn who_is_started_again_or_never_ends_is_seen() {
        let again = MOVED.replace("u2", "u1");
        assert_eq!(check(&again), "alone Pass; once Fail pod u1 (w-0) was started again on c; ended Pass");
        let killed = "start w-0 u1 a b r1 100\n";
        assert_eq!(check(killed), "alone Pass; once Pass; ended Fail nobody saw w-0 of pod u1 end on a");
    }

    #[test]
    fn without_witnesses_nothing_is_proved() {
        for text in ["", "start w-0 u1 a b r1 100\nstop w-0 u1 a b r1 2oo\n", "stop w-0 u1 a b r1 100\n"] {
            for finding in Testimony::read(text).judge() {
                assert_ne!(finding.verdict(), Verdict::Pass, "{text}");
            }
        }
    }
}
