//! A server whose log nobody takes goes on answering: whoever logs waits for nobody (etcd issue 22214).

use super::Input;
use super::tally::Tally;
use crate::verdict::Finding;

const FAULT: &str = "block-log";
/// With fewer calls nothing can be said.
const ASKED_MIN: usize = 10;

/// `held-up-serves`, of runs in which that happened to somebody who was asked meanwhile.
pub fn findings(input: &Input<'_>) -> Vec<Finding> {
    let mut tally = Tally::of("held-up-serves");
    for course in input.history.faults().iter().filter(|course| course.fault.kind == FAULT) {
        let Some(from) = course.installed() else { continue };
        let until = course.healed().map_or(u64::MAX, |healed| healed.at);
        let meanwhile = || {
            input.operations.iter().filter(|operation| {
                course.fault.target.iter().any(|member| *member == operation.member)
                    && operation.invoked.at > from.at
                    && operation.returned.is_none_or(|returned| returned.at < until)
                    && operation.invoked.at < until
            })
        };
        let asked = meanwhile().count();
        if asked < ASKED_MIN {
            continue;
        }
        let answered = meanwhile().filter(|operation| operation.ok().is_some()).count();
        tally.hold(2 * answered >= asked, || {
            let members = course.fault.target.join(", ");
            let what = format!("{members} answered {answered} of {asked} calls while nobody took its log");
            (what, vec![from.line])
        });
    }
    Some(tally.finish()).filter(|finding| finding.checked > 0).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Step;
    use crate::history::script::{Script, get};

    fn verdict(answers: bool, asked: usize) -> Vec<String> {
        let mut script = Script::begin();
        script.fault(1, FAULT, "n1", Step::Installed { evidence: String::new() });
        for process in 1..=asked as u32 {
            match answers {
                true => {
                    script.run(process, get("a"));
                }
                false => {
                    script.call(process, get("a"));
                    script.refused(process, "Timeout", "no answer");
                }
            }
        }
        script.fault(1, FAULT, "n1", Step::Healed { evidence: String::new() });
        let findings = findings(&Input::new(&script.history()));
        findings.iter().map(|finding| format!("{:?}", finding.verdict())).collect()
    }

    #[test]
    fn who_answers_nothing_meanwhile_is_held_up() {
        assert_eq!(verdict(true, 12), ["Pass"]);
        assert_eq!(verdict(false, 12), ["Fail"]);
        assert_eq!(verdict(false, 2), [""; 0], "too few to say");
    }
}
