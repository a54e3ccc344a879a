//! How checks end: nomination (RFC 8445 section 8.1.1), selection, what counts as valid, failure.
//!
//! We nominate once for each component (regular nomination): the best valid pair, as soon as no
//! better one is still under way or [`NOMINATION_DELAY`] has passed. A party that nominates several
//! (RFC 5245's aggressive way, as browsers do) gets the best of those that it still nominates.

use std::net::SocketAddr;
use std::time::Instant;

use super::candidate::Component;
use super::limits::{MAX_VALID_SOURCES, NOMINATION_DELAY, STALE_NOMINATION};
use super::pair::{Nomination, Pair, PairState};
use super::session::{Context, Patience, Session};
use super::words::{Implementation, Output, Role, State};

impl Session {
    /// Nominates and selects as far as the checks allow; tells what changed.
    pub(super) fn conclude(&mut self, context: &mut Context<'_>) {
        if self.is_lite_to_lite() {
            self.take_all(context);
        }
        for component in components(context) {
            self.nominate_best(component, context.now);
            self.select(component, context);
        }
        let has_pair = |component: Component| self.selected[component.index()].is_some();
        let came = self.late.is_some_and(has_pair);
        let all = components(context).filter(|one| self.late != Some(*one)).all(has_pair);
        if came {
            self.late = None;
        }
        match (self.state, all) {
            (State::Checking | State::Lost, true) => self.settle(),
            (State::Connected, true) if came => self.settle(),
            (State::Connected, false) => {
                self.state = State::Lost;
                context.out.push_back(Output::ConsentLost);
                // What the other component still has is said again.
                self.selected = [None; 2];
                components(context).for_each(|component| self.select(component, context));
            }
            (State::Checking, false) => self.give_up(context),
            (State::Connected, true) => self.pairs.retain(is_worth_keeping),
            _ => {}
        }
    }

    /// When a nomination that waits for better pairs is due.
    pub(super) fn nomination_due(&self) -> Option<Instant> {
        let waits = |component: Component| {
            let first = self.first_valid[component.index()]?;
            (self.nominates() && self.needs_nomination(component))
                .then_some(first + NOMINATION_DELAY)
        };
        [Component::Rtp, Component::Rtcp].into_iter().filter_map(waits).min()
    }

    /// Remote addresses of a component's valid pairs, the best first.
    pub(super) fn valid_sources(&self, component: Component) -> impl Iterator<Item = SocketAddr> {
        let selected = self.selected[component.index()];
        let valid = |pair: &&Pair| pair.component == component && pair.is_valid();
        let mut pairs: Vec<&Pair> = self.pairs.iter().filter(valid).collect();
        pairs.sort_by_key(|pair| {
            let nominated = matches!(pair.nomination, Nomination::Done(_));
            let rank = (Some(pair.id) == selected, nominated, pair.priority(self.role));
            std::cmp::Reverse(rank)
        });
        pairs.into_iter().take(MAX_VALID_SOURCES).map(|pair| pair.remote)
    }

    /// Remote addresses of a component's pairs that the party has checked and we have not yet.
    pub(super) fn heard_sources(&self, component: Component) -> impl Iterator<Item = SocketAddr> {
        let heard = move |pair: &&Pair| pair.component == component && pair.heard && pair.is_open();
        self.pairs.iter().filter(heard).map(|pair| pair.remote)
    }

    /// Between lite agents there are no checks: each pair counts, and the best is selected (RFC 8445
    /// section 8.2).
    fn take_all(&mut self, context: &mut Context<'_>) {
        for index in 0..self.pairs.len() {
            if self.pairs[index].is_open() {
                self.pairs[index].state = PairState::Succeeded;
                self.nominate(index, context);
            }
        }
    }

    /// Only a controlling full agent nominates.
    fn nominates(&self) -> bool {
        self.role == Role::Controlling && self.implementation == Implementation::Full
    }

