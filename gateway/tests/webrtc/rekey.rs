//! New keys in mid-call: an operator marks the leg, whoever follows the events learns of it, the
//! SBC's next offer brings them, and nothing is lost.
//!
//! The party that takes up a new association is another relay. A browser does not: it restarts ICE
//! and goes on with the keys that it has, which must be as harmless.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::abroad::{Abroad, THERE};
use crate::browser::{Browser, PROGRAMS};
use crate::call::{Call, Dtls, Offerer};
use crate::far::{Far, Kind};
use crate::gateway::Gateway;
use crate::keymgr::keymgr;
use crate::relay::{Relay, configuration, configuration_at, dropped};
use crate::scene::{Scene, demand, wait_for};
use crate::trunk::Trunk;

#[test]
fn keymgr_brings_a_trunk_new_keys_and_nothing_is_lost() {
    demand("rekey", &[], |scene| {
        let abroad = Abroad::new()?;
        let gateway = Gateway::start(scene, &configuration(""))?;
        let _other = start_other(scene, &abroad)?;
        let far = abroad.run(|| Far::new(THERE, &[Kind::Audio]))?;
        let mut trunk = Trunk::new(&abroad, "trunk", far, Dtls::Default);
        let audio = &[Kind::Audio];
        let (id, relay, offerer) = ("trunk", Relay::Ours, Offerer::Far);
        let mut call = Call::set_up(id, relay, &mut trunk, offerer, audio, Dtls::Default)?;
        for round in 1..=ROUNDS {
            thread::sleep(A_WHILE);
            let before = leg(scene, id)?;
            mark(scene, &gateway, id)?;
            ensure!(leg(scene, id)?["rekey_due"] == true, "not marked");
            let handshakes = secured(&gateway)?;
            call.far_offers_again(Relay::Ours)?;
            wait_for("new keys", || Ok((secured(&gateway)? > handshakes).then_some(())))?;
            // Control hears of it from the agents' thread, which counts it first.
            let after = wait_for("the mark to go", || {
                Ok(Some(leg(scene, id)?).filter(|leg| leg["rekey_due"] == false))
            })?;
            println!("round {round}: {before} then {after}");
            let age = |leg: &Value| leg["age_seconds"].as_f64().unwrap_or_default();
            ensure!(age(&after) < age(&before), "as old as before: {after}");
            ensure!(after["dtls"]["state"] == "secured", "{after}");
        }
        thread::sleep(A_WHILE);
        call.demand_flawless().with_context(|| format!("{:?}", dropped(&gateway)))
    });
}

#[test]
fn a_browser_that_keeps_its_keys_loses_nothing_by_being_asked_for_others() {
    demand("rekey_browser", PROGRAMS, |scene| {
        let abroad = Abroad::new()?;
        let gateway = Gateway::start(scene, &configuration(""))?;
        let browser = Browser::start(scene, &abroad)?;
        let mut page = browser.call("page");
        let audio = &[Kind::Audio];
        let (id, relay) = ("page", Relay::Ours);
        let mut call = Call::set_up(id, relay, &mut page, Offerer::Far, audio, Dtls::Default)?;
        thread::sleep(A_WHILE);
        mark(scene, &gateway, id)?;
        call.far_offers_again(Relay::Ours)?;
        call.wait_until_connected()?;
        // A handshake that the browser does not take up ends after 8 seconds.
        thread::sleep(Duration::from_secs(10));
        let after = leg(scene, id)?;
        println!("{after}");
        ensure!(after["dtls"]["state"] == "secured", "{after}");
        ensure!(after["rekey_due"] == true, "it has its old keys: {after}");
        call.demand_flawless().with_context(|| format!("{:?}", dropped(&gateway)))
    });
}

/// Another gateway of ours, abroad.
fn start_other(scene: &Scene, abroad: &Abroad) -> Result<Gateway> {
    let other = Scene { folder: scene.path("other") };
    std::fs::create_dir_all(&other.folder)?;
    abroad.run(move || Gateway::start(&other, &configuration_at(THERE, "")))
}

/// Marks the call's legs, and demands that an event says so.
fn mark(scene: &Scene, gateway: &Gateway, id: &str) -> Result<()> {
    let last = |events: &Value| events["events"].as_array().map_or(0, Vec::len);
    let before = last(&gateway.admin("/v1/events?after=0")?);
    keymgr(scene, &["srtp", "rekey", "--call", id])?;
    let events = gateway.admin("/v1/events?after=0")?;
    let new = events["events"].as_array().context("no events")?.iter().skip(before);
    let told = new.filter(|event| event["kind"] == "srtp.rekey_due");
    let objects: Vec<String> = told.map(|event| event["object"].to_string()).collect();
    ensure!(objects.len() == 1 && objects[0].contains(id), "{objects:?}: {events}");
    Ok(())
}

/// The call's one SRTP leg, by `keymgr srtp list`.
fn leg(scene: &Scene, id: &str) -> Result<Value> {
    let list: Value =
        serde_json::from_str(&keymgr(scene, &["--json", "srtp", "list", "--call", id])?)?;
    let legs = list["legs"].as_array().context("no legs")?;
    ensure!(legs.len() == 1, "{list}");
    Ok(legs[0].clone())
}

fn secured(gateway: &Gateway) -> Result<f64> {
    gateway.metric("postern_dtls_handshakes_total", &["result=\"secured\""])
}

const ROUNDS: usize = 5;
const A_WHILE: Duration = Duration::from_secs(1);
