//! Defining pairs, changing what may be changed of them, forgetting them.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use crypto_offload::{Epoch, PairName, Reqid, SaPair};
use gateway_control::agent::{AgentErrorCode, Response};
use ring::rand::SecureRandom;

use super::{Pairs, sas, spec};
use crate::{
    engines::report,
    refusal::Refusal,
    state::{Durability, Entry, PairRecord},
};

impl Pairs {
    pub(super) fn plan(&self, pair: &SaPair) -> Result<Response, Refusal> {
        pair.check()?;
        Ok(Response::Plan(report(pair, self.engines.plan(pair))))
    }

    pub(super) fn define(&mut self, pair: SaPair) -> Result<Response, Refusal> {
        pair.check()?;
        self.check_overlap(&pair)?;
        self.check_foreign_policies(&pair)?;
        let name = pair.name.clone();
        match self.pairs.get(&name).cloned() {
            Some(known) if known.terms == pair => {}
            Some(known) => {
                let changed = changed(&known, pair)?;
                self.change(&known, &changed)?;
            }
            None => {
                let record = PairRecord::new(pair, self.free_reqid()?);
                self.begin(record)?;
            }
        }
        self.show(&name)
    }

    /// The record first: a guard that no record names would stay for ever.
    fn begin(&mut self, record: PairRecord) -> Result<(), Refusal> {
        let record = self.guarded(record);
        self.commit(record.clone(), Vec::new(), Durability::Power)?;
        if let Err(error) = self.set_first_policies(&record) {
            if let Err(Refusal(undo)) = self.remove_policies(&record) {
                tracing::error!(pair = %record.terms.name, error = %undo, "cannot undo a guard");
            }
            self.forget(&record.terms.name)?;
            return Err(error);
        }
        self.tell_unguarded(None, &record);
        Ok(())
    }

    /// A selector that changes is guarded anew before its old guard goes.
    fn change(&mut self, known: &PairRecord, changed: &PairRecord) -> Result<(), Refusal> {
        let changed = self.guarded(changed.clone());
        self.commit(changed.clone(), Vec::new(), Durability::Power)?;
        if is_live(known) {
            return Ok(());
        }
        if let Err(error) = self.set_first_policies(&changed) {
            self.remove_policies_but(&changed, known);
            self.restore_policies(known);
            self.commit(known.clone(), Vec::new(), Durability::Power)?;
            return Err(error);
        }
        self.remove_policies_but(known, &changed);
        self.tell_unguarded(Some(known), &changed);
        Ok(())
    }

    fn forget(&mut self, name: &PairName) -> Result<(), Refusal> {
        self.store().append(&[Entry::Forget(name.clone())], &[], Durability::Power)?;
        self.pairs.remove(name);
        self.avoid.remove(name);
        Ok(())
    }

    pub(super) fn undefine(&mut self, name: &PairName) -> Result<Response, Refusal> {
        if !self.pairs.contains_key(name) {
            return Ok(Response::Done);
        }
        self.empty(name)?;
        self.forget(name)?;
        Ok(Response::Done)
    }

