//! The log: a file of changes, each complete or not there.
//!
//! ```text
//! "POSTERN2" | salt (32) | sequence before (8) | chain before (16)                     once
//! length (4) | sequence (8) | attempt (4) | clear length (4) | clear | sealed | chain (16)
//!                                                                                each change
//! ```
//!
//! Numbers are little-endian; `length` counts what follows it. `clear` is JSON; `sealed` is the
//! change's keys under AES-256-GCM, with `attempt` and `sequence` as nonce and everything before
//! it, and the chain before that, as associated data. `chain` is a hash over the chain so far and the change:
//! it finds damage without any key, and names the whole history in 16 bytes. The first change of a
//! file holds everything, so a file that replaces a longer one goes on with its sequence.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crypto_offload::{Aead, KeyFingerprint, KeyingMaterial};
use gateway_control::KeyText;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce},
    digest,
    rand::{SecureRandom, SystemRandom},
};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Entry, StateError, key::StateKey, private_file};

/// Names a whole history.
pub(super) type Chain = [u8; 16];

/// The keys that a change's entries name.
pub(crate) type Secrets<'a> = [&'a KeyingMaterial];

/// To be written.
pub(super) struct Change<'a> {
    pub(super) generation: u64,
    pub(super) entries: &'a [Entry],
    pub(super) secrets: &'a Secrets<'a>,
}

/// Read back.
pub(super) struct PastChange {
    pub(super) sequence: u64,
    generation: u64,
    chain: Chain,
    pub(super) entries: Vec<Entry>,
    pub(super) keys: Vec<(KeyFingerprint, KeyingMaterial)>,
}

/// What a file held.
#[derive(Default)]
pub(super) struct Reading {
    /// Complete ones, up to the first that is not.
    pub(super) changes: Vec<PastChange>,
    /// There is more behind them, or the file's head is not ours.
    pub(super) damaged: bool,
    /// Some keys could not be opened.
    pub(super) wrong_key: bool,
    /// What the first change follows.
    before: Option<(u64, Chain)>,
}

impl Reading {
    /// The highest there was.
    pub(super) fn generation(&self) -> u64 {
        self.changes.last().map_or(0, |change| change.generation)
    }

    /// The history up to a change: one of these, or the last of the file that this one replaced.
    pub(super) fn chain_at(&self, sequence: u64) -> Option<Chain> {
        if let Some((before, chain)) = self.before
            && before == sequence
        {
            return Some(chain);
        }
        let found = self.changes.iter().find(|change| change.sequence == sequence);
        found.map(|change| change.chain)
    }

    /// The last change, and the history up to it.
    pub(super) fn end(&self) -> Option<(u64, Chain)> {
        self.changes.last().map(|change| (change.sequence, change.chain)).or(self.before)
    }
}

/// The log that is being written.
pub(super) struct Log {
    root: StateKey,
    open: Option<OpenFile>,
    sequence: u64,
    /// Changes that could not be written since the file was begun.
    failed: u32,
    chain: Chain,
    /// Bytes of the head with the first change.
    first: u64,
    /// Bytes of all.
    length: u64,
}

struct OpenFile {
    path: PathBuf,
    file: File,
    key: LessSafeKey,
}

#[derive(Serialize, Deserialize)]
struct Clear<E> {
    generation: u64,
    entries: E,
}

#[derive(Serialize, Deserialize)]
struct Secret {
    aead: Aead,
    key: KeyText,
}

impl Log {
    /// Reads what is there; a file that is not there is an empty one.
    pub(super) fn read(path: &Path, root: &StateKey) -> Result<Reading, StateError> {
        match fs::read(path) {
            Ok(bytes) => Ok(read(&bytes, root)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Reading::default()),
            Err(error) => Err(StateError::io("read", path)(error)),
        }
    }

    /// Goes on after `sequence`; the file comes with the first [`replace`](Self::replace).
    pub(super) fn new(root: StateKey, sequence: u64, chain: Chain) -> Self {
        Self { root, open: None, sequence, failed: 0, chain, first: 0, length: 0 }
    }

    /// Of the last change.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Over all changes.
    pub(super) fn chain(&self) -> Chain {
        self.chain
    }

    /// Worth replacing: several times as long as what it holds, and not short.
    pub(super) fn is_mostly_history(&self) -> bool {
        self.length > 4 * self.first + WORTH_REPLACING
    }

