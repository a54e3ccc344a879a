//! Calls of a browser.

use std::thread;
use std::time::Duration;

use crate::abroad::Abroad;
use crate::browser::{Browser, PROGRAMS};
use crate::call::{Call, Dtls, Offerer};
use crate::far::Kind;
use crate::relay::Relay;
use crate::scene::demand;

#[test]
fn a_browser_calls_and_is_called() {
    chromium_calls(Relay::Ours);
}

#[test]
fn the_same_browser_calls_and_is_called_by_rtpengine() {
    chromium_calls(Relay::Rtpengine);
}

fn chromium_calls(relay: Relay) {
    demand(&relay.scene("chromium"), &relay.programs(PROGRAMS), |scene| {
        let abroad = Abroad::new()?;
        let _relay = relay.start(scene)?;
        let browser = Browser::start(scene, &abroad)?;
        let (mut caller, mut callee) = (browser.call("caller"), browser.call("callee"));
        let mut calling = Call::set_up(
            "from-the-browser",
            relay,
            &mut caller,
            Offerer::Party,
            &[Kind::Audio],
            Dtls::Default,
        )?;
        let mut called = Call::set_up(
            "to-the-browser",
            relay,
            &mut callee,
            Offerer::Far,
            &[Kind::Audio],
            Dtls::Default,
        )?;
        thread::sleep(Duration::from_secs(2));
        calling.mute(true)?;
        called.mute(true)?;
        thread::sleep(Duration::from_secs(2));
        calling.mute(false)?;
        called.mute(false)?;
        calling.restart()?;
        thread::sleep(Duration::from_secs(2));
        calling.demand_flawless()?;
        called.demand_flawless()
    });
}
