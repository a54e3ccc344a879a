//! The packet path on a virtual clock and a wire in memory: what gets through, what does not and
//! under which name, and who can't get a call's media by asking for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod relay_support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gateway::relay::command::{CallReport, KeyPlan, Remote, StreamPlan, WorkerEvent};
use gateway::relay::drop_reason::DropReason;
use gateway::relay::table::{Table, Told};
use packet_io::Received;
use proptest::prelude::*;
use relay_support::*;
use srtp::Profile;

const PROFILE: Profile = Profile::AesCm128HmacSha1_80;
const SSRC: u32 = 0x1234_5678;
const PLAIN: usize = 0;
const SECURE: usize = 1;
const HIJACKER: &str = "203.0.113.66:4000";

/// One call, a plain party and one that speaks SRTP, and the time.
struct Call {
    table: Table,
    wire: Wire,
    now: Instant,
    realtime_ns: u64,
    /// Ours, by stream: RTP and RTCP.
    local: [[SocketAddr; 2]; 2],
    /// Theirs, by stream: RTP and RTCP.
    party: [[SocketAddr; 2]; 2],
    crypto: Crypto,
}

impl Call {
    fn new() -> Self {
        Self::with_profile(PROFILE)
    }

    fn with_profile(profile: Profile) -> Self {
        Self::planned(profile, |_| {})
    }

    /// A call whose first plan was changed by `change` before it was applied.
    fn planned(profile: Profile, change: impl FnOnce(&mut [StreamPlan; 2])) -> Self {
        let ((ports_a, local_a), (ports_b, local_b)) = (open_pair(), open_pair());
        let party = [
            ["198.51.100.1:4000", "198.51.100.1:4001"].map(|address| address.parse().unwrap()),
            ["198.51.100.2:6000", "198.51.100.2:6001"].map(|address| address.parse().unwrap()),
        ];
        let mut call = Self {
            table: Table::new(1024),
            wire: Wire::new(),
            now: Instant::now(),
            realtime_ns: 1_700_000_000_000_000_000,
            local: [local_a, local_b],
            party,
            crypto: Crypto::new(profile, 1, 2),
        };
        let mut plans = [
            StreamPlan {
                sockets: Some(ports_a),
                remote: remote(party[PLAIN]),
                receive_key: KeyPlan::Clear,
                send_key: KeyPlan::Clear,
                ..unchanged(1)
            },
            StreamPlan {
                sockets: Some(ports_b),
                remote: remote(party[SECURE]),
                receive_key: set_key(profile, 1),
                send_key: set_key(profile, 2),
                ..unchanged(0)
            },
        ];
        change(&mut plans);
        call.apply(plans);
        call
    }

    fn apply(&mut self, plans: [StreamPlan; 2]) {
        self.table.apply(relay_support::call(plans), &mut self.wire, self.now).unwrap();
    }

    fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    /// `bytes` arrive at component `component` of stream `at` from `from`; what left because
    /// of it.
    fn arrives(&mut self, from: SocketAddr, at: (usize, usize), bytes: &[u8]) -> Vec<Datagram> {
        self.wire.deliver(Datagram {
            from,
            to: self.local[at.0][at.1],
            bytes: bytes.to_vec(),
            timestamp_ns: self.realtime_ns,
            kernel_drops: 0,
        });
        self.turn();
        std::mem::take(&mut self.wire.sent)
    }

    fn turn(&mut self) {
        self.realtime_ns += 50_000;
        let realtime_ns = self.realtime_ns;
        self.table.turn(&mut self.wire, self.now, || realtime_ns).unwrap();
    }

    /// A party sends from where it said; the one datagram that leaves, if one does.
    fn sends(&mut self, party: usize, bytes: &[u8]) -> Option<Datagram> {
        self.sends_from(self.party[party][0], party, bytes)
    }

    fn sends_from(&mut self, from: SocketAddr, party: usize, bytes: &[u8]) -> Option<Datagram> {
        let mut sent = self.arrives(from, (party, 0), bytes);
        assert!(sent.len() <= 1, "one packet in, several out");
        sent.pop()
    }

    /// The plain party sends; what the other one makes of it.
    fn secured(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let datagram = self.sends(PLAIN, packet)?;
        assert_eq!(datagram.to, self.party[SECURE][0]);
        assert_eq!(datagram.from, self.local[SECURE][0]);
        assert_ne!(datagram.bytes[12..], packet[12..], "it left in clear");
        Some(self.crypto.open(&datagram.bytes).expect("opens under the key we send with"))
    }

    fn report(&self) -> CallReport {
        self.table.report(CALL).unwrap()
    }

