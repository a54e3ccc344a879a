//! The pairs of a session: formed from candidates, bounded, and which of them is checked next.

use std::net::{IpAddr, SocketAddr};

use ng::sdp::Candidate;

use super::candidate::{Component, LocalCandidate};
use super::limits::{MAX_PAIRS, MAX_PEER_REFLEXIVE, MAX_REMOTE_CANDIDATES};
use super::pair::{NewPair, Nomination, Pair, PairFoundation, PairId, PairState};
use super::refusal::Refusal;
use super::session::Session;
use super::words::AgentError;

/// An address of the party's.
#[derive(Clone, Debug)]
pub(super) struct RemoteCandidate {
    component: Component,
    address: SocketAddr,
    priority: u32,
    foundation: u32,
    origin: Origin,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// With the foundation as it stood there.
    Signalled(Box<str>),
    PeerReflexive,
}

impl Session {
    /// Takes a signalled candidate; one that is known already changes nothing, one that was known
    /// as peer-reflexive gets its true priority (RFC 8445 section 7.3.1.3).
    ///
    /// # Errors
    /// [`AgentError::Candidate`] where nothing can be sent; [`AgentError::TooMany`].
    pub(super) fn add_remote(
        &mut self,
        said: &Candidate,
        locals: &[LocalCandidate],
    ) -> Result<(), AgentError> {
        let (address, priority) = (said.address, said.priority);
        let Some(component) = Component::from_number(said.component) else { return Ok(()) };
        if !is_usable(address) {
            return Err(AgentError::Candidate);
        }
        let foundation = self.foundation_of(&said.foundation);
        let origin = Origin::Signalled(said.foundation.clone());
        let candidate = RemoteCandidate { component, address, priority, foundation, origin };
        let known =
            |known: &&mut RemoteCandidate| known.component == component && known.address == address;
        if let Some(known) = self.remotes.iter_mut().find(known) {
            if known.origin == Origin::PeerReflexive {
                *known = candidate.clone();
                self.correct_pairs(&candidate);
            }
            return Ok(());
        }
        let signalled = |known: &&RemoteCandidate| known.origin != Origin::PeerReflexive;
        if self.remotes.iter().filter(signalled).count() >= MAX_REMOTE_CANDIDATES {
            return Err(AgentError::TooMany);
        }
        self.remotes.push(candidate);
        self.form_pairs(self.remotes.len() - 1, locals);
        Ok(())
    }

    /// The party may name candidates of the component anew.
    pub(super) fn forget_remotes(&mut self, component: Component) {
        self.remotes.retain(|remote| remote.component != component);
    }

    /// The pair that a check of the party's came on, made where there is none (RFC 8445
    /// section 7.3.1.4).
    pub(super) fn pair_for(
        &mut self,
        local: u8,
        source: SocketAddr,
        priority: u32,
        locals: &[LocalCandidate],
    ) -> Result<usize, Refusal> {
        let component = locals[usize::from(local)].component;
        if let Some(index) = self.pair_between(local, source) {
            return Ok(index);
        }
        let known =
            |known: &RemoteCandidate| known.component == component && known.address == source;
        let index = match self.remotes.iter().position(known) {
            Some(index) => index,
            None => self.add_peer_reflexive(component, source, priority)?,
        };
        self.add_pair(local, index, locals).ok_or(Refusal::TooMany)
    }

    pub(super) fn pair_between(&self, local: u8, remote: SocketAddr) -> Option<usize> {
        self.pairs.iter().position(|pair| pair.local == local && pair.remote == remote)
    }

    pub(super) fn index_of(&self, id: PairId) -> Option<usize> {
        self.pairs.iter().position(|pair| pair.id == id)
    }

    /// Puts a pair into the triggered-check queue, once.
    pub(super) fn trigger(&mut self, id: PairId) {
        if !self.triggered.contains(&id) {
            self.triggered.push_back(id);
        }
    }

    /// RFC 8445 section 6.1.4.2: triggered checks first, then by priority; pairs are unfrozen when
    /// nothing else is left.
    pub(super) fn next_to_check(&mut self) -> Option<usize> {
        while let Some(id) = self.triggered.pop_front() {
            if let Some(index) = self.index_of(id)
                && (self.pairs[index].state == PairState::Waiting
                    || self.pairs[index].nomination == Nomination::Asked)
            {
                return Some(index);
            }
        }
        if !self.pairs.iter().any(|pair| pair.state == PairState::Waiting) {
            self.unfreeze();
        }
        let waiting = |index: &usize| self.pairs[*index].state == PairState::Waiting;
        let rank = |index: &usize| self.pairs[*index].priority(self.role);
        (0..self.pairs.len()).filter(waiting).max_by_key(rank)
    }

    /// Whether [`Session::next_to_check`] would find one.
    pub(super) fn has_more_to_check(&self) -> bool {
        let ready = |pair: &Pair| match pair.state {
            PairState::Waiting => true,
            PairState::Frozen => {
                !self.pairs.iter().any(|other| is_under_way(other, pair.foundation))
            }
            _ => false,
        };
        !self.triggered.is_empty() || self.pairs.iter().any(ready)
    }

    /// One pair of each foundation that has none under way: the best, of the lowest component
    /// (RFC 8445 section 6.1.2.6).
    fn unfreeze(&mut self) {
        let role = self.role;
        let mut frozen: Vec<usize> = (0..self.pairs.len())
            .filter(|index| self.pairs[*index].state == PairState::Frozen)
            .collect();
        frozen.sort_by_key(|index| {
            let pair = &self.pairs[*index];
            (pair.component, std::cmp::Reverse(pair.priority(role)))
        });
        for index in frozen {
            let foundation = self.pairs[index].foundation;
            if !self.pairs.iter().any(|pair| is_under_way(pair, foundation)) {
                self.pairs[index].state = PairState::Waiting;
            }
        }
    }

