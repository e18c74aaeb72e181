//! Chance, as a parameter: uids, name suffixes, jitter.

use std::sync::Mutex;
use std::time::Duration;

/// The letters of generated names: no vowels, so that no words appear (as Kubernetes' `rand.SafeEncodeString`).
const NAME_ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";

/// A source of random bytes. Handed in by `main`, replaced by [`SeededEntropy`] in tests and simulation.
pub trait Entropy: Send + Sync + 'static {
    fn fill(&self, bytes: &mut [u8]);

    fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// A version 4 UUID (RFC 9562), in its usual lower-case form.
    fn uid(&self) -> String {
        let mut b = [0; 16];
        self.fill(&mut b);
        b[6] = (b[6] & 0x0f) | 0x40;
        b[8] = (b[8] & 0x3f) | 0x80;
        let hex: String = b.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }

    /// `len` characters that are safe in a Kubernetes name.
    fn name_suffix(&self, len: usize) -> String {
        let mut bytes = vec![0; len];
        self.fill(&mut bytes);
        bytes.iter().map(|b| char::from(NAME_ALPHABET[usize::from(*b) % NAME_ALPHABET.len()])).collect()
    }

    /// A duration between `base` and `base * 1.25`, so that many waiters do not wake together.
    fn jittered(&self, base: Duration) -> Duration {
        let quarter_ns = u64::try_from(base.as_nanos() / 4).unwrap_or(u64::MAX);
        base + Duration::from_nanos(if quarter_ns == 0 { 0 } else { self.u64() % quarter_ns })
    }
}

/// The operating system's random bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// # Panics
    /// If the operating system has no entropy to give: nothing that needs it could go on.
    #[expect(
        clippy::expect_used,
        reason = "without entropy no id is unique; stopping is the only safe answer"
    )]
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).expect("the operating system gives random bytes");
    }
}

/// The same bytes for the same seed (SplitMix64), for tests and simulation.
#[derive(Debug)]
pub struct SeededEntropy {
    state: Mutex<u64>,
}

impl SeededEntropy {
    pub fn new(seed: u64) -> Self {
        Self { state: Mutex::new(seed) }
    }

    fn next(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for chunk in bytes.chunks_mut(8) {
            let random = Self::next(&mut state).to_le_bytes();
            chunk.copy_from_slice(&random[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_is_a_version_4_uuid() {
        let uid = SeededEntropy::new(1).uid();
        assert_eq!(uid.len(), 36);
        assert_eq!(uid.as_bytes()[14], b'4');
        assert!(matches!(uid.as_bytes()[19], b'8' | b'9' | b'a' | b'b'));
    }

    #[test]
    fn the_same_seed_gives_the_same_names() {
        let names = || SeededEntropy::new(42).name_suffix(5);
        assert_eq!(names(), names());
        assert!(names().bytes().all(|b| NAME_ALPHABET.contains(&b)));
    }

    #[test]
    fn jitter_stays_within_a_quarter() {
        let entropy = SeededEntropy::new(7);
        for _ in 0..100 {
            let jittered = entropy.jittered(Duration::from_millis(100));
            assert!((100..125).contains(&jittered.as_millis()), "{jittered:?}");
        }
        assert_eq!(entropy.jittered(Duration::ZERO), Duration::ZERO);
    }
}