    /// Adds a change at the end. One that fails is not there: the next one is written over it, and
    /// what of it reached the disk is cut off first, as it may be the longer one.
    pub(super) fn append(&mut self, change: &Change<'_>) -> Result<(), StateError> {
        let Some(open) = &self.open else {
            return Err(no_file());
        };
        let place = Place { sequence: self.sequence + 1, attempt: self.failed };
        let (frame, chain) = frame(change, place, self.chain, &open.key)
            .map_err(StateError::io("encode", &open.path))?;
        let cut = if self.failed > 0 { open.file.set_len(self.length) } else { Ok(()) };
        let written = cut.and_then(|()| open.file.write_all_at(&frame, self.length));
        if let Err(error) = written {
            let failed = StateError::io("write", &open.path)(error);
            self.failed = self.failed.saturating_add(1);
            return Err(failed);
        }
        self.length += frame.len() as u64;
        self.sequence += 1;
        self.chain = chain;
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), StateError> {
        let Some(open) = &self.open else {
            return Err(no_file());
        };
        open.file.sync_data().map_err(StateError::io("sync", &open.path))
    }

    /// Starts a new file with this change, which holds everything, and puts it in the old one's
    /// place.
    pub(super) fn replace(
        &mut self,
        directory: &Path,
        name: &str,
        change: &Change<'_>,
    ) -> Result<(), StateError> {
        let (path, unfinished) = (directory.join(name), directory.join(format!("{name}.new")));
        let mut salt = [0; SALT_LEN];
        let random = SystemRandom::new().fill(&mut salt);
        let key = random.ok().and_then(|()| self.root.log_key(&salt));
        let key = key.ok_or_else(|| StateError::Key {
            path: path.clone(),
            reason: "the kernel gave no random bytes for a salt".to_owned(),
        })?;
        let mut bytes = head(&salt, self.sequence, self.chain);
        let place = Place { sequence: self.sequence + 1, attempt: 0 };
        let (frame, chain) =
            frame(change, place, self.chain, &key).map_err(StateError::io("encode", &path))?;
        bytes.extend_from_slice(&frame);
        let file = write_whole(&unfinished, &bytes)?;
        fs::rename(&unfinished, &path).map_err(StateError::io("replace", &path))?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(StateError::io("sync", directory))?;
        self.first = bytes.len() as u64;
        self.length = self.first;
        self.sequence += 1;
        self.failed = 0;
        self.chain = chain;
        self.open = Some(OpenFile { path, file, key });
        Ok(())
    }
}

fn write_whole(path: &Path, bytes: &[u8]) -> Result<File, StateError> {
    let mut options = private_file();
    let file = options.create(true).truncate(true).open(path);
    let mut file = file.map_err(StateError::io("create", path))?;
    file.write_all(bytes).map_err(StateError::io("write", path))?;
    file.sync_data().map_err(StateError::io("sync", path))?;
    Ok(file)
}

fn no_file() -> StateError {
    StateError::io("write", Path::new("the log"))(ErrorKind::NotFound.into())
}

fn head(salt: &[u8; SALT_LEN], before: u64, chain: Chain) -> Vec<u8> {
    let mut head = Vec::from(MAGIC);
    head.extend_from_slice(salt);
    head.extend_from_slice(&before.to_le_bytes());
    head.extend_from_slice(&chain);
    head
}

/// Where a change stands in its log, and so what it is sealed by.
#[derive(Clone, Copy)]
struct Place {
    sequence: u64,
    /// How many changes of this file had failed before: a disk may keep what it refused.
    attempt: u32,
}

impl Place {
    /// A log's key seals each sequence once at each attempt: neither falls while the salt stays.
    fn nonce(self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[..4].copy_from_slice(&self.attempt.to_be_bytes());
        nonce[4..].copy_from_slice(&self.sequence.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

/// A change's bytes, and the chain after it.
fn frame(
    change: &Change<'_>,
    place: Place,
    before: Chain,
    key: &LessSafeKey,
) -> std::io::Result<(Vec<u8>, Chain)> {
    let clear = Clear { generation: change.generation, entries: change.entries };
    let clear = serde_json::to_vec(&clear)?;
    let mut sealed = secrets(change.secrets)?;
    let too_long = || std::io::Error::from(ErrorKind::FileTooLarge);
    if place.attempt == u32::MAX {
        return Err(std::io::Error::other("too many writes have failed: restart the agent"));
    }
    let body = 8 + 4 + 4 + clear.len() + sealed.len() + AES_256_GCM.tag_len() + CHAIN_LEN;
    let mut frame = Vec::with_capacity(4 + body);
    frame.extend_from_slice(&u32::try_from(body).map_err(|_| too_long())?.to_le_bytes());
    frame.extend_from_slice(&place.sequence.to_le_bytes());
    frame.extend_from_slice(&place.attempt.to_le_bytes());
    frame.extend_from_slice(&u32::try_from(clear.len()).map_err(|_| too_long())?.to_le_bytes());
    frame.extend_from_slice(&clear);
    let aad = [before.as_slice(), &frame].concat();
    let tag = key.seal_in_place_separate_tag(place.nonce(), Aad::from(aad), &mut sealed);
    let tag = tag.map_err(|_| too_long())?;
    frame.extend_from_slice(&sealed);
    frame.extend_from_slice(tag.as_ref());
    let chain = link(before, &frame);
    frame.extend_from_slice(&chain);
    Ok((frame, chain))
}

/// The keys as JSON, in memory that is wiped and never moved.
fn secrets(secrets: &Secrets<'_>) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let list: Vec<Secret> = secrets
        .iter()
        .map(|keying| Secret {
            aead: keying.aead(),
            key: KeyText(keying.bytes().dangerous_duplicate()),
        })
        .collect();
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 + list.len() * LONGEST_SECRET));
    serde_json::to_writer(&mut *bytes, &list)?;
    Ok(bytes)
}

fn link(before: Chain, frame: &[u8]) -> Chain {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&before);
    context.update(frame);
    let hash = context.finish();
    std::array::from_fn(|at| hash.as_ref()[at])
}