    /// A check succeeded: others of its foundation probably will (RFC 8445 section 7.2.5.3.3).
    pub(super) fn unfreeze_like(&mut self, foundation: PairFoundation) {
        for pair in &mut self.pairs {
            if pair.state == PairState::Frozen && pair.foundation == foundation {
                pair.state = PairState::Waiting;
            }
        }
    }

    fn add_peer_reflexive(
        &mut self,
        component: Component,
        address: SocketAddr,
        priority: u32,
    ) -> Result<usize, Refusal> {
        let reflexive = |known: &&RemoteCandidate| known.origin == Origin::PeerReflexive;
        if self.remotes.iter().filter(reflexive).count() >= MAX_PEER_REFLEXIVE {
            self.forget_peer_reflexive().ok_or(Refusal::TooMany)?;
        }
        self.foundations += 1;
        let foundation = self.foundations;
        let origin = Origin::PeerReflexive;
        self.remotes.push(RemoteCandidate { component, address, priority, foundation, origin });
        Ok(self.remotes.len() - 1)
    }

    /// Makes room: the oldest peer-reflexive candidate on which nothing works.
    fn forget_peer_reflexive(&mut self) -> Option<()> {
        let useless = |candidate: &RemoteCandidate| {
            candidate.origin == Origin::PeerReflexive
                && self.pairs_of(candidate).all(|pair| pair.state == PairState::Failed)
        };
        let index = self.remotes.iter().position(useless)?;
        let gone = self.remotes.remove(index);
        self.pairs.retain(|pair| pair.component != gone.component || pair.remote != gone.address);
        Some(())
    }

    fn pairs_of<'a>(&'a self, candidate: &'a RemoteCandidate) -> impl Iterator<Item = &'a Pair> {
        self.pairs.iter().filter(|pair| {
            pair.component == candidate.component && pair.remote == candidate.address
        })
    }

    fn form_pairs(&mut self, remote: usize, locals: &[LocalCandidate]) {
        let candidate = &self.remotes[remote];
        let (component, address) = (candidate.component, candidate.address);
        for (index, local) in locals.iter().enumerate() {
            if local.component == component && may_pair(local.address, address) {
                self.add_pair(index as u8, remote, locals);
            }
        }
    }

    /// `None` where the list is full of better ones.
    fn add_pair(&mut self, local: u8, remote: usize, locals: &[LocalCandidate]) -> Option<usize> {
        let ours = &locals[usize::from(local)];
        let theirs = &self.remotes[remote];
        let same_address = |other: &LocalCandidate| other.address.ip() == ours.address.ip();
        let pair = Pair::new(
            PairId(self.next_pair),
            NewPair {
                component: ours.component,
                local,
                remote: theirs.address,
                foundation: PairFoundation {
                    local: locals.iter().position(same_address).unwrap_or_default() as u8,
                    remote: theirs.foundation,
                },
                local_priority: ours.priority(),
                remote_priority: theirs.priority,
            },
        );
        if self.pairs.len() >= MAX_PAIRS {
            self.make_room(pair.priority(self.role))?;
        }
        self.next_pair += 1;
        self.pairs.push(pair);
        Some(self.pairs.len() - 1)
    }

    /// Drops the worst pair that nothing depends on, if it is worse than `priority` or has failed.
    fn make_room(&mut self, priority: u64) -> Option<()> {
        let rank = |pair: &Pair| (pair.state != PairState::Failed, pair.priority(self.role));
        let droppable = |index: &usize| {
            let pair = &self.pairs[*index];
            pair.nomination == Nomination::None
                && matches!(pair.state, PairState::Frozen | PairState::Waiting | PairState::Failed)
        };
        let worst = (0..self.pairs.len())
            .filter(droppable)
            .min_by_key(|index| rank(&self.pairs[*index]))?;
        if rank(&self.pairs[worst]) >= (true, priority) {
            return None;
        }
        self.pairs.remove(worst);
        Some(())
    }

    /// A peer-reflexive candidate turned out to be a signalled one.
    fn correct_pairs(&mut self, candidate: &RemoteCandidate) {
        for pair in &mut self.pairs {
            if pair.component == candidate.component && pair.remote == candidate.address {
                pair.remote_priority = candidate.priority;
                pair.foundation.remote = candidate.foundation;
            }
        }
    }

    /// The number of what the party calls a foundation: the same name, the same number.
    fn foundation_of(&mut self, name: &str) -> u32 {
        let named = self.remotes.iter().find(
            |known| matches!(&known.origin, Origin::Signalled(foundation) if **foundation == *name),
        );
        match named {
            Some(known) => known.foundation,
            None => {
                self.foundations += 1;
                self.foundations
            }
        }
    }
}

fn is_under_way(pair: &Pair, foundation: PairFoundation) -> bool {
    pair.foundation == foundation
        && matches!(pair.state, PairState::Waiting | PairState::InProgress)
}

/// Something can be sent there, and it is one place.
fn is_usable(address: SocketAddr) -> bool {
    let ip = address.ip();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

/// The same family; link-local IPv6 with its like alone (RFC 8445 section 6.1.2.2).
fn may_pair(local: SocketAddr, remote: SocketAddr) -> bool {
    match (local.ip(), remote.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) => true,
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            local.is_unicast_link_local() == remote.is_unicast_link_local()
        }
        _ => false,
    }
}
