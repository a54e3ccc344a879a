//! A call between a party that speaks WebRTC and a plain far end, set up over ng as an SBC does it,
//! and the account of its packets at the end.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::abroad::HERE;
use crate::far::{Far, Kind, Tally};
use crate::ng;
use crate::party::Party;
use crate::relay::Relay;
use crate::scene::wait_for;

/// A call that is up.
pub(crate) struct Call<'a> {
    pub(crate) id: String,
    pub(crate) party: &'a mut dyn Party,
    pub(crate) far: Far,
    /// The username of checks of the party's (RFC 8445 section 7.2.2).
    pub(crate) username: String,
}

/// Who began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offerer {
    Party,
    Far,
}

/// The DTLS role of the party's leg that is asked of the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dtls {
    /// By its rules.
    Default,
    /// It waits for the ClientHello.
    Passive,
}

impl<'a> Call<'a> {
    /// Sets up a call and waits until the party says that it is connected.
    pub(crate) fn set_up(
        id: &str,
        relay: Relay,
        party: &'a mut dyn Party,
        offerer: Offerer,
        kinds: &[Kind],
        dtls: Dtls,
    ) -> Result<Self> {
        let mut call = Self::signal_all(id, relay, party, (offerer, Far::new(HERE, kinds)?), dtls)?;
        call.begin()?;
        Ok(call)
    }

    /// An offer and an answer, with `far` as the plain end, and no more.
    pub(crate) fn signal_all(
        id: &str,
        relay: Relay,
        party: &'a mut dyn Party,
        (offerer, far): (Offerer, Far),
        dtls: Dtls,
    ) -> Result<Self> {
        let mut call = Self { id: id.to_owned(), party, far, username: String::new() };
        match offerer {
            Offerer::Party => {
                let offered = call.party.offer(&call.far.kinds())?;
                let offer = call.signal("offer", "party", &offered, towards_plain(dtls))?;
                let answer = call.far.answer(&offer)?;
                let answer = call.signal("answer", "party", &answer, json!({}))?;
                call.username = username(&answer, &offered)?;
                call.party.accept(&answer).with_context(|| answer)?;
            }
            Offerer::Far => call.far_offers(towards_webrtc(relay, dtls))?,
        }
        Ok(call)
    }

