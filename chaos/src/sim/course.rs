//! What is seen of Raft from outside while a run goes on: who leads in which term, and whom a leader serves.
//!
//! What a client may expect while some nodes are unwell is what Raft promises, and no more. A member that reaches
//! everybody but the leader, and a leader that keeps a majority without that member, is a healthy cluster: whoever asks
//! there waits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Who was seen to lead in each term.
#[derive(Default)]
pub(super) struct Leaders(BTreeMap<u64, BTreeSet<String>>);

impl Leaders {
    pub(super) fn note(&mut self, term: u64, leader: &str) {
        self.0.entry(term).or_default().insert(leader.to_owned());
    }

    pub(super) fn terms(&self) -> u64 {
        self.0.len() as u64
    }

    /// Terms with more than one leader.
    pub(super) fn contested(&self) -> Vec<String> {
        let contested = self.0.iter().filter(|(_, leaders)| leaders.len() > 1);
        contested.map(|(term, leaders)| format!("term {term} has been led by {leaders:?}")).collect()
    }
}

/// For how long members were within reach of a leader that has a majority.
#[derive(Default)]
pub(super) struct Reach {
    since: BTreeMap<usize, Duration>,
    longest: BTreeMap<usize, Duration>,
}

impl Reach {
    /// Takes note of who is within reach `now`.
    pub(super) fn note(&mut self, now: Duration, served: &[usize]) {
        self.since.retain(|member, _| served.contains(member));
        for member in served {
            let since = *self.since.entry(*member).or_insert(now);
            let longest = self.longest.entry(*member).or_default();
            *longest = (*longest).max(now.saturating_sub(since));
        }
    }

    /// Those who were for so long without a pause.
    pub(super) fn steadily(&self, time: Duration) -> Vec<usize> {
        let steady = self.longest.iter().filter(|(_, longest)| **longest >= time);
        steady.map(|(member, _)| *member).collect()
    }
}

/// Whom this leader serves: itself and those that it reaches and that reach it; nobody if they are no majority.
pub(super) fn served(leader: usize, up: &[bool], is_whole: impl Fn(usize, usize) -> bool) -> Vec<usize> {
    let in_reach = |member: &usize| {
        *member == leader || up[*member] && is_whole(leader, *member) && is_whole(*member, leader)
    };
    let served: Vec<usize> = (0..up.len()).filter(in_reach).collect();
    if served.len() > up.len() / 2 { served } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_leaders_of_a_term_are_one_too_many() {
        let mut leaders = Leaders::default();
        for (term, leader) in [(1, "n1"), (2, "n2"), (1, "n1")] {
            leaders.note(term, leader);
        }
        assert_eq!((leaders.terms(), leaders.contested().len()), (2, 0));
        leaders.note(2, "n3");
        assert_eq!(leaders.contested(), [r#"term 2 has been led by {"n2", "n3"}"#]);
    }

    #[test]
    fn a_leader_serves_whom_it_hears_and_who_hears_it() {
        let cut = [(0, 2), (3, 0)];
        let is_whole = |from, to| !cut.contains(&(from, to));
        assert_eq!(served(0, &[true; 5], is_whole), [0, 1, 4]);
        assert_eq!(
            served(0, &[true, true, true, true, false], is_whole),
            [0; 0],
            "two of five are no majority"
        );
        assert_eq!(served(1, &[true; 5], is_whole), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn reach_counts_without_pauses() {
        let at = Duration::from_millis;
        let mut reach = Reach::default();
        for (now, served) in [(0, vec![0, 1]), (50, vec![0, 1]), (100, vec![0]), (150, vec![0, 1])] {
            reach.note(at(now), &served);
        }
        assert_eq!(reach.steadily(at(150)), [0]);
        assert_eq!(reach.steadily(at(50)), [0, 1]);
        assert_eq!(reach.steadily(at(51)), [0]);
    }
}
