//! What may be left out (RFC 4568 section 6.3), in every profile that both allow it with.

use srtp::{PacketKind, Policy, Profile, SessionParameters};

use crate::{
    Theirs, profiles,
    scenario::{
        Endpoint, Keys, Ours, Refused, carry_call,
        packets::{Random, compound_report, rtp_packet, shuffle},
        policy,
    },
    suite,
    sys::{Direction, Session},
    their_keys,
};

const NOTHING: SessionParameters = SessionParameters {
    unencrypted_rtp: false,
    unencrypted_rtcp: false,
    unauthenticated_rtp: false,
};
const UNENCRYPTED_RTCP: SessionParameters = SessionParameters { unencrypted_rtcp: true, ..NOTHING };
const UNENCRYPTED: [SessionParameters; 3] = [
    SessionParameters { unencrypted_rtp: true, ..NOTHING },
    UNENCRYPTED_RTCP,
    SessionParameters { unencrypted_rtp: true, ..UNENCRYPTED_RTCP },
];
const UNAUTHENTICATED: [SessionParameters; 2] = [
    SessionParameters { unauthenticated_rtp: true, ..NOTHING },
    SessionParameters { unauthenticated_rtp: true, unencrypted_rtp: true, ..UNENCRYPTED_RTCP },
];

#[test]
fn a_call_in_the_clear_is_the_same_for_libsrtp_and_us() {
    for (profile, parameters) in agreed(&UNENCRYPTED) {
        println!("{profile}, {parameters:?}");
        let (mut ours, mut theirs) = pair(&Keys::without_mki(profile), parameters);
        carry_call(&mut ours, &mut theirs, 5);
    }
}

/// Not the call, because it demands that altered packets are refused.
#[test]
fn packets_without_a_tag_are_the_same_for_libsrtp_and_us() {
    for (profile, parameters) in agreed(&UNAUTHENTICATED) {
        for keys in [Keys::without_mki(profile), Keys::with_mkis(profile, 2, 4)] {
            let (mut ours, mut theirs) = pair(&keys, parameters);
            let mut random = Random(6);
            let mut packets = Vec::new();
            for step in 0..200 {
                if step == 100 && keys.count() > 1 {
                    ours.switch_to(1);
                    theirs.switch_to(1);
                }
                let plain = rtp_packet(65_450_u16.wrapping_add(step), SSRC, &mut random);
                let protected = ours.protect(PacketKind::Rtp, &plain).expect("we protect");
                assert_eq!(theirs.protect(PacketKind::Rtp, &plain), Ok(protected.clone()));
                let mki_len = keys.mki(0).len();
                assert_eq!(protected.len(), plain.len() + mki_len, "{profile}: no tag");
                packets.push((plain, protected));
            }
            // The first begins the stream in its round; what comes late lies over the wrap.
            shuffle(&mut packets[1..], &mut random);
            for (plain, protected) in &packets {
                for end in [&mut ours as &mut dyn Endpoint, &mut theirs] {
                    let opened = end.open(PacketKind::Rtp, protected);
                    assert_eq!(opened.as_ref(), Ok(plain), "{profile}, {parameters:?}");
                    let again = end.open(PacketKind::Rtp, protected);
                    assert_eq!(again, Err(Refused::Replayed), "{profile}, {parameters:?}");
                }
            }
        }
    }
}

