//! The peers' gateways: who they are, and what a rotation asks of them.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use admin_client::{Client, ClientError, location};
use crypto_offload::rotation::Failure;
use crypto_offload::{Epoch, PairName};
use gateway_control::{PairStatus, PeerAnswer, PeerOffer, PeerStep, PeerStepDone, path};

/// The configured peers; clones share them, and a reload changes them.
#[derive(Clone, Default)]
pub(crate) struct Peers(Arc<RwLock<Vec<Peer>>>);

/// One of them.
#[derive(Clone)]
pub(crate) struct Peer {
    /// As `[[ipsec.sa]]` calls it.
    pub(crate) name: String,
    /// Whom its certificate names.
    pub(crate) identity: String,
    /// `Err`: why it cannot be asked.
    pub(crate) client: Result<Client, String>,
}

/// Why the peer did not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// No answer, or no.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It cannot be asked.
    #[error("{0}")]
    Unasked(String),
}

impl PeerError {
    /// Whether the peer may have got the request.
    pub(crate) const fn was_heard(&self) -> bool {
        use ClientError::{Connect, Files, Stranger, Url};
        !matches!(
            self,
            Self::Unasked(_)
                | Self::Client(Connect { .. } | Stranger { .. } | Url { .. } | Files { .. })
        )
    }

    /// Whether asking again may help. A peer whose agent is away has waited for it already, for
    /// longer than a restart takes: that is no passing trouble, and `is_passing` has it so.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Client(error) if error.is_passing() => Failure::Transient,
            _ => Failure::Final,
        }
    }
}

impl Peers {
    /// These from now on.
    pub(crate) fn replace(&self, peers: Vec<Peer>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    /// By the name that pairs call it.
    pub(crate) fn named(&self, name: &str) -> Option<Peer> {
        let peers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        peers.iter().find(|peer| peer.name == name).cloned()
    }

    /// By whom its certificate names.
    pub(crate) fn identified(&self, identity: &str) -> Option<Peer> {
        let peers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        peers.iter().find(|peer| peer.identity == identity).cloned()
    }
}

impl Peer {
    /// Our inbound SA is installed; is its?
    pub(crate) async fn offer(
        &self,
        name: &PairName,
        epoch: Epoch,
        offer: &PeerOffer,
        patience: Duration,
    ) -> Result<PeerAnswer, PeerError> {
        let client = self.client(patience)?;
        Ok(client.post(&step_path(name, epoch, "offer"), offer).await?)
    }

    /// It is to do the `step`: `switch`, `retire` or `abort`.
    pub(crate) async fn step(
        &self,
        name: &PairName,
        epoch: Epoch,
        step: &str,
        body: PeerStep,
        patience: Duration,
    ) -> Result<PeerStepDone, PeerError> {
        let client = self.client(patience)?;
        Ok(client.post(&step_path(name, epoch, step), &body).await?)
    }

    /// What its agent has of the pair.
    pub(crate) async fn status(
        &self,
        name: &PairName,
        epoch: Epoch,
        patience: Duration,
    ) -> Result<PairStatus, PeerError> {
        let client = self.client(patience)?;
        Ok(client.get(&step_path(name, epoch, "status")).await?)
    }

    fn client(&self, patience: Duration) -> Result<Client, PeerError> {
        match &self.client {
            Ok(client) => Ok(client.clone().with_patience(patience)),
            Err(reason) => Err(PeerError::Unasked(reason.clone())),
        }
    }
}

fn step_path(name: &PairName, epoch: Epoch, step: &str) -> String {
    location(path::PEER, &[name.as_str(), &epoch.to_string(), step])
}
