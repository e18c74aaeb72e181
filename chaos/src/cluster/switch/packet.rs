//! The little of IPv4, TCP and UDP that a switch must know: whom a packet is for, and how to damage it unnoticed.

use super::wire::Host;
use crate::dice::Dice;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The last number of the address that an IPv4 packet is for; nothing of any other packet.
pub(crate) fn destination(packet: &[u8]) -> Option<Host> {
    (packet.first()? >> 4 == 4).then(|| packet.get(19).copied())?
}

/// Turns a bit of the payload, and mends the checksum so that only whoever reads the payload can tell. Leaves packets
/// alone that have none.
pub(crate) fn turn_a_bit(packet: &mut [u8], dice: &Dice) -> bool {
    let Some(layout) = Layout::of(packet) else { return false };
    let payload = packet.len() - layout.payload_at;
    let at = layout.payload_at + usize::try_from(dice.below(payload as u64)).unwrap_or(0);
    let before = word(packet, layout.transport_at, at);
    packet[at] ^= 1 << dice.below(8);
    let after = word(packet, layout.transport_at, at);
    let sum = u16::from_be_bytes([packet[layout.checksum_at], packet[layout.checksum_at + 1]]);
    // RFC 1624: what is added to the words is added to the sum, in ones' complement.
    let mended = u32::from(!sum) + u32::from(!before) + u32::from(after);
    let folded = (mended & 0xffff) + (mended >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let sum = !u16::try_from(folded).unwrap_or(u16::MAX);
    packet[layout.checksum_at..layout.checksum_at + 2].copy_from_slice(&sum.to_be_bytes());
    true
}

/// Where things lie in a packet with a payload, as counted from its beginning.
struct Layout {
    transport_at: usize,
    checksum_at: usize,
    payload_at: usize,
}

impl Layout {
    fn of(packet: &[u8]) -> Option<Self> {
        let transport_at = usize::from(packet.first()? & 0x0f) * 4;
        let (checksum_at, payload_at) = match *packet.get(9)? {
            TCP => (transport_at + 16, transport_at + usize::from(packet.get(transport_at + 12)? >> 4) * 4),
            UDP => (transport_at + 6, transport_at + 8),
            _ => return None,
        };
        (payload_at < packet.len()).then_some(Self { transport_at, checksum_at, payload_at })
    }
}

/// The 16 bits, counted from the transport's header, that the byte is a part of.
fn word(packet: &[u8], transport_at: usize, at: usize) -> u16 {
    let first = at - (at - transport_at) % 2;
    u16::from_be_bytes([packet[first], packet.get(first + 1).copied().unwrap_or(0)])
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A packet from 10.99.0.1 to 10.99.0.2.
    pub(in super::super) fn udp(payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, UDP, 0, 0, 10, 99, 0, 1, 10, 99, 0, 2];
        packet.extend([0x12, 0x34, 0x56, 0x78, 0, u8::try_from(payload.len() + 8).unwrap(), 0, 0]);
        packet.extend(payload);
        let sum = sum(&packet);
        packet[26..28].copy_from_slice(&(!sum).to_be_bytes());
        packet
    }

    /// The checksum's sum over the pseudo header and all that follows it: all ones if the packet is sound.
    fn sum(packet: &[u8]) -> u16 {
        let length = u32::try_from(packet.len() - 20).unwrap();
        let words = packet[12..]
            .chunks(2)
            .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
        let mut total: u32 = words.sum::<u32>() + u32::from(UDP) + length;
        while total > 0xffff {
            total = (total & 0xffff) + (total >> 16);
        }
        u16::try_from(total).unwrap()
    }

    #[test]
    fn a_packet_says_whom_it_is_for() {
        assert_eq!(destination(&udp(b"x")), Some(2));
        assert_eq!(destination(&[0x60; 40]), None);
        assert_eq!(destination(&[]), None);
    }

    #[test]
    fn damage_passes_the_checksum() {
        let dice = Dice::new(3);
        for length in 1..40 {
            let sound = udp(&vec![0xa5; length]);
            assert_eq!(sum(&sound), 0xffff);
            let mut damaged = sound.clone();
            assert!(turn_a_bit(&mut damaged, &dice));
            let turned: u32 = sound[28..].iter().zip(&damaged[28..]).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!((turned, sum(&damaged)), (1, 0xffff), "{length}");
        }
        assert!(!turn_a_bit(&mut udp(b""), &dice), "nothing to damage");
    }
}
