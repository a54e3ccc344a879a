//! Hold of both kinds, rtcp-mux in all its options, `a=rtcp`.

use ng::request::{RtcpMux, Signal};
use ng::sdp::{Direction, RtcpLine};

use super::world::{A, B, World, audio, section, signal, text};
use crate::session::mux::{Settled, rtcp_line};

#[test]
fn the_zero_address_stays_and_media_to_it_stops() {
    let mut world = World::new();
    world.offer(&signal("a", None, &audio(A, 4000, "RTP/AVP", &[]))).unwrap();
    world.answer(&signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", &[]))).unwrap();

    let hold = signal("a", Some("b"), &audio("0.0.0.0", 4000, "RTP/AVP", &[]));
    let held = section(&world.offer(&hold).unwrap());
    assert_eq!(held.connection, "0.0.0.0".parse().ok());
    assert_eq!(held.direction, Direction::SendOnly);
    let answer = signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", &["recvonly"]));
    world.answer(&answer).unwrap();
    assert_eq!(world.streams()[0].remote.unwrap().rtp, None);

    let mut shown = hold.clone();
    shown.replace.zero_address = true;
    shown.flags.original_sendrecv = true;
    let held = section(&world.offer(&shown).unwrap());
    assert_eq!(held.connection, "10.0.0.2".parse().ok());
    assert_eq!(held.direction, Direction::SendRecv);

    let resume = audio(A, 4000, "RTP/AVP", &[]);
    world.offer(&signal("a", Some("b"), &resume)).unwrap();
    world.answer(&signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", &[]))).unwrap();
    assert_eq!(world.streams()[0].remote.unwrap().rtp, "198.51.100.1:4000".parse().ok());
}

#[test]
fn directions_pass_and_media_flows_whatever_they_say() {
    let mut world = World::new();
    let offer = signal("a", None, &audio(A, 4000, "RTP/AVP", &["sendonly"]));
    assert_eq!(section(&world.offer(&offer).unwrap()).direction, Direction::SendOnly);
    let answer = signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", &["recvonly"]));
    assert_eq!(section(&world.answer(&answer).unwrap()).direction, Direction::RecvOnly);
    assert!(world.streams().iter().all(|stream| stream.sends && stream.peer.is_some()));
}

#[test]
fn rtcp_mux_is_offered_and_answered_as_the_options_say() {
    let none = RtcpMux::default();
    let offers = RtcpMux { offer: true, ..none };
    let demux = RtcpMux { demux: true, ..none };
    let accept = RtcpMux { accept: true, ..none };
    let reject = RtcpMux { reject: true, ..none };
    let require = RtcpMux { require: true, ..none };
    // Options, caller offers; callee is offered; callee answers; caller is answered.
    for (options, caller, offered, callee, answered) in [
        (none, true, true, true, true),
        (none, true, true, false, true),
        (none, false, false, false, false),
        (offers, false, true, true, false),
        (require, false, true, true, false),
        (demux, true, false, false, true),
        (accept, true, true, false, true),
        (reject, true, true, true, false),
    ] {
        let mut world = World::new();
        let mux = |on| if on { &["rtcp-mux"][..] } else { &[] };
        let offer = signal("a", None, &audio(A, 4000, "RTP/AVP", mux(caller)));
        let offer = Signal { rtcp_mux: options, ..offer };
        let written = section(&world.offer(&offer).unwrap());
        assert_eq!(written.rtcp_mux, offered, "{options:?}");
        let one_port = options.require;
        let port = written.port + u16::from(!one_port);
        assert_eq!(written.rtcp, Some((port, None)), "{options:?}");
        let answer = signal("a", Some("b"), &audio(B, 5000, "RTP/AVP", mux(callee)));
        let written = section(&world.answer(&answer).unwrap());
        assert_eq!(written.rtcp_mux, answered, "{options:?}");
        assert_eq!(written.rtcp, Some((written.port + u16::from(!answered), None)));
        let [a, b] = world.streams() else { panic!("two streams") };
        assert_eq!((a.rtcp_mux, b.rtcp_mux), (answered, offered && callee), "{options:?}");
        let same = a.remote.unwrap().rtp == a.remote.unwrap().rtcp;
        assert_eq!(same, answered);
    }
}

#[test]
fn rtcp_goes_where_a_rtcp_says() {
    let mut world = World::new();
    let offer = audio(A, 4000, "RTP/AVP", &["rtcp:4600 IN IP4 198.51.100.7"]);
    world.offer(&signal("a", None, &offer)).unwrap();
    assert_eq!(world.streams()[0].remote.unwrap().rtcp, "198.51.100.7:4600".parse().ok());
}

#[test]
fn the_rtcp_line_is_left_out_or_full_when_asked() {
    let mut world = World::new();
    let mut offer = signal("a", None, &audio(A, 4000, "RTP/AVP", &[]));
    offer.flags.full_rtcp_attribute = true;
    assert!(text(&world.offer(&offer).unwrap()).contains("a=rtcp:30005 IN IP4 10.0.0.2\r\n"));
    offer.flags.no_rtcp_attribute = true;
    assert!(!text(&world.offer(&offer).unwrap()).contains("a=rtcp:"));
    let ports = crate::session::ports::LocalPorts {
        interface: crate::session::ports::InterfaceIndex(0),
        bound: "10.0.0.2:30004".parse().unwrap(),
        advertised: "10.0.0.2".parse().unwrap(),
    };
    let plain = signal("a", None, "").flags;
    assert_eq!(rtcp_line(&plain, &ports, Settled::OnePort), RtcpLine::Port(30004));
}