    /// Waits until the party says that it is connected; then both ends speak.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.wait_until_connected()?;
        self.wait_until_verified()?;
        self.far.speak();
        self.party.speak();
        Ok(())
    }

    /// A party is connected when it has our last flight, and we when we have its: what comes for
    /// it before that has no key yet. The party's own first packets are given no such time.
    fn wait_until_verified(&self) -> Result<()> {
        let request = json!({"command": "query", "call-id": self.id});
        let mut said = Value::Null;
        let verified = wait_for("relay that has keys", || {
            said = ng::ask(&request)?;
            Ok(said.to_string().contains("DTLS fingerprint verified").then_some(()))
        });
        verified.with_context(|| said.to_string())?;
        thread::sleep(LAST_FLIGHT);
        Ok(())
    }

    /// A restart of ICE by the party's new offer.
    pub(crate) fn restart(&mut self) -> Result<()> {
        let offer = self.party.restart()?;
        self.party_offers_again(&offer)?;
        let mut ufrag = String::new();
        let moved = wait_for("path under the new credentials", || {
            ufrag = self.party.path()?;
            Ok(offer.contains(&format!("a=ice-ufrag:{ufrag}\r\n")).then_some(()))
        });
        moved.with_context(|| format!("the path is of {ufrag}; {}", self.id))?;
        self.wait_until_connected()
    }

    /// The party's `offer` within the call, and the far end's answer to it.
    pub(crate) fn party_offers_again(&mut self, offer: &str) -> Result<()> {
        let mut options = towards_plain(Dtls::Default);
        // Else it would be the offer of another branch.
        options["to-tag"] = "far".into();
        let offered = self.signal("offer", "party", offer, options)?;
        let answer = self.far.answer(&offered)?;
        let answer = self.signal("answer", "party", &answer, json!({}))?;
        self.party.accept(&answer).with_context(|| answer)
    }

    /// The far end's new offer within the call, and the party's answer to it.
    pub(crate) fn far_offers_again(&mut self, relay: Relay) -> Result<()> {
        let mut options = towards_webrtc(relay, Dtls::Default);
        options["to-tag"] = "party".into();
        self.far_offers(options)
    }

    fn far_offers(&mut self, options: Value) -> Result<()> {
        let offer = self.signal("offer", "far", &self.far.offer(), options)?;
        let answer = self.party.answer(&offer).with_context(|| offer.clone())?;
        self.username = username(&offer, &answer)?;
        let answer = self.signal("answer", "far", &answer, json!({}))?;
        self.far.accept(&answer)
    }

    /// What the relay says of it.
    pub(crate) fn query(&self) -> Result<Value> {
        ng::ask(&json!({"command": "query", "call-id": self.id}))
    }

    pub(crate) fn mute(&mut self, muted: bool) -> Result<()> {
        self.party.ask("mute", json!({ "muted": muted })).map(drop)
    }

    /// Ends the media and demands that each packet sent by either side came to the other, once.
    pub(crate) fn demand_flawless(self) -> Result<()> {
        self.finish_flawless().map(drop)
    }

    /// The same; gives the far end's account of the first section.
    pub(crate) fn finish_flawless(self) -> Result<Tally> {
        // In this order: to stop may be to hang up.
        self.far.hush();
        thread::sleep(SETTLE);
        self.party.ask("stop", json!({}))?;
        thread::sleep(SETTLE);
        let (counts, tallies) = (self.party.counts()?, self.far.tallies());
        let account = format!("{}: party {counts:?}, far end {tallies:?}", self.id);
        println!("{account}");
        ensure!(counts.len() == tallies.len(), "sections differ; {account}");
        for (count, tally) in counts.iter().zip(&tallies) {
            ensure!(tally.received > 0 && tally.sent > 0, "silence; {account}");
            let arrived = count.sent.is_none_or(|sent| sent == tally.received);
            ensure!(arrived, "lost towards the far end; {account}");
            ensure!(tally.missing + tally.repeated + tally.strangers == 0, "{account}");
            ensure!(tally.sent == count.received, "lost towards the party; {account}");
            ensure!(count.lost == 0, "the party misses packets; {account}");
            ensure!(count.energy.is_none_or(|energy| energy > 0.0), "no sound; {account}");
            ensure!(tally.reports > 0 || count.sent.is_none(), "no RTCP; {account}");
        }
        self.end()?;
        tallies.first().copied().context("no section")
    }

    /// Ends it without a look at its packets.
    pub(crate) fn end(self) -> Result<()> {
        ng::ask(&json!({"command": "delete", "call-id": self.id, "delete-delay": 0}))?;
        self.party.ask("close", json!({})).map(drop)
    }

    pub(crate) fn wait_until_connected(&mut self) -> Result<()> {
        let Self { party, id, .. } = self;
        let mut state = String::new();
        let connected = wait_for("connection", || {
            state = party.state()?;
            match state.as_str() {
                "connected" => Ok(Some(())),
                "failed" | "closed" => bail!("the party is {state}"),
                _ => Ok(None),
            }
        });
        connected.with_context(|| {
            let query = ng::ask(&json!({"command": "query", "call-id": id}));
            format!("the party is {state}; {query:?}")
        })
    }

    /// `offer` or `answer` over ng; `from` is who offered.
    pub(crate) fn signal(
        &self,
        command: &str,
        from: &str,
        sdp: &str,
        options: Value,
    ) -> Result<String> {
        let mut request = options;
        let to = if from == "party" { "far" } else { "party" };
        request["command"] = command.into();
        request["call-id"] = self.id.as_str().into();
        request["from-tag"] = from.into();
        if command == "answer" {
            request["to-tag"] = to.into();
        }
        request["replace"] = json!(["origin"]);
        request["sdp"] = sdp.into();
        let reply = ng::ask(&request)?;
        Ok(reply["sdp"].as_str().with_context(|| reply.to_string())?.to_owned())
    }
}

fn username(ours: &str, theirs: &str) -> Result<String> {
    let ufrag = |sdp: &str| {
        let mut lines = sdp.lines();
        let found = lines.find_map(|line| line.strip_prefix("a=ice-ufrag:")).map(str::to_owned);
        found.with_context(|| sdp.to_owned())
    };
    Ok(format!("{}:{}", ufrag(ours)?, ufrag(theirs)?))
}

/// Options of an offer from a WebRTC leg to a plain one.
pub(crate) fn towards_plain(dtls: Dtls) -> Value {
    let options = json!({
        "transport-protocol": "RTP/AVP",
        "ICE": "remove",
        "rtcp-mux": ["demux"],
    });
    dtls.add_to(options)
}

/// Options of an offer from a plain leg to a WebRTC one.
pub(crate) fn towards_webrtc(relay: Relay, dtls: Dtls) -> Value {
    dtls.add_to(match relay {
        Relay::Ours => json!({"flags": ["WebRTC"]}),
        // 10.5 does not know the word yet.
        Relay::Rtpengine => json!({
            "transport-protocol": "UDP/TLS/RTP/SAVPF",
            "ICE": "force",
            "rtcp-mux": ["offer", "require"],
            "SDES": ["off"],
            "flags": ["generate mid"],
        }),
    })
}

impl Dtls {
    fn add_to(self, mut options: Value) -> Value {
        match self {
            Self::Default => {}
            Self::Passive => options["DTLS"] = "passive".into(),
        }
        options
    }
}

/// rtpengine says that it has verified us before its last flight.
const LAST_FLIGHT: Duration = Duration::from_millis(300);
/// For what is on its way. The party's statistics may be half a second old as well.
const SETTLE: Duration = Duration::from_millis(700);
