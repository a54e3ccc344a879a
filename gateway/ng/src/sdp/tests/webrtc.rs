//! What is read of DTLS, ICE and BUNDLE.

use super::*;
use crate::sdp::{
    CandidateKind, Fingerprint, Fragment, HashFunction, HeaderExtension, IceCredentials,
    MediaSection, Setup,
};

const UFRAG: &str = "a=ice-ufrag:8hhY";
const PWD: &str = "a=ice-pwd:asd88fgpdd777uzjYhagZg";
const SHA1: &str =
    "a=fingerprint:SHA-1 4A:AD:B9:B1:3F:82:18:3B:54:02:12:DF:3E:5D:49:6B:19:e5:7c:ab";

/// The sections of a body with these lines after the session part's own.
fn sections(lines: &[&str]) -> Vec<MediaSection> {
    with_session(lines).media
}

fn section(lines: &[&str]) -> MediaSection {
    sections(&[&["m=audio 9 UDP/TLS/RTP/SAVPF 0"], lines].concat()).remove(0)
}

fn candidates(section: &MediaSection) -> Vec<String> {
    section.ice.candidates.iter().map(ToString::to_string).collect()
}

#[test]
fn a_browser_s_section_is_read_whole() {
    let section = section(&[
        UFRAG,
        PWD,
        "a=ice-options:trickle renomination",
        SHA1,
        "a=setup:actpass",
        "a=tls-id:89b4ad2f5da1e31a",
        "a=mid:0",
        "a=bundle-only",
        "a=rtcp-mux-only",
        "a=rtcp-rsize",
        "a=extmap:4/sendonly urn:ietf:params:rtp-hdrext:sdes:mid x",
        "a=candidate:1467250027 1 udp 2122260223 192.0.2.7 46243 typ host generation 0",
        "a=candidate:1853887674 2 udp 1518280447 203.0.113.4 36768 typ srflx raddr 192.0.2.7 rport 36768 generation 0",
        "a=end-of-candidates",
        "a=remote-candidates:1 192.0.2.3 45664 2 192.0.2.3 45665",
    ]);
    assert_eq!(section.dtls.setup, Some(Setup::ActPass));
    assert_eq!(section.dtls.tls_id.as_deref(), Some(&b"89b4ad2f5da1e31a"[..]));
    let [fingerprint] = &section.dtls.fingerprints[..] else { panic!("one fingerprint") };
    assert_eq!(fingerprint.hash(), HashFunction::Sha1);
    assert_eq!(fingerprint.digest()[17..], [0xe5, 0x7c, 0xab]);
    let credentials = section.ice.credentials().expect("both");
    assert_eq!(IceCredentials::new("8hhY", "asd88fgpdd777uzjYhagZg"), Some(credentials));
    assert!(section.ice.options.trickle && !section.ice.options.ice2 && !section.ice.lite);
    assert!(section.bundle_only && section.rtcp_mux && section.rtcp_mux_only && section.rtcp_rsize);
    let [HeaderExtension { id: 4, uri }] = &section.extensions[..] else { panic!("one extmap") };
    assert_eq!(uri, HeaderExtension::MID);
    let [first, second] = &section.ice.candidates[..] else { panic!("two candidates") };
    assert_eq!(
        (first.component, first.priority, first.kind),
        (1, 2_122_260_223, CandidateKind::Host)
    );
    assert_eq!(second.related, "192.0.2.7:36768".parse().ok());
    assert!(section.ice.end_of_candidates);
    let chosen: Vec<_> = section.ice.remote_candidates.iter().map(|c| c.address.port()).collect();
    assert_eq!(chosen, [45664, 45665]);
    assert_eq!((section.dtls.refused, section.ice.refused), (None, None));
}

#[test]
fn sections_inherit_what_they_do_not_say_themselves() {
    let own = "a=fingerprint:sha-1 00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00:00";
    let [plain, own] = &sections(
        &[
            &[
                "a=ice-lite",
                UFRAG,
                PWD,
                "a=ice-options:ice2",
                SHA1,
                "a=setup:actpass",
                "a=tls-id:x",
            ][..],
            &["m=audio 9 UDP/TLS/RTP/SAVPF 0", "m=video 9 UDP/TLS/RTP/SAVPF 96"],
            &["a=setup:passive", own, "a=tls-id:y", "a=ice-ufrag:other"],
        ]
        .concat(),
    )[..] else {
        panic!("two sections")
    };
    assert_eq!(plain.dtls.setup, Some(Setup::ActPass));
    assert_eq!(plain.dtls.fingerprints[0].digest()[0], 0x4a);
    assert_eq!(plain.ice.credentials().expect("both").ufrag.as_ref(), "8hhY");
    assert!(plain.ice.lite && plain.ice.options.ice2);
    assert_eq!(own.dtls.setup, Some(Setup::Passive));
    assert_eq!(own.dtls.fingerprints.len(), 1, "a set of its own");
    assert_eq!(own.dtls.fingerprints[0].digest()[0], 0);
    assert_eq!(own.dtls.tls_id.as_deref(), Some(&b"y"[..]));
    assert_eq!(own.ice.credentials().expect("both").ufrag.as_ref(), "other");
}

