//! What outlives the agent's process: pairs, their SAs and keys, which keys were ever used, and
//! how far sequence numbers were reserved.
//!
//! A log of changes in one directory ([`log`]), whose keys are sealed under a key that lives in
//! tmpfs ([`key`]), so that the directory alone is worth nothing and nothing of it outlives the
//! machine's run. A state that is not the last one is worse than none: under its keys sequence
//! numbers, and with them IVs, would be used again. So a [`witness`] outside of the directory says
//! which change was the last, in which directory, in which run of the machine. Where the two
//! disagree, [`Store::open`] gives back definitions without keys and says why.
//!
//! The store decides nothing: what its entries mean is the business of `pairs`.

mod entry;
mod key;
mod log;
mod witness;

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crypto_offload::{Direction, KeyFingerprint, KeyingMaterial, SaId};
use rustix::fs::FlockOperation;

pub(crate) use entry::{Entry, EpochRecord, KeyName, PairRecord, RetiredSa, SaRecord, Stage};
pub use key::KeySource;
use log::{Change, Log, Reading, Secrets};
use witness::{Identity, Testimony, Witness};

use crate::user_space::reservation::{self, Reservation, Reservations};

/// Where the state is, and what guards it.
#[derive(Clone, Debug)]
pub struct Places {
    /// The log of changes; created if need be.
    pub directory: PathBuf,
    /// In tmpfs and outside of `directory`: the witness and, unless given, the key.
    pub runtime: PathBuf,
    /// What seals the keys.
    pub key: KeySource,
}

/// Whether a write must outlive the machine's power, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    /// The end of our process.
    Process,
    /// The end of the machine's power: what must never happen twice.
    Power,
}

/// What was found.
pub(crate) struct Restored {
    /// In the order in which they were written.
    pub(crate) entries: Vec<Entry>,
    /// The keys of their SAs; none where `distrusted`.
    pub(crate) keys: BTreeMap<KeyFingerprint, KeyingMaterial>,
    /// Why the keys were given up.
    pub(crate) distrusted: Option<String>,
}

/// The state directory, ours alone while this lives, and what was found in it.
pub struct State {
    pub(crate) store: Shared,
    pub(crate) restored: Restored,
}

impl State {
    /// Takes the directory, reads what is there and judges it. Nothing is written yet.
    ///
    /// # Errors
    /// When the directory cannot be had.
    pub fn open(places: &Places) -> Result<Self, StateError> {
        let (store, restored) = Store::open(places)?;
        Ok(Self { store: Shared(Arc::new(Mutex::new(store))), restored })
    }

    /// Where the user-space engine keeps its reservations.
    pub fn reservations(&self) -> Arc<dyn Reservations> {
        Arc::new(self.store.clone())
    }
}

/// The store, for the owner of the engines and for the engine that reserves numbers. Nobody holds
/// the lock while calling an engine.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<Store>>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Store> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reservations for Shared {
    fn reserve(&self, wanted: &[Reservation]) -> io::Result<()> {
        let reserved = |one: &Reservation| Entry::Reserved {
            id: one.id,
            direction: one.direction,
            sequence: one.sequence,
        };
        let entries: Vec<Entry> = wanted.iter().map(reserved).collect();
        let mut store = self.lock();
        store.append(&entries, &[], Durability::Power).map_err(io::Error::other)?;
        wanted.iter().for_each(|one| store.note_reserved(one.id, one.direction, one.sequence));
        Ok(())
    }
}

/// The log, its witness and its lock.
pub(crate) struct Store {
    directory: PathBuf,
    log: Log,
    witness: Witness,
    generation: u64,
    /// Beyond what SAs' records say.
    reserved: HashMap<(SaId, Direction), u64>,
    /// Held for its lock.
    _lock: File,
}

