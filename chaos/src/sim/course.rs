//! What is seen of Raft from outside while a run goes on: who leads in which term, and whom a leader serves.
//!
//! What a client may expect while some nodes are unwell is what Raft promises, and no more. A member that reaches
//! everybody but the leader, and a leader that keeps a majority without that member, is a healthy cluster: whoever asks
//! there waits.

use std::collections::BTreeMap;
use std::time::Duration;

/// When each leader was first seen: by the number of its vote, which is the term and the leader's id in it.
///
/// A term may have several leaders: whoever asks for votes in the term of a leader with a lesser id gets those of members
/// that hear no leader. But each vote has a majority, and no member gives one that is less than the last that it gave.
#[derive(Default)]
pub(super) struct Leaders(BTreeMap<(u64, u64), (Duration, String)>);

impl Leaders {
    pub(super) fn note(&mut self, now: Duration, vote: (u64, u64), leader: &str) {
        self.0.entry(vote).or_insert_with(|| (now, leader.to_owned()));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Those that were elected after one with a greater vote; `late` is how much later who was elected may know it.
    pub(super) fn out_of_order(&self, late: Duration) -> Vec<String> {
        let mut wrong = Vec::new();
        for (vote, (at, leader)) in &self.0 {
            let mut greater = self.0.range(vote..).skip(1);
            let sooner = greater.find(|(_, (sooner, _))| *sooner + late < *at);
            wrong.extend(sooner.map(|(other, (sooner, first))| {
                format!("{leader} led in {vote:?} at {at:?}, after {first} in {other:?} at {sooner:?}")
            }));
        }
        wrong
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
    fn no_leader_comes_after_one_with_a_greater_vote() {
        let ms = Duration::from_millis;
        let mut leaders = Leaders::default();
        for (at, vote, leader) in
            [(0, (1, 1), "n1"), (100, (1, 3), "n3"), (500, (2, 2), "n2"), (900, (1, 1), "n1")]
        {
            leaders.note(ms(at), vote, leader);
        }
        assert_eq!((leaders.count(), leaders.out_of_order(ms(50)).len()), (3, 0));
        leaders.note(ms(520), (2, 1), "n1");
        assert_eq!(leaders.out_of_order(ms(50)).len(), 0, "its votes were under way");
        leaders.note(ms(1000), (1, 2), "n2");
        assert_eq!(leaders.out_of_order(ms(50)), ["n2 led in (1, 2) at 1s, after n3 in (1, 3) at 100ms"]);
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
