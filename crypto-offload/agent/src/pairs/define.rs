//! Defining pairs, changing what may be changed of them, forgetting them.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

use crypto_offload::{Epoch, PairName, Placement, Reqid, SaPair};
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
        let name = pair.name.clone();
        let record = match self.pairs.get(&name) {
            Some(known) if known.terms == pair => return self.show(&name),
            Some(known) => changed(known, pair)?,
            None => PairRecord::new(pair, self.free_reqid()?),
        };
        self.commit(record, Vec::new(), Durability::Power)?;
        self.show(&name)
    }

    pub(super) fn undefine(&mut self, name: &PairName) -> Result<Response, Refusal> {
        if !self.pairs.contains_key(name) {
            return Ok(Response::Done);
        }
        self.empty(name)?;
        self.store().append(&[Entry::Forget(name.clone())], &[], Durability::Power)?;
        self.pairs.remove(name);
        self.avoid.remove(name);
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

    /// What policies in an engine are asked for: as the newest SAs there came out, or would.
    pub(super) fn policy_placement(&self, record: &PairRecord, engine: &str) -> Placement {
        let newest = record.epochs.values().rev().find(|keys| keys.engine == engine);
        let steps = || self.engines.plan(&record.terms).steps.into_iter();
        newest
            .map(|keys| keys.placement)
            .or_else(|| Some(steps().find(|step| step.engine == engine)?.placement))
            .unwrap_or(Placement::KernelSoftware)
    }

    fn remove_policies(&mut self, record: &PairRecord) -> Result<(), Refusal> {
        if let Some((engine, spi)) = &record.outbound_policy {
            let policy = spec::outbound_policy(record, *spi);
            self.engines.named(engine)?.remove_policy(policy.direction, &policy.selector)?;
        }
        for engine in &record.inbound_policies {
            for policy in spec::inbound_policies(record) {
                self.engines.named(engine)?.remove_policy(policy.direction, &policy.selector)?;
            }
        }
        Ok(())
    }

    /// Sets every policy that a record has; setting one again changes nothing.
    pub(super) fn restore_policies(&mut self, record: &PairRecord) {
        let mut wanted = Vec::new();
        for engine in &record.inbound_policies {
            let policies = spec::inbound_policies(record);
            wanted.extend(policies.into_iter().map(|policy| (engine, policy)));
        }
        if let Some((engine, spi)) = &record.outbound_policy {
            wanted.push((engine, spec::outbound_policy(record, *spi)));
        }
        for (name, policy) in wanted {
            let placement = self.policy_placement(record, name);
            let set = self.engines.named(name);
            let set = set.and_then(|engine| engine.set_policy(&policy, placement));
            if let Err(error) = set {
                tracing::error!(pair = %record.terms.name, %error, "cannot restore a policy");
            }
        }
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
    let live = sas(known).next().is_some()
        || known.outbound_policy.is_some()
        || !known.inbound_policies.is_empty();
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
    Ok(PairRecord { terms, ..known.clone() })
}

/// Where our reqids come from: strongSwan and others count theirs from 1.
pub(super) const OUR_REQIDS: std::ops::RangeInclusive<u32> = 0x5050_0000..=0x505f_ffff;

/// A million numbers, of which at most some ten thousand are taken.
const ATTEMPTS: usize = 64;