/// Why there is no state to work with.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file or directory.
    #[error("state: {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Two agents would use each other's sequence numbers.
    #[error(
        "state: another agent has {}: end it, or start this one in another network namespace, with a \
         --state-dir of its own",
        .0.display()
    )]
    InUse(PathBuf),
    /// Whoever may put files there may put a state and a key of his own there.
    #[error(
        "state: others may write in {} (user {owner}'s, mode {mode:04o}): it must be root's or our \
         own, and nobody else's to write in; chmod 700 it, or give another directory",
        directory.display()
    )]
    Exposed {
        /// Which.
        directory: PathBuf,
        /// Whose.
        owner: u32,
        /// Permission bits.
        mode: u32,
    },
    /// The key that seals the state.
    #[error("state key {}: {reason}", path.display())]
    Key {
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl StateError {
    fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { operation, path: path.to_owned(), source }
    }
}

impl Store {
    /// Nothing is written before the first [`rewrite`](Self::rewrite), so that a start that fails
    /// changes nothing.
    fn open(places: &Places) -> Result<(Self, Restored), StateError> {
        let directory = &places.directory;
        create_private(directory)?;
        create_private(&places.runtime)?;
        warn_unless_memory(&places.runtime);
        let lock = lock(directory)?;
        let identity = Identity::of(directory)?;
        let key = key::load(&places.key, &places.runtime, &identity)?;
        let (witness, testimony) = Witness::open(&places.runtime, identity)?;
        let reading = Log::read(&directory.join(LOG), &key)?;
        let distrusted = verdict(&reading, &testimony, witness.identity());
        let seen = testimony.generation().max(reading.generation());
        // The witness must never vouch for a history that we did not believe.
        let trusted = reading.end().filter(|_| distrusted.is_none());
        let (sequence, chain) = trusted.unwrap_or_default();
        let sequence = sequence.max(testimony.sequence().unwrap_or(0));
        let log = Log::new(key, sequence, chain);
        let restored = restored(reading, distrusted);
        let mut store = Self {
            directory: directory.clone(),
            log,
            witness,
            generation: seen.saturating_add(1),
            reserved: HashMap::new(),
            _lock: lock,
        };
        for entry in &restored.entries {
            if let Entry::Reserved { id, direction, sequence } = entry {
                store.note_reserved(*id, *direction, *sequence);
            }
        }
        Ok((store, restored))
    }

    fn note_reserved(&mut self, id: SaId, direction: Direction, sequence: u64) {
        let known = self.reserved.entry((id, direction)).or_default();
        *known = sequence.max(*known);
    }

    /// Up to which number an SA that was installed with `resume_after` may have used its key.
    pub(crate) fn reserved(&self, id: SaId, direction: Direction, resume_after: u64) -> u64 {
        let asked = self.reserved.get(&(id, direction)).copied().unwrap_or(0);
        reservation::first(direction, resume_after).max(asked)
    }

    /// Counts the starts on this directory; never falls.
    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// A later generation, after somebody has seen a later one than this. Takes effect with the
    /// next [`rewrite`](Self::rewrite).
    pub(crate) fn raise_generation(&mut self, seen: u64) {
        self.generation = self.generation.max(seen.saturating_add(1));
    }

    /// Writes changes, all of them or none.
    pub(crate) fn append(
        &mut self,
        entries: &[Entry],
        secrets: &Secrets<'_>,
        durability: Durability,
    ) -> Result<(), StateError> {
        self.log.append(&Change { generation: self.generation, entries, secrets })?;
        if durability == Durability::Power {
            self.log.sync()?;
        }
        self.testify()
    }

    /// True when the log has grown to several times what it holds.
    pub(crate) fn wants_rewriting(&self) -> bool {
        self.log.is_mostly_history()
    }

    /// Replaces the log with one that holds just `entries` and the reservations of SAs that are
    /// `live`, under a new key. The witness hears of the old one's end first: it may be one change
    /// behind, and is never two.
    pub(crate) fn rewrite(
        &mut self,
        mut entries: Vec<Entry>,
        secrets: &Secrets<'_>,
        live: impl Fn(&SaId) -> bool,
    ) -> Result<(), StateError> {
        self.testify()?;
        self.reserved.retain(|(id, _), _| live(id));
        entries.extend(self.reserved.iter().map(|((id, direction), sequence)| Entry::Reserved {
            id: *id,
            direction: *direction,
            sequence: *sequence,
        }));
        let change = Change { generation: self.generation, entries: &entries, secrets };
        self.log.replace(&self.directory, LOG, &change)?;
        self.testify()
    }

