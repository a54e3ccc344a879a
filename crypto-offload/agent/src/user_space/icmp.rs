//! "Too big", said to whoever sent a packet into the tunnel (RFC 1191, RFC 4443 section 3.2).
//!
//! The answer seems to come from where the packet was going: the tunnel has no address of its own,
//! and that one passes reverse-path checks. Answers are few: see [`Bucket`].

use std::time::{Duration, Instant};

use crypto_offload::esp::Inner;

/// Writes to `answer` what to send back for `packet`, which is longer than `mtu`: its length.
/// `None` where RFC 1122 section 3.2.2 or RFC 4443 section 2.4 forbid one, or nobody waits for it:
/// for errors, later fragments, groups, and IPv4 packets that may be fragmented.
pub(super) fn too_big(packet: &[u8], mtu: u16, answer: &mut [u8; LONGEST]) -> Option<usize> {
    let inner = Inner::parse(packet).ok()?;
    if inner.source.is_multicast()
        || inner.destination.is_multicast()
        || inner.source.is_unspecified()
    {
        return None;
    }
    match packet[0] >> 4 {
        4 => too_big_ipv4(packet, mtu, answer),
        _ => too_big_ipv6(packet, mtu, answer),
    }
}

fn too_big_ipv4(packet: &[u8], mtu: u16, answer: &mut [u8; LONGEST]) -> Option<usize> {
    let fragment = u16::from_be_bytes([packet[6], packet[7]]);
    let is_icmp_error = packet[9] == 1 && !matches!(packet.get(header_len(packet)), Some(0 | 8));
    if fragment & DONT_FRAGMENT == 0 || fragment & 0x1fff != 0 || is_icmp_error {
        return None;
    }
    let quoted = packet.len().min(576 - 28);
    let length = 28 + quoted;
    answer[..length].fill(0);
    answer[0] = 0x45;
    answer[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    answer[8] = HOPS;
    answer[9] = 1;
    answer[12..16].copy_from_slice(&packet[16..20]);
    answer[16..20].copy_from_slice(&packet[12..16]);
    let sum = !sum(&answer[..20], 0);
    answer[10..12].copy_from_slice(&sum.to_be_bytes());
    // Destination unreachable, fragmentation needed, and the next hop's MTU.
    answer[20..22].copy_from_slice(&[3, 4]);
    answer[26..28].copy_from_slice(&mtu.to_be_bytes());
    answer[28..length].copy_from_slice(&packet[..quoted]);
    let sum = !self::sum(&answer[20..length], 0);
    answer[22..24].copy_from_slice(&sum.to_be_bytes());
    Some(length)
}

fn too_big_ipv6(packet: &[u8], mtu: u16, answer: &mut [u8; LONGEST]) -> Option<usize> {
    let is_icmp_error = packet[6] == ICMPV6 && packet.get(40).is_some_and(|kind| *kind < 128);
    if is_icmp_error {
        return None;
    }
    let quoted = packet.len().min(LONGEST - 48);
    let length = 48 + quoted;
    answer[..length].fill(0);
    answer[0] = 0x60;
    answer[4..6].copy_from_slice(&((length - 40) as u16).to_be_bytes());
    answer[6..8].copy_from_slice(&[ICMPV6, HOPS]);
    answer[8..24].copy_from_slice(&packet[24..40]);
    answer[24..40].copy_from_slice(&packet[8..24]);
    answer[40] = 2;
    answer[46..48].copy_from_slice(&mtu.to_be_bytes());
    answer[48..length].copy_from_slice(&packet[..quoted]);
    // The pseudo-header of RFC 8200 section 8.1: addresses, length, next header.
    let pseudo = sum(&answer[8..40], (length - 40) as u32 + u32::from(ICMPV6));
    let sum = !sum(&answer[40..length], u32::from(pseudo));
    answer[42..44].copy_from_slice(&sum.to_be_bytes());
    Some(length)
}

fn header_len(packet: &[u8]) -> usize {
    usize::from(packet[0] & 0x0f) * 4
}

/// The one's complement sum of RFC 1071.
fn sum(bytes: &[u8], start: u32) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or_default()));
    let mut sum = start + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// How many answers may go out: ten at once, a hundred a second (RFC 4443 section 2.4 f).
