//! The key that seals the state's keys: 32 random bytes in tmpfs, or a file's.
//!
//! A key file is a root key: each log is sealed under one of its own, derived with the log's
//! random salt, so that no nonce repeats however often a log begins anew.

use std::{
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use ring::{
    aead::{AES_256_GCM, LessSafeKey, UnboundKey},
    hkdf,
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

use super::{StateError, private_file, witness::Identity};

/// Where the key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// Made at the first start, in the runtime directory, for one state directory.
    Runtime,
    /// At least 32 bytes of a file that somebody else keeps.
    File(PathBuf),
}

/// A root key.
pub(super) struct StateKey(hkdf::Prk);

impl StateKey {
    fn new(bytes: &[u8]) -> Self {
        Self(hkdf::Salt::new(hkdf::HKDF_SHA256, b"postern state key").extract(bytes))
    }

    #[cfg(test)]
    pub(super) fn for_tests() -> Self {
        Self::new(&[7; SHORTEST])
    }

    /// The key of the log with this salt. `None` does not happen for one key's length.
    pub(super) fn log_key(&self, salt: &[u8]) -> Option<LessSafeKey> {
        let info = [b"log".as_slice(), salt];
        let okm = self.0.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(okm)))
    }
}

pub(super) fn load(
    source: &KeySource,
    runtime: &Path,
    identity: &Identity,
) -> Result<StateKey, StateError> {
    match source {
        KeySource::File(path) => read(path),
        KeySource::Runtime => {
            let path = runtime.join(format!("{}.key", identity.file_stem()));
            if path.exists() { read(&path) } else { create(&path) }
        }
    }
}

fn read(path: &Path) -> Result<StateKey, StateError> {
    let file = std::fs::File::open(path).map_err(StateError::io("open", path))?;
    // Of the open file, so that nobody swaps it between the two looks.
    let mode = file.metadata().map_err(StateError::io("look at", path))?.permissions().mode();
    if mode & 0o077 != 0 && !is_credential(path) {
        let reason = format!(
            "others can use it (mode {:04o}): chmod 600 it, and think of a new one",
            mode & 0o7777
        );
        return Err(StateError::Key { path: path.to_owned(), reason });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(LARGEST));
    let limit = u64::try_from(LARGEST).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(StateError::io("read", path))?;
    if bytes.len() < SHORTEST {
        let reason = format!("{} bytes are too few: it takes {SHORTEST} random ones", bytes.len());
        return Err(StateError::Key { path: path.to_owned(), reason });
    }
    Ok(StateKey::new(&bytes))
}

/// What the service manager hands over is ours alone whatever its mode says (systemd.exec(5)).
fn is_credential(path: &Path) -> bool {
    let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    directory.filter(|directory| directory.is_absolute()).as_deref() == path.parent()
}

fn create(path: &Path) -> Result<StateKey, StateError> {
    let mut bytes = Zeroizing::new([0; SHORTEST]);
    let random = SystemRandom::new().fill(bytes.as_mut_slice());
    random.map_err(|_| StateError::Key {
        path: path.to_owned(),
        reason: "the kernel gave no random bytes".to_owned(),
    })?;
    // Whole or not at all: a key that was cut short would be a weak one.
    let unfinished = path.with_extension("key.new");
    let mut file = private_file()
        .create(true)
        .truncate(true)
        .open(&unfinished)
        .map_err(StateError::io("create", &unfinished))?;
    file.write_all(bytes.as_slice()).map_err(StateError::io("write", &unfinished))?;
    std::fs::rename(&unfinished, path).map_err(StateError::io("create", path))?;
    Ok(StateKey::new(bytes.as_slice()))
}

const SHORTEST: usize = 32;
const LARGEST: usize = 4096;