#[test]
fn candidates_that_no_check_of_ours_could_reach_are_left_out_in_silence() {
    let section = section(&[
        "a=candidate:1 1 tcp 1518280447 192.0.2.7 9 typ host tcptype active",
        "a=candidate:2 1 udp 1 4f3e1b2c-6f0f-4f7e-8d1f-000000000000.local 9000 typ host",
        "a=candidate:3 1 udp 1 ice.example.org 9000 typ host",
        "a=candidate:4 3 udp 1 192.0.2.7 9000 typ host",
        "a=candidate:5 1 udp 1 0.0.0.0 9000 typ host",
        "a=candidate:6 1 udp 1 224.0.0.1 9000 typ host",
        "a=candidate:7 1 udp 1 255.255.255.255 9000 typ host",
        "a=candidate:8 1 udp 1 192.0.2.7 0 typ host",
        "a=candidate:9 1 udp 1 fe80::1%eth0 9000 typ host",
        "a=candidate:10 1 udp 1 192.0.2.7 9000 typ quic",
        "a=candidate:11 2 UDP 1 fe80::1 9000 typ relay raddr 0.0.0.0 rport 0",
    ]);
    assert_eq!(candidates(&section), ["11 2 UDP 1 fe80::1 9000 typ relay raddr 0.0.0.0 rport 0"]);
    assert_eq!(section.ice.refused, None);
}

#[test]
fn what_cannot_be_read_is_not_there_and_the_first_reason_is_kept() {
    for (lines, reason) in [
        (&["a=ice-ufrag:abc"][..], "a=ice-ufrag is not 4 to 256 letters, digits, + and /"),
        (&["a=ice-ufrag:ab:cd"], "a=ice-ufrag is not 4 to 256 letters, digits, + and /"),
        (
            &["a=ice-pwd:012345678901234567890"],
            "a=ice-pwd is not 22 to 256 letters, digits, + and /",
        ),
        (&["a=candidate:1 1 udp", "a=ice-ufrag:x"], "a=candidate ends before its type"),
        (
            &["a=candidate:1 1 udp 0 192.0.2.7 1 typ host"],
            "a=candidate has a priority that is not 1 to 2^32 - 1",
        ),
        (
            &["a=candidate:1 +1 udp 1 192.0.2.7 1 typ host"],
            "a=candidate has a component that is none",
        ),
        (
            &["a=candidate:1 1 udp 1 192.0.2.7 65536 typ host"],
            "a=candidate has a port that is none",
        ),
        (
            &["a=candidate:1 1 udp 1 192.0.2.7 1 host typ"],
            "a=candidate has no type where it belongs",
        ),
        (
            &["a=candidate:a:b 1 udp 1 192.0.2.7 1 typ host"],
            "a=candidate has a foundation that is none",
        ),
    ] {
        let section = section(lines);
        assert_eq!(
            (section.ice.refused, section.ice.candidates.len()),
            (Some(reason), 0),
            "{lines:?}"
        );
        assert_eq!(section.ice.credentials(), None);
    }
    for (line, reason) in [
        ("a=setup:sometimes", "a=setup is not active, passive, actpass or holdconn"),
        ("a=fingerprint:sha-256", "a=fingerprint is not a hash function and a digest"),
        ("a=fingerprint:md5 AA:BB", "a=fingerprint under a hash function that we do not know"),
        (
            "a=fingerprint:sha-256 AA:BB",
            "a=fingerprint whose digest does not fit its hash function",
        ),
        (
            &SHA1.replace("4A:AD", "4A-AD"),
            "a=fingerprint whose digest does not fit its hash function",
        ),
        (
            &SHA1.replace("4A:AD", "4A:+D"),
            "a=fingerprint whose digest does not fit its hash function",
        ),
        ("a=tls-id:", "a=tls-id without a value"),
    ] {
        let section = section(&[line]);
        assert_eq!(section.dtls.refused, Some(reason), "{line}");
        assert!(section.dtls.fingerprints.is_empty() && section.dtls.setup.is_none());
    }
}

#[test]
fn floods_of_candidates_fingerprints_and_groups_are_cut() {
    let line = |n: u16| format!("a=candidate:{n} 1 UDP 1 192.0.2.7 {} typ host", 1000 + n);
    let lines: Vec<String> = (0..500).map(line).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let flooded = section(&lines);
    assert_eq!(flooded.ice.candidates.len(), Sdp::MAX_CANDIDATES);
    assert_eq!(flooded.ice.candidates[63].address.port(), 1063, "the first stay");
    assert_eq!(flooded.ice.refused, Some("more candidates than 64"));
    let flooded = section(&[SHA1; 500]);
    assert_eq!(flooded.dtls.fingerprints.len(), Sdp::MAX_FINGERPRINTS);
    let group = format!("a=group:BUNDLE{}", " 1".repeat(100));
    let groups = [&vec![&group[..]; 100][..], &["m=audio 9 RTP/AVP 0"]].concat();
    let bundles = with_session(&groups).session.bundles;
    assert_eq!((bundles.len(), bundles[0].mids.len()), (Sdp::MAX_MEDIA, Sdp::MAX_MEDIA));
}

