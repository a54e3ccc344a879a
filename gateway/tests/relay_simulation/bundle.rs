//! One stream whose sections are different streams of the far side: a browser's bundle, and a trunk
//! with audio and video apart.

use std::net::SocketAddr;
use std::time::Instant;

use gateway::relay::command::{Route, StreamIndex, StreamPlan};
use gateway::relay::drop_reason::DropReason;
use gateway::relay::key_plan::{ReceivePlan, SendPlan};
use gateway::relay::table::Table;

use crate::call::{PROFILE, SSRC};
use crate::relay_support::*;

const BUNDLE: usize = 0;
const AUDIO: usize = 1;
const VIDEO: usize = 2;
/// What the trunk sends.
const TRUNK_AUDIO: u32 = 0xaaaa;
const TRUNK_VIDEO: u32 = 0xbbbb;
/// What the browser does.
const AUDIO_SOURCE: u32 = SSRC;
const VIDEO_SOURCE: u32 = SSRC + 1;

struct World {
    table: Table,
    wire: Wire,
    now: Instant,
    local: [[SocketAddr; 2]; 3],
    party: [[SocketAddr; 2]; 3],
    crypto: Crypto,
}

impl World {
    fn new() -> Self {
        let opened = [open_pair(), open_pair(), open_pair()];
        let local = opened.each_ref().map(|(_, local)| *local);
        let at = |port| SocketAddr::from(([198, 51, 100, 1], port));
        let party = [[at(6000); 2], [at(4000), at(4001)], [at(4002), at(4003)]];
        let [bundle, audio, video] = opened.map(|(ports, _)| ports);
        let trunk = |ports, addresses| StreamPlan {
            sockets: Some(ports),
            remote: remote(addresses),
            receive_key: ReceivePlan::Clear,
            send_key: SendPlan::Clear,
            ..unchanged(0)
        };
        let streams = [
            StreamPlan {
                sockets: Some(bundle),
                remote: remote(party[BUNDLE]),
                receive_key: set_receive(PROFILE, 1),
                send_key: set_send(PROFILE, 2),
                rtcp_mux: true,
                peer: None,
                routes: both(),
                ..unchanged(0)
            },
            trunk(audio, party[AUDIO]),
            trunk(video, party[VIDEO]),
        ];
        let (mut table, mut wire, now) =
            (Table::new(1024, Vec::new()), Wire::new(), Instant::now());
        table.apply(call(streams), &mut wire, now).unwrap();
        Self { table, wire, now, local, party, crypto: Crypto::new(PROFILE, 1, 2) }
    }

    fn deliver(&mut self, stream: usize, component: usize, bytes: Vec<u8>) {
        self.wire.deliver(Datagram {
            from: self.party[stream][component],
            to: self.local[stream][component],
            bytes,
            timestamp_ns: 0,
            kernel_drops: 0,
        });
    }

    /// What leaves because of all that was delivered: the stream it leaves from, and its bytes.
    fn turn(&mut self) -> Vec<(usize, Vec<u8>)> {
        self.table.turn(&mut self.wire, self.now, || 0).unwrap();
        let sent = std::mem::take(&mut self.wire.sent);
        let from =
            |at: SocketAddr| self.local.iter().position(|local| local.contains(&at)).unwrap();
        sent.into_iter()
            .map(|datagram| {
                let stream = from(datagram.from);
                assert!(self.party[stream].contains(&datagram.to), "not to its own party");
                (stream, datagram.bytes)
            })
            .collect()
    }

    fn browser_sends(&mut self, packet: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let protected = self.crypto.protect(packet);
        self.deliver(BUNDLE, 0, protected);
        self.turn()
    }

    fn browser_reports(&mut self, compound: &[u8]) -> Vec<(usize, Vec<u8>)> {
        let protected = self.crypto.protect_rtcp(compound);
        self.deliver(BUNDLE, 0, protected);
        self.turn()
    }

    /// Everybody has sent once: all four sources are known.
    fn talking() -> Self {
        let mut world = Self::new();
        let (audio, video) =
            (with_mid(rtp(AUDIO_SOURCE, 1), b"0"), with_mid(rtp(VIDEO_SOURCE, 1), b"1"));
        assert_eq!(world.browser_sends(&audio), [(AUDIO, audio)]);
        assert_eq!(world.browser_sends(&video), [(VIDEO, video)]);
        for (stream, ssrc) in [(AUDIO, TRUNK_AUDIO), (VIDEO, TRUNK_VIDEO)] {
            world.deliver(stream, 0, rtp(ssrc, 1));
            let [(BUNDLE, sent)] = &world.turn()[..] else { panic!("not to the browser") };
            assert_eq!(world.crypto.open(sent).unwrap(), rtp(ssrc, 1));
        }
        world
    }

