//! Hold and resume, from either side: whoever is not to be heard is silent, and the call goes on as
//! it was, with nothing lost.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::abroad::Abroad;
use crate::browser::{Browser, PROGRAMS};
use crate::call::{Call, Dtls, Offerer};
use crate::far::Kind;
use crate::relay::Relay;
use crate::scene::demand;

#[test]
fn a_browser_holds_and_resumes() {
    held_calls(Relay::Ours);
}

#[test]
fn the_same_browser_holds_and_resumes_by_rtpengine() {
    held_calls(Relay::Rtpengine);
}

fn held_calls(relay: Relay) {
    demand(&relay.scene("hold"), &relay.programs(PROGRAMS), |scene| {
        let abroad = Abroad::new()?;
        let running = relay.start(scene)?;
        let browser = Browser::start(scene, &abroad)?;
        for (name, offerer) in [("caller", Offerer::Party), ("callee", Offerer::Far)] {
            let mut party = browser.call(name);
            let audio = &[Kind::Audio];
            let mut call = Call::set_up(name, relay, &mut party, offerer, audio, Dtls::Default)?;
            thread::sleep(A_WHILE);
            for (direction, heard) in [("inactive", Heard::Nothing), ("sendonly", Heard::Media)] {
                hold(&mut call, direction, heard).with_context(|| format!("{name} {direction}"))?;
            }
            call.demand_flawless().with_context(|| running.dropped())?;
        }
        Ok(())
    });
}

/// What the far end gets of a party that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// Music, as it were.
    Media,
}

/// Puts the far end on hold for a while, and takes it up again.
fn hold(call: &mut Call<'_>, direction: &str, heard: Heard) -> Result<()> {
    // Who is on hold does not speak; what it said last is under way.
    call.far.hush();
    thread::sleep(SETTLE);
    direct(call, direction)?;
    thread::sleep(SETTLE);
    let before = call.far.tallies()[0].received;
    thread::sleep(A_WHILE);
    let came = call.far.tallies()[0].received - before;
    let silent = came == 0;
    ensure!(silent == (heard == Heard::Nothing), "{came} packets came under {direction}");
    direct(call, "sendrecv")?;
    call.far.speak();
    thread::sleep(A_WHILE);
    ensure!(call.far.tallies()[0].received > before + came, "nothing came after {direction}");
    Ok(())
}

/// The party's offer of this direction.
fn direct(call: &mut Call<'_>, direction: &str) -> Result<()> {
    let offer = call.party.ask("direct", json!({ "direction": direction }))?;
    call.party_offers_again(offer.as_str().context("no offer")?)
}

const A_WHILE: Duration = Duration::from_secs(1);
const SETTLE: Duration = Duration::from_millis(700);
