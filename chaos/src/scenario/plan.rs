//! What will be done when: from a scenario and a seed, or from what an earlier run did.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Blow, Plague, Scenario};
use crate::dice::Dice;
use crate::faults::Fault;

/// Everything that decides a run but the answers it gets. As JSON it is a run's `schedule.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub scenario: String,
    pub seed: u64,
    /// How long faults go on.
    pub safety_ms: u64,
    /// In the order in which they begin.
    pub strikes: Vec<Strike>,
}

/// One fault. Times count from the beginning of the safety phase.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strike {
    pub at_ms: u64,
    pub lasts_ms: u64,
    #[serde(flatten)]
    pub stroke: Stroke,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stroke {
    /// `throw` chooses where the aim leaves a choice.
    Aimed {
        blow: Blow,
        throw: u64,
    },
    Exact {
        fault: Fault,
    },
}

impl Plan {
    /// The same for the same seed.
    pub fn new(scenario: &Scenario, seed: u64, safety_ms: u64) -> Self {
        let mut strikes = if scenario.together {
            let one = |(number, plague): (usize, &Plague)| {
                turns(std::slice::from_ref(plague), &Dice::of(seed, "plague", number as u64), safety_ms)
            };
            scenario.plagues.iter().enumerate().flat_map(one).collect()
        } else {
            turns(scenario.plagues, &Dice::of(seed, "plagues", 0), safety_ms)
        };
        strikes.sort_by_key(|strike: &Strike| strike.at_ms);
        Self { scenario: scenario.name.to_owned(), seed, safety_ms, strikes }
    }

    /// As people read it.
    pub fn tell(&self) -> String {
        let mut text =
            format!("{} with seed {}: {} s of faults\n", self.scenario, self.seed, self.safety_ms / 1000);
        for strike in &self.strikes {
            let what = match &strike.stroke {
                Stroke::Aimed { blow, throw } => format!("{blow:?} (throw {})", throw % 100),
                Stroke::Exact { fault } => format!("{} {}", fault.kind(), fault.target().join(" ")),
            };
            let (at_s, lasts_s) = (strike.at_ms as f64 / 1000.0, strike.lasts_ms as f64 / 1000.0);
            // Writing to a string cannot fail.
            let _written = writeln!(text, "t+{at_s:6.1}s  for {lasts_s:5.1}s  {what}");
        }
        text
    }
}

/// One after the other, each time one of them, as many as end in time.
fn turns(plagues: &[Plague], dice: &Dice, safety_ms: u64) -> Vec<Strike> {
    let between = |(least, most): (u64, u64)| least + dice.below(most.saturating_sub(least) + 1);
    let mut strikes = Vec::new();
    let mut now_ms = 0;
    let mut rest = Vec::new();
    loop {
        // Each comes once before one comes again: a short run has seen all of them.
        if rest.is_empty() {
            rest = plagues.to_vec();
            dice.shuffle(&mut rest);
        }
        let Some(plague) = rest.pop() else { return strikes };
        let at_ms = now_ms + between(plague.pause_ms);
        let lasts_ms = between(plague.lasts_ms);
        if at_ms + lasts_ms > safety_ms {
            return strikes;
        }
        let stroke = Stroke::Aimed { blow: plague.blow, throw: dice.u64() };
        strikes.push(Strike { at_ms, lasts_ms, stroke });
        now_ms = at_ms + lasts_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::super::ALL;
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_plan_and_another_seed_another() {
        for scenario in ALL.iter().filter(|scenario| !scenario.plagues.is_empty()) {
            let plan = |seed| Plan::new(scenario, seed, 60_000);
            assert_eq!(plan(42), plan(42));
            assert_ne!(plan(42).strikes, plan(43).strikes, "{}", scenario.name);
            let text = serde_json::to_string(&plan(42)).unwrap();
            assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan(42));
        }
    }

    #[test]
    fn a_plan_of_the_usual_length_holds_what_the_scenario_requires() {
        for scenario in ALL {
            for seed in 0..20 {
                let plan = Plan::new(scenario, seed, scenario.seconds * 1000);
                for plague in scenario.plagues {
                    let kind = plague.blow.kind();
                    let of_kind = |strike: &&Strike| matches!(strike.stroke, Stroke::Aimed { blow, .. } if blow.kind() == kind);
                    let planned = plan.strikes.iter().filter(of_kind).count() as u64;
                    assert!(
                        planned >= scenario.require.faults,
                        "{} with seed {seed} has {planned} of kind {kind}",
                        scenario.name
                    );
                }
                assert!(plan.strikes.iter().all(|strike| strike.at_ms + strike.lasts_ms <= plan.safety_ms));
            }
        }
    }
}