fn read(bytes: &[u8], root: &StateKey) -> Reading {
    let damaged = Reading { damaged: true, ..Reading::default() };
    let Some((head, mut rest)) = bytes.split_at_checked(HEAD_LEN) else { return damaged };
    let Some(head) = head.strip_prefix(MAGIC) else { return damaged };
    let (salt, head) = head.split_at(SALT_LEN);
    let (Some(before), Ok(mut chain)) = (u64_at(head, 0), Chain::try_from(&head[8..])) else {
        return damaged;
    };
    let Some(key) = root.log_key(salt) else { return damaged };
    let mut reading = Reading { before: Some((before, chain)), ..Reading::default() };
    let mut expected = before.saturating_add(1);
    while !rest.is_empty() {
        let Some((change, wrong_key, after)) = next(rest, expected, chain, &key) else {
            reading.damaged = true;
            break;
        };
        chain = change.chain;
        expected = expected.saturating_add(1);
        rest = after;
        reading.wrong_key |= wrong_key;
        reading.changes.push(change);
    }
    reading
}

/// The change at the head of `bytes`, whether its keys stayed shut, and what follows; `None` where
/// it is not whole.
fn next<'a>(
    bytes: &'a [u8],
    expected: u64,
    before: Chain,
    key: &LessSafeKey,
) -> Option<(PastChange, bool, &'a [u8])> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let (frame, rest) = bytes.split_at_checked(length.checked_add(4)?)?;
    let (frame, chain) = frame.split_at_checked(frame.len().checked_sub(CHAIN_LEN)?)?;
    let (sequence, attempt) = (u64_at(frame, 4)?, u32_at(frame, 12)?);
    let clear_len = usize::try_from(u32_at(frame, 16)?).ok()?;
    if sequence != expected || link(before, frame) != chain {
        return None;
    }
    let (open, sealed) = frame.split_at_checked(CLEAR_AT.checked_add(clear_len)?)?;
    let clear: Clear<Vec<Entry>> = serde_json::from_slice(&open[CLEAR_AT..]).ok()?;
    let aad = [before.as_slice(), open].concat();
    let mut sealed = Zeroizing::new(sealed.to_vec());
    let opened =
        key.open_in_place(Place { sequence, attempt }.nonce(), Aad::from(aad), &mut sealed);
    let keys = opened.ok().and_then(|text| keys(text));
    let wrong_key = keys.is_none();
    let change = PastChange {
        sequence,
        generation: clear.generation,
        chain: chain.try_into().ok()?,
        entries: clear.entries,
        keys: keys.unwrap_or_default(),
    };
    Some((change, wrong_key, rest))
}

fn keys(text: &[u8]) -> Option<Vec<(KeyFingerprint, KeyingMaterial)>> {
    let secrets: Vec<Secret> = serde_json::from_slice(text).ok()?;
    let keying = |secret: Secret| KeyingMaterial::new(secret.aead, secret.key.0).ok();
    secrets
        .into_iter()
        .map(|secret| keying(secret).map(|keying| (keying.fingerprint(), keying)))
        .collect()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

const MAGIC: &[u8] = b"POSTERN2";
const SALT_LEN: usize = 32;
const CHAIN_LEN: usize = 16;
const HEAD_LEN: usize = MAGIC.len() + SALT_LEN + 8 + CHAIN_LEN;

/// Where in a change its entries begin: after its length, sequence, attempt and their length.
const CLEAR_AT: usize = 4 + 8 + 4 + 4;

/// Bytes of a key in JSON, at most: 36 bytes are 48 in base64.
const LONGEST_SECRET: usize = 128;

/// Bytes of history below which replacing the file gains nothing.
const WORTH_REPLACING: u64 = 4 << 20;
