//! Sending outbound traffic through another epoch's SA, in one step.

use crypto_offload::{
    Direction, EngineError, Epoch, ErrorClass, PairName, Placement, PolicyDirection, Spi,
};
use gateway_control::agent::Response;

use super::{Pairs, install::unknown, spec};
use crate::{
    refusal::Refusal,
    state::{Durability, PairRecord, Stage},
};

impl Pairs {
    pub(super) fn switch(&mut self, name: &PairName, epoch: Epoch) -> Result<Response, Refusal> {
        let before = self.pair(name)?.clone();
        let Some(keys) = before.epochs.get(&epoch) else {
            return Err(unknown(&before, epoch));
        };
        let installed = keys.outbound.as_ref().filter(|sa| sa.stage == Stage::Installed);
        let Some(spi) = installed.map(|sa| sa.spi) else {
            return Err(unknown(&before, epoch));
        };
        let engine = keys.engine.clone();
        let wanted = Some((engine.clone(), Some(spi)));
        if before.active == Some(epoch) && before.outbound_policy == wanted {
            return Ok(Response::Done);
        }
        self.check_there(&before, epoch, &engine, spi)?;
        let record = PairRecord { active: Some(epoch), outbound_policy: wanted, ..before.clone() };
        self.move_policy(&before, &record)?;
        if let Err(error) = self.commit(record.clone(), Vec::new(), Durability::Process) {
            if let Err(undo) = self.move_policy(&record, &before) {
                tracing::error!(pair = %name, error = %undo.0, "cannot undo a switch");
            }
            return Err(error.into());
        }
        Ok(Response::Done)
    }

    /// A policy whose SA is gone would stop the traffic.
    fn check_there(
        &mut self,
        record: &PairRecord,
        epoch: Epoch,
        engine: &str,
        spi: Spi,
    ) -> Result<(), Refusal> {
        let id = spec::sa_id(&record.terms, Direction::Outbound, spi);
        match self.engines.named(engine)?.usage(id) {
            Ok(_) => Ok(()),
            Err(error) if error.class == ErrorClass::Gone => {
                self.lose(id, "the engine has it no more", "kernel");
                Err(unknown(record, epoch))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// From one record's outbound policy to another's: the new one is set before an old one in
    /// another engine is removed, so that no packet meets neither. A failure leaves the old one.
    fn move_policy(&mut self, from: &PairRecord, to: &PairRecord) -> Result<(), Refusal> {
        self.set_outbound_policy(to)?;
        let Err(error) = self.leave_behind(from, to) else { return Ok(()) };
        let engine = |record: &PairRecord| record.outbound_policy.clone().map(|(engine, _)| engine);
        match engine(to) {
            Some(new) if engine(from).as_ref() != Some(&new) => {
                let selector = to.terms.outbound_selector();
                self.engines.named(&new)?.remove_policy(PolicyDirection::Out, &selector)?;
            }
            _ => self.set_outbound_policy(from)?,
        }
        Err(error.into())
    }

    fn set_outbound_policy(&mut self, record: &PairRecord) -> Result<(), EngineError> {
        let Some((engine, spi)) = &record.outbound_policy else { return Ok(()) };
        let policy = spec::outbound_policy(record, *spi);
        let placement = self.policy_placement(record, engine);
        self.engines.named(engine)?.set_policy(&policy, placement)
    }

    /// What the old engine goes on doing with outbound packets: blocking those that do not take the
    /// new one's way, if it guards the pair, and otherwise nothing.
    fn leave_behind(&mut self, from: &PairRecord, to: &PairRecord) -> Result<(), EngineError> {
        let Some((old, _)) = &from.outbound_policy else { return Ok(()) };
        if to.outbound_policy.as_ref().is_some_and(|(engine, _)| engine == old) {
            return Ok(());
        }
        match self.block_behind(to) {
            Some((guard, block)) if guard == *old => {
                self.engines.named(old)?.set_policy(&block, Placement::KernelSoftware)
            }
            _ => {
                let selector = from.terms.outbound_selector();
                self.engines.named(old)?.remove_policy(PolicyDirection::Out, &selector)
            }
        }
    }
}
