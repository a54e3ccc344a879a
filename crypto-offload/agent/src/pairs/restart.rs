//! Starting: what the state says, what the engines still have, and which of it is to be believed.
//!
//! SAs in the kernel outlive us, with their sequence numbers: they are adopted where id and key
//! agree. Those of the user-space engine ended with our process: they are installed again, above
//! every sequence number that may have been used, and a rotation is due. What the records name and
//! no engine has then is lost and told; what an engine has under our reqids and no record names was left
//! half-way, and is removed. Where the state is not to be trusted, every SA of ours goes, and the
//! policies stay: until there are new keys, traffic that was protected goes nowhere.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use crypto_offload::{
    Direction, Effective, EngineError, Epoch, InstalledSa, IpsecEngine, KeyFingerprint, KeyLedger,
    Placement, SaId,
};
use gateway_control::EventKind;
use ring::rand::SystemRandom;

use super::{Pairs, define::OUR_REQIDS, foreign::Policies, sas, spec, watch::by_id};
use crate::{
    engines::Engines,
    events::{EventLog, News},
    refusal::Refusal,
    state::{Durability, Entry, PairRecord, Restored, SaRecord, Stage, State, StateError},
};

/// Why there are no pairs to serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The state directory.
    #[error(transparent)]
    State(#[from] StateError),
    /// An engine could not say what it has.
    #[error(transparent)]
    Engine(#[from] EngineError),
}

impl Pairs {
    /// Compares what the state says with what the engines have.
    ///
    /// # Errors
    /// Then nothing was changed.
    pub fn start(
        engines: Engines,
        State { store, restored }: State,
        events: Arc<EventLog>,
    ) -> Result<Self, StartError> {
        let mut pairs = Self {
            engines,
            store,
            events,
            pairs: BTreeMap::new(),
            keys: BTreeMap::new(),
            index: HashMap::new(),
            ledger: KeyLedger::default(),
            avoid: HashMap::new(),
            foreign: Policies::default(),
            random: SystemRandom::new(),
            distrusted: None,
        };
        let listed = pairs.list_engines()?;
        let distrusted = restored.distrusted.clone();
        pairs.load(restored);
        match distrusted {
            Some(reason) => pairs.distrust(&listed, reason)?,
            None => {
                pairs.rewrite()?;
                pairs.believe(&listed);
            }
        }
        Ok(pairs)
    }

    /// Gives up all keys while running: somebody has seen a later start than this.
    pub(super) fn give_up_keys(&mut self, seen: u64) -> Result<(), Refusal> {
        let listed = self.list_engines()?;
        let generation = self.store().generation();
        self.store().raise_generation(seen);
        let reason = format!(
            "the state was rolled back: it counts {generation} starts, the gateway saw {seen}"
        );
        Ok(self.distrust(&listed, reason)?)
    }

    fn list_engines(&mut self) -> Result<Vec<Listed>, EngineError> {
        let list = |engine: &mut Box<dyn IpsecEngine>| {
            Ok(Listed { engine: engine.name(), sas: by_id(engine.list()?) })
        };
        self.engines.iter_mut().map(list).collect()
    }

    /// The last of what was written about each pair.
    fn load(&mut self, restored: Restored) {
        self.keys = restored.keys;
        let mut records = BTreeMap::new();
        for entry in restored.entries {
            match entry {
                Entry::Pair(record) => {
                    records.insert(record.terms.name.clone(), *record);
                }
                Entry::Forget(name) => {
                    records.remove(&name);
                }
                Entry::Key(key) => self.ledger.record(key.0),
                Entry::Unused(key) => self.ledger.withdraw(key.0),
                Entry::Unopened(key) => self.ledger.opened_nothing(key.0),
                Entry::Reserved { .. } => {}
            }
        }
        let named: HashSet<KeyFingerprint> =
            records.values().flat_map(|record| sas(record).map(|(_, _, sa)| sa.key.0)).collect();
        self.keys.retain(|key, _| named.contains(key));
        records.into_values().for_each(|record| self.adopt(record));
    }

    /// Forgets every SA and key, on disk first, and takes our SAs from the engines.
    fn distrust(&mut self, listed: &[Listed], reason: String) -> Result<(), StateError> {
        let ours: Vec<(&'static str, SaId)> = listed
            .iter()
            .flat_map(|list| list.sas.values().map(|sa| (list.engine, sa)))
            .filter(|(_, sa)| OUR_REQIDS.contains(&sa.reqid) || self.index.contains_key(&sa.id))
            .map(|(engine, sa)| (engine, sa.id))
            .collect();
        for record in self.pairs.values_mut() {
            record.epochs.clear();
            record.retired.clear();
            record.active = None;
        }
        self.keys.clear();
        self.index.clear();
        self.rewrite()?;
        for (engine, id) in ours {
            self.remove_leftover(engine, id);
        }
        self.restore_all_policies();
        self.events.push(News {
            kind: EventKind::StateDistrusted,
            object: "state".to_owned(),
            from: "keys of an earlier start".to_owned(),
            to: "given up".to_owned(),
            reason: reason.clone(),
            owner: "gateway",
        });
        self.distrusted = Some(reason);
        Ok(())
    }

    /// Makes of records and engines one truth.
    fn believe(&mut self, listed: &[Listed]) {
        let records: Vec<PairRecord> = self.pairs.values().cloned().collect();
        for record in records {
            let mut found = record.clone();
            let (mut ended, mut lost) = (Vec::new(), Vec::new());
            for (epoch, direction, sa) in sas(&record) {
                let id = spec::sa_id(&record.terms, direction, sa.spi);
                match find(listed, id, sa) {
                    Some((engine, there)) => {
                        found.take_over(epoch, direction, engine, there);
                        self.adopt_sa(&record, engine, id, direction);
                    }
                    None if sa.stage == Stage::Staged => {}
                    None if sa.placement.effective == Placement::UserSpace => {
                        ended.push((epoch, direction));
                    }
                    None => lost.push(id),
                }
            }
            if found != record
                && let Err(error) = self.commit(found, Vec::new(), Durability::Process)
            {
                tracing::error!(%error, "cannot write what the engines have");
            }
            for id in lost {
                self.lose(id, "no engine has it after a restart of the agent", "kernel");
            }
            self.resume(&record.terms.name, &ended);
        }
        self.remove_orphans(listed);
        self.restore_all_policies();
    }

    fn adopt_sa(&mut self, record: &PairRecord, engine: &str, id: SaId, direction: Direction) {
        let ports = spec::encapsulation(&record.terms, direction);
        let adopted = self.engines.named(engine);
        let adopted = adopted.and_then(|engine| engine.adopt(id, direction, ports));
        if let Err(error) = adopted {
            tracing::error!(%id, %error, "an SA that survived us may not receive");
        }
    }

    /// SAs of ours that no record names, and SPIs that were reserved for an SA that never came.
    fn remove_orphans(&mut self, listed: &[Listed]) {
        for list in listed {
            let orphans = list.sas.values().filter(|sa| OUR_REQIDS.contains(&sa.reqid));
            let orphans =
                orphans.filter(|sa| sa.aead.is_none() || !self.index.contains_key(&sa.id));
            for id in orphans.map(|sa| sa.id).collect::<Vec<SaId>>() {
                self.remove_leftover(list.engine, id);
            }
        }
    }

    fn remove_leftover(&mut self, engine: &str, id: SaId) {
        tracing::info!(%id, engine, "removing an SA that was left behind");
        let removed = self.engines.named(engine).and_then(|engine| engine.remove(id));
        if let Err(error) = removed {
            tracing::error!(%error, "cannot remove an SA that was left behind");
        }
    }

    fn restore_all_policies(&mut self) {
        let records: Vec<PairRecord> = self.pairs.values().cloned().collect();
        for record in records {
            // Of an agent that set none, or that removed them at its end.
            let guarded = self.guarded(record.clone());
            if guarded != record
                && let Err(error) = self.commit(guarded.clone(), Vec::new(), Durability::Process)
            {
                tracing::error!(%error, "cannot write what guards a pair");
            }
            self.restore_policies(&guarded);
            self.tell_unguarded(None, &guarded);
        }
    }
}

impl PairRecord {
    /// An SA that an engine still has is installed, also when we were killed before writing so.
    fn take_over(&mut self, epoch: Epoch, direction: Direction, engine: &str, there: &InstalledSa) {
        let requested = self.terms.placement.requested().unwrap_or(there.placement);
        let Some(keys) = self.epochs.get_mut(&epoch) else { return };
        engine.clone_into(&mut keys.engine);
        let sa = match direction {
            Direction::Inbound => keys.inbound.as_mut(),
            Direction::Outbound => keys.outbound.as_mut(),
        };
        let Some(sa) = sa else { return };
        if sa.stage == Stage::Staged || sa.placement.effective != there.placement {
            let reason = (requested != there.placement).then(|| "found there".to_owned());
            sa.placement = Effective { requested, effective: there.placement, reason };
        }
        if sa.stage == Stage::Staged {
            sa.stage = Stage::Installed;
            keys.placement = there.placement;
            self.highest = self.highest.max(epoch);
        }
    }
}

/// What one engine has.
struct Listed {
    engine: &'static str,
    sas: BTreeMap<SaId, InstalledSa>,
}

/// The engine that has an SA under its key.
fn find<'a>(
    listed: &'a [Listed],
    id: SaId,
    sa: &SaRecord,
) -> Option<(&'static str, &'a InstalledSa)> {
    listed.iter().find_map(|list| {
        let there = list.sas.get(&id)?;
        // Without an algorithm it is a reservation; a kernel in lockdown shows no key.
        let same = there.aead.is_some() && there.fingerprint.is_none_or(|key| key == sa.key.0);
        (same && OUR_REQIDS.contains(&there.reqid)).then_some((list.engine, there))
    })
}
