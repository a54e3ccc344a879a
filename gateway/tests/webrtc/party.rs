//! A peer that speaks WebRTC, whoever wrote it: what a call asks of it.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::far::Kind;

/// One end of one call. What it is asked to do is the same for a page in a browser and for a
/// program; each answers in JSON.
pub(crate) trait Party {
    /// Does `verb`, and gives what came of it.
    fn ask(&mut self, verb: &str, argument: Value) -> Result<Value>;

    /// Both ends of the leg have keys. Most parties send as soon as they have theirs.
    fn speak(&mut self) {}
}

/// What a party counted of one section, by its own statistics.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// `None` where the party does not say it of the whole call.
    pub(crate) sent: Option<u32>,
    pub(crate) received: u32,
    /// By its own reckoning, from sequence numbers.
    pub(crate) lost: i64,
    /// Of what it decoded; `None` where the party does not measure it.
    pub(crate) energy: Option<f64>,
}

impl dyn Party + '_ {
    /// A new connection's offer, with all candidates.
    pub(crate) fn offer(&mut self, kinds: &[Kind]) -> Result<String> {
        let video = kinds.contains(&Kind::Video);
        self.text("offer", json!({ "video": video }))
    }

    /// A new connection's answer to this offer.
    pub(crate) fn answer(&mut self, offer: &str) -> Result<String> {
        self.text("answer", json!({ "sdp": offer }))
    }

    /// Takes the answer to its offer.
    pub(crate) fn accept(&mut self, answer: &str) -> Result<()> {
        self.ask("accept", json!({ "sdp": answer })).map(drop)
    }

    /// A new offer of the same connection, with new ICE credentials.
    pub(crate) fn restart(&mut self) -> Result<String> {
        self.text("restart", json!({}))
    }

    /// `connected` when ICE and DTLS are.
    pub(crate) fn state(&mut self) -> Result<String> {
        self.text("state", json!({}))
    }

    /// The local username fragment of the pair in use.
    pub(crate) fn path(&mut self) -> Result<String> {
        self.text("path", json!({}))
    }

    pub(crate) fn counts(&mut self) -> Result<Vec<Counts>> {
        let sections = self.ask("counts", json!({}))?;
        let sections = sections.as_array().with_context(|| sections.to_string())?;
        let count = |section: &Value, name: &str| section[name].as_i64().unwrap_or_default();
        Ok(sections
            .iter()
            .map(|section| Counts {
                sent: section["sent"].as_u64().map(|sent| sent as u32),
                received: count(section, "received") as u32,
                lost: count(section, "lost"),
                energy: section["energy"].as_f64(),
            })
            .collect())
    }

    fn text(&mut self, verb: &str, argument: Value) -> Result<String> {
        let answer = self.ask(verb, argument)?;
        Ok(answer.as_str().with_context(|| format!("{verb}: {answer}"))?.to_owned())
    }
}
