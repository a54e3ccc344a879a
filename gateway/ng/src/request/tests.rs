//! Requests as Kamailio, OpenSIPS and scripts send them, written by hand from what is known of
//! their modules.

use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use srtp::Profile;

use super::*;
use crate::wire::{Dict, Message, Value};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

fn list(words: &[&'static str]) -> Value {
    Value::List(words.iter().map(|word| Value::from(*word)).collect())
}

fn offer() -> Dict {
    Dict::default()
        .with("command", "offer")
        .with("sdp", SDP)
        .with("call-id", "c1")
        .with("from-tag", "f1")
}

/// The options of an offer that also has these entries, and the names of what was ignored.
fn options(extra: Dict) -> (Signal, Vec<String>) {
    let mut dict = offer();
    dict.0.extend(extra.0);
    let (request, unknown) = Request::parse(&dict);
    let Ok(Request::Offer(signal)) = request else { panic!("{request:?}") };
    (*signal, unknown.iter().map(ToString::to_string).collect())
}

/// The options of an offer with this `rtpp-flags`, all of which must be known.
fn rtpp(flags: &'static str) -> Signal {
    let (signal, ignored) = options(Dict::default().with("rtpp-flags", flags));
    assert!(ignored.is_empty(), "{flags}: {ignored:?}");
    signal
}

fn refused(dict: &Dict) -> String {
    Request::parse(dict).0.unwrap_err().to_string()
}

#[test]
fn an_offer_as_kamailio_parses_it_itself() {
    let dict = Dict::default()
        .with("supports", list(&["load limit"]))
        .with("sdp", SDP)
        .with("ICE", "remove")
        .with("direction", list(&["pub", "priv"]))
        .with("replace", list(&["origin", "session-connection"]))
        .with("transport-protocol", "RTP/SAVP")
        .with("rtcp-mux", list(&["demux"]))
        .with("SDES", list(&["only-AES_CM_128_HMAC_SHA1_80"]))
        .with("received-from", list(&["IP4", "198.51.100.7"]))
        .with("call-id", "4f2a@ua")
        .with("via-branch", "z9hG4bK1")
        .with("from-tag", "ft")
        .with("command", "offer")
        .with("sip-message-type", "sip_request")
        .with("flags", list(&["trust-address", "strict-source"]));
    let (request, unknown) = Request::parse(&dict);
    let Ok(Request::Offer(signal)) = request else { panic!("{request:?}") };
    assert!(unknown.is_empty(), "{unknown:?}");
    assert_eq!(signal.call_id, "4f2a@ua");
    assert_eq!(signal.from_tag, "ft");
    assert_eq!(signal.to_tag, None);
    assert_eq!(signal.via_branch.unwrap(), "z9hG4bK1");
    assert_eq!(signal.received_from, "198.51.100.7".parse().ok());
    assert_eq!(signal.direction, Some((Bytes::from("pub"), Bytes::from("priv"))));
    assert_eq!(signal.transport, Some(Transport::To(Protocol::RtpSavp)));
    assert_eq!(signal.ice.mode, IceMode::Remove);
    assert_eq!(signal.sdes.only, [Profile::AesCm128HmacSha1_80]);
    assert_eq!(signal.sip_request, Some(true));
    assert!(signal.replace.origin && !signal.replace.username);
    assert!(signal.rtcp_mux.demux && !signal.rtcp_mux.offer);
    assert!(signal.supports_load_limit);
    assert!(signal.flags.trust_address && signal.flags.strict_source && !signal.flags.symmetric);
}

#[test]
fn an_offer_with_flags_that_kamailio_passes_on_unread() {
    let datagram = Bytes::from(format!(
        "7_9_1 d8:supportsl10:load limite3:sdp{}:{SDP}13:received-froml3:IP412:198.51.100.7e\
         7:call-id2:c110:via-branch2:b18:from-tag2:f110:rtpp-flags{}:{}7:command5:offer\
         16:sip-message-type9:sip_replye",
        SDP.len(),
        KAMAILIO_FLAGS.len(),
        KAMAILIO_FLAGS,
    ));
    let message = Message::decode(&datagram).unwrap();
    let (request, unknown) = Request::parse(&message.dict);
    let Ok(Request::Offer(signal)) = request else { panic!("{request:?}") };
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(signal.replace.origin);
    assert_eq!(signal.ice.mode, IceMode::Remove);
    assert_eq!(signal.transport, Some(Transport::To(Protocol::RtpSavp)));
    assert_eq!(signal.direction, Some((Bytes::from("pub"), Bytes::from("priv"))));
    assert_eq!(signal.via_branch.unwrap(), "b1", "the key, not the script's word for it");
    assert_eq!(signal.sip_request, Some(false));
}

const KAMAILIO_FLAGS: &str = "replace-origin replace-session-connection ICE=remove RTP/SAVP \
                              direction=pub direction=priv via-branch=auto";

#[test]
fn a_delete_as_opensips_sends_it() {
    let dict =
        Dict::default().with("call-id", "c1").with("delete-delay", 0_i64).with("command", "delete");
    let (request, unknown) = Request::parse(&dict);
    assert!(unknown.is_empty());
    let expected = Delete {
        call_id: Bytes::from("c1"),
        from_tag: None,
        to_tag: None,
        via_branch: None,
        delete_delay: Some(Duration::ZERO),
        fatal: false,
        fast: false,
    };
    assert_eq!(request, Ok(Request::Delete(expected)));
}

#[test]
fn an_offer_as_opensips_sends_it() {
    let extra = Dict::default()
        .with("address family", "IP6")
        .with("ICE", "force")
        .with("SDES", "off")
        .with("rtcp-mux", "offer")
        .with("flags", list(&["SDES-no-AEAD_AES_128_GCM", "trust-address"]))
        .with("received-from", "2001:db8::7");
    let (signal, ignored) = options(extra);
    assert!(ignored.is_empty(), "{ignored:?}");
    assert_eq!(signal.address_family, Some(AddressFamily::V6));
    assert_eq!(signal.ice.mode, IceMode::Force);
    assert!(signal.sdes.off && signal.rtcp_mux.offer);
    assert_eq!(signal.sdes.no, [Profile::AeadAes128Gcm]);
    assert_eq!(signal.received_from, "2001:db8::7".parse().ok());
}

#[test]
fn delete_honours_to_tag_only_with_its_flag() {
    let dict = |flags: &[&'static str]| {
        Dict::default()
            .with("command", "delete")
            .with("call-id", "c1")
            .with("from-tag", "f")
            .with("to-tag", "t")
            .with("flags", list(flags))
    };
    let delete = |flags: &[&'static str]| match Request::parse(&dict(flags)).0 {
        Ok(Request::Delete(delete)) => delete,
        other => panic!("{other:?}"),
    };
    assert_eq!(delete(&[]).to_tag, None);
    assert_eq!(delete(&["to-tag"]).to_tag.unwrap(), "t");
    assert!(delete(&["fatal"]).fatal && delete(&["fast"]).fast && !delete(&["fast"]).fatal);
}

#[test]
fn refuses_in_the_incumbents_words_and_order() {
    let command = |name: &'static str| Dict::default().with("command", name);
    assert_eq!(refused(&Dict::default()), "Dictionary contains no key \"command\"");
    assert_eq!(
        refused(&Dict::default().with("command", 3_i64)),
        "Dictionary contains no key \"command\""
    );
    assert_eq!(refused(&command("pongee")), "Unrecognized command");
    assert_eq!(refused(&command("PING")), "Unrecognized command");
    assert_eq!(refused(&command("start recording")), "Unrecognized command");
    for name in ["offer", "answer"] {
        let dict = command(name);
        assert_eq!(refused(&dict), "No SDP body in message");
        let dict = dict.with("sdp", SDP);
        assert_eq!(refused(&dict), "No call-id in message");
        let dict = dict.with("call-id", "c1");
        assert_eq!(refused(&dict), "No from-tag in message");
    }
    let answer = command("answer").with("sdp", SDP).with("call-id", "c").with("from-tag", "f");
    assert_eq!(refused(&answer), "No to-tag in message");
    for name in ["delete", "query"] {
        assert_eq!(refused(&command(name)), "No call-id in message");
    }
}

#[test]
fn what_a_call_would_be_remembered_by_is_bounded() {
    for key in ["call-id", "from-tag", "to-tag", "via-branch", "label"] {
        let of = |length| {
            let mut dict = Dict::default().with(key, "n".repeat(length));
            dict.0.extend(offer().0);
            Request::parse(&dict).0
        };
        assert!(of(1024).is_ok(), "{key}");
        assert_eq!(of(1025), Err(Refused::NameTooLong), "{key}");
    }
}

#[test]
fn refused_commands_we_lack_differ_from_nonsense() {
    let of = |name: &'static str| Request::parse(&Dict::default().with("command", name)).0;
    assert_eq!(of("play media"), Err(Refused::NotImplemented));
    assert_eq!(of("play-media"), Err(Refused::Unrecognized));
}

#[test]
fn list_takes_its_limit_in_either_type() {
    let list = |dict: Dict| match Request::parse(&dict.with("command", "list")).0 {
        Ok(Request::List { limit }) => limit,
        other => panic!("{other:?}"),
    };
    assert_eq!(list(Dict::default()), 32);
    assert_eq!(list(Dict::default().with("limit", 5_i64)), 5);
    assert_eq!(list(Dict::default().with("limit", "7")), 7);
    assert_eq!(list(Dict::default().with("limit", -1_i64)), 0);
}

#[test]
fn rtpp_flags_name_every_option() {
    assert_eq!(rtpp("transport=RTP/AVPF").transport, Some(Transport::To(Protocol::RtpAvpf)));
    assert_eq!(rtpp("transport-protocol=accept").transport, Some(Transport::Accept));
    assert_eq!(rtpp("UDP/TLS/RTP/SAVPF").transport, Some(Transport::To(Protocol::UdpTlsRtpSavpf)));
    assert_eq!(rtpp("SRTP AVPF").transport, Some(Transport::To(Protocol::RtpSavpf)));
    assert_eq!(rtpp("SRTP").transport, Some(Transport::To(Protocol::RtpSavp)));
    assert_eq!(rtpp("RTP AVP").transport, Some(Transport::To(Protocol::RtpAvp)));
    assert_eq!(rtpp("TOS=184").tos, Some(184));
    assert_eq!(rtpp("TOS=-1").tos, Some(-1));
    assert_eq!(rtpp("delete-delay=30").delete_delay, Some(Duration::from_secs(30)));
    assert_eq!(rtpp("media-address=192.0.2.9").media_address, "192.0.2.9".parse().ok());
    assert_eq!(rtpp("media-address=[::1]").media_address, "::1".parse().ok());
    assert_eq!(rtpp("received-from=[IP4 192.0.2.8]").received_from, "192.0.2.8".parse().ok());
    assert_eq!(rtpp("address-family=IP4").address_family, Some(AddressFamily::V4));
    assert_eq!(rtpp("endpoint-learning=off").endpoint_learning, Some(EndpointLearning::Off));
    assert_eq!(rtpp("via-branch=b7").via_branch.unwrap(), "b7");
    assert_eq!(rtpp("label=caller").label.unwrap(), "caller");
    assert!(rtpp("SDES-off").sdes.off && rtpp("SDES=[off]").sdes.off);
    assert!(rtpp("SDES=[pad nonew]").sdes.no_new);
    assert!(rtpp("rtcp-mux-offer rtcp-mux-require").rtcp_mux.require);
    assert!(rtpp("rtcp-mux=[accept]").rtcp_mux.accept);
    assert!(rtpp("DTLS=off").dtls.off);
}

#[test]
fn flags_of_a_list_are_spelled_in_many_ways() {
    let flags = list(&[
        "strict source",
        "trust_address",
        "SIP-source-address",
        "TOS=184",
        "delete delay=5",
        "replace origin",
        "direction=[a b]",
    ]);
    let (signal, ignored) = options(Dict::default().with("flags", flags));
    assert!(ignored.is_empty(), "{ignored:?}");
    assert!(signal.flags.strict_source && signal.flags.trust_address);
    assert!(signal.flags.sip_source_address && signal.replace.origin);
    assert_eq!(signal.tos, Some(184));
    assert_eq!(signal.delete_delay, Some(Duration::from_secs(5)));
    assert_eq!(signal.direction, Some((Bytes::from("a"), Bytes::from("b"))));

    let (signal, ignored) = options(Dict::default().with("flags", "strict source"));
    assert!(ignored.is_empty() && signal.flags.strict_source);
}

#[test]
fn interfaces_come_as_list_as_pair_and_by_name() {
    let both = Some((Bytes::from("a"), Bytes::from("b")));
    assert_eq!(rtpp("direction=a direction=b").direction, both);
    assert_eq!(rtpp("direction=[a b]").direction, both);
    assert_eq!(rtpp("to-interface=b from-interface=a").direction, both);
    let old = Some((Bytes::from("internal"), Bytes::from("external")));
    assert_eq!(rtpp("internal external").direction, old);
    let one = Some((Bytes::from("a"), Bytes::new()));
    assert_eq!(rtpp("direction=a").direction, one);
}

#[test]
fn web_rtc_stands_for_its_parts() {
    let signal = rtpp("WebRTC");
    assert_eq!(signal.transport, Some(Transport::To(Protocol::UdpTlsRtpSavpf)));
    assert_eq!(signal.ice, Ice { mode: IceMode::Force, trickle: true, ..Ice::default() });
    assert!(signal.rtcp_mux.offer && signal.rtcp_mux.require && signal.sdes.off);
    assert!(signal.flags.generate_mid && signal.flags.no_rtcp_attribute);
}

#[test]
fn what_we_do_not_use_is_named_and_does_no_harm() {
    let extra = Dict::default()
        .with("no such key", 1_i64)
        .with("codec", Dict::default().with("strip", list(&["all"])))
        .with("transport-protocol", list(&["RTP/AVP"]))
        .with(
            "flags",
            list(&["codec-strip-PCMU", "no-such-flag", "no-such=3", "rtcp-mux-x", "symmetric"]),
        );
    let (signal, ignored) = options(extra);
    assert!(signal.flags.symmetric);
    assert_eq!(signal.transport, None);
    assert_eq!(
        ignored,
        [
            "unknown key \"no such key\"",
            "\"codec\" is not supported",
            "\"transport-protocol\" has a value that it does not take: \
             expected RTP/AVP, RTP/SAVP and such, or accept",
            "\"codec-strip-PCMU\" is not supported",
            "unknown flag \"no-such-flag\"",
            "unknown flag \"no-such=3\"",
            "\"rtcp-mux-x\" has a value that it does not take: \
             expected offer, require, demux, accept or reject",
        ]
    );
}

#[test]
fn what_the_incumbent_does_and_we_do_not_is_named_word_by_word() {
    let flags = "media-handover no-port-latching unidirectional generate-RTCP provisional \
                 SDES-static OSRTP-offer-legacy OSRTP-accept-legacy";
    let (_, ignored) = options(Dict::default().with("rtpp-flags", flags));
    let expected: Vec<String> =
        flags.split_whitespace().map(|flag| format!("\"{flag}\" is not supported")).collect();
    assert_eq!(ignored, expected);
}

#[test]
fn a_value_that_is_not_supported_is_named_with_its_key() {
    let extra = Dict::default()
        .with("ICE", list(&["remove", "early"]))
        .with("TOS", 300_i64)
        .with("SDES", "static")
        .with("DTLS-fingerprint", "md5")
        .with("flags", list(&["DTLS=both", "ICE-lite=sideways", "OSRTP-always"]));
    let (signal, ignored) = options(extra);
    assert_eq!(signal.ice, Ice { mode: IceMode::Remove, ..Ice::default() });
    assert_eq!((signal.dtls, signal.osrtp), (Dtls::default(), Osrtp::default()));
    assert_eq!(
        ignored,
        [
            "\"ICE\" does not take \"early\": expected remove, force, default, optional, \
             force-relay, trickle, ice2, lite or lite-forward and such",
            "\"TOS\" does not take \"300\": expected a number from -1 to 255",
            "\"SDES=static\" is not supported",
            "\"DTLS-fingerprint\" does not take \"md5\": \
             expected sha-1, sha-224, sha-256, sha-384 or sha-512",
            "\"DTLS\" does not take \"both\": expected off, passive or active",
            "\"ICE-lite\" does not take \"sideways\": expected forward, backward, both or off",
            "\"OSRTP-always\" has a value that it does not take: \
             expected offer, offer-RFC, offer-legacy, accept-RFC, accept-legacy or accept",
        ]
    );
}

#[test]
fn ice_is_asked_for_in_a_word_or_several_and_by_flags() {
    let ice = |mode, lite, trickle| Ice { mode, lite, trickle, ice2: false };
    for (flags, expected) in [
        ("", ice(IceMode::Default, None, false)),
        ("ICE=default", ice(IceMode::Default, None, false)),
        ("ICE=force-relay", ice(IceMode::ForceRelay, None, false)),
        ("ICE=[optional trickle]", ice(IceMode::Optional, None, true)),
        ("ICE=remove ICE=force", ice(IceMode::Force, None, false)),
        ("ICE-force ICE-trickle", ice(IceMode::Force, None, true)),
        ("trickle-ICE", ice(IceMode::Default, None, true)),
        ("ICE=[force ice2]", Ice { ice2: true, ..ice(IceMode::Force, None, false) }),
        ("ICE=[force lite-forward]", ice(IceMode::Force, Some(IceLite::Forward), false)),
        ("ICE=lite", ice(IceMode::Default, Some(IceLite::Both), false)),
        ("ICE-lite=backward", ice(IceMode::Default, Some(IceLite::Backward), false)),
        ("ICE-lite-both", ice(IceMode::Default, Some(IceLite::Both), false)),
        ("ICE-lite=both ICE-lite=off", ice(IceMode::Default, Some(IceLite::Off), false)),
    ] {
        assert_eq!(rtpp(flags).ice, expected, "{flags}");
    }
    let (signal, ignored) = options(
        Dict::default()
            .with("ICE", "force")
            .with("ICE lite", "forward")
            .with("flags", list(&["trickle ICE", "reject ICE", "no TLS ID", "generate mid"])),
    );
    assert!(ignored.is_empty(), "{ignored:?}");
    assert_eq!(signal.ice, ice(IceMode::Force, Some(IceLite::Forward), true));
    assert!(signal.flags.reject_ice && signal.flags.no_tls_id && signal.flags.generate_mid);
}

#[test]
fn dtls_and_osrtp_are_asked_for_by_key_and_by_flag() {
    let role = |role| Dtls { role: Some(role), ..Dtls::default() };
    let hash = |hash| Dtls { fingerprint: Some(hash), ..Dtls::default() };
    for (flags, expected) in [
        ("", Dtls::default()),
        ("DTLS=passive", role(DtlsRole::Passive)),
        ("DTLS=passive DTLS=active", role(DtlsRole::Active)),
        ("DTLS-reverse=passive", role(DtlsRole::Passive)),
        ("DTLS-fingerprint=SHA-1", hash(HashFunction::Sha1)),
        ("DTLS-fingerprint=sha-384", hash(HashFunction::Sha384)),
        ("DTLS=no", Dtls { off: true, ..Dtls::default() }),
        ("DTLS-off", Dtls { off: true, ..Dtls::default() }),
    ] {
        assert_eq!(rtpp(flags).dtls, expected, "{flags}");
    }
    assert!(!rtpp("DTLS-fingerprint=sha-1").dtls.off);
    // A transport's half, as ever.
    assert_eq!(rtpp("DTLS").transport, Some(Transport::To(Protocol::UdpTlsRtpSavp)));
    let offer = Osrtp { offer: true, ..Osrtp::default() };
    assert_eq!((rtpp("OSRTP=offer").osrtp, rtpp("OSRTP-offer-RFC").osrtp), (offer, offer));
    let accept = Osrtp { accept: true, ..Osrtp::default() };
    assert_eq!(rtpp("OSRTP=accept").osrtp, accept);
    assert_eq!(rtpp("OSRTP=[accept-RFC]").osrtp, accept);
    assert!(rtpp("SDES-prefer").sdes.prefer && rtpp("SDES=priority").sdes.prefer);
}

#[test]
fn a_fragment_is_marked_by_its_flag() {
    assert!(rtpp("fragment").flags.fragment && !rtpp("").flags.fragment);
}

#[test]
fn a_forced_version_may_be_asked_for_without_its_prefix() {
    for flag in ["force-increment-sdp-ver", "replace-force-increment-sdp-ver"] {
        assert!(rtpp(flag).replace.force_increment_sdp_version, "{flag}");
    }
}

#[test]
fn wrong_types_are_as_good_as_absent() {
    let extra = Dict::default()
        .with("TOS", list(&["a"]))
        .with("delete-delay", "soon")
        .with("media-address", 7_i64)
        .with("received-from", list(&["IP4", "example.org"]))
        .with("replace", 1_i64)
        .with("flags", Dict::default());
    let (signal, _) = options(extra);
    let (plain, _) = options(Dict::default());
    assert_eq!(signal, plain);
}

#[test]
fn values_out_of_range_are_as_good_as_absent() {
    assert_eq!(options(Dict::default().with("TOS", 256_i64)).0.tos, None);
    assert_eq!(options(Dict::default().with("delete-delay", -1_i64)).0.delete_delay, None);
    let ages = Dict::default().with("delete-delay", i64::MAX);
    assert_eq!(options(ages).0.delete_delay, Some(Duration::from_secs(86_400)));
}

#[test]
fn flags_cannot_stand_in_for_the_body_or_the_call() {
    let dict = Dict::default()
        .with("command", "offer")
        .with("rtpp-flags", "sdp=x call-id=c from-tag=f command=ping");
    assert_eq!(refused(&dict), "No SDP body in message");
}

proptest! {
    #[test]
    fn never_panics_on_arbitrary_entries(
        entries in proptest::collection::vec(
            (
                prop_oneof![
                    Just("flags"), Just("rtpp-flags"), Just("SDES"), Just("direction"),
                    Just("received-from"), Just("TOS"), Just("ICE"), Just("command"),
                    Just("delete-delay"), Just("replace"),
                ],
                prop_oneof![
                    "[ -~]{0,40}".prop_map(Value::from),
                    any::<i64>().prop_map(Value::Int),
                    proptest::collection::vec("[ -~]{0,20}".prop_map(Value::from), 0..4)
                        .prop_map(Value::List),
                ],
            ),
            0..8,
        ),
    ) {
        let mut dict = offer();
        entries.into_iter().for_each(|(key, value)| dict.push(key, value));
        let _ = Request::parse(&dict);
    }
}
