//! Chance for whoever must choose: numbers, items and moments, all from one seed.

use std::time::Duration;

use base::{Entropy as _, SeededEntropy};

/// The same throws for the same seed.
#[derive(Debug)]
pub struct Dice(SeededEntropy);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(SeededEntropy::new(seed))
    }

    /// Dice of their own for a part of a run, so that one part's throws do not move another's.
    pub fn of(seed: u64, part: &str, number: u64) -> Self {
        // FNV-1a: stable, and good enough to tell names apart.
        let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let text = part.bytes().chain(number.to_le_bytes());
        Self::new(text.fold(seed ^ 0xcbf2_9ce4_8422_2325, mix))
    }

    pub fn u64(&self) -> u64 {
        self.0.u64()
    }

    /// A number less than `end`; zero if there is none.
    pub fn below(&self, end: u64) -> u64 {
        // The bias is less than one in 2^32 for every range that is used here.
        self.u64().checked_rem(end).unwrap_or(0)
    }

    /// True so many times out of a hundred.
    pub fn percent(&self, chance: u64) -> bool {
        self.below(100) < chance
    }

    /// One of them; none of none.
    pub fn pick<'a, T>(&self, items: &'a [T]) -> Option<&'a T> {
        items.get(usize::try_from(self.below(items.len() as u64)).unwrap_or(0))
    }

    /// Puts them in an order of chance.
    pub fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, usize::try_from(self.below(last as u64 + 1)).unwrap_or(0));
        }
    }

    pub fn between(&self, least: Duration, most: Duration) -> Duration {
        let span_us = u64::try_from(most.saturating_sub(least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.below(span_us.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_run_throw_differently_and_always_the_same() {
        let throws = |part, number| {
            let dice = Dice::of(42, part, number);
            [dice.below(1000), dice.below(1000), dice.below(1000)]
        };
        assert_eq!(throws("kv", 1), throws("kv", 1));
        assert_ne!(throws("kv", 1), throws("kv", 2));
        assert_ne!(throws("kv", 1), throws("register", 1));
    }

    #[test]
    fn a_throw_stays_in_its_range() {
        let dice = Dice::new(7);
        let (least, most) = (Duration::from_millis(3), Duration::from_millis(5));
        for _ in 0..200 {
            assert!(dice.below(6) < 6);
            assert!((least..=most).contains(&dice.between(least, most)));
        }
        assert_eq!(dice.below(0), 0);
        assert_eq!(dice.pick::<u8>(&[]), None);
        let mut items = [1, 2, 3, 4, 5, 6, 7, 8];
        dice.shuffle(&mut items);
        assert_ne!(items, [1, 2, 3, 4, 5, 6, 7, 8]);
        items.sort_unstable();
        assert_eq!(items, [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
