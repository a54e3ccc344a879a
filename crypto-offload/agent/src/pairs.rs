//! Pairs, their epochs and SAs: what is asked for, what the engines have, what the state says.
//!
//! [`Pairs`] is the one owner of the engines; requests come one at a time. Each that changes
//! something works on a copy of the pair's record and follows one order, so that a kill at any
//! point leaves nothing that the next start does not understand:
//!
//! * installing: write the SA as staged, with its key, to last; ask the engine; write it as
//!   installed. A staged SA that the engine has was installed; one that it has not never was used.
//! * removing: write the record without the SA; ask the engine. An SA of our reqids that no record
//!   names is removed at the next start.
//!
//! A request that fails puts back what it had done, the record included; where the engine refuses
//! even that, the record says what is there and the log says what happened.
//!
//! Both SAs of an epoch are in one engine. A pair moves from one engine to another with a new
//! epoch. Its policies are there before its first keys and after its last ([`guard`]). The outbound
//! policy is set in the new engine before the old one's gives way: the kernel's looks at packets
//! before they reach the TUN device's route, so in both orders a packet meets at least one of the
//! two policies, and never two that want it for themselves: none goes out in clear, none is lost.

mod define;
mod foreign;
mod guard;
mod install;
mod keys;
mod place;
mod restart;
mod resume;
mod retire;
mod spec;
mod status;
mod switch;
mod watch;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, MutexGuard},
};

use crypto_offload::{
    Direction, Epoch, IpsecEngine, KeyFingerprint, KeyLedger, KeyingMaterial, PairName, SaId,
};
use gateway_control::agent::{AGENT_VERSION, AgentErrorCode, AgentHello, Request, Response};
use ring::rand::SystemRandom;

pub use restart::StartError;

use crate::{
    engines::Engines,
    events::EventLog,
    refusal::Refusal,
    state::{Durability, Entry, KeyName, PairRecord, SaRecord, Shared, StateError, Store},
};

/// All pairs, with the engines and the state.
pub struct Pairs {
    engines: Engines,
    store: Shared,
    events: Arc<EventLog>,
    pairs: BTreeMap<PairName, PairRecord>,
    /// The keys of all SAs in `pairs`.
    keys: BTreeMap<KeyFingerprint, KeyingMaterial>,
    /// Whose an SA is.
    index: HashMap<SaId, Whose>,
    /// Every key that was ever taken into use.
    ledger: KeyLedger,
    /// Engines that took a pair's inbound SA but not its outbound one.
    avoid: HashMap<PairName, place::Avoided>,
    /// What engines listed of other programs' policies a moment ago.
    foreign: foreign::Policies,
    random: SystemRandom,
    distrusted: Option<String>,
}

/// Which SA of which pair.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Whose {
    name: PairName,
    epoch: Epoch,
    direction: Direction,
}

impl Pairs {
    /// Does what is asked. `Events` is the connection's own business, and refused here.
    pub fn answer(&mut self, request: Request) -> Response {
        let answer = match request {
            Request::Hello { version, seen_generation } => self.hello(version, seen_generation),
            Request::Probe => self.probe(),
            Request::Capabilities => Ok(self.capabilities()),
            Request::Plan { pair } => self.plan(&pair),
            Request::Define { pair } => self.define(*pair),
            Request::Undefine { name } => self.undefine(&name),
            Request::Prepare { name, epoch, given } => self.prepare(&name, epoch, given.as_ref()),
            Request::InstallOutbound { name, epoch, offer } => {
                self.install_outbound(&name, epoch, &offer)
            }
            Request::Switch { name, epoch } => self.switch(&name, epoch),
            Request::RetireOutbound { name, epoch } => {
                self.retire(&name, epoch, Direction::Outbound)
            }
            Request::RetireInbound { name, epoch } => self.retire(&name, epoch, Direction::Inbound),
            Request::Discard { name, epoch } => self.discard(&name, epoch),
            Request::List { after, limit } => Ok(self.list(after.as_ref(), limit)),
            Request::Show { name } => self.show(&name),
            Request::Foreign { after, limit } => self.foreign(after, limit),
            Request::Statistics => self.statistics(),
            Request::Events { .. } => {
                Err(Refusal::new(AgentErrorCode::Invalid, "events", "asked of the wrong thread"))
            }
        };
        answer.unwrap_or_else(|Refusal(error)| Response::Refused(error))
    }