#[test]
fn reports_keep_their_tag_where_packets_have_none() {
    for (profile, parameters) in agreed(&UNAUTHENTICATED) {
        let (mut ours, mut theirs) = pair(&Keys::without_mki(profile), parameters);
        let mut reporter = ours.reporter_like_theirs(SSRC);
        let mut random = Random(7);
        for _ in 0..20 {
            let report = compound_report(SSRC, &mut random);
            let protected = reporter.protect(PacketKind::Rtcp, &report).expect("we protect");
            assert_eq!(theirs.protect(PacketKind::Rtcp, &report), Ok(protected.clone()));
            assert_eq!(protected.len(), report.len() + profile.rtcp_overhead(), "{profile}");
            let mut altered = protected.clone();
            altered[report.len() / 2] ^= 1;
            for end in [&mut ours as &mut dyn Endpoint, &mut theirs] {
                let refused = end.open(PacketKind::Rtcp, &altered);
                assert_eq!(refused, Err(Refused::NotAuthentic), "{profile}");
                assert_eq!(end.open(PacketKind::Rtcp, &protected), Ok(report.clone()));
            }
        }
    }
}

/// What it costs to leave authentication out, for libsrtp as for us: a changed packet opens, and
/// the genuine one behind it is the replay.
#[test]
fn without_authentication_a_changed_packet_shuts_the_genuine_one_out() {
    for (profile, parameters) in agreed(&UNAUTHENTICATED) {
        let (mut ours, mut theirs) = pair(&Keys::without_mki(profile), parameters);
        let mut plain = vec![0x80, 96, 0, 1, 0, 0, 0, 160, 0, 0, 0, 9];
        plain.extend(b"one hundred pounds");
        let protected = ours.protect(PacketKind::Rtp, &plain).expect("protects");
        let mut changed = protected.clone();
        changed[16] ^= b'h' ^ b'n';
        plain[16] = b'n';
        for end in [&mut ours as &mut dyn Endpoint, &mut theirs] {
            assert_eq!(end.open(PacketKind::Rtp, &changed).as_ref(), Ok(&plain), "{profile}");
            assert_eq!(end.open(PacketKind::Rtp, &protected), Err(Refused::Replayed));
        }
    }
}

/// With AES-GCM libsrtp believes a report's E flag (which is authentic); with the others, like us,
/// it wants it as agreed. So whoever agreed to encrypted reports may get open ones from its peer.
#[test]
fn libsrtp_lets_a_gcm_report_say_whether_it_is_encrypted() {
    for (profile, parameters) in agreed(&[UNENCRYPTED_RTCP]) {
        for (agreed, sent) in [(NOTHING, parameters), (parameters, NOTHING)] {
            let keys = Keys::without_mki(profile);
            let report = compound_report(SSRC, &mut Random(8));
            let (mut sender, _) = pair(&keys, sent);
            let protected = sender.protect(PacketKind::Rtcp, &report).expect("protects");
            let (mut ours, mut theirs) = pair(&keys, agreed);
            let opened = theirs.open(PacketKind::Rtcp, &protected);
            if profile.is_aead() {
                assert_eq!(opened, Ok(report), "repaired: expect an error");
            } else if profile.weakness().is_none() {
                assert!(opened.is_err(), "{profile}");
            }
            // Under the NULL cipher the flag changes nothing, and we take either.
            if profile.weakness().is_none() {
                assert!(ours.open(PacketKind::Rtcp, &protected).is_err(), "{profile}");
            }
        }
    }
}

/// Every profile with each of `choices` that it can be had with.
fn agreed(choices: &[SessionParameters]) -> impl Iterator<Item = (Profile, SessionParameters)> {
    profiles()
        .flat_map(|profile| choices.iter().map(move |&parameters| (profile, parameters)))
        .filter(|(profile, parameters)| parameters.check(*profile).is_ok())
}

fn pair(keys: &Keys, parameters: SessionParameters) -> (Ours, Theirs) {
    let ours = Ours::new(keys, &Policy { parameters, ..policy(1) });
    let (suite, their_keys) = (suite(keys.profile()).expect("theirs too"), their_keys(keys));
    let session = |direction| {
        Session::leaving_out(parameters, direction, suite, &their_keys).expect("a session")
    };
    let (outbound, inbound) = (session(Direction::Outbound), session(Direction::Inbound));
    (ours, Theirs::new(outbound, inbound, keys))
}

const SSRC: u32 = 9;
