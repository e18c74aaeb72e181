//! What becomes of each packet: pure, from packets and times to packets and times, chance from a seed.
//!
//! Every pair of hosts has two links, one for each direction, with dice of its own, so that what happens on one does
//! not move another's throws. Times are durations since the switch began.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::packet;
use crate::dice::Dice;

/// A host's number: the last of its address.
pub(crate) type Host = u8;

/// A direction between two hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Direction {
    pub(crate) from: Host,
    pub(crate) to: Host,
}

/// What a link does to what is sent over it; by default nothing. Chances are in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Impairment {
    /// Nothing gets through.
    pub cut: bool,
    pub delay_us: u64,
    /// Up to so much is added to the delay; packets stay in order.
    pub jitter_us: u64,
    pub loss_ppm: u32,
    pub duplicate_ppm: u32,
    /// Such a packet waits for nothing, and overtakes those that were delayed.
    pub reorder_ppm: u32,
    /// A bit of the payload is turned, in such a way that TCP does not notice.
    pub corrupt_ppm: u32,
    /// Zero is as much as there is.
    pub bytes_per_second: u64,
}

impl Impairment {
    /// Everything gets through, as it was and at once.
    pub const NONE: Self = Self {
        cut: false,
        delay_us: 0,
        jitter_us: 0,
        loss_ppm: 0,
        duplicate_ppm: 0,
        reorder_ppm: 0,
        corrupt_ppm: 0,
        bytes_per_second: 0,
    };
    /// Nothing gets through.
    pub const CUT: Self = Self { cut: true, ..Self::NONE };

    /// Both at once: what is slow is slower still, and the worse chance holds.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let slower = match (self.bytes_per_second, other.bytes_per_second) {
            (0, rate) | (rate, 0) => rate,
            (one, two) => one.min(two),
        };
        Self {
            cut: self.cut || other.cut,
            delay_us: self.delay_us + other.delay_us,
            jitter_us: self.jitter_us.max(other.jitter_us),
            loss_ppm: self.loss_ppm.max(other.loss_ppm),
            duplicate_ppm: self.duplicate_ppm.max(other.duplicate_ppm),
            reorder_ppm: self.reorder_ppm.max(other.reorder_ppm),
            corrupt_ppm: self.corrupt_ppm.max(other.corrupt_ppm),
            bytes_per_second: slower,
        }
    }
}

/// How many packets a link has seen, and what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    pub passed: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub corrupted: u64,
}

/// Every link, and the packets on their way.
#[derive(Debug)]
pub(crate) struct Wire {
    seed: u64,
    rules: BTreeMap<Direction, Impairment>,
    links: BTreeMap<Direction, Link>,
    /// In the order of their arrival; of two at the same time the one that was sent first.
    on_their_way: BTreeMap<(Duration, u64), (Direction, Vec<u8>)>,
    sent: u64,
}

#[derive(Debug)]
struct Link {
    dice: Dice,
    /// When the last byte of what was sent before has left.
    is_free_at: Duration,
    /// Nothing that is sent later arrives before this.
    last_arrival: Duration,
    packets: Packets,
}

impl Wire {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, rules: BTreeMap::new(), links: BTreeMap::new(), on_their_way: BTreeMap::new(), sent: 0 }
    }

    /// From now on these hold and no others; what is on its way over a link that is cut now does not arrive.
    pub(crate) fn rule(&mut self, rules: BTreeMap<Direction, Impairment>) {
        self.rules = rules;
    }

    pub(crate) fn packets(&self, direction: Direction) -> Packets {
        self.links.get(&direction).map_or_else(Packets::default, |link| link.packets)
    }

    /// Sends a packet at `now`.
    pub(crate) fn send(&mut self, now: Duration, direction: Direction, mut packet: Vec<u8>) {
        let rule = self.rule_of(direction);
        let seed = self.seed;
        let link = self.links.entry(direction).or_insert_with(|| Link::new(seed, direction));
        let happens =
            |dice: &Dice, chance_ppm: u32| chance_ppm > 0 && dice.below(1_000_000) < chance_ppm.into();
        if rule.cut || happens(&link.dice, rule.loss_ppm) {
            link.packets.lost += 1;
            return;
        }
        if happens(&link.dice, rule.corrupt_ppm) && packet::turn_a_bit(&mut packet, &link.dice) {
            link.packets.corrupted += 1;
        }
        let copies = if happens(&link.dice, rule.duplicate_ppm) { 2 } else { 1 };
        link.packets.duplicated += copies - 1;
        let overtakes = happens(&link.dice, rule.reorder_ppm);
        let arrival = if overtakes { now } else { link.arrival(now, rule, packet.len()) };
        for _ in 0..copies {
            self.sent += 1;
            self.on_their_way.insert((arrival, self.sent), (direction, packet.clone()));
        }
    }

    /// The next packet that has arrived by `now`.
    pub(crate) fn receive(&mut self, now: Duration) -> Option<(Host, Vec<u8>)> {
        loop {
            let first = self.on_their_way.first_entry().filter(|first| first.key().0 <= now)?;
            let (direction, packet) = first.remove();
            let is_cut = self.rule_of(direction).cut;
            let packets = self.links.get_mut(&direction).map(|link| &mut link.packets);
            match (is_cut, packets) {
                (false, Some(packets)) => packets.passed += 1,
                (true, Some(packets)) => packets.lost += 1,
                (_, None) => {}
            }
            if !is_cut {
                return Some((direction.to, packet));
            }
        }
    }

    /// When the next packet arrives.
    pub(crate) fn next_arrival(&self) -> Option<Duration> {
        self.on_their_way.first_key_value().map(|((arrival, _), _)| *arrival)
    }

    fn rule_of(&self, direction: Direction) -> Impairment {
        self.rules.get(&direction).copied().unwrap_or_default()
    }
}

