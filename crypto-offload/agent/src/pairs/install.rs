//! Installing: the inbound SA of a new epoch with a key of ours, and the outbound one with the
//! peer's.

use crypto_offload::{
    Direction, Effective, Epoch, ErrorClass, KeyFingerprint, KeyingMaterial, PairName, Placement,
    SaSpec, Spi,
    planner::{Placed, Plan, Unplaced},
};
use gateway_control::{
    KeyOffer,
    agent::{AgentErrorCode, Response},
};

use super::{
    Pairs,
    keys::{check_aead, check_same, opened_nothing},
    place::refused,
    sas, spec,
};
use crate::{
    refusal::Refusal,
    state::{Durability, Entry, EpochRecord, KeyName, PairRecord, SaRecord, Stage},
};

impl Pairs {
    pub(super) fn prepare(
        &mut self,
        name: &PairName,
        epoch: Epoch,
        given: Option<&KeyOffer>,
    ) -> Result<Response, Refusal> {
        let record = self.pair(name)?.clone();
        let known = record.epochs.get(&epoch).and_then(|keys| keys.inbound.as_ref());
        match known {
            Some(sa) if sa.stage == Stage::Installed => return self.prepared(name, sa, given),
            // Left by a kill between writing and installing: the same key, as nobody saw it used.
            Some(sa) => {
                let keying = self.key_of(sa)?;
                check_same(name, sa, &keying, given)?;
                self.install_inbound(&record, epoch, sa.spi, keying)?;
            }
            None if epoch <= record.highest => return Err(stale(&record, epoch)),
            None if epoch.is_beyond_reach_of(record.highest) => {
                return Err(unreachable(&record, epoch));
            }
            None => match given {
                Some(offer) => {
                    let keying = self.given(&record, offer)?;
                    self.install_inbound(&record, epoch, offer.spi, keying)?;
                }
                None => self.install_fresh(&record, epoch)?,
            },
        }
        let record = self.pair(name)?;
        let sa = record.epochs.get(&epoch).and_then(|keys| keys.inbound.clone());
        let sa = sa.ok_or_else(|| stale(record, epoch))?;
        self.prepared(name, &sa, None)
    }

    pub(super) fn install_outbound(
        &mut self,
        name: &PairName,
        epoch: Epoch,
        offer: &KeyOffer,
    ) -> Result<Response, Refusal> {
        let record = self.pair(name)?.clone();
        let Some(keys) = record.epochs.get(&epoch) else {
            return Err(unknown(&record, epoch));
        };
        let keying = offer.keying()?;
        match &keys.outbound {
            Some(sa) => {
                check_same(name, sa, &keying, Some(offer))?;
                if sa.stage == Stage::Installed {
                    return Ok(Response::Installed { placement: sa.placement.clone() });
                }
            }
            None if record.was_retired(epoch, Direction::Outbound) => {
                return Err(stale(&record, epoch));
            }
            None => {
                let expected = keys.inbound.as_ref().map_or(record.terms.aead, |sa| sa.aead);
                check_aead(expected, offer.aead)?;
                self.check_unused(name, &keying, Direction::Outbound)?;
                self.check_free(&record, Direction::Outbound, offer.spi)?;
            }
        }
        let placement = self.install_outbound_sa(record, epoch, offer.spi, keying)?;
        Ok(Response::Installed { placement })
    }

    fn prepared(
        &self,
        name: &PairName,
        sa: &SaRecord,
        given: Option<&KeyOffer>,
    ) -> Result<Response, Refusal> {
        let keying = self.key_of(sa)?;
        check_same(name, sa, &keying, given)?;
        let offer = KeyOffer::new(sa.spi, &keying);
        Ok(Response::Prepared { offer, placement: sa.placement.clone() })
    }

    /// With an SPI and a key by chance; another SPI where an engine has that one.
    fn install_fresh(&mut self, record: &PairRecord, epoch: Epoch) -> Result<(), Refusal> {
        let mut attempts = 0;
        loop {
            let (spi, keying) = (self.free_spi(record)?, self.fresh_key(record.terms.aead)?);
            match self.install_inbound(record, epoch, spi, keying) {
                Err(Refusal(error))
                    if error.code == AgentErrorCode::Engine(ErrorClass::Conflict)
                        && attempts < CONFLICTS =>
                {
                    attempts += 1;
                }
                outcome => return outcome,
            }
        }
    }

