//! What the log's entries say. Everything here may be read by whoever reads the directory: keys
//! are named by their fingerprints, and sealed elsewhere in the log.

use std::collections::BTreeMap;

use crypto_offload::{
    Aead, Direction, Effective, Epoch, KeyFingerprint, PairName, Placement, Reqid, SaId, SaPair,
    Spi,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// One change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry {
    /// A pair is as follows now.
    Pair(Box<PairRecord>),
    /// A pair is no more.
    Forget(PairName),
    /// A key was taken into use, for ever.
    Key(KeyName),
    /// It was not: the engine refused it, and has nothing of it.
    Unused(KeyName),
    /// Its only SA was an inbound one, and went without having opened a packet.
    Unopened(KeyName),
    /// Sequence numbers up to this one may have been sent, or were accepted.
    Reserved {
        /// Of which SA.
        id: SaId,
        /// Sent or accepted.
        direction: Direction,
        /// Up to and with.
        sequence: u64,
    },
}

/// A pair and its SAs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct PairRecord {
    /// As defined.
    pub(crate) terms: SaPair,
    /// Ties its SAs and policies together.
    pub(crate) reqid: Reqid,
    /// The highest epoch that ever was.
    pub(crate) highest: Epoch,
    /// What outbound traffic uses.
    pub(crate) active: Option<Epoch>,
    /// The engine and the SPI of the outbound policy; without an SPI it drops all that fits. It
    /// comes with the pair and stays when its SA is lost, so that nothing goes out in clear; `None`
    /// only while that is being changed.
    pub(crate) outbound_policy: Option<(String, Option<Spi>)>,
    /// The engines that have inbound policies: that which guards the pair, and those of its SAs.
    pub(crate) inbound_policies: Vec<String>,
    /// Oldest first.
    pub(crate) epochs: BTreeMap<Epoch, EpochRecord>,
    /// The last ones, oldest first.
    pub(crate) retired: Vec<RetiredSa>,
}

/// One generation of keys. Both SAs are in one engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct EpochRecord {
    /// Which.
    pub(crate) engine: String,
    /// What policies ask the engine for: where the inbound SA came out.
    pub(crate) placement: Placement,
    /// What we open with.
    pub(crate) inbound: Option<SaRecord>,
    /// What we seal with.
    pub(crate) outbound: Option<SaRecord>,
}

/// One SA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SaRecord {
    /// Chosen by its receiver.
    pub(crate) spi: Spi,
    /// Of its key.
    pub(crate) aead: Aead,
    /// Names its key.
    pub(crate) key: KeyName,
    /// Whether it is installed.
    pub(crate) stage: Stage,
    /// Where it is and why.
    pub(crate) placement: Effective,
    /// 0 for a new key. After a restart in an engine that ended with our process: the number
    /// above which it began again.
    pub(crate) resume_after: u64,
    /// Taken over by a process that did not install it.
    pub(crate) resumed: bool,
}

/// How far an SA has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Stage {
    /// About to be installed; no packet has been sealed with its key.
    Staged,
    /// Installed.
    Installed,
}

/// What a repeated request to retire is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RetiredSa {
    /// Of its pair.
    pub(crate) epoch: Epoch,
    /// Which of the two.
    pub(crate) direction: Direction,
    /// Its last counter, where it could be read.
    pub(crate) packets: Option<u64>,
}

/// A fingerprint, in hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct KeyName(pub(crate) KeyFingerprint);

impl Serialize for KeyName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for KeyName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = (text.len() == 32).then(|| u128::from_str_radix(&text, 16).ok()).flatten();
        let number = number.ok_or_else(|| Error::custom("not a fingerprint"))?;
        Ok(Self(KeyFingerprint(number.to_be_bytes())))
    }
}
