//! New keys for an SRTP leg while its media flow: marked over the admin API and brought by the SBC's next
//! offer, or, where the party knows several of ours, in use at once; not one packet is lost.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use gateway_control::{
    EventKind, EventList, SrtpKeying, SrtpList, SrtpOwnKeys, SrtpRekeyReport, SrtpRekeyResult,
};
use serde_json::json;
use srtp::Profile;

use crate::media::{Party, rekeyed_call, secure_call};
use crate::process::Gateway;

/// POST over the admin socket: status code and body.
fn post(gateway: &Gateway, path: &str, body: &serde_json::Value) -> (u16, String) {
    let body = body.to_string();
    let mut stream = UnixStream::connect(gateway.file("admin.sock")).unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn rekey(gateway: &Gateway, request: &serde_json::Value) -> SrtpRekeyReport {
    let (code, body) = post(gateway, "/v1/srtp/rekey", request);
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

fn legs(gateway: &Gateway, query: &str) -> SrtpList {
    let (code, body) = gateway.admin(&format!("/v1/srtp{query}"));
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

#[test]
fn a_marked_leg_gets_new_keys_by_the_next_offer_and_no_packet_is_lost() {
    for profile in [Profile::AeadAes256Gcm, Profile::AesCm128HmacSha1_80] {
        let gateway = Gateway::start(&[]);
        let mut ng = gateway.ng();
        let mut caller = Party::new(gateway.address, 1);
        let mut callee = Party::new(gateway.address, 2);
        let ([towards_callee, towards_caller], mut old) =
            secure_call(&mut ng, "rekey", &caller, &callee, profile);
        // Ten each way, and the first and the last one sealed by the callee under this key.
        let exchange = |caller: &mut Party,
                        callee: &mut Party,
                        protection: &mut crate::media::Protection| {
            for _ in 0..10 {
                let packet = caller.packet();
                caller.socket.send_to(&packet, towards_callee).unwrap();
                assert_eq!(protection.open(callee.receive()), packet, "{profile} to the callee");
                let packet = callee.packet();
                callee.socket.send_to(&protection.protect(&packet), towards_caller).unwrap();
                assert_eq!(caller.receive(), packet, "{profile} to the caller");
            }
        };
        exchange(&mut caller, &mut callee, &mut old);

        let listed = legs(&gateway, "");
        let [leg] = &listed.legs[..] else { panic!("one SRTP leg: {listed:?}") };
        assert_eq!((leg.call_id.as_str(), leg.keying, leg.media), ("rekey", SrtpKeying::Sdes, 1));
        assert_eq!(leg.profile.as_deref(), Some(profile.name()));
        let packets = leg.packets.unwrap();
        assert_eq!((packets.opened, packets.sealed, leg.rekey_due), (10, 10, false));
        assert_eq!(legs(&gateway, "?call=rekey").legs.len(), 1);

        let told = rekey(&gateway, &json!({"all": true, "dry_run": true}));
        assert_eq!(told.legs[0].result, SrtpRekeyResult::Marked);
        assert!(!legs(&gateway, "").legs[0].rekey_due, "nothing was changed");
        let marked = rekey(&gateway, &json!({"call_id": "rekey", "tag": "b"}));
        assert_eq!(marked.legs[0].result, SrtpRekeyResult::Marked);
        assert!(legs(&gateway, "").legs[0].rekey_due);
        let events: EventList = serde_json::from_str(&gateway.admin("/v1/events").1).unwrap();
        let due = events.events.iter().find(|event| event.kind == EventKind::SrtpRekeyDue).unwrap();
        assert_eq!((due.object.as_str(), due.owner.as_str()), ("call rekey stream 1", "operator"));

        // Until the answer the old keys are in use, and the callee has some packets under way.
        exchange(&mut caller, &mut callee, &mut old);
        let late: Vec<_> = (0..3).map(|_| callee.packet()).collect();
        let sealed: Vec<_> = late.iter().map(|packet| old.protect(packet)).collect();
        let mut new = rekeyed_call(&mut ng, "rekey", &caller, &callee, profile);
        exchange(&mut caller, &mut callee, &mut new);
        for (packet, sealed) in late.iter().zip(&sealed) {
            callee.socket.send_to(sealed, towards_caller).unwrap();
            assert_eq!(caller.receive(), *packet, "sealed under the old key, heard late");
        }
        exchange(&mut caller, &mut callee, &mut new);
        let leg = &legs(&gateway, "").legs[0];
        let packets = leg.packets.unwrap();
        assert_eq!((packets.opened, packets.sealed, leg.rekey_due), (20, 20, false));
        for reason in ["authentication_failed", "replayed", "too_old", "no_key"] {
            let labels = format!("worker=\"0\",reason=\"{reason}\"");
            let name = format!("postern_dropped_packets_total{{{labels}}}");
            assert_eq!(gateway.metric(&name), 0.0, "{reason}");
        }
    }
}

/// A configuration under which each line that we offer has three keys.
struct ThreeKeys(PathBuf);

impl ThreeKeys {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("postern-mki-{}.toml", std::process::id()));
        std::fs::write(&path, "[srtp]\nmki_keys = 3\noffer_mki = true\n").unwrap();
        Self(path)
    }
}

impl Drop for ThreeKeys {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn where_the_party_knows_several_keys_new_ones_are_in_use_at_once_and_no_packet_is_lost() {
    let config = ThreeKeys::new();
    let gateway = Gateway::start(&["--config", config.0.to_str().unwrap()]);
    let mut ng = gateway.ng();
    let mut caller = Party::new(gateway.address, 1);
    let mut callee = Party::new(gateway.address, 2);
    let profile = Profile::AeadAes128Gcm;
    let ([towards_callee, towards_caller], mut keys) =
        secure_call(&mut ng, "several", &caller, &callee, profile);
    let mut exchange = |mki: u8| {
        for _ in 0..10 {
            let packet = caller.packet();
            caller.socket.send_to(&packet, towards_callee).unwrap();
            let sealed = callee.receive();
            assert_eq!(sealed.last(), Some(&mki), "the MKI is the last byte under GCM");
            assert_eq!(keys.open(sealed), packet);
            let packet = callee.packet();
            callee.socket.send_to(&keys.protect(&packet), towards_caller).unwrap();
            assert_eq!(caller.receive(), packet);
        }
    };
    let own_keys = |mki, left| Some(SrtpOwnKeys { mki, left });
    exchange(1);
    let would = rekey(&gateway, &json!({"all": true, "dry_run": true}));
    assert_eq!(would.legs[0].own_keys, own_keys(2, 1));
    assert_eq!(legs(&gateway, "").legs[0].own_keys, own_keys(1, 2), "nothing was changed");
    for (mki, left) in [(2, 1), (3, 0)] {
        let told = rekey(&gateway, &json!({"call_id": "several"}));
        let [leg] = &told.legs[..] else { panic!("one SRTP leg: {told:?}") };
        assert_eq!((leg.result, leg.own_keys), (SrtpRekeyResult::Switched, own_keys(mki, left)));
        // The worker has the step before it answers what this asks.
        let leg = legs(&gateway, "").legs.remove(0);
        assert_eq!((leg.own_keys, leg.rekey_due), (own_keys(mki, left), false));
        assert_eq!(leg.packets.unwrap().sealed, 0, "counted by key");
        exchange(mki);
        assert_eq!(legs(&gateway, "").legs[0].packets.unwrap().sealed, 10);
    }
    let events: EventList = serde_json::from_str(&gateway.admin("/v1/events").1).unwrap();
    let steps: Vec<_> = events
        .events
        .iter()
        .filter(|event| event.kind == EventKind::SrtpRekeyed)
        .map(|event| (event.from.as_str(), event.to.as_str(), event.owner.as_str()))
        .collect();
    assert_eq!(steps, [("mki 1", "mki 2", "operator"), ("mki 2", "mki 3", "operator")]);
    assert_eq!(gateway.metric("postern_srtp_key_switches_total"), 2.0);

    // No key is left: as with one key.
    let marked = rekey(&gateway, &json!({"call_id": "several"}));
    assert_eq!(marked.legs[0].result, SrtpRekeyResult::Marked);
    assert!(legs(&gateway, "").legs[0].rekey_due);
    let mut fresh = rekeyed_call(&mut ng, "several", &caller, &callee, profile);
    let packet = caller.packet();
    caller.socket.send_to(&packet, towards_callee).unwrap();
    assert_eq!(fresh.open(callee.receive()), packet);
    let leg = legs(&gateway, "").legs.remove(0);
    assert_eq!((leg.own_keys, leg.rekey_due), (own_keys(4, 2), false));
}

#[test]
fn requests_for_new_keys_that_mean_nothing_or_nobody_are_refused() {
    let gateway = Gateway::start(&[]);
    for (request, code) in [
        (json!({}), 400),
        (json!({"call_id": "x", "all": true}), 400),
        (json!({"all": true, "tag": "b"}), 400),
        (json!({"callid": "x"}), 400),
        (json!({"call_id": "none"}), 404),
    ] {
        assert_eq!(post(&gateway, "/v1/srtp/rekey", &request).0, code, "{request}");
    }
    assert_eq!(gateway.admin("/v1/srtp?call=none").0, 404);
    assert_eq!(rekey(&gateway, &json!({"all": true})), SrtpRekeyReport::default());
    assert_eq!(legs(&gateway, "?limit=1"), SrtpList::default());
}