    /// Takes everything of a pair from the engines. Policies first, so that a failure can still
    /// put them back; then SAs. After a refusal the record has what there still is, and asking
    /// again goes on.
    fn empty(&mut self, name: &PairName) -> Result<(), Refusal> {
        let record = self.pair(name)?.clone();
        if let Err(error) = self.remove_policies(&record) {
            self.restore_policies(&record);
            return Err(error);
        }
        let epochs: Vec<Epoch> = record.epochs.keys().copied().collect();
        let unopened = epochs.iter().filter_map(|epoch| self.unopened(&record, *epoch));
        let unopened: Vec<_> = unopened.collect();
        let mut left = record.clone();
        let mut failed = None;
        for (epoch, direction, sa) in sas(&record) {
            let id = spec::sa_id(&record.terms, direction, sa.spi);
            let engine = self.engines.named(record.engine_of(epoch));
            match engine.and_then(|engine| engine.remove(id)) {
                Ok(()) => left.take_sa(epoch, direction),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            self.restore_policies(&record);
            self.commit(left, Vec::new(), Durability::Process)?;
            return Err(error.into());
        }
        left.active = None;
        left.outbound_policy = None;
        left.inbound_policies.clear();
        self.commit(left, Vec::new(), Durability::Process)?;
        self.note_unopened(unopened);
        Ok(())
    }

    /// Removes every pair's SAs and policies; the definitions stay. Answers how many pairs still
    /// have some.
    pub fn flush(&mut self) -> usize {
        let names: Vec<PairName> = self.pairs.keys().cloned().collect();
        names.iter().filter(|name| self.empty(name).is_err()).count()
    }

    fn check_overlap(&self, pair: &SaPair) -> Result<(), Refusal> {
        let selector = pair.outbound_selector();
        let overlapping = self.pairs.values().find(|other| {
            other.terms.name != pair.name && other.terms.outbound_selector().overlaps(&selector)
        });
        let Some(other) = overlapping.map(|other| &other.terms) else {
            return Ok(());
        };
        let message =
            format!("{selector} overlaps {} of {}", other.outbound_selector(), other.name);
        Err(Refusal::new(AgentErrorCode::Conflict, &other.name, message)
            .hint("tell them apart by prefix, protocol or port, or remove the other pair"))
    }

    /// From a range of our own: what is left of an agent whose state is gone is known by it.
    /// By chance, as a counter that began anew would meet what is left.
    fn free_reqid(&self) -> Result<Reqid, Refusal> {
        let taken: BTreeSet<u32> = self.pairs.values().map(|pair| pair.reqid.0.get()).collect();
        for _ in 0..ATTEMPTS {
            let mut bytes = [0; 4];
            if self.random.fill(&mut bytes).is_err() {
                break;
            }
            let span = OUR_REQIDS.end() - OUR_REQIDS.start() + 1;
            let number = OUR_REQIDS.start() + u32::from_ne_bytes(bytes) % span;
            if let Some(reqid) = NonZeroU32::new(number).filter(|_| !taken.contains(&number)) {
                return Ok(Reqid(reqid));
            }
        }
        Err(Refusal::new(AgentErrorCode::Invalid, "reqid", "found none that is free"))
    }
}

impl PairRecord {
    fn new(terms: SaPair, reqid: Reqid) -> Self {
        Self {
            terms,
            reqid,
            highest: Epoch(0),
            active: None,
            outbound_policy: None,
            inbound_policies: Vec::new(),
            epochs: BTreeMap::new(),
            retired: Vec::new(),
        }
    }
}

/// A known pair with other terms. What names its policies and SAs to the engine stays while they
/// are there; the rest is for the next keys.
fn changed(known: &PairRecord, terms: SaPair) -> Result<PairRecord, Refusal> {
    let live = is_live(known);
    let fixed = [
        ("local", known.terms.local != terms.local),
        ("remote", known.terms.remote != terms.remote),
        ("mode", known.terms.mode != terms.mode),
        ("encapsulation", known.terms.encapsulation != terms.encapsulation),
        ("sequence_numbers", known.terms.sequence_numbers != terms.sequence_numbers),
        ("selector", known.terms.outbound_selector() != terms.outbound_selector()),
    ];
    if let Some((field, _)) = fixed.iter().find(|(_, differs)| live && *differs) {
        let message = format!("{field} of {} cannot change while it has SAs", terms.name);
        return Err(Refusal::new(AgentErrorCode::Conflict, field, message)
            .hint(format!("`keymgr sa remove {}` first", terms.name)));
    }
    let mut changed = PairRecord { terms, ..known.clone() };
    if !live {
        changed.outbound_policy = None;
        changed.inbound_policies.clear();
    }
    Ok(changed)
}

/// Whether it has more than guards.
fn is_live(record: &PairRecord) -> bool {
    let names_sa = record.outbound_policy.as_ref().is_some_and(|(_, spi)| spi.is_some());
    names_sa || sas(record).next().is_some()
}

/// Where our reqids come from: strongSwan and others count theirs from 1.
pub(super) const OUR_REQIDS: std::ops::RangeInclusive<u32> = 0x5050_0000..=0x505f_ffff;

/// A million numbers, of which at most some ten thousand are taken.
const ATTEMPTS: usize = 64;
