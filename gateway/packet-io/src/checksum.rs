//! The Internet checksum (RFC 1071): sums over packets, completed, verified and left partial.
//!
//! Sums are taken over native-endian words and turned round at the end (RFC 1071, 2 (B): the sum
//! does not depend on the byte order), so that the compiler makes vector code of the loop.

/// A ones' complement sum in progress, of 16-bit words in the machine's byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum(u64);

impl Sum {
    /// Adds `bytes`, which start at an even offset; an odd last byte is padded with zero.
    pub(crate) fn add(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<4>();
        // 2^32 words of 32 bits fit the sum: no packet has as many.
        let sum: u64 = words.iter().map(|&word| u64::from(u32::from_ne_bytes(word))).sum();
        let mut tail = [0; 4];
        tail[..rest.len()].copy_from_slice(rest);
        Self(fold32(self.0) + fold32(sum) + u64::from(u32::from_ne_bytes(tail)))
    }

    /// Adds a 16-bit field.
    pub(crate) fn add_u16(self, field: u16) -> Self {
        Self(fold32(self.0) + u64::from(u16::from_ne_bytes(field.to_be_bytes())))
    }

    /// Adds the pseudo-header of RFC 9293, 3.1 and RFC 8200, 8.1: addresses, protocol and the
    /// length of transport header and data.
    pub(crate) fn pseudo_header(self, addresses: &[u8], protocol: u8, length: usize) -> Self {
        // IPv6 carries 32 bits of length; what arrives here fits 16, and zeros add nothing.
        self.add(addresses).add_u16(u16::from(protocol)).add_u16(length as u16)
    }

    /// The sum itself, folded to 16 bits, not inverted: what a partial checksum holds.
    pub(crate) fn folded(self) -> u16 {
        let mut sum = fold32(fold32(self.0));
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be_bytes((sum as u16).to_ne_bytes())
    }

    /// The checksum: the sum's complement.
    pub(crate) fn checksum(self) -> u16 {
        !self.folded()
    }

    /// The checksum was part of the sum and fits the rest.
    pub(crate) fn verifies(self) -> bool {
        self.folded() == 0xffff
    }
}

fn fold32(sum: u64) -> u64 {
    (sum & 0xffff_ffff) + (sum >> 32)
}

/// What UDP sends where the checksum comes out as 0, which would mean none (RFC 768).
pub(crate) fn nonzero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 1071, 3: the example sequence sums to 2ddf0, folded ddf2.
    #[test]
    fn the_rfcs_example_sums_as_it_says() {
        let sum = Sum::default().add(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]);
        assert_eq!(sum.folded(), 0xddf2);
        assert_eq!(sum.checksum(), 0x220d);
    }

    /// A header from a capture often quoted: its checksum is b861.
    #[test]
    fn a_known_ipv4_header_has_its_checksum_and_verifies() {
        let mut header = [
            0x45, 0x00, 0x00, 0x73, 0x00, 0x00, 0x40, 0x00, 0x40, 0x11, 0x00, 0x00, 0xc0, 0xa8,
            0x00, 0x01, 0xc0, 0xa8, 0x00, 0xc7,
        ];
        assert_eq!(Sum::default().add(&header).checksum(), 0xb861);
        header[10..12].copy_from_slice(&[0xb8, 0x61]);
        assert!(Sum::default().add(&header).verifies());
        header[19] ^= 1;
        assert!(!Sum::default().add(&header).verifies());
    }

    #[test]
    fn every_length_sums_as_the_slow_way_does() {
        let bytes: Vec<u8> = (0..2000_u32).map(|at| ((at * 193) >> 3) as u8 | 0x80).collect();
        for length in 0..bytes.len() {
            let slow = bytes[..length].chunks(2).fold(0_u32, |sum, pair| {
                let word = u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
                (sum + word) % 0xffff
            });
            let quick = Sum::default().add(&bytes[..length]).folded();
            assert_eq!(u32::from(quick) % 0xffff, slow, "over {length} bytes");
        }
    }

    #[test]
    fn carries_at_every_fold_are_kept() {
        let sum = Sum(u64::MAX).add(&[0xff; 65_534]);
        assert!(sum.verifies(), "{sum:?}");
    }

    #[test]
    fn a_udp_datagram_verifies_with_its_pseudo_header() {
        // 192.0.2.1 to 192.0.2.2, ports 1 to 2, "hi": summed by hand.
        let addresses = [192, 0, 2, 1, 192, 0, 2, 2];
        let mut udp = [0, 1, 0, 2, 0, 10, 0, 0, b'h', b'i'];
        let pseudo = Sum::default().pseudo_header(&addresses, 17, udp.len());
        let checksum = pseudo.add(&udp).checksum();
        assert_eq!(checksum, 0x136a);
        udp[6..8].copy_from_slice(&checksum.to_be_bytes());
        assert!(pseudo.add(&udp).verifies());
    }
}