impl Link {
    fn new(seed: u64, direction: Direction) -> Self {
        let number = u64::from(direction.from) << 8 | u64::from(direction.to);
        Self {
            dice: Dice::of(seed, "link", number),
            is_free_at: Duration::ZERO,
            last_arrival: Duration::ZERO,
            packets: Packets::default(),
        }
    }

    fn arrival(&mut self, now: Duration, rule: Impairment, bytes: usize) -> Duration {
        let mut left_at = now;
        if let Some(takes_ns) = (bytes as u64 * 1_000_000_000).checked_div(rule.bytes_per_second) {
            let takes = Duration::from_nanos(takes_ns);
            self.is_free_at = self.is_free_at.max(now) + takes;
            left_at = self.is_free_at;
        }
        let jitter = if rule.jitter_us > 0 { self.dice.below(rule.jitter_us) } else { 0 };
        let arrival = left_at + Duration::from_micros(rule.delay_us + jitter);
        self.last_arrival = self.last_arrival.max(arrival);
        self.last_arrival
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    const LINK: Direction = Direction { from: 1, to: 2 };

    /// Sends ten packets, one each millisecond, over a link with this rule, and shows `number@arrival in ms` of each.
    fn check(rule: Impairment, expected: Expect) {
        let mut wire = Wire::new(7);
        wire.rule(BTreeMap::from([(LINK, rule)]));
        for number in 0..10_u8 {
            wire.send(Duration::from_millis(number.into()), LINK, packet::tests::udp(&[number; 100]));
        }
        let mut seen = Vec::new();
        while let Some(arrival) = wire.next_arrival() {
            let (to, packet) = wire.receive(arrival).expect("it has arrived");
            assert_eq!(to, 2);
            seen.push(format!("{}@{}", packet[packet.len() - 1], arrival.as_micros() as f64 / 1000.0));
        }
        expected.assert_eq(&seen.join(" "));
    }

    #[test]
    fn by_default_packets_pass() {
        check(Impairment::default(), expect!["0@0 1@1 2@2 3@3 4@4 5@5 6@6 7@7 8@8 9@9"]);
    }

    #[test]
    fn delay_and_jitter_keep_the_order() {
        let delay = Impairment { delay_us: 5_000, ..Impairment::default() };
        check(delay, expect!["0@5 1@6 2@7 3@8 4@9 5@10 6@11 7@12 8@13 9@14"]);
        let jitter = Impairment { jitter_us: 5_000, ..delay };
        check(
            jitter,
            expect!["0@9.6 1@9.6 2@11.413 3@12.341 4@12.341 5@12.341 6@12.341 7@15.218 8@17.952 9@17.952"],
        );
    }

    #[test]
    fn a_slow_link_sends_one_after_the_other() {
        // 128 bytes with their headers, 64 a millisecond.
        let slow = Impairment { bytes_per_second: 64_000, ..Impairment::default() };
        check(slow, expect!["0@2 1@4 2@6 3@8 4@10 5@12 6@14 7@16 8@18 9@20"]);
    }

    #[test]
    fn packets_are_lost_doubled_and_overtake_by_chance() {
        check(Impairment { loss_ppm: 400_000, ..Impairment::default() }, expect!["0@0 1@1 2@2 3@3 9@9"]);
        check(
            Impairment { duplicate_ppm: 400_000, ..Impairment::default() },
            expect!["0@0 1@1 2@2 3@3 4@4 4@4 5@5 5@5 6@6 6@6 7@7 7@7 8@8 8@8 9@9"],
        );
        let reorder = Impairment { reorder_ppm: 300_000, delay_us: 3_500, ..Impairment::default() };
        check(reorder, expect!["0@3.5 4@4 1@4.5 5@5 2@5.5 6@6 3@6.5 8@8 7@10.5 9@12.5"]);
    }

    #[test]
    fn a_cut_link_loses_what_is_on_its_way_too_and_only_that_direction() {
        let mut wire = Wire::new(7);
        let back = Direction { from: 2, to: 1 };
        wire.rule(BTreeMap::from([(LINK, Impairment { delay_us: 100, ..Impairment::default() })]));
        wire.send(Duration::ZERO, LINK, packet::tests::udp(b"late"));
        wire.rule(BTreeMap::from([(LINK, Impairment::CUT)]));
        wire.send(Duration::ZERO, LINK, packet::tests::udp(b"cut"));
        wire.send(Duration::ZERO, back, packet::tests::udp(b"back"));
        let (to, _) = wire.receive(Duration::from_secs(1)).expect("the other direction is whole");
        assert_eq!(to, 1);
        assert_eq!(wire.receive(Duration::from_secs(1)), None);
        assert_eq!(
            (wire.packets(LINK).lost, wire.packets(LINK).passed, wire.packets(back).passed),
            (2, 0, 1)
        );
    }

    #[test]
    fn two_rules_for_one_link_hold_together() {
        let slow = Impairment { delay_us: 10, bytes_per_second: 100, ..Impairment::default() };
        let lossy = Impairment { delay_us: 5, loss_ppm: 7, ..Impairment::default() };
        let both = Impairment { delay_us: 15, bytes_per_second: 100, loss_ppm: 7, ..Impairment::default() };
        assert_eq!(slow.and(lossy), both);
        assert!(both.and(Impairment::CUT).cut);
    }
}
