//! Sums by which two processes see that they hold the same messages.

use prost::Message as _;
use sha2::{Digest as _, Sha256};

use crate::agent::Peer;

impl Peer {
    /// This peer's part of `PollRequest.peers_digest`.
    #[must_use]
    pub fn digest(&self) -> u64 {
        let hash = Sha256::digest(self.encode_to_vec());
        hash.first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_of_every_field_and_the_same_for_ever() {
        let peer = |node: &str, ip: &str, network: &str| Peer {
            node: node.into(),
            internal_ip: ip.into(),
            pod_cidr: network.into(),
        };
        let one = peer("a", "10.0.0.1", "10.1.0.0/24");
        assert_eq!(one.digest(), 2_080_436_478_716_811_167);
        for other in [
            peer("b", "10.0.0.1", "10.1.0.0/24"),
            peer("a", "10.0.0.2", "10.1.0.0/24"),
            peer("a", "10.0.0.1", "10.1.1.0/24"),
        ] {
            assert_ne!(one.digest(), other.digest());
        }
    }
}
