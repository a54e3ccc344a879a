//! What a restart of an agent means for a rotation under way.
//!
//! An SA of the user-space engine ends with its agent's process. The next one resumes it, and what
//! it opens begins above every number that may have been opened before: the first packets under
//! keys that are only being put in place would be refused, half a second's or 512 of them. So the
//! rotation is not ended but begun again, with new keys, by whoever drives it: the driving side
//! when its own agent was restarted, or when the answering side says that its was. SAs in the
//! kernel outlive their agent, and nothing is begun again for them.

use std::time::Duration;

use crypto_offload::{Epoch, PairName};
use gateway_control::{ErrorCode, PairStatus, PeerStep, PeerStepDone};

use super::Ipsec;
use super::agent::{Arrivals, AskError};
use super::peers::Peer;
use super::reply::Refusal;

/// Whether our agent took over the inbound SA of this epoch from before its restart.
pub(super) fn refuses_first(status: &PairStatus, epoch: Epoch) -> bool {
    let inbound = status.epoch(epoch).and_then(|epoch| epoch.inbound.as_ref());
    inbound.is_some_and(|inbound| inbound.resumed)
}

impl Ipsec {
    /// Until our agent was restarted and refuses the first packets of this epoch; tells the
    /// highest that it has had. May be dropped and asked again.
    pub(super) async fn until_refused(
        &self,
        name: &PairName,
        epoch: Epoch,
        arrivals: &mut Arrivals,
    ) -> Epoch {
        loop {
            if let Some(highest) = self.refused(name, epoch, arrivals).await {
                return highest;
            }
        }
    }

    /// The same, of the next restart alone.
    pub(super) async fn refused(
        &self,
        name: &PairName,
        epoch: Epoch,
        arrivals: &mut Arrivals,
    ) -> Option<Epoch> {
        let count = arrivals.next().await;
        match self.agent().show(name).await {
            Ok(status) => {
                arrivals.seen(count);
                refuses_first(&status, epoch).then(|| status.highest.max(epoch))
            }
            Err(AskError::Refused(_)) => {
                arrivals.seen(count);
                None
            }
            Err(AskError::Absent(_)) => {
                tokio::time::sleep(LOOK_EVERY).await;
                None
            }
        }
    }

    /// Has the peer begin the rotation that it drives again; whether it does.
    pub(super) async fn ask_to_begin_again(&self, name: &PairName, epoch: Epoch) -> bool {
        let peer = self.slots().answering(name, epoch, |answering| answering.peer.clone());
        let Some(peer) = peer.and_then(|peer| self.peers().named(&peer)) else { return false };
        let asked = peer.step(name, epoch, "renew", PeerStep::default(), PATIENCE).await;
        asked.is_ok()
    }

    /// "My agent was restarted and refuses the first packets of this epoch."
    pub(crate) async fn answer_renew(
        &self,
        name: &PairName,
        epoch: Epoch,
        peer: &Peer,
    ) -> Result<PeerStepDone, Refusal> {
        self.pair_of_peer(name, peer).await?;
        let begun = self.slots().begin_again(name, epoch).map(|()| PeerStepDone::default());
        begun.ok_or_else(|| {
            let said = format!("no rotation to epoch {epoch} is driven from here");
            let hint = "drive one from there";
            Refusal::new(ErrorCode::Conflict, name.as_str(), said, hint)
        })
    }
}

const LOOK_EVERY: Duration = Duration::from_millis(20);

const PATIENCE: Duration = Duration::from_secs(2);
