//! What is replicated beside keys: in the end all members say the same of users, roles and alarms, and what was answered
//! to be there, or not, is so.

use std::collections::BTreeMap;

use super::Input;
use super::tally::Tally;
use crate::history::{Event, Heard, Sight};
use crate::verdict::Finding;

/// `accounts-agree` and `accounts-kept`, of runs with such changes.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    let sights = || {
        (0..).zip(input.history.lines()).filter_map(|(number, line)| match &line.event {
            Event::Sight(sight) => Some((number, sight)),
            _ => None,
        })
    };
    if !sights().any(|(_, sight)| matches!(sight, Sight::Changed { .. })) {
        return Vec::new();
    }
    let known = known(sights());
    let (mut agree, mut kept) = (Tally::of("accounts-agree"), Tally::of("accounts-kept"));
    let mut first: Option<(u64, &str, &[String])> = None;
    for (line, sight) in sights() {
        let Sight::Accounts { member, told } = sight else { continue };
        match first {
            None => first = Some((line, member, told)),
            Some((first_line, other, theirs)) => agree.hold(theirs == told, || {
                let odd: Vec<&String> = told
                    .iter()
                    .filter(|one| !theirs.contains(one))
                    .chain(theirs.iter().filter(|one| !told.contains(one)))
                    .collect();
                (format!("{other} and {member} do not agree on {odd:?}"), vec![first_line, line])
            }),
        }
        for (subject, (exists, since)) in &known {
            let Some(exists) = exists else { continue };
            kept.hold(told.contains(subject) == *exists, || {
                let should = if *exists { "should be there" } else { "should be gone" };
                (format!("by {member}, «{subject}» is not as it was left: it {should}"), vec![*since, line])
            });
        }
    }
    vec![agree.finish(), kept.finish()]
}

type Known = BTreeMap<String, (Option<bool>, u64)>;

/// Of each subject, whether it is there, if anybody knows, and the line that says so last.
fn known<'a>(sights: impl Iterator<Item = (u64, &'a Sight)>) -> Known {
    let mut known = Known::new();
    for (line, sight) in sights {
        let Sight::Changed { subject, exists, heard } = sight else { continue };
        match heard {
            // Whoever could not be told anything may still get it done, at any time.
            Heard::Nothing => {
                known.insert(subject.clone(), (None, line));
                if !exists {
                    each_part(&mut known, subject, |state| *state = (None, line));
                }
            }
            Heard::Refusal => {}
            Heard::Yes => {
                let is_open = known.get(subject).is_some_and(|(state, _)| state.is_none());
                if !is_open || is_of_all(subject) {
                    known.insert(subject.clone(), (Some(*exists), line));
                }
                if !exists {
                    each_part(&mut known, subject, |state| {
                        if state.0.is_some() {
                            *state = (Some(false), line);
                        }
                    });
                }
            }
        }
    }
    // Both are asked for by several, and turned off at the end by one who insists.
    known.retain(|subject, _| !is_of_all(subject));
    known
}

fn is_of_all(subject: &str) -> bool {
    !subject.contains(' ')
}

/// What goes when the subject goes: a user's roles, a role's permissions and holders.
fn each_part(known: &mut Known, subject: &str, change: impl Fn(&mut (Option<bool>, u64))) {
    let (inside, held) = (format!("{subject} "), format!(" has {subject}"));
    for (part, state) in known.iter_mut() {
        if part.starts_with(&inside) || part.ends_with(&held) {
            change(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::script::Script;

    fn verdicts(changes: &[(&str, bool, Heard)], told: &[&[&str]]) -> String {
        let mut script = Script::begin();
        for (subject, exists, heard) in changes {
            let (subject, exists, heard) = ((*subject).to_owned(), *exists, *heard);
            script.event(0, Event::Sight(Sight::Changed { subject, exists, heard }));
        }
        for (member, told) in ["n1", "n2", "n3"].iter().zip(told) {
            let told = told.iter().map(|one| (*one).to_owned()).collect();
            script.event(0, Event::Sight(Sight::Accounts { member: (*member).to_owned(), told }));
        }
        let findings = findings(&Input::new(&script.history()));
        let one = |finding: &Finding| format!("{} {:?}", finding.property, finding.verdict());
        findings.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    const PASS: &str = "accounts-agree Pass, accounts-kept Pass";

    #[test]
    fn members_that_do_not_agree_are_found() {
        let one = [("user a", true, Heard::Yes)];
        assert_eq!(verdicts(&one, &[&["user a"], &["user a"]]), PASS);
        let other = &["user a", "user b"][..];
        assert_eq!(verdicts(&one, &[&["user a"], other]), "accounts-agree Fail, accounts-kept Pass");
        assert_eq!(verdicts(&one, &[]), "accounts-agree Inconclusive, accounts-kept Inconclusive");
    }

    #[test]
    fn what_was_answered_stays() {
        let two =
            |told| verdicts(&[("user a", true, Heard::Yes), ("user b", true, Heard::Refusal)], &[told, told]);
        assert_eq!(two(&["user a"]), PASS);
        assert_eq!(two(&[]), "accounts-agree Pass, accounts-kept Fail");
        let gone = [("user a", true, Heard::Yes), ("user a", false, Heard::Yes)];
        assert_eq!(verdicts(&gone, &[&["user a"], &["user a"]]), "accounts-agree Pass, accounts-kept Fail");
        assert_eq!(verdicts(&gone, &[&[], &[]]), PASS);
    }

    #[test]
    fn what_nobody_knows_is_not_judged() {
        let open = [("user a", true, Heard::Nothing), ("user b", true, Heard::Yes)];
        assert_eq!(verdicts(&open, &[&["user b"], &["user b"]]), PASS);
        assert_eq!(verdicts(&open, &[&["user a", "user b"], &["user a", "user b"]]), PASS);
    }

    #[test]
    fn who_goes_takes_what_hangs_on_him() {
        let changes = |heard| {
            [
                ("user a", true, Heard::Yes),
                ("user b", true, Heard::Yes),
                ("role r", true, Heard::Yes),
                ("user a has role r", true, Heard::Yes),
                ("user b has role r", true, Heard::Yes),
                ("role r", false, heard),
            ]
        };
        let (left, all) =
            (&["user a", "user b"][..], &["role r", "user a", "user a has role r", "user b"][..]);
        assert_eq!(verdicts(&changes(Heard::Yes), &[left, left]), PASS);
        assert_eq!(verdicts(&changes(Heard::Yes), &[all, all]), "accounts-agree Pass, accounts-kept Fail");
        assert_eq!(verdicts(&changes(Heard::Nothing), &[all, all]), PASS);
    }
}
