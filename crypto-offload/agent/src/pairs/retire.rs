//! Removing SAs: those that did their work, whose last counters are kept, and those of an epoch
//! that is undone.

use crypto_offload::{Direction, Epoch, ErrorClass, PairName};
use gateway_control::agent::{AgentErrorCode, Response};

use super::{Pairs, install::unknown, spec};
use crate::{
    refusal::Refusal,
    state::{Durability, PairRecord, RetiredSa, SaRecord, Stage},
};

impl Pairs {
    pub(super) fn retire(
        &mut self,
        name: &PairName,
        epoch: Epoch,
        direction: Direction,
    ) -> Result<Response, Refusal> {
        let record = self.pair(name)?.clone();
        if let Some(retired) = record.retired_sa(epoch, direction) {
            return Ok(Response::Retired { packets: retired.packets });
        }
        let Some(sa) = record.sa(epoch, direction).cloned() else {
            return match epoch <= record.highest {
                true => Ok(Response::Retired { packets: None }),
                false => Err(unknown(&record, epoch)),
            };
        };
        check_inactive(&record, epoch)?;
        let packets = self.last_packets(&record, epoch, direction, &sa)?;
        let mut after = record.clone();
        after.retire_sa(epoch, direction, packets);
        self.take_away(&record, after, epoch, &[direction])?;
        Ok(Response::Retired { packets })
    }

    pub(super) fn discard(&mut self, name: &PairName, epoch: Epoch) -> Result<Response, Refusal> {
        let record = self.pair(name)?.clone();
        if !record.epochs.contains_key(&epoch) {
            return Ok(Response::Done);
        }
        check_inactive(&record, epoch)?;
        let unopened = self.unopened(&record, epoch);
        let mut after = record.clone();
        after.take_sa(epoch, Direction::Inbound);
        after.take_sa(epoch, Direction::Outbound);
        self.take_away(&record, after, epoch, &[Direction::Outbound, Direction::Inbound])?;
        self.note_unopened(unopened);
        Ok(Response::Done)
    }