pub(super) struct Bucket {
    left: u32,
    refilled: Instant,
}

impl Bucket {
    pub(super) fn new(now: Instant) -> Self {
        Self { left: BURST, refilled: now }
    }

    /// Takes one answer's permission: false when there is none.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let earned =
            now.saturating_duration_since(self.refilled).as_millis() / INTERVAL.as_millis();
        if earned > 0 {
            self.left = BURST.min(self.left.saturating_add(earned.min(BURST.into()) as u32));
            self.refilled = now;
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

/// IPv6's least MTU, which an answer must fit.
pub(super) const LONGEST: usize = 1280;
const DONT_FRAGMENT: u16 = 0x4000;
const ICMPV6: u8 = 58;
const HOPS: u8 = 64;
const BURST: u32 = 10;
const INTERVAL: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn ipv4(fragment: u16, protocol: u8) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0x05, 0xdc, 0, 1];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0, 10, 1, 0, 1, 10, 2, 0, 2]);
        packet.resize(1500, 3);
        packet
    }

    fn ipv6(next: u8) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0x05, 0xb4, next, 64];
        packet.extend([0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        packet.extend([0xfd, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        packet.resize(1500, 1);
        packet
    }

    #[test]
    fn an_ipv4_answer_has_right_sums_and_the_mtu() {
        let packet = ipv4(DONT_FRAGMENT, 17);
        let mut answer = [0xee; LONGEST];
        let length = too_big(&packet, 1400, &mut answer).expect("an answer");
        assert_eq!(length, 576);
        assert_eq!(sum(&answer[..20], 0), 0xffff);
        assert_eq!(sum(&answer[20..length], 0), 0xffff);
        assert_eq!(answer[12..20], [10, 2, 0, 2, 10, 1, 0, 1]);
        assert_eq!(answer[20..22], [3, 4]);
        assert_eq!(answer[26..28], 1400u16.to_be_bytes());
        assert_eq!(answer[28..length], packet[..548]);
    }

    #[test]
    fn an_ipv6_answer_has_a_right_sum_and_the_mtu() {
        let packet = ipv6(17);
        let mut answer = [0xee; LONGEST];
        let length = too_big(&packet, 1400, &mut answer).expect("an answer");
        assert_eq!(length, 1280);
        let pseudo = sum(&answer[8..40], (length - 40) as u32 + 58);
        assert_eq!(sum(&answer[40..length], u32::from(pseudo)), 0xffff);
        assert_eq!(answer[40..42], [2, 0]);
        assert_eq!(answer[44..48], 1400u32.to_be_bytes());
    }

    #[test]
    fn errors_fragments_and_groups_are_not_answered() {
        let mut answer = [0; LONGEST];
        assert_eq!(too_big(&ipv4(0, 17), 1400, &mut answer), None, "may be fragmented");
        assert_eq!(too_big(&ipv4(DONT_FRAGMENT | 8, 17), 1400, &mut answer), None);
        assert_eq!(too_big(&ipv4(DONT_FRAGMENT, 1), 1400, &mut answer), None, "an error");
        assert_eq!(too_big(&ipv6(ICMPV6), 1400, &mut answer), None, "an error");
        let mut group = ipv4(DONT_FRAGMENT, 17);
        group[16] = 224;
        assert_eq!(too_big(&group, 1400, &mut answer), None);
    }

    #[test]
    fn answers_run_out_and_come_back_with_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let taken = |bucket: &mut Bucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, start), 10);
        assert_eq!(taken(&mut bucket, start + Duration::from_millis(30)), 3);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(60)), 10);
    }
}
