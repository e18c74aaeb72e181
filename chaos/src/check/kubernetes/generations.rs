//! I12: what a controller says it has seen never goes back, and never runs ahead of what there is.

use super::{Invariant, Step};
use crate::check::tally::Tally;

#[derive(Default)]
pub(super) struct Observed;

impl Invariant for Observed {
    fn property(&self) -> &'static str {
        "observed-generation"
    }

    fn see(&mut self, step: &Step<'_>, tally: &mut Tally) {
        for one in &step.moves {
            let Some(after) = &one.after else { continue };
            let observed = after.number("/status/observedGeneration");
            let generation = after.number("/metadata/generation");
            if observed.is_none() && generation.is_none() {
                continue;
            }
            let before = one.before.as_ref().filter(|before| before.uid() == after.uid());
            let earlier = |pointer: &str| before.and_then(|before| before.number(pointer));
            let wrong = if earlier("/status/observedGeneration") > observed {
                Some(format!("{} has observed generation {observed:?} after a later one", one.key))
            } else if earlier("/metadata/generation") > generation {
                Some(format!("{} went back to generation {generation:?}", one.key))
            } else if observed > generation {
                Some(format!("{} has observed generation {observed:?} of {generation:?}", one.key))
            } else {
                None
            };
            step.test(tally, wrong);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::script::Log;

    const KEY: &str = "/registry/deployments/default/web";

    fn deployment(generation: i64, observed: i64) -> Value {
        json!({
            "metadata": {"uid": "d1", "generation": generation},
            "status": {"observedGeneration": observed},
        })
    }

    fn log(states: &[(i64, i64)]) -> Log {
        let mut log = Log::default();
        log.put(KEY, &json!({"metadata": {"uid": "d1", "generation": 1}}));
        for (generation, observed) in states {
            log.put(KEY, &deployment(*generation, *observed));
        }
        log
    }

    #[test]
    fn generations_that_count_up_pass() {
        let mut log = log(&[(1, 1), (2, 1), (2, 2), (3, 2)]);
        log.passes("observed-generation");
        log.delete(KEY);
        log.put(KEY, &json!({"metadata": {"uid": "d2", "generation": 1}}));
        log.passes("observed-generation");
    }

    #[test]
    fn an_observation_that_goes_back_fails() {
        log(&[(3, 3), (3, 2)]).fails("observed-generation", "after a later one");
    }

    #[test]
    fn a_generation_that_goes_back_fails() {
        log(&[(3, 1), (2, 1)]).fails("observed-generation", "went back");
    }

    #[test]
    fn an_observation_of_the_future_fails() {
        log(&[(2, 3)]).fails("observed-generation", "has observed generation Some(3) of Some(2)");
    }
}
