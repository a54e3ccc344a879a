//! Rotations, as the admin API starts and shows them, and as two gateways agree on them.

use crypto_offload::{
    Aead, Epoch, Mode, PairEncapsulation, PairName, SaPair, SequenceNumbers, Spi,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

use crate::KeyOffer;

/// Body of a POST to [`path::ROTATIONS`](crate::path::ROTATIONS). Answer: [`OperationStarted`], or
/// [`RotationPlan`] when it is only to be planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationRequest {
    /// Which pairs.
    pub pairs: PairSelection,
    /// Say what would be done, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Who asks, for the log: a user's name.
    #[serde(default)]
    pub requested_by: Option<String>,
}

/// Some of the pairs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairSelection {
    /// One.
    Name(PairName),
    /// Those of one group.
    Group(String),
    /// Every one.
    All,
}

/// What a rotation would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RotationPlan {
    /// For each pair.
    pub pairs: Vec<PairRotationPlan>,
}

/// What the rotation of one pair would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairRotationPlan {
    /// The pair.
    pub name: PairName,
    /// The epoch in use; `None`: it has no keys yet.
    pub from: Option<Epoch>,
    /// The new one.
    pub to: Epoch,
    /// In order.
    pub steps: Vec<PlannedStep>,
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its name, as in progress reports.
    pub step: String,
    /// What it does and where.
    pub does: String,
    /// How it is undone.
    pub undo: String,
}

/// Answer to what takes longer than a request: ask [`path::OPERATION`](crate::path::OPERATION).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationStarted {
    /// Its id.
    pub operation: String,
}

/// Long work, while it runs and for a while after.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id.
    pub id: String,
    /// Whether it has ended.
    pub state: OperationState,
    /// Raised by every change: ask with `?after=` this to wait for the next.
    pub revision: u64,
    /// Each pair that it is about.
    pub pairs: Vec<PairProgress>,
    /// Since it started.
    pub seconds: f64,
}

/// Whether an operation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Not yet.
    Running,
    /// All of it was done.
    Done,
    /// Some of it was not: the pairs tell.
    Failed,
}

/// How far one pair is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PairProgress {
    /// The pair.
    pub name: PairName,
    /// `waiting`, also `waiting for the rotation of epoch 7 to end`; then the steps' names, then
    /// `done` or `failed`.
    pub step: String,
    /// Whether it has ended, and how.
    pub state: OperationState,
    /// Why it failed and what stands now.
    pub detail: Option<String>,
    /// Set when it is done.
    pub record: Option<RotationRecord>,
}

/// One rotation, for the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RotationRecord {
    /// Milliseconds since 1970 (UTC), at its end.
    pub time: u64,
    /// The pair.
    pub name: PairName,
    /// Who wanted it: `operator NAME`, `schedule`, `peer NAME`, `recovery`.
    pub who: String,
    /// Why: `asked`, `age`, `packets`, `bytes`, `resumed`, `link down`.
    pub why: String,
    /// The epoch before; `None` for the first.
    pub from: Option<Epoch>,
    /// The epoch now.
    pub to: Epoch,
    /// SPIs that went: inbound, outbound.
    pub old_spis: Option<(Spi, Spi)>,
    /// SPIs that came: inbound, outbound.
    pub new_spis: (Spi, Spi),
    /// From the first step to the last, the overlap included.
    pub seconds: f64,
    /// Packets that the peer sealed under the old keys and we did not open; `None` where one of
    /// the counts was not to be had.
    pub lost: Option<u64>,
}

/// The newest rotations, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RotationLog {
    /// As many as are kept and were asked for.
    pub rotations: Vec<RotationRecord>,
}

/// What must be the same at both ends of a pair, seen from the one that says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairTerms {
    /// Outer addresses: its own, the other's.
    pub outer: (IpAddr, IpAddr),
    /// Inner addresses: its own, the other's.
    pub inner: (IpNet, IpNet),
    /// Protocol of the inner traffic.
    pub protocol: Option<u8>,
    /// Ports of the inner traffic: its own, the other's.
    pub ports: (Option<u16>, Option<u16>),
    /// Transport or tunnel.
    pub mode: Mode,
    /// Algorithm.
    pub aead: Aead,
    /// Short or extended.
    pub sequence_numbers: SequenceNumbers,
    /// UDP ports of ESP.
    pub encapsulation: Option<PairEncapsulation>,
}

impl PairTerms {
    /// Of a pair as it is defined here.
    pub fn of(pair: &SaPair) -> Self {
        Self {
            outer: (pair.local, pair.remote),
            inner: (pair.local_net, pair.remote_net),
            protocol: pair.protocol,
            ports: (pair.local_port, pair.remote_port),
            mode: pair.mode,
            aead: pair.aead,
            sequence_numbers: pair.sequence_numbers,
            encapsulation: pair.encapsulation,
        }
    }

    /// The same, seen from the other end.
    #[must_use]
    pub fn mirrored(&self) -> Self {
        fn swap<T>((a, b): (T, T)) -> (T, T) {
            (b, a)
        }
        Self {
            outer: swap(self.outer),
            inner: swap(self.inner),
            ports: swap(self.ports),
            encapsulation: self.encapsulation.map(|ports| PairEncapsulation {
                local_port: ports.remote_port,
                remote_port: ports.local_port,
            }),
            ..self.clone()
        }
    }
}

/// From gateway to gateway: "my inbound SA of this epoch is installed; here is its key". Body of a
/// POST to [`path::PEER`](crate::path::PEER) `offer`. Answer: [`PeerAnswer`].
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerOffer {
    /// Who asks; the lower id wins when both do.
    pub gateway: String,
    /// Compared with the pair of that name at the other end.
    pub terms: PairTerms,
    /// The epoch in use at the asker.
    pub from: Option<Epoch>,
    /// What its new outbound SA (at the other end) is made from.
    pub offer: KeyOffer,
}

/// "Mine is installed too."
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum PeerAnswer {
    /// Go on.
    Accepted {
        /// Of the answerer's new inbound SA.
        offer: KeyOffer,
    },
    /// The answerer is rotating this pair itself and has the lower id: be its responder.
    Yours {
        /// Who.
        gateway: String,
    },
    /// The epoch is not above what the answerer has had: begin again above this one.
    Stale {
        /// The answerer's highest.
        highest: Epoch,
    },
}

/// Body of POSTs to `switch`, `retire`, `renew` and `abort`: nothing but the epoch in the path matters,
/// and for `retire` how many packets the asker sealed under the epoch before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStep {
    /// Packets sealed under the old epoch, in all.
    pub sealed: Option<u64>,
}

/// Answer to the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStepDone {
    /// `retire`: packets that the answerer sealed under the old epoch, in all.
    pub sealed: Option<u64>,
    /// Packets that the answerer has opened under the new epoch.
    pub opened: Option<u64>,
}
