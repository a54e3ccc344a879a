//! ICE under credentials that are wrong or were used before: the leg fails alone and `query` says
//! why; where it had a path, that goes on.

use std::cell::Cell;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::abroad::{Abroad, HERE};
use crate::aiortc::{self, Aiortc};
use crate::browser::{Browser, PROGRAMS};
use crate::call::{Call, Dtls, Offerer};
use crate::changed::{Change, Changed, unchanged, with_a_wrong_password};
use crate::far::{Far, Kind};
use crate::gateway::Gateway;
use crate::hostile::beside_a_call;
use crate::keymgr::keymgr;
use crate::party::Party;
use crate::relay::{Relay, configuration, dropped};
use crate::scene::{TARGET, demand, wait_for, wait_up_to};

#[test]
fn who_has_a_wrong_ice_password_fails_alone_and_query_says_why() {
    let name = "wrong_password";
    let python = match aiortc::python() {
        Ok(python) => python,
        Err(reason) => return println!("SKIPPED {TARGET}::{name}: {reason:#}"),
    };
    demand(name, &["rtpengine", "python3"], |scene| {
        beside_a_call(scene, Abroad::new()?, "", |abroad, gateway, _| {
            let aiortc = Aiortc::start(scene, abroad, &python)?;
            // Whom we cannot check has no pair. Who cannot check us has one, but its ICE fails, and
            // it shakes no hands.
            let cases: [(&str, Change, Change, &str); 2] = [
                ("theirs", with_a_wrong_password, unchanged, "ICE: no pair of candidates works"),
                ("ours", unchanged, with_a_wrong_password, "the DTLS handshake took too long"),
            ];
            let mut parties = cases.map(|(name, ..)| aiortc.call(name));
            let mut parties: Vec<_> = parties
                .iter_mut()
                .zip(cases)
                .map(|(party, (_, from, to, _))| Changed { party, from, to })
                .collect();
            let mut calls = Vec::new();
            for (party, (id, ..)) in parties.iter_mut().zip(cases) {
                let ends = (Offerer::Party, Far::new(HERE, &[Kind::Audio])?);
                calls.push(Call::signal_all(id, Relay::Ours, party, ends, Dtls::Default)?);
            }
            for (call, (.., words)) in calls.into_iter().zip(cases) {
                let failed = wait_up_to(PATIENCE, "failure of ICE", || {
                    Ok(call.query()?.to_string().contains(words).then_some(()))
                });
                failed.with_context(|| format!("{}: {:?}", call.id, call.query()))?;
                println!("{}: {words}", call.id);
                ensure!(call.far.tallies()[0].received == 0, "{}: media came", call.id);
                call.end()?;
            }
            let refused = gateway.metric("postern_ice_refused_total", &["\"wrong_password\""])?;
            ensure!(refused > 0.0, "no check was refused");
            Ok(())
        })
    });
}

#[test]
fn an_answer_that_repeats_old_credentials_after_a_restart_is_refused_and_the_call_goes_on() {
    demand("reused_credentials", PROGRAMS, |scene| {
        let abroad = Abroad::new()?;
        let gateway = Gateway::start(scene, &configuration(""))?;
        let browser = Browser::start(scene, &abroad)?;
        let (mut page, repeats) = (browser.call("page"), Cell::new(false));
        let mut party = Repeating { party: &mut page, last: Value::Null, repeats: &repeats };
        let (id, audio) = ("page", &[Kind::Audio]);
        let mut call =
            Call::set_up(id, Relay::Ours, &mut party, Offerer::Far, audio, Dtls::Default)?;
        let says = |call: &Call<'_>, words: &str| {
            wait_for(words, || Ok(call.query()?.to_string().contains(words).then_some(())))
                .with_context(|| call.query().map(|said| said.to_string()).unwrap_or_default())
        };
        thread::sleep(A_WHILE);
        // The next offer to a browser then restarts ICE.
        keymgr(scene, &["srtp", "rekey", "--call", id])?;
        repeats.set(true);
        call.far_offers_again(Relay::Ours)?;
        says(&call, "ICE: credentials that were used before")?;
        thread::sleep(A_WHILE);
        // Another answer mends it: the browser has now seen the offer.
        repeats.set(false);
        call.far_offers_again(Relay::Ours)?;
        says(&call, "connected")?;
        call.wait_until_connected()?;
        thread::sleep(A_WHILE);
        call.demand_flawless().with_context(|| format!("{:?}", dropped(&gateway)))
    });
}

/// A party whose last answer is given again in place of a new one, where it `repeats`.
struct Repeating<'a> {
    party: &'a mut dyn Party,
    last: Value,
    repeats: &'a Cell<bool>,
}

impl Party for Repeating<'_> {
    fn ask(&mut self, verb: &str, argument: Value) -> Result<Value> {
        if verb != "answer" {
            return self.party.ask(verb, argument);
        }
        if !self.repeats.get() {
            self.last = self.party.ask(verb, argument)?;
        }
        Ok(self.last.clone())
    }
}

/// A pair has its time, and the party 39.5 seconds to check us (RFC 8863 section 4).
const PATIENCE: Duration = Duration::from_secs(60);
const A_WHILE: Duration = Duration::from_secs(1);
