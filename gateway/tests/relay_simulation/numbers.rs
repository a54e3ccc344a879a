//! Sources and their sequence numbers: many, restarting, on a bad network.

use gateway::relay::drop_reason::DropReason;
use srtp::Sender;

use crate::call::*;
use crate::relay_support::*;

/// Each announcement, transfer and conference may bring a new source, under the same key.
#[test]
fn a_long_call_goes_through_many_sources_both_ways() {
    let mut call = Call::new();
    for ssrc in 1..=100 {
        assert!(call.secured(&rtp(ssrc, 7)).is_some(), "source {ssrc} towards SRTP");
        let answer = call.crypto.protect(&rtp(ssrc, 7));
        assert!(call.sends(SECURE, &answer).is_some(), "source {ssrc} from SRTP");
    }
    assert!(call.secured(&rtp(1, 8)).is_some(), "the first comes back");
    assert_eq!(call.secured(&rtp(2, 7)), None, "its index was used");
    call.assert_only_drops(PLAIN, &[(DropReason::TooOld, 1)]);
}

#[test]
fn a_source_that_restarts_its_sequence_goes_on_without_loss() {
    let mut call = Call::new();
    let mut sent = 30_000_u16;
    for start in [30_000_u16, 5, 40_000, 60_000, 12] {
        for sequence in start..start + 200 {
            let packet = rtp(SSRC, sequence);
            let opened = call.secured(&packet).expect("no stall, no loss");
            assert_eq!(opened, renumbered(packet, sent));
            sent += 1;
        }
    }
    call.assert_only_drops(PLAIN, &[]);
    assert_eq!(call.report().streams[PLAIN].sources[0].lost, 0);
}

/// A recording played again: same SSRC, same numbers, only a second later.
#[test]
fn a_reinvite_that_replays_the_same_numbers_loses_nothing() {
    let mut call = Call::new();
    for sequence in 1..=50 {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    call.apply([unchanged(1), unchanged(0)]);
    for sequence in 1..=50 {
        let packet = rtp(SSRC, sequence);
        assert_eq!(call.secured(&packet).unwrap(), renumbered(packet, 50 + sequence));
    }
}

/// A network that loses, repeats and reorders, and a source that starts over now and then.
#[test]
fn no_index_is_used_twice_and_nothing_stalls_over_a_bad_network() {
    for seed in 1..=20_u64 {
        let mut random = Random(seed);
        let mut call = Call::new();
        let mut opened = 0;
        let mut sent = 0;
        let mut late: Vec<Vec<u8>> = Vec::new();
        let mut sequence = random.below(65_536) as u16;
        for _ in 0..3_000 {
            if random.below(400) == 0 {
                sequence = random.below(65_536) as u16;
            }
            sequence = sequence.wrapping_add(1);
            let packet = rtp(SSRC, sequence);
            let mut arriving = Vec::new();
            match random.below(20) {
                0 => {}
                1 => arriving.extend([packet.clone(), packet]),
                2 => late.push(packet),
                _ => arriving.push(packet),
            }
            if random.below(4) == 0 {
                arriving.append(&mut late);
            }
            for packet in arriving {
                sent += 1;
                // Opens only if its index is new: the receiver refuses replays.
                opened += usize::from(call.secured(&packet).is_some());
            }
        }
        let report = call.report();
        let refused: u64 = report.streams[PLAIN].drops.iter().sum();
        assert_eq!(opened as u64 + refused, sent);
        // One in twenty is a repeat; a restart may cost what was late, never a stall.
        assert!(opened as f64 > sent as f64 * 0.9, "seed {seed}: {opened} of {sent}");
    }
}

/// xorshift64*: seeded, so that a failure comes again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % bound
    }
}

#[test]
fn feedback_about_a_renumbered_source_speaks_its_own_numbers() {
    let mut call = Call::new();
    for sequence in (30_000..30_100).chain(500..600) {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    let report = call.crypto.protect_rtcp(&receiver_report(SSRC, 30_199));
    let sent = call.arrives(call.party[SECURE][1], (SECURE, 1), &report);
    assert_eq!(sent[0].bytes, receiver_report(SSRC, 599));
    assert_eq!(sent[0].to, call.party[PLAIN][1]);
}

#[test]
fn a_party_that_keeps_its_key_may_begin_again_in_the_first_round_once_signalling_has_spoken() {
    let mut call = Call::new();
    for step in 0..=8_u32 {
        let packet = call.crypto.protect(&rtp(SSRC, (5_000 + step * 16_384) as u16));
        assert!(call.sends(SECURE, &packet).is_some(), "step {step}");
    }
    call.crypto.sender = Sender::new(&master_key(PROFILE, 1), &policy(PROFILE)).unwrap();
    let packet = call.crypto.protect(&rtp(SSRC, 9));
    assert!(call.sends(SECURE, &packet).is_none(), "nobody has spoken");
    call.apply([unchanged(1), unchanged(0)]);
    for sequence in [10, 11] {
        let packet = call.crypto.protect(&rtp(SSRC, sequence));
        assert!(call.sends(SECURE, &packet).is_some(), "{sequence}");
    }
}