    fn hello(&mut self, version: u32, seen: Option<u64>) -> Result<Response, Refusal> {
        if version != AGENT_VERSION {
            let message = format!("this agent speaks version {AGENT_VERSION}, not {version}");
            return Err(Refusal::new(AgentErrorCode::VersionMismatch, "version", message)
                .hint("run gateway and offload-agent of one release"));
        }
        let generation = self.store().generation();
        if let Some(seen) = seen.filter(|seen| *seen > generation) {
            self.give_up_keys(seen)?;
        }
        Ok(Response::Hello(AgentHello {
            version: AGENT_VERSION,
            release: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            generation: self.store().generation(),
            engines: self.engines.names(),
            distrusted: self.distrusted.clone(),
        }))
    }

    fn probe(&mut self) -> Result<Response, Refusal> {
        for engine in self.engines.iter_mut() {
            engine.probe()?;
        }
        self.avoid.clear();
        Ok(self.capabilities())
    }

    fn capabilities(&self) -> Response {
        let of =
            |engine: &dyn IpsecEngine| (engine.name().to_owned(), engine.capabilities().clone());
        Response::Capabilities { engines: self.engines.iter().map(of).collect() }
    }

    fn pair(&self, name: &PairName) -> Result<&PairRecord, Refusal> {
        self.pairs.get(name).ok_or_else(|| {
            Refusal::new(AgentErrorCode::UnknownPair, name, format!("no pair is called {name}"))
                .hint("`keymgr sa list` shows them, `keymgr sa add` adds one")
        })
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock()
    }

    /// Makes a record the pair's, on disk first. Further entries go with it.
    fn commit(
        &mut self,
        record: PairRecord,
        more: Vec<Entry>,
        durability: Durability,
    ) -> Result<(), StateError> {
        let mut entries = more;
        entries.push(Entry::Pair(Box::new(record.clone())));
        let keys: Vec<&KeyingMaterial> =
            sas(&record).filter_map(|(_, _, sa)| self.keys.get(&sa.key.0)).collect();
        self.store().append(&entries, &keys, durability)?;
        self.adopt(record);
        self.rewrite_if_long();
        Ok(())
    }

    /// Makes a record the pair's in memory, with its index; keys that nobody names are wiped.
    fn adopt(&mut self, record: PairRecord) {
        let name = record.terms.name.clone();
        if let Some(old) = self.pairs.get(&name) {
            for (_, direction, sa) in sas(old) {
                self.index.remove(&spec::sa_id(&old.terms, direction, sa.spi));
            }
            let gone: Vec<KeyFingerprint> = sas(old)
                .map(|(_, _, sa)| sa.key.0)
                .filter(|key| sas(&record).all(|(_, _, sa)| sa.key.0 != *key))
                .collect();
            for key in gone {
                self.keys.remove(&key);
            }
        }
        for (epoch, direction, sa) in sas(&record) {
            let whose = Whose { name: name.clone(), epoch, direction };
            self.index.insert(spec::sa_id(&record.terms, direction, sa.spi), whose);
        }
        self.pairs.insert(name, record);
    }

    /// Failing to shorten the log is no reason to fail what was asked.
    fn rewrite_if_long(&mut self) {
        if self.store().wants_rewriting()
            && let Err(error) = self.rewrite()
        {
            tracing::warn!(%error, "cannot shorten the state's log");
        }
    }

    /// Writes everything anew.
    fn rewrite(&mut self) -> Result<(), StateError> {
        let used = self.ledger.recorded().map(|key| Entry::Key(KeyName(key)));
        let unopened = self.ledger.unopened().map(|key| Entry::Unopened(KeyName(key)));
        let pairs = self.pairs.values().map(|record| Entry::Pair(Box::new(record.clone())));
        let entries: Vec<Entry> = used.chain(unopened).chain(pairs).collect();
        let keys: Vec<&KeyingMaterial> = self.keys.values().collect();
        self.store().rewrite(entries, &keys, |id| self.index.contains_key(id))
    }
}

/// Every SA of a pair.
fn sas(record: &PairRecord) -> impl Iterator<Item = (Epoch, Direction, &SaRecord)> {
    record.epochs.iter().flat_map(|(epoch, keys)| {
        let inbound = keys.inbound.iter().map(|sa| (*epoch, Direction::Inbound, sa));
        let outbound = keys.outbound.iter().map(|sa| (*epoch, Direction::Outbound, sa));
        inbound.chain(outbound)
    })
}