    fn drops(&self, stream: usize, reason: DropReason) -> u64 {
        self.report().streams[stream].drops[reason as usize]
    }

    #[track_caller]
    fn assert_only_drops(&self, stream: usize, expected: &[(DropReason, u64)]) {
        let drops = self.report().streams[stream].drops;
        let counted: Vec<_> = DropReason::ALL
            .into_iter()
            .map(|reason| (reason, drops[reason as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(counted, expected);
    }
}

fn hijacker() -> SocketAddr {
    HIJACKER.parse().unwrap()
}

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

/// CVE-2025-53399: whoever sends to the port gets neither media nor a hearing.
#[test]
fn unauthenticated_packets_never_move_an_srtp_leg() {
    let mut call = Call::new();
    let genuine = call.crypto.protect(&rtp(SSRC, 1));
    let mut forged = genuine.clone();
    forged[20] ^= 1;
    for ms in 0..500_u64 {
        call.passes(Duration::from_millis(20));
        let attempt = match ms % 3 {
            0 => rtp(SSRC, ms as u16),
            1 => forged.clone(),
            _ => Crypto::new(PROFILE, 99, 99).protect(&rtp(SSRC, ms as u16)),
        };
        assert_eq!(call.sends_from(hijacker(), SECURE, &attempt), None);
        assert!(call.secured(&rtp(SSRC, ms as u16)).is_some(), "still to the party");
    }
    call.assert_only_drops(SECURE, &[(DropReason::AuthenticationFailed, 500)]);
    assert!(call.report().streams[SECURE].last_packet.is_none());
    assert!(call.sends(SECURE, &genuine).is_some());
}

#[test]
fn an_srtp_party_behind_nat_is_found_by_its_first_authentic_packet() {
    let mut call = Call::new();
    let natted = "192.0.2.77:31000".parse().unwrap();
    let packet = call.crypto.protect(&rtp(SSRC, 1));
    assert!(call.sends_from(natted, SECURE, &packet).is_some());
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 1)).unwrap().to, natted);
}

#[test]
fn a_replayed_packet_moves_nothing_and_is_not_relayed() {
    let mut call = Call::new();
    let packet = call.crypto.protect(&rtp(SSRC, 1));
    assert!(call.sends(SECURE, &packet).is_some());
    assert_eq!(call.sends(SECURE, &packet), None);
    assert_eq!(call.sends_from(hijacker(), SECURE, &packet), None);
    call.assert_only_drops(SECURE, &[(DropReason::WrongSource, 1), (DropReason::Replayed, 1)]);
}

#[test]
fn a_hijacker_on_a_plain_leg_yields_to_the_party_however_long_he_was_alone() {
    let mut call = Call::new();
    for sequence in 0..200 {
        call.passes(Duration::from_millis(20));
        call.sends_from(hijacker(), PLAIN, &rtp(666, sequence));
    }
    assert!(call.sends(PLAIN, &rtp(SSRC, 1)).is_some());
    let answer = call.crypto.protect(&rtp(SSRC + 1, 1));
    assert_eq!(call.sends(SECURE, &answer).unwrap().to, call.party[PLAIN][0]);
    assert_eq!(call.sends_from(hijacker(), PLAIN, &rtp(666, 201)), None);
    call.assert_only_drops(PLAIN, &[(DropReason::WrongSource, 1)]);
}

