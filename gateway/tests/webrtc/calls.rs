//! Calls of a browser and of aiortc.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

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
        let running = relay.start(scene)?;
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
        called.restart()?;
        thread::sleep(A_WHILE);
        let done = calling.demand_flawless().and_then(|()| called.demand_flawless());
        done.with_context(|| running.dropped())
    });
}

#[test]
fn three_minutes_with_a_browser_lose_nothing() {
    demand("three_minutes", PROGRAMS, |scene| {
        let abroad = Abroad::new()?;
        let running = Relay::Ours.start(scene)?;
        let browser = Browser::start(scene, &abroad)?;
        let mut party = browser.call("long");
        let audio = &[Kind::Audio];
        let begun = Instant::now();
        let mut call =
            Call::set_up("long", Relay::Ours, &mut party, Offerer::Party, audio, Dtls::Default)?;
        while begun.elapsed() < THREE_MINUTES {
            // Consent is asked for every five seconds or so, and lasts for thirty.
            thread::sleep(Duration::from_secs(28));
            call.mute(true)?;
            thread::sleep(A_WHILE);
            call.mute(false)?;
            call.restart()?;
        }
        call.demand_flawless().with_context(|| running.dropped())
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
        let running = relay.start(scene)?;
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
        let mut done = calls.into_iter().map(Call::demand_flawless);
        done.try_for_each(|done| done.with_context(|| running.dropped()))
    });
}

const THREE_MINUTES: Duration = Duration::from_secs(180);
const A_WHILE: Duration = Duration::from_secs(2);