#[test]
fn groups_of_bundled_sections_alone_are_bundles() {
    let sdp = with_session(&["a=group:LS 0 1", "a=group:BUNDLE 0 1", "m=audio 9 RTP/AVP 0"]);
    let [bundle] = &sdp.session.bundles[..] else { panic!("one bundle") };
    assert_eq!(bundle.mids, [&b"0"[..], b"1"]);
}

#[test]
fn neither_passwords_nor_keys_are_printed() {
    let shown = format!("{:?}", with_session(&[PWD, "m=audio 9 RTP/AVP 0", UFRAG, PWD]));
    assert!(shown.contains("8hhY") && !shown.contains("asd88"), "{shown}");
}

#[test]
fn fingerprints_and_candidates_read_back_as_they_are_written() {
    for (hash, length) in [
        (HashFunction::Sha1, 20),
        (HashFunction::Sha224, 28),
        (HashFunction::Sha256, 32),
        (HashFunction::Sha384, 48),
        (HashFunction::Sha512, 64),
    ] {
        let digest: Vec<u8> = (0..length).map(|n: u8| n.wrapping_mul(37)).collect();
        let fingerprint = Fingerprint::new(hash, &digest).expect("its length");
        let read = section(&[&format!("a=fingerprint:{fingerprint}")]).dtls.fingerprints;
        assert_eq!(read, [fingerprint]);
    }
    for candidate in [
        "1 1 UDP 4294967295 192.0.2.7 65535 typ host",
        "a/b+ 2 UDP 1 2001:db8::7 1 typ prflx raddr 2001:db8::8 rport 2",
    ] {
        assert_eq!(candidates(&section(&[&format!("a=candidate:{candidate}")])), [candidate]);
    }
}

#[test]
fn a_fragment_is_read_as_rfc_8840_writes_it() {
    let fragment = Fragment::parse(&body(&[
        "a=ice-pwd:asd88fgpdd777uzjYhagZg",
        "a=ice-ufrag:8hhY",
        "m=audio 9 RTP/AVP 0",
        "a=mid:1",
        "a=candidate:1 1 UDP 2130706432 2001:db8::1 5000 typ host",
        "a=end-of-candidates",
        "m=audio 9 RTP/AVP 0",
        "a=mid:2",
        "a=candidate:3 2 UDP 1694498815 203.0.113.9 5005 typ srflx raddr 192.0.2.9 rport 9005",
    ]))
    .expect("a fragment");
    let [first, second] = &fragment.sections[..] else { panic!("two sections") };
    assert_eq!((first.mid.as_deref(), second.mid.as_deref()), (Some(&b"1"[..]), Some(&b"2"[..])));
    assert_eq!((first.ice.candidates.len(), second.ice.candidates.len()), (1, 1));
    assert!(first.ice.end_of_candidates && !second.ice.end_of_candidates);
    assert_eq!(second.ice.credentials().expect("of the fragment").ufrag.as_ref(), "8hhY");
}

#[test]
fn a_fragment_may_leave_m_lines_or_mids_out() {
    let candidate = "a=candidate:1 1 UDP 2130706432 2001:db8::1 5000 typ host";
    let fragment = Fragment::parse(&body(&["a=mid:0", candidate, "a=mid:1", candidate]));
    assert_eq!(fragment.expect("mids alone").sections.len(), 2);
    let fragment = Fragment::parse(&body(&["m=audio 9 RTP/AVP 0", candidate])).expect("no mid");
    assert_eq!((fragment.sections.len(), &fragment.sections[0].mid), (1, &None));
    let fragment = Fragment::parse(&body(&["a=end-of-candidates"])).expect("of all sections");
    assert!(fragment.sections.is_empty() && fragment.ice.end_of_candidates);
}

#[test]
fn what_says_nothing_of_ice_is_no_fragment() {
    let refused = |text: &str| {
        Fragment::parse(&Bytes::copy_from_slice(text.as_bytes())).expect_err(text).to_string()
    };
    assert_eq!(refused(""), "SDP has no line of ICE");
    assert_eq!(refused("m=audio 9 RTP/AVP 0\na=mid:1\n"), "SDP has no line of ICE");
    assert_eq!(refused("{}"), "SDP line 1: found \"{}\", expected a letter and =");
    let many = format!("{UFRAG}\n{}", "m=audio 9 RTP/AVP 0\n".repeat(65));
    assert_eq!(refused(&many), "SDP line 66: more sections than 64");
    assert!(refused(&"a".repeat(65_537)).starts_with("SDP of 65537 bytes"));
}