    /// A plan that changes the bundle's sections alone.
    fn reroute(&mut self, routes: Vec<Route>) {
        let bundle = StreamPlan { rtcp_mux: true, peer: None, routes, ..unchanged(0) };
        let streams = [bundle, unchanged(0), unchanged(0)];
        self.table.apply(call(streams), &mut self.wire, self.now).unwrap();
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.table.report(CALL).unwrap().streams[BUNDLE].drops[reason as usize]
    }
}

fn both() -> Vec<Route> {
    vec![route(AUDIO, b"0", &[8, 96]), route(VIDEO, b"1", &[96])]
}

fn route(peer: usize, mid: &[u8], payload_types: &[u8]) -> Route {
    Route {
        peer: StreamIndex(peer as u16),
        mid: mid.into(),
        mid_extension: 3,
        payload_types: payload_types.iter().map(|payload_type| 1_u128 << payload_type).sum(),
        ssrcs: Vec::new(),
    }
}

/// The packet with payload type 96, which both sections have, and the extension in two-byte form.
fn with_mid(mut packet: Vec<u8>, mid: &[u8]) -> Vec<u8> {
    packet[0] |= 0x10;
    packet[1] = 96;
    let mut extension = vec![0x10, 0, 0, 1, 3, mid.len() as u8];
    extension.extend(mid);
    extension.resize(8, 0);
    packet.splice(12..12, extension);
    packet
}