    /// Writes, installs, writes.
    fn install_inbound(
        &mut self,
        before: &PairRecord,
        epoch: Epoch,
        spi: Spi,
        keying: KeyingMaterial,
    ) -> Result<(), Refusal> {
        let pair = &before.terms;
        let plan = self.inbound_plan(pair);
        let sa = spec::sa(before, Direction::Inbound, spi, keying.dangerous_duplicate(), 0);
        let mut record = before.clone();
        record.drop_staged();
        record.epochs.insert(epoch, EpochRecord::staged(&plan, staged(spi, &keying)));
        self.stage(record.clone(), keying)?;
        let placed = match self.place_inbound(before, epoch, plan, &sa) {
            Ok(placed) => placed,
            Err(unplaced) => return Err(self.give_back(before, &sa, unplaced)),
        };
        let with_policies = self.ensure_inbound_policies(before, &mut record, &placed);
        let committed = with_policies.and_then(|()| {
            record.highest = record.highest.max(epoch);
            if let Some(keys) = record.epochs.get_mut(&epoch) {
                placed.engine.clone_into(&mut keys.engine);
                keys.placement = placed.effective.effective;
                keys.inbound = keys.inbound.take().map(|sa| sa.installed(&placed.effective));
            }
            Ok(self.commit(record, Vec::new(), Durability::Process)?)
        });
        if let Err(error) = committed {
            self.undo_install(before, &placed.engine, &sa);
            return Err(error);
        }
        self.settle_guard(before);
        self.tell_fallback(before, epoch, &sa, &placed.effective);
        Ok(())
    }

    fn install_outbound_sa(
        &mut self,
        before: PairRecord,
        epoch: Epoch,
        spi: Spi,
        keying: KeyingMaterial,
    ) -> Result<Effective, Refusal> {
        let pair = &before.terms;
        let mut record = before.clone();
        let Some(keys) = record.epochs.get_mut(&epoch) else {
            return Err(unknown(&before, epoch));
        };
        let plan = self.engines.plan(pair).within(&keys.engine);
        let sa = spec::sa(&before, Direction::Outbound, spi, keying.dangerous_duplicate(), 0);
        keys.outbound = Some(staged(spi, &keying));
        self.stage(record.clone(), keying)?;
        let placed = match self.place_outbound(&before, epoch, plan, &sa) {
            Ok(placed) => placed,
            Err(unplaced) => return Err(self.give_back(&before, &sa, unplaced)),
        };
        if let Some(keys) = record.epochs.get_mut(&epoch) {
            keys.outbound = keys.outbound.take().map(|sa| sa.installed(&placed.effective));
        }
        if let Err(error) = self.commit(record, Vec::new(), Durability::Process) {
            self.undo_install(&before, &placed.engine, &sa);
            return Err(error.into());
        }
        self.tell_fallback(&before, epoch, &sa, &placed.effective);
        Ok(placed.effective)
    }

    /// Writes a record with an SA that is about to be installed, and that its key is used from
    /// now on, so that it outlives the machine's power.
    fn stage(&mut self, record: PairRecord, keying: KeyingMaterial) -> Result<(), Refusal> {
        let key = keying.fingerprint();
        self.keys.insert(key, keying);
        let entries = vec![Entry::Key(KeyName(key))];
        let staged = self.commit(record, entries, Durability::Power);
        if let Err(error) = staged {
            if !self.pairs.values().any(|pair| sas(pair).any(|(_, _, sa)| sa.key.0 == key)) {
                self.keys.remove(&key);
            }
            return Err(error.into());
        }
        self.ledger.record(key);
        Ok(())
    }

    /// After no place took an SA: the record as it was, and the key unused, as far as it is.
    fn give_back(&mut self, before: &PairRecord, sa: &SaSpec, unplaced: Unplaced) -> Refusal {
        let untaken = unplaced.left.is_none().then(|| sa.keying.fingerprint());
        if let Some((engine, placement)) = &unplaced.left {
            tracing::error!(id = %sa.id, engine, %placement, "an SA is left that cannot be removed");
        }
        self.unstage(before.clone(), untaken);
        refused(sa, unplaced)
    }

    /// Writes the record as it was before. Where even that fails, the staged SA stays in it and
    /// is dropped with the next one: it is shown to nobody.
    ///
    /// A key that no engine took may come again: the same request is repeated with it.
    fn unstage(&mut self, before: PairRecord, untaken: Option<KeyFingerprint>) {
        let entries = untaken.map(|key| Entry::Unused(KeyName(key))).into_iter().collect();
        if let Err(error) = self.commit(before, entries, Durability::Process) {
            tracing::error!(%error, "cannot write that an SA was not installed");
            return;
        }
        if let Some(key) = untaken {
            self.ledger.withdraw(key);
        }
    }

