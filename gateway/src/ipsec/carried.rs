//! Rotations whose offers people carry, at our side of them: what the machine of `crypto-offload`
//! says from the peer's offer on, done at our agent. The peer is not asked for anything.
//!
//! An operation ends with the switch. What is left, to wait for a first packet under the new keys
//! and to retire the old ones, may take days and restarts: whoever looks at the pairs has it done
//! for each that has old keys beside those in use, and nothing is remembered for it.

use std::time::Instant;

use crypto_offload::rotation::{Action, Outcome, Rotation, Start};
use crypto_offload::{Epoch, PairName};
use gateway_control::{KeyOffer, PairStatus};

use super::Ipsec;
use super::agent::AskError;
use super::drive::{opened, standing};
use super::operations::Progress;

/// One of them.
pub(super) struct Carried<'a> {
    pub(super) ipsec: &'a Ipsec,
    pub(super) name: &'a PairName,
    /// The peer's; `None` where the outbound SA is installed already.
    pub(super) offer: Option<KeyOffer>,
    pub(super) progress: Option<&'a Progress>,
}

/// How far a rotation is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// Our traffic goes under the new keys.
    Switched,
    /// The old ones are gone.
    Over,
}

impl Carried<'_> {
    /// # Errors
    /// The step that failed, and why; it is half-way then.
    pub(super) async fn run(&self, start: Start, until: Until) -> Result<(), String> {
        let epoch = start.epoch;
        let (mut rotation, mut trouble) = (Rotation::imported(start, Instant::now()), None);
        loop {
            let action = rotation.poll(Instant::now());
            match action {
                Action::End(Outcome::Rotated { .. }) => return Ok(()),
                Action::End(_) => return Err(trouble.unwrap_or_default()),
                Action::Wait(at) => {
                    tokio::time::sleep_until(at.into()).await;
                    continue;
                }
                Action::Observe(_) if until == Until::Switched => return Ok(()),
                _ => {}
            }
            if let Some(progress) = self.progress {
                progress.step(self.name, action.name());
            }
            let now = Instant::now;
            match self.execute(action, epoch).await {
                Ok(Step::Done) => rotation.done(now()),
                Ok(Step::Observed(packets)) => rotation.observed(packets, now()),
                // Whoever rotated once more retires this one too.
                Ok(Step::Superseded) => return Ok(()),
                Err(error) => {
                    if !rotation.is_undoing() {
                        trouble = Some(format!("{}: {error}", action.name()));
                    }
                    rotation.failed(error.failure(), now());
                }
            }
        }
    }

    async fn execute(&self, action: Action, epoch: Epoch) -> Result<Step, AskError> {
        let (agent, name) = (self.ipsec.agent(), self.name);
        match action {
            Action::InstallOutbound(epoch) => {
                if let Some(offer) = &self.offer {
                    agent.install_outbound(name, epoch, offer.dangerous_duplicate()).await?;
                }
            }
            Action::Switch(epoch) => agent.switch(name, epoch).await?,
            Action::Observe(_) => {
                let status = agent.show(name).await?;
                if status.active != Some(epoch) {
                    return Ok(Step::Superseded);
                }
                return Ok(Step::Observed(opened(&status, epoch)));
            }
            Action::RetireOutbound(old) => drop(agent.retire_outbound(name, old).await?),
            Action::RetireInbound(old) => {
                agent.retire_inbound(name, old).await?;
                // What an exchange that came to nothing left of it.
                agent.discard(name, old).await?;
            }
            // Asks a peer, which this kind of rotation never does, or has been dealt with.
            _ => {}
        }
        Ok(Step::Done)
    }
}

enum Step {
    Done,
    Observed(u64),
    Superseded,
}

impl Ipsec {
    /// Sees to the end of what people began at a pair, if there is something left of it and
    /// nobody is at it.
    pub(super) fn end_carried(&self, status: &PairStatus) {
        let name = &status.pair.name;
        let Some(start) = left_behind(status) else { return };
        let Some(turn) = self.slots().follow(name) else { return };
        let (ipsec, name) = (self.clone(), name.clone());
        tokio::spawn(async move {
            let carried = Carried { ipsec: &ipsec, name: &name, offer: None, progress: None };
            if let Err(error) = carried.run(start, Until::Over).await {
                tracing::debug!(pair = %name, "old keys stay for now: {error}");
            }
            drop(turn);
        });
    }
}

/// A rotation that is switched on our side, with older keys still there.
fn left_behind(status: &PairStatus) -> Option<Start> {
    let active = status.active.filter(|_| status.pair.peer.is_none())?;
    let standing = standing(status);
    if !standing.has_inbound(active) {
        return None;
    }
    let older: Vec<Epoch> = standing.epochs.keys().copied().filter(|old| *old < active).collect();
    let timing = status.pair.rotation;
    (!older.is_empty()).then_some(Start { epoch: active, active: Some(active), older, timing })
}

/// For keys of `epoch` that are about to be put in place.
pub(super) fn start(before: &PairStatus, epoch: Epoch) -> Start {
    let others = before.epochs.iter().map(|status| status.epoch);
    let older = others.filter(|other| *other != epoch && Some(*other) != before.active);
    let (older, active) = (older.collect(), before.active);
    Start { epoch, active, older, timing: before.pair.rotation }
}