    fn testify(&mut self) -> Result<(), StateError> {
        self.witness.write(self.generation, self.log.sequence(), self.log.chain())
    }
}

/// Entries as they were; keys only where the state is to be trusted.
fn restored(reading: Reading, distrusted: Option<String>) -> Restored {
    let mut entries = Vec::new();
    let mut keys = BTreeMap::new();
    for change in reading.changes {
        entries.extend(change.entries);
        if distrusted.is_none() {
            keys.extend(change.keys);
        }
    }
    Restored { entries, keys, distrusted }
}

/// Why this is not what we wrote last, here, in this run of the machine.
fn verdict(reading: &Reading, testimony: &Testimony, here: &Identity) -> Option<String> {
    let Testimony::Says { identity, sequence, chain, .. } = testimony else {
        return match (testimony, reading.changes.first()) {
            (Testimony::None, None) if !reading.damaged => None,
            (Testimony::None, _) => Some(
                "nothing vouches for the state: the machine was restarted since, \
                 or the directory is a copy"
                    .to_owned(),
            ),
            _ => Some("the witness of the state is damaged".to_owned()),
        };
    };
    if identity.boot != here.boot {
        return Some("the state is from before the machine was restarted".to_owned());
    }
    if identity != here {
        return Some("the state directory is a copy of another".to_owned());
    }
    if reading.wrong_key {
        return Some("the state is sealed under another key".to_owned());
    }
    // A change that was written but not yet witnessed when we were killed was not acted upon:
    // one, and nothing broken behind it.
    let ahead = reading.changes.iter().filter(|change| change.sequence > *sequence).count();
    let complete = reading.chain_at(*sequence) == Some(*chain);
    if complete && (ahead == 0 || (ahead == 1 && !reading.damaged)) {
        return None;
    }
    let last = reading.changes.last().map_or(0, |change| change.sequence);
    Some(if reading.damaged {
        format!("the state is damaged after change {last} of {sequence}")
    } else if last < *sequence {
        format!("the state was rolled back from change {sequence} to {last}")
    } else {
        format!("the state is not the one that was written as change {sequence}")
    })
}

fn create_private(directory: &Path) -> Result<(), StateError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(StateError::io("create", directory))?;
    let data = fs::metadata(directory).map_err(StateError::io("look at", directory))?;
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&data.uid());
    let open = data.mode() & 0o022 != 0;
    if ours && !open {
        return Ok(());
    }
    Err(StateError::Exposed {
        directory: directory.to_owned(),
        owner: data.uid(),
        mode: data.mode() & 0o7777,
    })
}

/// On a disk, the key that seals the state would lie beside the state.
fn warn_unless_memory(runtime: &Path) {
    let kind = rustix::fs::statfs(runtime).map(|found| found.f_type);
    if !kind.is_ok_and(|kind| MEMORY.contains(&kind)) {
        let directory = runtime.display();
        tracing::warn!(%directory, "the runtime directory is not in tmpfs: state keys reach a disk");
    }
}

fn lock(directory: &Path) -> Result<File, StateError> {
    let path = directory.join("lock");
    let file = private_file().create(true).open(&path).map_err(StateError::io("open", &path))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StateError::InUse(directory.to_owned())),
        Err(error) => Err(StateError::io("lock", &path)(error.into())),
    }
}

/// How our files are opened: for us alone.
fn private_file() -> fs::OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    options
}

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of linux/magic.h.
const MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

const LOG: &str = "state.log";

impl Identity {
    /// Of a directory that exists.
    fn of(directory: &Path) -> Result<Self, StateError> {
        let data = fs::metadata(directory).map_err(StateError::io("look at", directory))?;
        let path = Path::new("/proc/sys/kernel/random/boot_id");
        let boot = fs::read_to_string(path).map_err(StateError::io("read", path))?;
        Ok(Self { boot: boot.trim().to_owned(), device: data.dev(), inode: data.ino() })
    }
}