    fn needs_nomination(&self, component: Component) -> bool {
        let of_component = || self.pairs.iter().filter(|pair| pair.component == component);
        // One that lost consent was nominated: another needs a restart (RFC 8445 section 8.1.1).
        !of_component()
            .any(|pair| pair.nomination != Nomination::None || pair.state == PairState::Revoked)
            && of_component().any(Pair::is_valid)
    }

    fn nominate_best(&mut self, component: Component, now: Instant) {
        if !self.nominates() || !self.needs_nomination(component) {
            return;
        }
        let role = self.role;
        let of_component = || self.pairs.iter().filter(|pair| pair.component == component);
        let best =
            of_component().filter(|pair| pair.is_valid()).max_by_key(|pair| pair.priority(role));
        let Some((id, priority)) = best.map(|best| (best.id, best.priority(role))) else { return };
        let better_to_come =
            of_component().any(|pair| pair.is_open() && pair.priority(role) > priority);
        let first = self.first_valid[component.index()].get_or_insert(now);
        if better_to_come && now < *first + NOMINATION_DELAY {
            return;
        }
        for pair in &mut self.pairs {
            if pair.id == id {
                pair.nomination = Nomination::Asked;
            }
        }
        self.trigger(id);
    }

    fn select(&mut self, component: Component, context: &mut Context<'_>) {
        let best = self.best_nominated(component);
        let chosen = best.map(|pair| (pair.id, pair.local, pair.remote));
        let slot = &mut self.selected[component.index()];
        if *slot == chosen.map(|(id, _, _)| id) {
            return;
        }
        *slot = chosen.map(|(id, _, _)| id);
        if let Some((_, local, remote)) = chosen {
            let local = context.locals[usize::from(local)].address;
            context.out.push_back(Output::Selected { component, local, remote });
        }
    }

    fn best_nominated(&self, component: Component) -> Option<&Pair> {
        let nominated = || {
            self.pairs.iter().filter_map(move |pair| match pair.nomination {
                Nomination::Done(at) if pair.component == component && pair.is_valid() => {
                    Some((at, pair))
                }
                _ => None,
            })
        };
        let newest = nominated().map(|(at, _)| at).max()?;
        nominated()
            .filter(|(at, _)| *at + STALE_NOMINATION >= newest)
            .map(|(_, pair)| pair)
            .max_by_key(|pair| pair.priority(self.role))
    }

    /// Every component has its pair, unless it came late: what else was still to be checked is let
    /// go (RFC 8445 section 8.1.2).
    fn settle(&mut self) {
        self.state = State::Connected;
        self.pairs.retain(is_worth_keeping);
        self.pairs.retain(|pair| !pair.is_open() || pair.nomination != Nomination::None);
        self.pairs.shrink_to_fit();
        self.remotes = Vec::new();
        self.triggered = Default::default();
    }

    /// Patience is at its end and some component has nothing left to hope for.
    fn give_up(&mut self, context: &mut Context<'_>) {
        if self.patience_ends().is_none_or(|end| context.now < end) {
            return;
        }
        self.patience = Patience::Over;
        let hope = |component: Component| {
            let open = |pair: &Pair| pair.has_hope(context.now) || pair.is_valid();
            self.pairs.iter().any(|pair| pair.component == component && open(pair))
        };
        if components(context).all(hope) {
            return;
        }
        self.state = State::Failed;
        self.pairs = Vec::new();
        self.remotes = Vec::new();
        self.triggered = Default::default();
        self.selected = [None; 2];
        context.out.push_back(Output::Failed);
    }
}

/// The components that have a candidate of ours.
fn components(context: &Context<'_>) -> impl Iterator<Item = Component> + use<> {
    let has = |component| context.locals.iter().any(|local| local.component == component);
    let present = [Component::Rtp, Component::Rtcp].map(|one| has(one).then_some(one));
    present.into_iter().flatten()
}

/// After selection, a failed pair is worth nothing; a revoked one is kept so that it stays revoked.
fn is_worth_keeping(pair: &Pair) -> bool {
    pair.state != PairState::Failed
}
