//! What `query` and `delete` tell.

use std::time::Duration;

use bytes::Bytes;
use ng::reply::CallStatistics;
use ng::request::{Query, Signal};

use super::world::{World, audio, crypto, signal, towards};
use crate::relay::command::{CallReport, Counters, Residence, SourceReport, StreamReport};
use crate::relay::drop_reason::DropReason;
use crate::session::{Clock, tell_only};

const BEGAN: Duration = Duration::from_secs(1_700_000_000);

/// An RTP caller and an SRTP callee, 10 s into the call.
fn call() -> (World, CallStatistics) {
    let mut world = World::new();
    let offer = signal("a", None, &audio("198.51.100.1", 4000, "RTP/AVP", &["sendonly"]));
    let offer = Signal { label: Some(Bytes::from_static(b"caller")), ..offer };
    let call = world.offer(&towards(offer, ng::sdp::Protocol::RtpSavp)).unwrap().call;
    let key = crypto(3, 'B');
    let answer = audio("203.0.113.9", 5000, "RTP/SAVP", &[&key, "rtcp-mux"]);
    world.answer(&signal("a", Some("b"), &answer)).unwrap();
    let report = CallReport { streams: vec![stream(&world, 100, 40), stream(&world, 50, 90)] };
    let clock =
        Clock { now: world.now + Duration::from_secs(10), unix: BEGAN + Duration::from_secs(10) };
    let statistics = world.calls.statistics(call, Some(&report), clock).unwrap();
    (world, statistics)
}

fn stream(world: &World, packets: u64, p99_ns: u64) -> StreamReport {
    let rtp_in = Counters { packets, bytes: packets * 172, errors: 1 };
    StreamReport {
        rtp_in,
        rtp_out: Counters::default(),
        rtcp_in: Counters { packets: 2, bytes: 100, errors: 0 },
        rtcp_out: Counters::default(),
        remote_rtp: "192.0.2.77:4444".parse().ok(),
        remote_rtcp: None,
        local_rtp: None,
        local_rtcp: None,
        confirmed: true,
        last_packet: Some(world.now + Duration::from_secs(9)),
        sources: vec![SourceReport { ssrc: 7, packets, ..SourceReport::default() }],
        drops: [0; DropReason::COUNT],
        residence: Residence { count: packets, p99_ns, ..Residence::default() },
    }
}

#[test]
fn totals_are_what_all_parties_sent() {
    let (_, statistics) = call();
    assert_eq!(statistics.created, BEGAN);
    assert_eq!((statistics.rtp.packets, statistics.rtp.errors), (150, 2));
    assert_eq!(statistics.rtcp.packets, 4);
    assert_eq!(statistics.sources.len(), 2);
    assert_eq!((statistics.residence.count, statistics.residence.p99_ns), (150, 90));
}

#[test]
fn each_party_is_told_with_its_media_ports_and_flags() {
    let (_, statistics) = call();
    let [a, b] = &statistics.tags[..] else { panic!("two parties") };
    assert_eq!((a.tag.as_deref(), a.label.as_deref()), (Some(&b"a"[..]), Some(&b"caller"[..])));
    assert_eq!(
        (&a.subscribers[..], &a.subscriptions[..]),
        (&[Bytes::from("b")][..], &[Bytes::from("b")][..])
    );
    let media = &a.medias[0];
    assert_eq!(
        (media.index, &media.kind[..], &media.protocol[..]),
        (1, &b"audio"[..], &b"RTP/AVP"[..])
    );
    assert_eq!(media.flags, ["initialized", "recv"]);
    let [rtp, rtcp] = &media.streams[..] else { panic!("two ports") };
    assert_eq!(
        (rtp.endpoint, rtp.advertised_endpoint),
        ("192.0.2.77:4444".parse().ok(), "198.51.100.1:4000".parse().ok())
    );
    assert_eq!(rtcp.endpoint, "198.51.100.1:4001".parse().ok());
    assert_eq!((rtp.received.packets, rtcp.received.packets, rtp.ssrc), (100, 2, Some(7)));
    assert_eq!(rtp.last_packet, BEGAN + Duration::from_secs(9));
    assert_eq!(rtp.flags, ["RTP", "filled", "confirmed", "strict source address"]);
    assert_eq!(b.medias[0].streams[0].crypto_suite, Some("AES_CM_128_HMAC_SHA1_80"));
    assert_eq!(b.medias[0].flags, ["initialized", "send", "recv", "SDES"]);
}

#[test]
fn a_query_with_a_tag_tells_of_that_party() {
    let (_, mut statistics) = call();
    let query = |tag: &'static str| Query {
        call_id: Bytes::from("call"),
        from_tag: Some(Bytes::from(tag)),
        to_tag: None,
    };
    tell_only(&mut statistics, &query("b"));
    assert_eq!(statistics.tags.len(), 1);
    tell_only(&mut statistics, &query("nobody"));
    assert!(statistics.tags.is_empty());
}
