//! Keys for peers that have no gateway of ours: agreed on by hand, or carried in sealed files.

use crypto_offload::{Epoch, SaPair};
use serde::{Deserialize, Serialize};

use crate::KeyOffer;

/// Body of a POST to [`path::SAS`](crate::path::SAS). Answer:
/// [`OperationStarted`](crate::OperationStarted) with a peer or with keys, else
/// [`PairStatus`](crate::PairStatus).
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddSa {
    /// The pair.
    pub pair: SaPair,
    /// Its first keys, where people have agreed on them; not with a peer.
    #[serde(default)]
    pub keys: Option<ManualKeys>,
}

/// Both keys of an epoch, as a key file has them.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManualKeys {
    /// What we open with.
    pub inbound: KeyOffer,
    /// What we seal with.
    pub outbound: KeyOffer,
}

/// Body of a POST to [`path::EXPORT`](crate::path::EXPORT): prepare an epoch (or take the one that
/// is prepared already) and seal its offer to the peer. Answer: [`ExchangeFile`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// The peer's [`ExchangeIdentity::public_key`].
    pub recipient: String,
    /// A new epoch, also where nothing has come yet under the last one: which is how an idle pair
    /// looks, and one whose last file the peer has not imported.
    #[serde(default)]
    pub new: bool,
}

/// Body of a POST to [`path::IMPORT`](crate::path::IMPORT): the peer's file, to which this side
/// has sealed or will seal its own. Answer: [`OperationStarted`](crate::OperationStarted).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// As read from the file.
    pub file: String,
    /// The sender's [`ExchangeIdentity::public_key`]: a file from anybody else is refused.
    pub sender: String,
}

/// An offer that only its recipient can read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeFile {
    /// The epoch that it is for.
    pub epoch: Epoch,
    /// The file's text.
    pub file: String,
    /// The epoch is in use at this side already, and nothing has come under it.
    #[serde(default)]
    pub again: bool,
}

/// This gateway's own key for exchange files, at [`path::EXCHANGE`](crate::path::EXCHANGE).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeIdentity {
    /// To be given to peers over a channel that cannot be forged. Not secret.
    pub public_key: String,
}