fn unmarked(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = rtp(ssrc, sequence);
    packet[1] = 96;
    packet
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A picture loss indication: feedback without a report before it (RFC 5506).
fn picture_loss(about: u32) -> Vec<u8> {
    words(&[0x81ce_0002, VIDEO_SOURCE, about])
}

fn description(of: u32) -> Vec<u8> {
    words(&[0x81ca_0003, of, 0x0104_6e61, 0x6d65_0000])
}

#[test]
fn packets_go_by_mid_then_by_the_source_that_it_named() {
    let mut world = World::talking();
    for sequence in 2..50 {
        let (audio, video) = (unmarked(AUDIO_SOURCE, sequence), unmarked(VIDEO_SOURCE, sequence));
        assert_eq!(world.browser_sends(&audio), [(AUDIO, audio)]);
        assert_eq!(world.browser_sends(&video), [(VIDEO, video)]);
    }
    let by_payload_type = rtp(SSRC + 2, 1);
    assert_eq!(world.browser_sends(&by_payload_type), [(AUDIO, by_payload_type)]);
}

#[test]
fn sources_are_known_again_after_a_plan_that_set_every_section_aside() {
    let mut world = World::talking();
    world.reroute(Vec::new());
    assert_eq!(world.browser_sends(&unmarked(VIDEO_SOURCE, 2)), []);
    world.reroute(both());
    let (audio, video) = (unmarked(AUDIO_SOURCE, 3), unmarked(VIDEO_SOURCE, 3));
    assert_eq!(world.browser_sends(&audio), [(AUDIO, audio)]);
    assert_eq!(world.browser_sends(&video), [(VIDEO, video)]);
}

#[test]
fn what_belongs_to_no_section_goes_nowhere_and_is_counted() {
    let mut world = World::talking();
    assert_eq!(world.browser_sends(&unmarked(SSRC + 3, 1)), []);
    assert_eq!(world.browser_sends(&with_mid(rtp(SSRC + 3, 2), b"7")), []);
    assert_eq!(world.browser_reports(&picture_loss(0xdddd)), []);
    assert_eq!(world.browser_reports(&description(SSRC + 3)), []);
    assert_eq!(world.drops(DropReason::NoRoute), 4);
}

#[test]
fn a_packet_that_does_not_verify_teaches_no_route() {
    let mut world = World::talking();
    let mut forged = Crypto::new(PROFILE, 9, 9).protect(&with_mid(rtp(AUDIO_SOURCE, 2), b"1"));
    world.deliver(BUNDLE, 0, forged.clone());
    forged.pop();
    world.deliver(BUNDLE, 0, forged);
    assert_eq!(world.turn(), []);
    let audio = unmarked(AUDIO_SOURCE, 3);
    assert_eq!(world.browser_sends(&audio), [(AUDIO, audio)]);
}

#[test]
fn reports_and_feedback_go_to_whose_source_they_name() {
    let mut world = World::talking();
    for (stream, about) in [(AUDIO, TRUNK_AUDIO), (VIDEO, TRUNK_VIDEO)] {
        let report = [receiver_report(about, 1), description(1)].concat();
        assert_eq!(world.browser_reports(&report), [(stream, report)]);
        let feedback = picture_loss(about);
        assert_eq!(world.browser_reports(&feedback), [(stream, feedback)]);
    }
    let goodbye = words(&[0x81cb_0001, VIDEO_SOURCE]);
    assert_eq!(world.browser_reports(&goodbye), [(VIDEO, goodbye)]);
    let alone = description(AUDIO_SOURCE);
    assert_eq!(world.browser_reports(&alone), [(AUDIO, alone)]);
}

#[test]
fn of_a_report_on_both_each_gets_its_own() {
    let mut world = World::talking();
    let sender_report = words(&[0x80c8_0006, AUDIO_SOURCE, 1, 2, 3, 4, 5]);
    let (common, loss) = (description(AUDIO_SOURCE), picture_loss(TRUNK_VIDEO));
    let compound = [&sender_report[..], &common, &loss].concat();
    let mut sent = world.browser_reports(&compound);
    sent.sort();
    let empty = words(&[0x80c9_0001, AUDIO_SOURCE]);
    let expected = [
        (AUDIO, [&sender_report[..], &common].concat()),
        (VIDEO, [&empty[..], &common, &loss].concat()),
    ];
    assert_eq!(sent, expected);
    let report = world.table.report(CALL).unwrap();
    assert_eq!([AUDIO, VIDEO].map(|at| report.streams[at].rtcp_out.packets), [1, 1]);
    let about_both =
        words(&[0x82c9_000d, 1, TRUNK_AUDIO, 0, 1, 0, 0, 0, TRUNK_VIDEO, 0, 1, 0, 0, 0]);
    let mut sent = world.browser_reports(&about_both);
    sent.sort();
    assert_eq!(sent, [(AUDIO, about_both.clone()), (VIDEO, about_both)]);
}

#[test]
fn reports_of_both_trunks_reach_the_browser() {
    let mut world = World::talking();
    for stream in [AUDIO, VIDEO] {
        let report = receiver_report(AUDIO_SOURCE, stream as u32);
        world.deliver(stream, 1, report.clone());
        let [(BUNDLE, sent)] = &world.turn()[..] else { panic!("not to the browser") };
        assert_eq!(world.crypto.open_rtcp(sent).unwrap(), report);
    }
}

#[test]
fn copies_of_reports_are_bounded_in_a_turn() {
    let mut world = World::talking();
    let compound = [receiver_report(TRUNK_AUDIO, 1), picture_loss(TRUNK_VIDEO)].concat();
    for _ in 0..100 {
        let protected = world.crypto.protect_rtcp(&compound);
        world.deliver(BUNDLE, 0, protected);
    }
    let sent = world.turn();
    let to = |stream| sent.iter().filter(|(at, _)| *at == stream).count();
    assert_eq!([to(AUDIO), to(VIDEO)], [100, 32]);
    assert_eq!(world.drops(DropReason::Flood), 68);
}

/// Both ways, both sections, over a restart of the trunk's numbers.
#[test]
fn a_bundled_call_loses_no_packet_of_either_section_either_way() {
    let mut world = World::talking();
    for sequence in 2..1000 {
        for (stream, own, theirs, mid) in [
            (AUDIO, TRUNK_AUDIO, AUDIO_SOURCE, &b"0"[..]),
            (VIDEO, TRUNK_VIDEO, VIDEO_SOURCE, &b"1"[..]),
        ] {
            let packet = match sequence % 100 {
                0 => with_mid(rtp(theirs, sequence), mid),
                _ => unmarked(theirs, sequence),
            };
            assert_eq!(world.browser_sends(&packet), [(stream, packet)]);
            let restarted = if stream == VIDEO { sequence % 500 } else { sequence };
            world.deliver(stream, 0, rtp(own, restarted));
            let [(BUNDLE, sent)] = &world.turn()[..] else { panic!("not to the browser") };
            assert_eq!(world.crypto.open(sent).unwrap()[12..], rtp(own, restarted)[12..]);
        }
    }
    let report = world.table.report(CALL).unwrap();
    assert!(report.streams.iter().all(|stream| stream.drops.iter().sum::<u64>() == 0));
    assert_eq!(report.streams[BUNDLE].rtp_out.packets, 2 * 999);
}

#[test]
fn of_two_trunks_with_one_source_the_first_is_heard_and_reported_on() {
    let mut world = World::talking();
    world.deliver(VIDEO, 0, rtp(TRUNK_AUDIO, 2));
    world.deliver(VIDEO, 1, words(&[0x80c8_0006, TRUNK_AUDIO, 1, 2, 3, 4, 5]));
    assert_eq!(world.turn(), []);
    let report = world.table.report(CALL).unwrap();
    let refused = |stream: usize| report.streams[stream].drops[DropReason::SsrcCollision as usize];
    assert_eq!([AUDIO, VIDEO].map(refused), [0, 2]);

    world.deliver(AUDIO, 0, rtp(TRUNK_AUDIO, 2));
    world.deliver(VIDEO, 0, rtp(TRUNK_VIDEO, 2));
    assert_eq!(world.turn().len(), 2, "what is its own goes on");
    let report = receiver_report(TRUNK_AUDIO, 1);
    assert_eq!(world.browser_reports(&report), [(AUDIO, report)]);
}
