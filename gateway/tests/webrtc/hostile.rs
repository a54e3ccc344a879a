//! Parties that do it wrong: their leg fails alone and `query` says why, while a call beside them
//! on the same worker loses nothing.

use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::abroad::{Abroad, THERE};
use crate::call::{Call, Dtls, Offerer};
use crate::far::{Far, Kind};
use crate::gateway::Gateway;
use crate::relay::{Relay, configuration, start_rtpengine};
use crate::scene::{Scene, demand};
use crate::secure_peer::{Certificate, Leg};
use crate::trunk::Trunk;

#[test]
fn who_shakes_hands_badly_fails_alone_and_query_says_why() {
    demand("bad_handshakes", &["rtpengine"], |scene| {
        beside_a_call(scene, Abroad::new()?, "", |abroad, gateway, _| {
            let good = Certificate::new(scene, "good", 0)?;
            let other = Certificate::new(scene, "other", 0)?;
            let large = Certificate::new(scene, "large", 1500)?;
            let profile = ["-use_srtp", "SRTP_AES128_CM_SHA1_80"];
            let cases = [
                ("wrong_fingerprint", &good.fingerprint, &other, &profile[..], "fingerprints"),
                (
                    "no_common_profile",
                    &good.fingerprint,
                    &good,
                    &[][..],
                    "no SRTP profile in common",
                ),
                ("certificate_too_large", &large.fingerprint, &large, &profile[..], "too large"),
                ("good", &good.fingerprint, &good, &profile[..], "secured"),
            ];
            for (port, (name, fingerprint, certificate, options, words)) in (6000..).zip(cases) {
                let leg = Leg::new(name, port, fingerprint)?;
                if name == "good" {
                    send_too_early(abroad, gateway, &leg, port)?;
                }
                let client = leg.shake_hands(scene, abroad, certificate, options)?;
                let handshakes = gateway.metrics("postern_dtls_handshakes_total")?;
                leg.wait_for(words)
                    .with_context(|| format!("{handshakes:?}\n{}", client.said()))?;
                println!("{name}: {}", reasons(&leg.query()?));
            }
            Ok(())
        })
    });
}

/// Media from the signalled address, before there is a key for it: dropped and counted.
fn send_too_early(abroad: &Abroad, gateway: &Gateway, leg: &Leg, port: u16) -> Result<()> {
    let dropped = || gateway.metric("postern_dropped_packets_total", &["\"no_key\""]);
    let (before, relay) = (dropped()?, leg.relay);
    abroad.run(move || {
        let socket = UdpSocket::bind((THERE, port))?;
        let mut packet = [0; 172];
        packet[0] = 0x80;
        for _ in 0..EARLY {
            socket.send_to(&packet, relay)?;
        }
        Ok(())
    })?;
    gateway.wait_for_metric(
        "postern_dropped_packets_total",
        &["\"no_key\""],
        before + f64::from(EARLY),
    )
}

/// Runs `work` while a call of another relay goes through the gateway's only worker, and demands
/// that the call lost nothing.
pub(crate) fn beside_a_call(
    scene: &Scene,
    abroad: Abroad,
    webrtc: &str,
    work: impl FnOnce(&Abroad, &Gateway, &Call) -> Result<()>,
) -> Result<()> {
    let gateway = Gateway::start(scene, &configuration(webrtc))?;
    let own = scene.clone();
    let _other = abroad.run(move || start_rtpengine(&own, "other", THERE))?;
    let far = abroad.run(|| Far::new(THERE, &[Kind::Audio]))?;
    let mut trunk = Trunk::new(&abroad, "live", far, Dtls::Default);
    let audio = &[Kind::Audio];
    let call = Call::set_up("live", Relay::Ours, &mut trunk, Offerer::Far, audio, Dtls::Default)?;
    thread::sleep(Duration::from_millis(500));
    let done = work(&abroad, &gateway, &call);
    // Both are of interest where both failed.
    match (done, call.demand_flawless()) {
        (Err(error), Err(live)) => Err(error.context(format!("and the live call: {live:#}"))),
        (done, live) => done.and(live),
    }
}

fn reasons(query: &str) -> String {
    let parts = query.split("\"postern\":").skip(1);
    parts.map(|part| part.chars().take(160).collect::<String>()).collect::<Vec<_>>().join(" | ")
}

/// More than any jitter buffer, fewer than a socket's.
const EARLY: u16 = 50;
