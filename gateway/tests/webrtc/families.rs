//! IPv6: the same calls over a wire that has nothing else.

use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::abroad::{Abroad, Family};
use crate::aiortc::{self, Aiortc};
use crate::browser::{Browser, PROGRAMS};
use crate::call::{Call, Dtls, Offerer};
use crate::far::{Far, Kind};
use crate::party::Party;
use crate::relay::Relay;
use crate::scene::{TARGET, demand};

#[test]
fn a_browser_and_aiortc_call_and_are_called_over_ipv6() {
    calls_over_ipv6(Relay::Ours);
}

#[test]
fn the_same_call_and_are_called_over_ipv6_by_rtpengine() {
    calls_over_ipv6(Relay::Rtpengine);
}

fn calls_over_ipv6(relay: Relay) {
    let name = relay.scene("ipv6");
    let python = match aiortc::python() {
        Ok(python) => python,
        Err(reason) => return println!("SKIPPED {TARGET}::{name}: {reason:#}"),
    };
    demand(&name, &relay.programs(&[PROGRAMS, &["python3"]].concat()), |scene| {
        let abroad = Abroad::over(Family::V6)?;
        let running = relay.start_at(scene, Family::V6.here())?;
        let browser = Browser::start(scene, &abroad)?;
        let aiortc = Aiortc::start(scene, &abroad, &python)?;
        let mut pages = ["page-calls", "page-called"].map(|name| (name, browser.call(name)));
        let mut programs = ["aiortc-calls", "aiortc-called"].map(|name| (name, aiortc.call(name)));
        let pages = pages.iter_mut().map(|(name, page)| (*name, page as &mut dyn Party));
        let programs = programs.iter_mut().map(|(name, call)| (*name, call as &mut dyn Party));
        let mut calls = Vec::new();
        for (index, (name, party)) in pages.chain(programs).enumerate() {
            let offerer = if index % 2 == 0 { Offerer::Party } else { Offerer::Far };
            let far = Far::new(Family::V6.here(), &[Kind::Audio])?;
            let mut call = Call::signal_all(name, relay, party, (offerer, far), Dtls::Default)?;
            call.begin().with_context(|| name)?;
            ensure!(
                relay != Relay::Ours || call.query()?.to_string().contains(Family::V6.there()),
                "{name}"
            );
            calls.push(call);
        }
        thread::sleep(Duration::from_secs(2));
        let mut done = calls.into_iter().map(Call::demand_flawless);
        done.try_for_each(|done| done.with_context(|| running.dropped()))
    });
}
