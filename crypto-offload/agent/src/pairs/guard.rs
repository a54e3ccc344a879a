//! A pair's policies, and what guards its traffic while it has no keys.
//!
//! From `define` to `undefine` a pair has an outbound policy, which drops what fits until it names
//! an SA, and inbound ones, which demand what only an SA of the pair can give. They are those of
//! the engine that sees all traffic, whichever has the pair's SAs, and stay in the kernel while no
//! agent runs. Where nothing sees all traffic, outbound packets are led to the first engine and
//! dropped there, and inbound clear text cannot be refused: then the status and an event say so.
//!
//! Another engine with SAs of the pair is let through, by its device. Where the kernel knows no such
//! exemption, the policy in its way goes while it has SAs of the pair; inbound, that is told, too.

use crypto_offload::{ErrorClass, Placement, PolicySpec};
use gateway_control::{EventKind, agent::AgentErrorCode};

use super::{Pairs, define::OUR_REQIDS, spec};
use crate::{events::News, refusal::Refusal, state::PairRecord};

impl Pairs {
    /// The record with guards where it has no policies.
    pub(super) fn guarded(&self, mut record: PairRecord) -> PairRecord {
        let guard = self.engines.guard().map(|engine| engine.name().to_owned());
        if let Ok(name) = &guard
            && !record.inbound_policies.contains(name)
        {
            record.inbound_policies.push(name.clone());
        }
        if record.outbound_policy.is_none() {
            let first = || self.engines.iter().next().map(|engine| engine.name().to_owned());
            record.outbound_policy = guard.ok().or_else(first).map(|engine| (engine, None));
        }
        record
    }

