//! SRTP legs of calls: how they are keyed, for how long, and what can be asked of them.
//!
//! Nothing secret is in here. Where a party knows several keys of ours by their MKIs, asking for new
//! keys switches to the next of them at once. Else a relay cannot help, having no offers of its own: it
//! marks legs, and whoever drives the gateway brings new keys about by its next offer to the party.

use serde::{Deserialize, Serialize};

/// SRTP legs, call by call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SrtpList {
    /// In the order in which their calls began.
    pub legs: Vec<SrtpLeg>,
    /// There are more: ask with `?after=` this. Pages end with a call.
    pub next: Option<u64>,
}

/// One SRTP leg: one party's one media section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SrtpLeg {
    /// As signalling names the call; bytes that are not UTF-8 are replaced.
    pub call_id: String,
    /// The stream's number within its call, as events name it.
    pub stream: u16,
    /// The party's tag, once known.
    pub tag: Option<String>,
    /// The section's place in the party's SDP, from 1.
    pub media: usize,
    /// `audio`, `video`, …
    pub kind: String,
    /// Where its keys come from.
    pub keying: SrtpKeying,
    /// The suite, once agreed: with DTLS after the handshake.
    pub profile: Option<String>,
    /// Since our key was agreed; with DTLS since the association was.
    pub age_seconds: f64,
    /// SRTP packets opened under the party's key and sealed under ours; `None` where the worker
    /// did not say in time.
    pub packets: Option<SrtpPackets>,
    /// The next offer to the party brings new keys.
    pub rekey_due: bool,
    /// Where we are among our keys, where the party knows several.
    pub own_keys: Option<SrtpOwnKeys>,
    /// ICE, where the leg has it.
    pub ice: Option<SrtpAgentState>,
    /// DTLS, where it keys the leg.
    pub dtls: Option<SrtpAgentState>,
}

/// Where a leg's keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SrtpKeying {
    /// `a=crypto` (RFC 4568).
    Sdes,
    /// A DTLS handshake (RFC 5764).
    Dtls,
    /// The parties share their keys: the gateway opens and seals nothing.
    Shared,
}

impl SrtpKeying {
    /// The name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sdes => "sdes",
            Self::Dtls => "dtls",
            Self::Shared => "shared",
        }
    }
}

/// SRTP packets under the keys in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrtpPackets {
    /// Opened.
    pub opened: u64,
    /// Sealed.
    pub sealed: u64,
}

/// Keys of ours that a party tells apart by MKI.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrtpOwnKeys {
    /// The MKI of the one in use, as SDP says it: 1 to 255.
    pub mki: u8,
    /// How many are left to go on to without an offer.
    pub left: usize,
}

/// How far an agent of a leg is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrtpAgentState {
    /// ICE: `waiting`, `checking`, `connected` or `failed`; DTLS: `waiting`, `handshaking`,
    /// `secured` or `failed`.
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
}

/// Asks for new keys: of one call, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SrtpRekeyRequest {
    /// Only this call's legs.
    #[serde(default)]
    pub call_id: Option<String>,
    /// Only the leg of the party of this tag; with `call_id`.
    #[serde(default)]
    pub tag: Option<String>,
    /// Every call's legs; where there is no `call_id`.
    #[serde(default)]
    pub all: bool,
    /// Only legs whose keys are at least so old.
    #[serde(default)]
    pub older_than_seconds: u64,
    /// Tell what would be done, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Begin after this call: what the last report's `next` said.
    #[serde(default)]
    pub after: Option<u64>,
}

/// What became of it, leg by leg.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrtpRekeyReport {
    /// The legs that were meant.
    pub legs: Vec<SrtpRekeyed>,
    /// There are more calls: ask again with `after` as this.
    pub next: Option<u64>,
}

/// One leg's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SrtpRekeyed {
    /// The call.
    pub call_id: String,
    /// The stream's number within its call.
    pub stream: u16,
    /// The party's tag, once known.
    pub tag: Option<String>,
    /// The section's place in the party's SDP, from 1.
    pub media: usize,
    /// How the leg comes by new keys.
    pub result: SrtpRekeyResult,
    /// Where we are among our keys from then on, where the party knows several.
    pub own_keys: Option<SrtpOwnKeys>,
    /// What is to be done for it, or why it is not possible.
    pub reason: String,
}

/// How a leg comes by new keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SrtpRekeyResult {
    /// At once: we send under the next of our keys that its party knows by MKI.
    Switched,
    /// It is marked: by the next offer to its party.
    Marked,
    /// It was marked before.
    AlreadyMarked,
    /// Not by us.
    NotPossible,
}

impl SrtpRekeyResult {
    /// The name, as in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Switched => "switched",
            Self::Marked => "marked",
            Self::AlreadyMarked => "already_marked",
            Self::NotPossible => "not_possible",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_means_no_leg_unless_it_says_which() {
        let request: SrtpRekeyRequest = serde_json::from_str("{}").unwrap();
        assert_eq!(request, SrtpRekeyRequest::default());
        assert!(!request.all && !request.dry_run);
        assert!(serde_json::from_str::<SrtpRekeyRequest>(r#"{"callid":"x"}"#).is_err());
    }

    #[test]
    fn words_are_named_alike_in_json_and_for_people() {
        for keying in [SrtpKeying::Sdes, SrtpKeying::Dtls, SrtpKeying::Shared] {
            assert_eq!(serde_json::to_value(keying).unwrap(), keying.name());
        }
        for result in [
            SrtpRekeyResult::Switched,
            SrtpRekeyResult::Marked,
            SrtpRekeyResult::AlreadyMarked,
            SrtpRekeyResult::NotPossible,
        ] {
            assert_eq!(serde_json::to_value(result).unwrap(), result.name());
        }
    }
}
