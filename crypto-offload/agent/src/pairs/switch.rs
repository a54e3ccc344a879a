//! Sending outbound traffic through another epoch's SA, in one step.

use crypto_offload::{Direction, Epoch, ErrorClass, PairName, PolicyDirection, Spi};
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
        if let Some((engine, spi)) = &to.outbound_policy {
            let policy = spec::outbound_policy(to, *spi);
            let placement = self.policy_placement(to, engine);
            self.engines.named(engine)?.set_policy(&policy, placement)?;
        }
        let Some((old, _)) = from
            .outbound_policy
            .as_ref()
            .filter(|(old, _)| to.outbound_policy.as_ref().is_none_or(|(engine, _)| engine != old))
        else {
            return Ok(());
        };
        let selector = from.terms.outbound_selector();
        let removed = self.engines.named(old);
        let removed = removed.and_then(|old| old.remove_policy(PolicyDirection::Out, &selector));
        if let Err(error) = removed {
            if let Some((engine, _)) = &to.outbound_policy {
                self.engines.named(engine)?.remove_policy(PolicyDirection::Out, &selector)?;
            }
            return Err(error.into());
        }
        Ok(())
    }
}