    /// Takes an SA away again after a later step failed, with policies that came with it.
    fn undo_install(&mut self, before: &PairRecord, engine: &str, sa: &SaSpec) {
        let removed = self.engines.named(engine).and_then(|engine| {
            let unopened = sa.direction == Direction::Inbound && opened_nothing(engine, sa.id);
            engine.remove(sa.id)?;
            Ok(unopened)
        });
        if let Err(error) = &removed {
            tracing::error!(%error, "cannot undo the installation of an SA");
        }
        if sa.direction == Direction::Inbound && !before.has_inbound_policies(engine) {
            self.remove_inbound_policies(before, engine);
        }
        self.unstage(before.clone(), None);
        let unopened = removed.is_ok_and(|unopened| unopened);
        self.note_unopened(unopened.then(|| sa.keying.fingerprint()));
    }

    /// Sets the inbound policies in the engine of the new SA, where they are not there yet. Those
    /// that guarded the pair do for all SAs but those of packet offload, which has policies in the
    /// device.
    fn ensure_inbound_policies(
        &mut self,
        before: &PairRecord,
        record: &mut PairRecord,
        placed: &Placed,
    ) -> Result<(), Refusal> {
        let has = record.has_inbound_policies(&placed.engine);
        let placement = placed.effective.effective;
        let is_same = || self.policy_placement(before, &placed.engine) == placement;
        if has && (placement != Placement::InlinePacket || is_same()) {
            return Ok(());
        }
        for policy in spec::inbound_policies(record) {
            self.engines.named(&placed.engine)?.set_policy(&policy, placement)?;
        }
        if !has {
            record.inbound_policies.push(placed.engine.clone());
        }
        Ok(())
    }

    /// Best effort: what stays refuses clear text, and is tried again with the next removal.
    pub(super) fn remove_inbound_policies(&mut self, record: &PairRecord, name: &str) {
        for policy in spec::inbound_policies(record) {
            let removed = self.engines.named(name);
            let removed =
                removed.and_then(|engine| engine.remove_policy(policy.direction, &policy.selector));
            if let Err(error) = removed {
                tracing::error!(pair = %record.terms.name, %error, "cannot remove a policy");
            }
        }
    }
}

impl SaRecord {
    fn installed(self, placement: &Effective) -> Self {
        Self { stage: Stage::Installed, placement: placement.clone(), ..self }
    }
}

impl PairRecord {
    fn has_inbound_policies(&self, engine: &str) -> bool {
        self.inbound_policies.iter().any(|name| name == engine)
    }

    /// Forgets SAs that were never installed; of an epoch that never was, everything.
    fn drop_staged(&mut self) {
        for keys in self.epochs.values_mut() {
            keys.inbound = keys.inbound.take().filter(|sa| sa.stage == Stage::Installed);
            keys.outbound = keys.outbound.take().filter(|sa| sa.stage == Stage::Installed);
        }
        self.epochs.retain(|_, keys| keys.inbound.is_some() || keys.outbound.is_some());
    }
}

impl EpochRecord {
    /// With nothing in place yet: where the plan goes first.
    fn staged(plan: &Plan, inbound: SaRecord) -> Self {
        let first = plan.steps.first();
        Self {
            engine: first.map(|step| step.engine.clone()).unwrap_or_default(),
            placement: first.map_or(Placement::UserSpace, |step| step.placement),
            inbound: Some(inbound),
            outbound: None,
        }
    }
}

fn staged(spi: Spi, keying: &KeyingMaterial) -> SaRecord {
    let nowhere = Placement::UserSpace;
    SaRecord {
        spi,
        aead: keying.aead(),
        key: KeyName(keying.fingerprint()),
        stage: Stage::Staged,
        placement: Effective { requested: nowhere, effective: nowhere, reason: None },
        resume_after: 0,
        resumed: false,
    }
}

pub(super) fn stale(record: &PairRecord, epoch: Epoch) -> Refusal {
    let name = &record.terms.name;
    let message = format!("{name}: epoch {epoch} is not above {}, or is over", record.highest);
    Refusal::new(AgentErrorCode::StaleEpoch, name, message)
        .hint(format!("use epoch {}", record.highest.next()))
}

fn unreachable(record: &PairRecord, epoch: Epoch) -> Refusal {
    let name = &record.terms.name;
    let message =
        format!("{name}: epoch {epoch} is too far above {}, the highest here", record.highest);
    Refusal::new(AgentErrorCode::Invalid, name, message)
        .hint("find out why the peer counts so high; to begin anew, remove the pair at both sides")
}

pub(super) fn unknown(record: &PairRecord, epoch: Epoch) -> Refusal {
    let name = &record.terms.name;
    let message = format!("{name}: epoch {epoch} was never prepared, or is gone");
    Refusal::new(AgentErrorCode::UnknownEpoch, name, message)
}

/// SPIs by chance that an engine already has, in a row: more are no chance.
const CONFLICTS: usize = 3;
