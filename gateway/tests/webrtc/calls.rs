//! Calls of a browser and of aiortc.

use std::thread;
use std::time::Duration;

use crate::abroad::Abroad;
use crate::aiortc::{self, Aiortc};
use crate::browser::{Browser, PROGRAMS};
use crate::call::{Call, Dtls, Offerer};
use crate::far::Kind;
use crate::relay::Relay;
use crate::scene::{TARGET, demand};

#[test]
fn a_browser_calls_and_is_called() {
    chromium_calls(Relay::Ours);
}

#[test]
fn the_same_browser_calls_and_is_called_by_rtpengine() {
    chromium_calls(Relay::Rtpengine);
}

#[test]
fn aiortc_calls_and_is_called_in_both_dtls_roles() {
    aiortc_calls(Relay::Ours);
}

#[test]
fn the_same_aiortc_calls_and_is_called_by_rtpengine() {
    aiortc_calls(Relay::Rtpengine);
}

fn chromium_calls(relay: Relay) {
    demand(&relay.scene("chromium"), &relay.programs(PROGRAMS), |scene| {
        let abroad = Abroad::new()?;
        let _relay = relay.start(scene)?;
        let browser = Browser::start(scene, &abroad)?;
        let (mut caller, mut callee) = (browser.call("caller"), browser.call("callee"));
        let audio = &[Kind::Audio];
        let mut calling =
            Call::set_up("calling", relay, &mut caller, Offerer::Party, audio, Dtls::Default)?;
        let mut called =
            Call::set_up("called", relay, &mut callee, Offerer::Far, audio, Dtls::Default)?;
        thread::sleep(A_WHILE);
        calling.mute(true)?;
        called.mute(true)?;
        thread::sleep(A_WHILE);
        calling.mute(false)?;
        called.mute(false)?;
        calling.restart()?;
        thread::sleep(A_WHILE);
        calling.demand_flawless()?;
        called.demand_flawless()
    });
}

fn aiortc_calls(relay: Relay) {
    let name = relay.scene("aiortc");
    let python = match aiortc::python() {
        Ok(python) => python,
        Err(reason) => return println!("SKIPPED {TARGET}::{name}: {reason:#}"),
    };
    demand(&name, &relay.programs(&["python3"]), |scene| {
        let abroad = Abroad::new()?;
        let _relay = relay.start(scene)?;
        let aiortc = Aiortc::start(scene, &abroad, &python)?;
        let mut parties = ["server", "client", "callee"].map(|name| (name, aiortc.call(name)));
        let [server, client, callee] = &mut parties;
        let mut calls = Vec::new();
        for ((name, party), offerer, dtls) in [
            (server, Offerer::Party, Dtls::Default),
            (client, Offerer::Party, Dtls::Passive),
            (callee, Offerer::Far, Dtls::Default),
        ] {
            calls.push(Call::set_up(name, relay, party, offerer, &[Kind::Audio], dtls)?);
        }
        thread::sleep(A_WHILE);
        calls.into_iter().try_for_each(Call::demand_flawless)
    });
}

const A_WHILE: Duration = Duration::from_secs(2);