    /// The counter of an SA that is about to go; `None` where it says only a part, as the counters
    /// of a resumed one begin with the process that resumed it.
    fn last_packets(
        &mut self,
        record: &PairRecord,
        epoch: Epoch,
        direction: Direction,
        sa: &SaRecord,
    ) -> Result<Option<u64>, Refusal> {
        if sa.stage == Stage::Staged {
            return Ok(Some(0));
        }
        let id = spec::sa_id(&record.terms, direction, sa.spi);
        match self.engines.named(record.engine_of(epoch)).and_then(|engine| engine.usage(id)) {
            Ok(usage) => Ok(Some(usage.packets).filter(|_| !sa.resumed)),
            Err(error) if error.class == ErrorClass::Gone => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the record without the SAs, then removes them; when the engine refuses, those that
    /// it still has are in the record again.
    fn take_away(
        &mut self,
        before: &PairRecord,
        after: PairRecord,
        epoch: Epoch,
        directions: &[Direction],
    ) -> Result<(), Refusal> {
        let keys = before.epochs.get(&epoch);
        let duplicates: Vec<_> = directions
            .iter()
            .filter_map(|direction| before.sa(epoch, *direction))
            .filter_map(|sa| Some((sa.key.0, self.keys.get(&sa.key.0)?.dangerous_duplicate())))
            .collect();
        self.commit(after, Vec::new(), Durability::Process)?;
        for (at, direction) in directions.iter().enumerate() {
            let Some(sa) = before.sa(epoch, *direction) else { continue };
            let id = spec::sa_id(&before.terms, *direction, sa.spi);
            let engine = keys.map_or("", |keys| keys.engine.as_str());
            let removed = self.engines.named(engine).and_then(|engine| engine.remove(id));
            if let Err(error) = removed {
                self.keys.extend(duplicates);
                let mut left = before.clone();
                directions[..at].iter().for_each(|gone| left.take_sa(epoch, *gone));
                self.commit(left, Vec::new(), Durability::Process)?;
                return Err(error.into());
            }
        }
        self.drop_idle_policies(&before.terms.name);
        self.settle_guard(before);
        Ok(())
    }

    /// An engine that has no more SA of a pair, while another has, gives up its inbound policies,
    /// unless it guards the pair.
    fn drop_idle_policies(&mut self, name: &PairName) {
        let Some(record) = self.pairs.get(name).cloned() else { return };
        let guard = self.engines.guard().map(|engine| engine.name());
        let serves = |engine: &String| {
            let has_sas = record.epochs.values().any(|keys| keys.engine == *engine);
            has_sas || guard == Ok(engine.as_str())
        };
        if !record.inbound_policies.iter().any(serves) {
            return;
        }
        let (kept, idle): (Vec<String>, Vec<String>) =
            record.inbound_policies.iter().cloned().partition(serves);
        if idle.is_empty() {
            return;
        }
        for engine in &idle {
            self.remove_inbound_policies(&record, engine);
        }
        let record = PairRecord { inbound_policies: kept, ..record };
        if let Err(error) = self.commit(record, Vec::new(), Durability::Process) {
            tracing::warn!(pair = %name, %error, "cannot write that a policy is gone");
        }
    }
}

impl PairRecord {
    /// One of an epoch's SAs, installed or about to be.
    pub(super) fn sa(&self, epoch: Epoch, direction: Direction) -> Option<&SaRecord> {
        let keys = self.epochs.get(&epoch)?;
        match direction {
            Direction::Inbound => keys.inbound.as_ref(),
            Direction::Outbound => keys.outbound.as_ref(),
        }
    }

    /// To be changed.
    pub(super) fn sa_mut(&mut self, epoch: Epoch, direction: Direction) -> Option<&mut SaRecord> {
        let keys = self.epochs.get_mut(&epoch)?;
        match direction {
            Direction::Inbound => keys.inbound.as_mut(),
            Direction::Outbound => keys.outbound.as_mut(),
        }
    }

    /// Where an epoch's SAs are; the empty name is no engine's.
    pub(super) fn engine_of(&self, epoch: Epoch) -> &str {
        self.epochs.get(&epoch).map_or("", |keys| keys.engine.as_str())
    }

    /// Forgets an SA, and its epoch with its last one.
    pub(super) fn take_sa(&mut self, epoch: Epoch, direction: Direction) {
        let Some(keys) = self.epochs.get_mut(&epoch) else { return };
        match direction {
            Direction::Inbound => keys.inbound = None,
            Direction::Outbound => keys.outbound = None,
        }
        if keys.inbound.is_none() && keys.outbound.is_none() {
            self.epochs.remove(&epoch);
        }
    }

    /// Forgets an SA and remembers its last counter.
    fn retire_sa(&mut self, epoch: Epoch, direction: Direction, packets: Option<u64>) {
        self.take_sa(epoch, direction);
        if self.retired.len() >= REMEMBERED {
            self.retired.remove(0);
        }
        self.retired.push(RetiredSa { epoch, direction, packets });
    }

    fn retired_sa(&self, epoch: Epoch, direction: Direction) -> Option<&RetiredSa> {
        self.retired.iter().find(|sa| sa.epoch == epoch && sa.direction == direction)
    }

    pub(super) fn was_retired(&self, epoch: Epoch, direction: Direction) -> bool {
        self.retired_sa(epoch, direction).is_some()
    }
}

fn check_inactive(record: &PairRecord, epoch: Epoch) -> Result<(), Refusal> {
    if record.active != Some(epoch) {
        return Ok(());
    }
    let name = &record.terms.name;
    let message = format!("{name}: outbound traffic uses epoch {epoch}");
    Err(Refusal::new(AgentErrorCode::InUse, name, message)
        .hint("switch to another epoch first, or remove the pair"))
}

/// Two rotations back: nobody repeats a request for longer.
const REMEMBERED: usize = 4;
