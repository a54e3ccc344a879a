//! rtpengine as the far end of a WebRTC leg: another relay, with a plain far end of its own behind
//! it. Packets that went through both are demanded byte for byte.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::abroad::{Abroad, THERE};
use crate::call::{Call, Dtls, Offerer, towards_plain, towards_webrtc};
use crate::far::{Far, Kind};
use crate::ng;
use crate::party::Party;
use crate::relay::{Relay, start_rtpengine};
use crate::scene::demand;

#[test]
fn a_trunk_to_rtpengine_is_secured_in_both_dtls_roles() {
    trunk_calls(Relay::Ours);
}

#[test]
fn the_same_trunk_between_two_of_rtpengine() {
    trunk_calls(Relay::Rtpengine);
}

fn trunk_calls(relay: Relay) {
    let programs = if relay == Relay::Ours { &["rtpengine"][..] } else { &[] };
    demand(&relay.scene("trunk"), &relay.programs(programs), |scene| {
        let abroad = Abroad::new()?;
        let running = relay.start(scene)?;
        let own = scene.clone();
        let _other = abroad.run(move || start_rtpengine(&own, "other", THERE))?;
        // Who offers and who is told to be passive settle who sends the ClientHello.
        for (id, offerer, near, beyond) in [
            ("offered-active", Offerer::Far, Dtls::Default, Dtls::Default),
            ("offered-passive", Offerer::Far, Dtls::Default, Dtls::Passive),
            ("answered-active", Offerer::Party, Dtls::Default, Dtls::Default),
            ("answered-passive", Offerer::Party, Dtls::Passive, Dtls::Default),
        ] {
            let far = abroad.run(|| Far::new(THERE, &[Kind::Audio]))?;
            let mut trunk = Trunk::new(&abroad, id, far, beyond);
            let call = Call::set_up(id, relay, &mut trunk, offerer, &[Kind::Audio], near)?;
            thread::sleep(Duration::from_secs(1));
            let numbered = call.finish_flawless().with_context(|| running.dropped())?;
            // What came out was what went in, and not only as much of it.
            for tally in [numbered, trunk.far.tallies()[0]] {
                ensure!(tally.numbered == tally.received, "{id}: {tally:?}");
            }
        }
        Ok(())
    });
}

/// One call of the other relay.
pub(crate) struct Trunk<'a> {
    abroad: &'a Abroad,
    id: &'static str,
    far: Far,
    dtls: Dtls,
    /// The other relay's own party has answered once.
    answered: bool,
}

impl<'a> Trunk<'a> {
    /// With `far` behind it, which is abroad too.
    pub(crate) fn new(abroad: &'a Abroad, id: &'static str, far: Far, dtls: Dtls) -> Self {
        Self { abroad, id, far, dtls, answered: false }
    }

    /// Asks the other relay.
    fn signal(&self, command: &str, sdp: &str, options: Value) -> Result<String> {
        let mut request = options;
        request["command"] = command.into();
        request["call-id"] = self.id.into();
        request["from-tag"] = "near".into();
        if command == "answer" {
            request["to-tag"] = "beyond".into();
        }
        request["replace"] = json!(["origin"]);
        request["sdp"] = sdp.into();
        let reply = self.abroad.run(move || ng::ask(&request))?;
        Ok(reply["sdp"].as_str().with_context(|| reply.to_string())?.to_owned())
    }

    /// Whether the other relay has verified our certificate.
    fn is_secured(&self) -> Result<bool> {
        let request = json!({"command": "query", "call-id": self.id});
        let reply = self.abroad.run(move || ng::ask(&request))?;
        Ok(reply["tags"].to_string().contains("DTLS fingerprint verified"))
    }
}

impl Party for Trunk<'_> {
    fn ask(&mut self, verb: &str, argument: Value) -> Result<Value> {
        let sdp = argument["sdp"].as_str().unwrap_or_default();
        Ok(match verb {
            "offer" => {
                let options = towards_webrtc(Relay::Rtpengine, self.dtls);
                self.signal("offer", &self.far.offer(), options)?.into()
            }
            "answer" => {
                let mut options = towards_plain(self.dtls);
                if self.answered {
                    options["to-tag"] = "beyond".into();
                }
                let offer = self.signal("offer", sdp, options)?;
                self.answered = true;
                self.signal("answer", &self.far.answer(&offer)?, json!({}))?.into()
            }
            "accept" => {
                let answer = self.signal("answer", sdp, json!({}))?;
                self.far.accept(&answer)?;
                Value::Null
            }
            "state" if self.is_secured()? => "connected".into(),
            "state" => "connecting".into(),
            "stop" => {
                self.far.hush();
                Value::Null
            }
            "counts" => {
                let tallies = self.far.tallies().into_iter();
                let section = |tally: crate::far::Tally| {
                    json!({
                        "sent": tally.sent,
                        "received": tally.received,
                        "lost": tally.missing + tally.repeated + tally.strangers,
                    })
                };
                tallies.map(section).collect()
            }
            "close" => {
                let request = json!({"command": "delete", "call-id": self.id, "delete-delay": 0});
                self.abroad.run(move || ng::ask(&request))?
            }
            other => bail!("a relay does not {other}"),
        })
    }

    fn speak(&mut self) {
        self.far.speak();
    }
}