#[test]
fn a_hijacker_who_comes_first_cannot_use_up_the_senders_sources() {
    let mut call = Call::new();
    for ssrc in 0..100 {
        call.passes(Duration::from_millis(20));
        call.sends_from(hijacker(), PLAIN, &rtp(ssrc, 1));
    }
    call.assert_only_drops(PLAIN, &[(DropReason::TooManySources, 96)]);
    for ssrc in [SSRC, SSRC + 1, SSRC + 2] {
        assert!(call.secured(&rtp(ssrc, 1)).is_some(), "room is left for the party");
    }
}

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
fn a_party_behind_nat_may_change_its_source_throughout_the_call() {
    let mut call = Call::planned(PROFILE, |plans| {
        plans[PLAIN].remote =
            remote(["192.168.1.9:4000", "192.168.1.9:4001"].map(|at| at.parse().unwrap()));
    });
    for ssrc in 1..=30 {
        assert!(call.sends_from(hijacker(), PLAIN, &rtp(ssrc, 1)).is_some(), "source {ssrc}");
        call.passes(Duration::from_secs(10));
    }
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
fn hold_stops_media_but_not_rtcp_and_resuming_goes_on_under_the_same_key() {
    let mut call = Call::new();
    call.secured(&rtp(SSRC, 65_530)).unwrap();
    let hold = |receive, send| StreamPlan { receive, send, ..unchanged(1) };
    call.apply([hold(false, false), unchanged(0)]);
    for sequence in 65_531..65_535 {
        assert_eq!(call.sends(PLAIN, &rtp(SSRC, sequence)), None);
        let answer = call.crypto.protect(&rtp(SSRC + 1, sequence));
        assert_eq!(call.sends(SECURE, &answer), None);
    }
    let report = receiver_report(SSRC, 1);
    let sent = call.arrives(call.party[PLAIN][1], (PLAIN, 1), &report);
    assert_eq!(call.crypto.open_rtcp(&sent[0].bytes).unwrap(), report);
    call.assert_only_drops(PLAIN, &[(DropReason::DirectionOff, 4)]);
    call.assert_only_drops(SECURE, &[(DropReason::DirectionOff, 4)]);

    call.apply([unchanged(1), unchanged(0)]);
    for sequence in 10..20 {
        assert!(call.secured(&rtp(SSRC, sequence)).is_some());
        let answer = call.crypto.protect(&rtp(SSRC + 1, sequence));
        assert!(call.sends(SECURE, &answer).is_some(), "the receiver kept count while on hold");
    }
}

#[test]
fn an_old_style_hold_sends_nothing_to_the_zero_address() {
    let mut call = Call::new();
    let zero = Some(Remote { rtp: None, rtcp: None });
    call.apply([StreamPlan { remote: zero, ..unchanged(1) }, unchanged(0)]);
    let answer = call.crypto.protect(&rtp(SSRC, 1));
    assert_eq!(call.sends(SECURE, &answer), None);
    call.assert_only_drops(SECURE, &[(DropReason::NoDestination, 1)]);
}

#[test]
fn without_an_answer_packets_have_no_peer() {
    let mut call = Call::planned(PROFILE, |plans| plans[PLAIN].peer = None);
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 1)), None);
    call.assert_only_drops(PLAIN, &[(DropReason::NoPeer, 1)]);
}

#[test]
fn a_leg_whose_key_is_not_known_yet_neither_takes_nor_sends_anything() {
    let mut call = Call::planned(PROFILE, |plans| {
        plans[SECURE].receive_key = KeyPlan::Keep;
        plans[SECURE].send_key = KeyPlan::Keep;
    });
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 1)), None, "never in clear");
    assert_eq!(call.sends(SECURE, &rtp(SSRC, 1)), None);
    call.assert_only_drops(PLAIN, &[(DropReason::NoKey, 1)]);
    call.assert_only_drops(SECURE, &[(DropReason::NoKey, 1)]);
}

#[test]
fn a_new_receive_key_leaves_the_old_one_a_moment() {
    let mut call = Call::new();
    let mut old = std::mem::replace(&mut call.crypto, Crypto::new(PROFILE, 11, 2));
    let mut sequence = 0;
    let mut next = || {
        sequence += 1;
        rtp(SSRC, sequence)
    };
    let packet = old.protect(&next());
    assert!(call.sends(SECURE, &packet).is_some());
    call.apply([unchanged(1), StreamPlan { receive_key: set_key(PROFILE, 11), ..unchanged(0) }]);

    call.passes(Duration::from_secs(60));
    let packet = old.protect(&next());
    assert!(call.sends(SECURE, &packet).is_some(), "the party has not changed over yet");
    let late = old.protect(&next());
    let packet = call.crypto.protect(&next());
    assert!(call.sends(SECURE, &packet).is_some(), "now it has");
    assert!(call.sends(SECURE, &late).is_some(), "overtaken on the way");
    assert_eq!(call.sends(SECURE, &late), None, "but not twice");

    call.passes(Duration::from_secs(6));
    let packet = call.crypto.protect(&next());
    assert!(call.sends(SECURE, &packet).is_some());
    let packet = old.protect(&next());
    assert_eq!(call.sends(SECURE, &packet), None, "the old key is gone");
}

