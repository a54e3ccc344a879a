//! A party whose SDP is changed on its way, as an SBC with a fault or somebody in between would.

use anyhow::Result;
use serde_json::Value;

use crate::party::Party;

/// What becomes of a description.
pub(crate) type Change = fn(&str) -> String;

/// A party, and what is done to the descriptions from it and to it.
pub(crate) struct Changed<'a> {
    pub(crate) party: &'a mut dyn Party,
    pub(crate) from: Change,
    pub(crate) to: Change,
}

impl Party for Changed<'_> {
    fn ask(&mut self, verb: &str, mut argument: Value) -> Result<Value> {
        if let Some(sdp) = argument["sdp"].as_str() {
            argument["sdp"] = (self.to)(sdp).into();
        }
        let answer = self.party.ask(verb, argument)?;
        Ok(match (verb, answer.as_str()) {
            ("offer" | "answer" | "restart", Some(sdp)) => (self.from)(sdp).into(),
            _ => answer,
        })
    }

    fn speak(&mut self) {
        self.party.speak();
    }
}

/// As it is.
pub(crate) fn unchanged(sdp: &str) -> String {
    sdp.to_owned()
}

/// Without any candidate.
pub(crate) fn without_candidates(sdp: &str) -> String {
    let is_candidate =
        |line: &&str| line.starts_with("a=candidate:") || line.starts_with("a=end-of-candidates");
    sdp.split_inclusive("\r\n").filter(|line| !is_candidate(line)).collect()
}

/// With another password for ICE.
pub(crate) fn with_a_wrong_password(sdp: &str) -> String {
    sdp.split_inclusive("\r\n")
        .map(|line| match line.starts_with("a=ice-pwd:") {
            true => "a=ice-pwd:ThisIsNotThePasswordAtAll0\r\n",
            false => line,
        })
        .collect()
}

#[test]
fn only_what_is_meant_is_changed() {
    let sdp = "v=0\r\na=ice-pwd:abc\r\na=candidate:1 1 udp 1 192.0.2.2 9 typ host\r\na=mid:0\r\n";
    assert_eq!(without_candidates(sdp), "v=0\r\na=ice-pwd:abc\r\na=mid:0\r\n");
    let wrong = with_a_wrong_password(sdp);
    assert!(!wrong.contains("abc") && wrong.lines().count() == 4, "{wrong}");
}