    /// Why clear text of a pair may pass; `None` when none does.
    pub(super) fn unguarded(&self, record: &PairRecord) -> Option<String> {
        let mut reasons = Vec::new();
        if record.outbound_policy.is_none() {
            reasons.push("outbound: the policies were flushed".to_owned());
        }
        match self.engines.guard() {
            Ok(guard) if record.inbound_policies.iter().any(|name| name == guard.name()) => {
                for policy in spec::inbound_policies(record) {
                    let why = self.in_the_way(record, guard.name(), &policy);
                    reasons.extend(why.map(|why| format!("inbound: {why}")));
                }
            }
            Ok(_) => reasons.push("inbound: the policies were flushed".to_owned()),
            Err(reason) => reasons.push(format!("inbound: {reason}")),
        }
        reasons.dedup();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Tells when clear text begins to pass, and when it passes no more.
    pub(super) fn tell_unguarded(&self, before: Option<&PairRecord>, after: &PairRecord) {
        let was = before.and_then(|record| self.unguarded(record));
        let is = self.unguarded(after);
        if was == is {
            return;
        }
        let word = |reason: &Option<String>| match reason {
            Some(_) => "may pass",
            None => "is dropped",
        };
        self.events.push(News {
            kind: EventKind::SaUnguarded,
            object: after.terms.name.to_string(),
            from: before.map_or("", |_| word(&was)).to_owned(),
            to: word(&is).to_owned(),
            reason: is.unwrap_or_else(|| "clear text is refused both ways".to_owned()),
            owner: "kernel",
        });
    }

    /// After SAs came or went: lets an engine's packets through, or ends that.
    pub(super) fn settle_guard(&mut self, before: &PairRecord) {
        let Some(after) = self.pairs.get(&before.terms.name).cloned() else { return };
        let Ok(guard) = self.engines.guard().map(|engine| engine.name().to_owned()) else { return };
        let had = self.policies_in(&guard, before);
        let wanted = self.policies_in(&guard, &after);
        let among = |all: &[PolicySpec], one: &PolicySpec| {
            all.iter()
                .any(|known| (known.direction, known.selector) == (one.direction, one.selector))
        };
        let Ok(engine) = self.engines.named(&guard) else { return };
        let gone = had.iter().filter(|policy| !among(&wanted, policy));
        let removed = gone.map(|policy| engine.remove_policy(policy.direction, &policy.selector));
        let mut settled: Vec<_> = removed.collect();
        let new = wanted.iter().filter(|policy| !among(&had, policy));
        settled.extend(new.map(|policy| engine.set_policy(policy, Placement::KernelSoftware)));
        for error in settled.into_iter().filter_map(Result::err) {
            tracing::error!(pair = %after.terms.name, %error, "cannot settle a policy");
        }
        self.tell_unguarded(Some(before), &after);
    }

    /// What the engine that guards does with outbound packets which take another way than into the
    /// device of the engine that has the outbound policy: by a route that is more specific.
    pub(super) fn block_behind(&self, record: &PairRecord) -> Option<(String, PolicySpec)> {
        let (engine, _) = record.outbound_policy.as_ref()?;
        let guard = self.engines.guard().ok().map(|guard| guard.name())?;
        let block = spec::outbound_policy(record, None);
        let passes = self.in_the_way(record, guard, &block).is_none();
        (guard != engine && passes).then(|| (guard.to_owned(), block))
    }

    /// Why a policy of the engine `name` would drop what another engine of the pair opens, or what
    /// is on its way into that engine's device.
    fn in_the_way(&self, record: &PairRecord, name: &str, policy: &PolicySpec) -> Option<String> {
        let at_work = |engine: &&str| record.epochs.values().any(|keys| keys.engine == **engine);
        let others = self.engines.iter().filter(|engine| engine.name() != name);
        others
            .filter(|engine| at_work(&engine.name()))
            .find_map(|engine| engine.gets_past(policy).err())
    }

    /// Every policy that a record has, with its engine's name.
    fn policies(&self, record: &PairRecord) -> Vec<(String, PolicySpec)> {
        let mut all = Vec::new();
        for engine in &record.inbound_policies {
            for policy in spec::inbound_policies(record) {
                if self.in_the_way(record, engine, &policy).is_none() {
                    all.push((engine.clone(), policy));
                }
            }
        }
        if let Some((engine, spi)) = &record.outbound_policy {
            all.push((engine.clone(), spec::outbound_policy(record, *spi)));
        }
        all.extend(self.block_behind(record));
        all
    }

    /// Those of one engine.
    fn policies_in(&self, name: &str, record: &PairRecord) -> Vec<PolicySpec> {
        let all = self.policies(record).into_iter();
        all.filter(|(engine, _)| engine == name).map(|(_, policy)| policy).collect()
    }

    /// Sets every policy that a record has; setting one again changes nothing.
    pub(super) fn set_policies(&mut self, record: &PairRecord) -> Result<(), Refusal> {
        for (name, policy) in self.policies(record) {
            let placement = self.policy_placement(record, &name);
            self.engines.named(&name)?.set_policy(&policy, placement)?;
        }
        Ok(())
    }

    /// Sets those of a pair that has none, also over what an agent left whose state is gone.
    pub(super) fn set_first_policies(&mut self, record: &PairRecord) -> Result<(), Refusal> {
        match self.set_policies(record) {
            Err(Refusal(error)) if error.code == CONFLICT && self.remove_left_over(record)? > 0 => {
                self.set_policies(record)
            }
            outcome => outcome,
        }
    }

    /// Removes policies for just this traffic that have a reqid of ours and no pair; how many. Others
    /// of their kind block on: nobody can say what for.
    fn remove_left_over(&mut self, record: &PairRecord) -> Result<usize, Refusal> {
        let known: Vec<u32> = self.pairs.values().map(|pair| pair.reqid.0.get()).collect();
        let is_left = |reqid: u32| OUR_REQIDS.contains(&reqid) && !known.contains(&reqid);
        let mut removed = 0;
        for (name, policy) in self.policies(record) {
            let engine = self.engines.named(&name)?;
            let all = engine.policies()?;
            let is_there = all.iter().any(|found| {
                (found.direction, found.selector) == (policy.direction, policy.selector)
                    && found.reqid.is_some_and(is_left)
            });
            if is_there {
                engine.remove_policy(policy.direction, &policy.selector)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Sets them as far as that can be.
    pub(super) fn restore_policies(&mut self, record: &PairRecord) {
        for (name, policy) in self.policies(record) {
            let placement = self.policy_placement(record, &name);
            let set = self.engines.named(&name);
            let set = set.and_then(|engine| engine.set_policy(&policy, placement));
            if let Err(error) = set {
                tracing::error!(pair = %record.terms.name, %error, "cannot restore a policy");
            }
        }
    }

    pub(super) fn remove_policies(&mut self, record: &PairRecord) -> Result<(), Refusal> {
        for (name, policy) in self.policies(record).into_iter().rev() {
            self.engines.named(&name)?.remove_policy(policy.direction, &policy.selector)?;
        }
        Ok(())
    }

    /// Removes the policies of one record that are not another's, as far as that can be.
    pub(super) fn remove_policies_but(&mut self, record: &PairRecord, kept: &PairRecord) {
        let identity =
            |(name, policy): (String, PolicySpec)| (name, policy.direction, policy.selector);
        let kept: Vec<_> = self.policies(kept).into_iter().map(identity).collect();
        for (name, direction, selector) in self.policies(record).into_iter().map(identity) {
            if kept.contains(&(name.clone(), direction, selector)) {
                continue;
            }
            let removed = self.engines.named(&name);
            let removed = removed.and_then(|engine| engine.remove_policy(direction, &selector));
            if let Err(error) = removed {
                tracing::error!(pair = %record.terms.name, %error, "cannot remove a policy");
            }
        }
    }

    /// What policies in an engine are asked for: as the newest SAs there came out. What guards
    /// without any needs no device.
    pub(super) fn policy_placement(&self, record: &PairRecord, name: &str) -> Placement {
        let newest = record.epochs.values().rev().find(|keys| keys.engine == name);
        let sees_all = self.engines.guard().is_ok_and(|guard| guard.name() == name);
        match newest {
            Some(keys) => keys.placement,
            None if sees_all => Placement::KernelSoftware,
            None => Placement::UserSpace,
        }
    }
}

const CONFLICT: AgentErrorCode = AgentErrorCode::Engine(ErrorClass::Conflict);