#[test]
fn a_new_send_key_goes_on_in_the_numbers_of_the_old_one() {
    let mut call = Call::new();
    for sequence in (100..110).chain(50_000..50_010) {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    call.apply([unchanged(1), StreamPlan { send_key: set_key(PROFILE, 22), ..unchanged(0) }]);
    call.crypto = Crypto::new(PROFILE, 1, 22);
    let packet = rtp(SSRC, 50_010);
    assert_eq!(call.secured(&packet).unwrap(), renumbered(packet, 120));
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

#[test]
fn kernel_drops_are_counted_once_each() {
    let mut call = Call::new();
    for (sequence, kernel_drops) in [(1, 0), (2, 3), (3, 3), (4, 10)] {
        call.wire.deliver(Datagram {
            from: call.party[PLAIN][0],
            to: call.local[PLAIN][0],
            bytes: rtp(SSRC, sequence),
            timestamp_ns: 0,
            kernel_drops,
        });
    }
    call.turn();
    call.assert_only_drops(PLAIN, &[(DropReason::KernelReceiveQueue, 10)]);
    assert_eq!(call.report().streams[PLAIN].rtp_in.packets, 4);
}

#[test]
fn what_the_kernel_would_not_send_is_counted() {
    let mut call = Call::new();
    call.wire.refuse_sends = 1;
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 1)), None);
    assert!(call.secured(&rtp(SSRC, 2)).is_some());
}

#[test]
fn a_stepped_clock_leaves_no_residence_time() {
    let mut call = Call::new();
    call.wire.deliver(Datagram {
        from: call.party[PLAIN][0],
        to: call.local[PLAIN][0],
        bytes: rtp(SSRC, 1),
        timestamp_ns: call.realtime_ns + 3_600_000_000_000,
        kernel_drops: 0,
    });
    call.turn();
    assert_eq!(call.wire.sent.len(), 1);
    assert_eq!(call.report().streams[PLAIN].residence.count, 0);
}

#[test]
fn closing_a_stream_closes_its_sockets_and_keeps_its_numbers() {
    let mut call = Call::new();
    call.secured(&rtp(SSRC, 1)).unwrap();
    call.apply([unchanged(1), StreamPlan { closed: true, ..unchanged(0) }]);
    assert_eq!(call.wire.open_sockets(), 2);
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 2)), None);
    call.assert_only_drops(PLAIN, &[(DropReason::NoPeer, 1)]);
    assert_eq!(call.report().streams[SECURE].rtp_out.packets, 1);
}

#[test]
fn closing_a_call_closes_everything_and_reports() {
    let mut call = Call::new();
    call.secured(&rtp(SSRC, 1)).unwrap();
    let report = call.table.close(CALL, &mut call.wire).unwrap();
    assert_eq!(report.streams[PLAIN].rtp_in.packets, 1);
    assert_eq!(call.wire.open_sockets(), 0);
    assert!(call.table.close(CALL, &mut call.wire).is_none());
    assert!(call.table.report(CALL).is_none());
}

#[test]
fn idle_calls_are_told_of_once_per_threshold_and_busy_ones_never() {
    const THRESHOLD: Duration = Duration::from_secs(5);
    let mut call = Call::new();
    let made = call.now;
    let mut told = Vec::new();
    for second in 1..=16_u64 {
        call.passes(Duration::from_secs(1));
        if second <= 3 {
            call.secured(&rtp(SSRC, second as u16)).unwrap();
        }
        for _ in 0..10 {
            call.table.scan(10, THRESHOLD, call.now, |event| {
                told.push((second, event));
                Told::Yes
            });
        }
    }
    let told: Vec<_> = told
        .into_iter()
        .map(|(second, event)| match event {
            WorkerEvent::Idle { call: CALL, since } => (second, since - made),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(told, [(8, Duration::from_secs(3)), (13, Duration::from_secs(3))]);
}

#[test]
fn a_soft_limit_is_told_until_there_is_room_for_it() {
    let mut call = Call::planned(PROFILE, |plans| {
        if let KeyPlan::Set(key) = &mut plans[SECURE].send_key {
            key.lifetime = Some(16);
        }
    });
    let scan = |call: &mut Call, told| {
        let mut limits = 0;
        for _ in 0..10 {
            call.table.scan(10, Duration::MAX, call.now, |event| {
                assert!(matches!(event, WorkerEvent::SoftLimit { call: CALL, .. }));
                limits += 1;
                told
            });
        }
        limits
    };
    for sequence in 0..13 {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    assert_eq!(scan(&mut call, Told::Yes), 0);
    call.secured(&rtp(SSRC, 13)).unwrap();
    assert!(scan(&mut call, Told::QueueFull) > 0);
    assert_eq!(scan(&mut call, Told::Yes), 1);
    assert_eq!(scan(&mut call, Told::Yes), 0);
    for sequence in 14..16 {
        call.secured(&rtp(SSRC, sequence)).unwrap();
    }
    assert_eq!(call.sends(PLAIN, &rtp(SSRC, 16)), None);
    call.assert_only_drops(PLAIN, &[(DropReason::KeyExhausted, 1)]);
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
