//! What crosses between the legs, and what becomes of what does not.

use gateway::relay::drop_reason::DropReason;
use packet_io::Received;
use proptest::prelude::*;
use srtp::Profile;

use crate::call::*;
use crate::relay_support::*;

#[test]
fn relays_both_ways_between_plain_and_every_profile() {
    for profile in Profile::ALL {
        let mut call = Call::with_profile(profile);
        for sequence in 65_500..=65_535_u16 {
            let packet = rtp(SSRC, sequence);
            assert_eq!(call.secured(&packet).unwrap(), packet);
        }
        for sequence in 0..50 {
            let packet = rtp(SSRC, sequence);
            assert_eq!(call.secured(&packet).unwrap(), packet, "{profile} over the wrap");
            let answer = rtp(SSRC + 1, sequence);
            let protected = call.crypto.protect(&answer);
            let datagram = call.sends(SECURE, &protected).unwrap();
            assert_eq!((datagram.to, datagram.bytes), (call.party[PLAIN][0], answer));
        }
        call.assert_only_drops(PLAIN, &[]);
        call.assert_only_drops(SECURE, &[]);
    }
}

#[test]
fn reports_what_both_parties_sent_and_got() {
    let mut call = Call::new();
    for sequence in [1, 2, 4, 5] {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    let report = call.report();
    let (plain, secure) = (&report.streams[PLAIN], &report.streams[SECURE]);
    assert_eq!((plain.rtp_in.packets, plain.rtp_in.bytes), (4, 4 * 172));
    assert_eq!((secure.rtp_out.packets, secure.rtp_out.bytes), (4, 4 * 182));
    let source = plain.sources[0];
    assert_eq!((source.ssrc, source.packets, source.lost), (SSRC, 4, 1));
    assert_eq!((source.last_sequence, source.last_timestamp), (5, 800));
    assert_eq!((plain.residence.count, plain.residence.max_ns), (4, 50_000));
    assert!(plain.confirmed && plain.last_packet.is_some());
    assert!(!secure.confirmed && secure.last_packet.is_none());
}

#[test]
fn garbage_is_counted_by_what_it_is_and_teaches_nothing() {
    let mut call = Call::new();
    let oversize = [&rtp(SSRC, 1)[..], &[0; Received::MAX_PACKET]].concat();
    let csrcs_beyond_the_end = [&[0x8f, 0][..], &[0; 10]].concat();
    let garbage: [(&[u8], DropReason); 8] = [
        (b"", DropReason::Malformed),
        (b"\x80", DropReason::Malformed),
        (&rtp(SSRC, 1)[..11], DropReason::Malformed),
        (&csrcs_beyond_the_end, DropReason::Malformed),
        (b"hello", DropReason::NotMedia),
        (&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], DropReason::UnexpectedProtocol),
        (&[22, 0xfe, 0xfd, 0, 0], DropReason::UnexpectedProtocol),
        (&oversize, DropReason::Oversize),
    ];
    for stream in [PLAIN, SECURE] {
        for (bytes, reason) in garbage {
            let before = call.drops(stream, reason);
            assert_eq!(call.sends_from(hijacker(), stream, bytes), None);
            assert_eq!(call.drops(stream, reason), before + 1, "{reason:?} for {bytes:x?}");
        }
        let report = &call.report().streams[stream];
        assert_eq!(report.remote_rtp, Some(call.party[stream][0]));
        assert_eq!((report.rtp_in.packets, report.rtp_in.errors), (0, 8));
        assert!(!report.confirmed && report.sources.is_empty());
    }
    let too_short_for_a_tag = &rtp(SSRC, 1)[..14];
    assert_eq!(call.sends(SECURE, too_short_for_a_tag), None);
    assert_eq!(call.drops(SECURE, DropReason::Malformed), 5);
}

#[test]
fn a_packet_too_long_to_protect_is_dropped_whole() {
    let mut call = Call::new();
    let mut longest = rtp(SSRC, 1);
    longest.resize(Received::MAX_PACKET, 7);
    assert_eq!(call.secured(&longest).unwrap(), longest, "the tailroom is for this");
}

#[test]
fn rtcp_crosses_between_a_muxing_and_a_separate_leg() {
    let mut call = Call::planned(PROFILE, |plans| plans[SECURE].rtcp_mux = true);
    let report = receiver_report(SSRC, 1);
    let sent = call.arrives(call.party[PLAIN][1], (PLAIN, 1), &report);
    assert_eq!((sent[0].from, sent[0].to), (call.local[SECURE][0], call.party[SECURE][0]));
    assert_eq!(call.crypto.open_rtcp(&sent[0].bytes).unwrap(), report);

    let protected = call.crypto.protect_rtcp(&report);
    let sent = call.arrives(call.party[SECURE][0], (SECURE, 0), &protected);
    assert_eq!((sent[0].from, sent[0].to), (call.local[PLAIN][1], call.party[PLAIN][1]));
    assert_eq!(sent[0].bytes, report);

    let report = call.report();
    assert_eq!(report.streams[PLAIN].rtcp_in.packets, 1);
    assert_eq!(report.streams[SECURE].rtcp_in.packets, 1);
    assert_eq!(report.streams[SECURE].remote_rtcp, Some(call.party[SECURE][0]));
}

#[test]
fn a_report_on_the_rtp_port_leaves_as_a_report_and_is_no_new_source() {
    let mut call = Call::new();
    assert!(call.secured(&rtp(SSRC, 1)).is_some());
    let report = receiver_report(SSRC, 1);
    let out = call.sends(PLAIN, &report).expect("a report passes");
    assert_eq!((out.from, out.to), (call.local[SECURE][1], call.party[SECURE][1]));
    assert_eq!(call.crypto.open_rtcp(&out.bytes).unwrap(), report);
    assert_eq!(call.report().streams[PLAIN].sources.len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever arrives at whichever socket from wherever: no panic, every packet accounted for,
    /// and an SRTP leg lets nothing through that was not protected.
    #[test]
    fn any_bytes_are_relayed_or_counted_and_never_pass_an_srtp_leg(
        packets in prop::collection::vec(
            (0..2_usize, 0..2_usize, any::<bool>(), mostly_media()), 1..40),
    ) {
        let mut call = Call::planned(PROFILE, |plans| plans[SECURE].rtcp_mux = true);
        let mut arrived = [0; 2];
        for (stream, component, hijacked, bytes) in packets {
            let from = if hijacked { hijacker() } else { call.party[stream][component] };
            let sent = call.arrives(from, (stream, component), &bytes);
            prop_assert!(stream == PLAIN || sent.is_empty());
            arrived[stream] += 1;
        }
        for (stream, arrived) in call.report().streams.iter().zip(arrived) {
            let dropped: u64 = stream.drops.iter().sum();
            let passed = stream.rtp_in.packets + stream.rtcp_in.packets;
            // What is refused after it was counted (its index was used) is in both.
            prop_assert!(dropped + passed >= arrived && dropped <= arrived, "{stream:?}");
        }
    }
}

/// Bytes that get past the first checks more often than chance would have it.
fn mostly_media() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![Just(0x80_u8), Just(0x81), Just(0x90), any::<u8>()];
    let second = prop_oneof![Just(8_u8), Just(200), Just(201), Just(205), any::<u8>()];
    (first, second, prop::collection::vec(any::<u8>(), 0..80)).prop_map(
        |(first, second, mut rest)| {
            if let [high, low, ..] = rest.as_mut_slice() {
                (*high, *low) = (0, *low % 24);
            }
            rest.splice(0..0, [first, second]);
            rest
        },
    )
}
