//! An agent that only remembers: what outlives every crash in the simulation.

use std::collections::{BTreeMap, BTreeSet};

use super::super::{Action, Failure, Sas, Standing};
use crate::Epoch;

/// Stands for key and SPI; each is drawn once.
pub(super) type Key = u64;

#[derive(Clone, Debug)]
pub(super) struct Agent {
    pub(super) epochs: BTreeMap<Epoch, Keys>,
    pub(super) active: Option<Epoch>,
    pub(super) highest: Epoch,
    /// Epochs whose outbound SA was there and is gone: never again.
    retired: BTreeSet<Epoch>,
    /// Keys that were ever sealed with.
    used: BTreeSet<Key>,
    next_key: Key,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keys {
    pub(super) inbound: Option<Key>,
    pub(super) outbound: Option<Key>,
}

impl Agent {
    pub(super) fn new(first_key: Key) -> Self {
        Self {
            epochs: BTreeMap::new(),
            active: None,
            highest: Epoch(0),
            retired: BTreeSet::new(),
            used: BTreeSet::new(),
            next_key: first_key,
        }
    }

    pub(super) fn standing(&self) -> Standing {
        let sas = |keys: &Keys| Sas::of(keys.inbound, keys.outbound);
        Standing {
            epochs: self.epochs.iter().filter_map(|(e, keys)| Some((*e, sas(keys)?))).collect(),
            active: self.active,
            highest: self.highest,
        }
    }

    pub(super) fn inbound(&self, epoch: Epoch) -> Option<Key> {
        self.epochs.get(&epoch)?.inbound
    }

    pub(super) fn outbound(&self, epoch: Epoch) -> Option<Key> {
        self.epochs.get(&epoch)?.outbound
    }

    /// Does one action of a gateway's. `peers` is what the peer offered, for `InstallOutbound`.
    pub(super) fn act(&mut self, action: Action, peers: Option<Key>) -> Result<(), Failure> {
        match action {
            Action::Prepare(epoch) => self.prepare(epoch),
            Action::InstallOutbound(epoch) => self.install_outbound(epoch, peers),
            Action::Switch(epoch) => {
                self.outbound(epoch).ok_or(Failure::Final)?;
                self.active = Some(epoch);
                Ok(())
            }
            Action::RetireOutbound(epoch) => {
                self.idle(epoch)?;
                self.take(epoch, |keys| keys.outbound = None)
            }
            Action::RetireInbound(epoch) => {
                self.idle(epoch)?;
                self.take(epoch, |keys| keys.inbound = None)
            }
            Action::Discard(epoch) => {
                self.idle(epoch)?;
                self.take(epoch, |keys| *keys = Keys::default())
            }
            other => panic!("{other:?} is not for an agent"),
        }
    }

    fn prepare(&mut self, epoch: Epoch) -> Result<(), Failure> {
        if self.inbound(epoch).is_some() {
            return Ok(());
        }
        if epoch <= self.highest {
            return Err(Failure::Final);
        }
        self.highest = epoch;
        self.next_key += 1;
        self.epochs.insert(epoch, Keys { inbound: Some(self.next_key), outbound: None });
        Ok(())
    }

    fn install_outbound(&mut self, epoch: Epoch, peers: Option<Key>) -> Result<(), Failure> {
        let key = peers.ok_or(Failure::Final)?;
        if self.retired.contains(&epoch) {
            return Err(Failure::Final);
        }
        let keys = self.epochs.get_mut(&epoch).ok_or(Failure::Final)?;
        match keys.outbound {
            Some(known) if known == key => Ok(()),
            Some(_) => Err(Failure::Final),
            None => {
                keys.outbound = Some(key);
                assert!(self.used.insert(key), "a key is used from its beginning a second time");
                Ok(())
            }
        }
    }

    fn idle(&self, epoch: Epoch) -> Result<(), Failure> {
        if self.active == Some(epoch) { Err(Failure::Final) } else { Ok(()) }
    }

    fn take(&mut self, epoch: Epoch, what: impl FnOnce(&mut Keys)) -> Result<(), Failure> {
        let Some(keys) = self.epochs.get_mut(&epoch) else { return Ok(()) };
        let had_outbound = keys.outbound.is_some();
        what(keys);
        if had_outbound && keys.outbound.is_none() {
            self.retired.insert(epoch);
        }
        if keys.inbound.is_none() && keys.outbound.is_none() {
            self.epochs.remove(&epoch);
        }
        Ok(())
    }
}
