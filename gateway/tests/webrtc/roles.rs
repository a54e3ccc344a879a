//! ICE role conflicts (RFC 8445 section 7.3.1.1): aiortc claims the role that SDP has given us, as
//! caller and as callee, and the call is as good as any. Debian's rtpengine is not asked: with it
//! in our place such a call does not connect.

use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::abroad::Abroad;
use crate::aiortc::{self, Aiortc};
use crate::call::{Call, Dtls, Offerer};
use crate::far::Kind;
use crate::gateway::Gateway;
use crate::party::Party;
use crate::relay::{Relay, configuration, dropped};
use crate::scene::{TARGET, demand};

#[test]
fn who_claims_our_ice_role_calls_and_is_called() {
    let name = "roles";
    let python = match aiortc::python() {
        Ok(python) => python,
        Err(reason) => return println!("SKIPPED {TARGET}::{name}: {reason:#}"),
    };
    demand(name, &["python3"], |scene| {
        let abroad = Abroad::new()?;
        let gateway = Gateway::start(scene, &configuration(""))?;
        let aiortc = Aiortc::start(scene, &abroad, &python)?;
        for (name, offerer) in [("controlled", Offerer::Party), ("controlling", Offerer::Far)] {
            let mut party = aiortc.call(name);
            party.ask("contend", json!({}))?;
            let (relay, audio) = (Relay::Ours, &[Kind::Audio]);
            let call = Call::set_up(name, relay, &mut party, offerer, audio, Dtls::Default)?;
            thread::sleep(Duration::from_secs(1));
            call.demand_flawless().with_context(|| format!("{:?}", dropped(&gateway)))?;
        }
        let conflicts = gateway.metric("postern_ice_role_conflicts_total", &[])?;
        println!("{conflicts} conflicts");
        ensure!(conflicts >= 1.0, "nobody noticed a conflict");
        Ok(())
    });
}
