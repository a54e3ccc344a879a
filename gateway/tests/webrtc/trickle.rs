//! Trickle ICE (RFC 8838): a browser names its candidates after its offer or answer, and the SBC
//! passes them on as fragments. Ours never reach the browser here, so that the only way to a pair is
//! through what it trickled. Debian's rtpengine is not asked: with it in our place no such call
//! connects.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::abroad::{Abroad, HERE};
use crate::browser::{Browser, PROGRAMS};
use crate::call::{Call, Dtls, Offerer};
use crate::changed::{Changed, without_candidates};
use crate::far::{Far, Kind};
use crate::ng;
use crate::relay::Relay;
use crate::scene::demand;

#[test]
fn a_browser_trickles_its_candidates_as_caller_and_as_callee() {
    demand("trickle", PROGRAMS, |scene| {
        let abroad = Abroad::new()?;
        let (relay, running) = (Relay::Ours, Relay::Ours.start(scene)?);
        let browser = Browser::start(scene, &abroad)?;
        for (name, offerer) in [("caller", Offerer::Party), ("callee", Offerer::Far)] {
            let mut page = browser.call(name);
            let (from, to) = (without_candidates as _, without_candidates as _);
            let mut party = Changed { party: &mut page, from, to };
            let far = Far::new(HERE, &[Kind::Audio])?;
            let mut call =
                Call::signal_all(name, relay, &mut party, (offerer, far), Dtls::Default)?;
            thread::sleep(A_WHILE);
            let state = call.party.state()?;
            ensure!(state != "connected", "{name} is connected without a candidate");
            for fragment in fragments(&mut call)? {
                call.trickle(offerer, &fragment)?;
            }
            call.begin().with_context(|| running.dropped())?;
            thread::sleep(A_WHILE);
            call.demand_flawless().with_context(|| running.dropped())?;
        }
        Ok(())
    });
}

/// What the party trickled, a fragment for each (RFC 8840 section 9.1).
fn fragments(call: &mut Call<'_>) -> Result<Vec<String>> {
    let candidates = call.party.ask("candidates", json!({}))?;
    let candidates = candidates.as_array().context("a list")?;
    ensure!(!candidates.is_empty(), "nothing was trickled");
    let word = |candidate: &Value, name: &str| {
        candidate[name].as_str().map(str::to_owned).with_context(|| candidate.to_string())
    };
    candidates
        .iter()
        .map(|candidate| {
            Ok(format!(
                "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\nm=audio 9 RTP/AVP 0\r\na=mid:{}\r\na={}\r\n",
                word(candidate, "usernameFragment")?,
                word(candidate, "password")?,
                word(candidate, "sdpMid")?,
                word(candidate, "candidate")?,
            ))
        })
        .collect()
}

impl Call<'_> {
    /// Passes on a fragment of the party's, who was the `offerer` or was not.
    pub(crate) fn trickle(&self, offerer: Offerer, fragment: &str) -> Result<()> {
        let (command, from, to) = match offerer {
            Offerer::Party => ("offer", "party", "far"),
            Offerer::Far => ("answer", "far", "party"),
        };
        let request = json!({
            "command": command, "call-id": self.id, "from-tag": from, "to-tag": to,
            "flags": ["fragment"], "sdp": fragment,
        });
        ng::ask(&request).map(drop)
    }
}

const A_WHILE: Duration = Duration::from_secs(2);
