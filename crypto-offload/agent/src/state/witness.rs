//! Outside of the state directory, in tmpfs: which change was the last, in which directory, in
//! which run of the machine.
//!
//! One small file for each state directory, overwritten in one `write` after each change.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{StateError, log::Chain, private_file};

/// What must be the same for a state to be ours: the directory itself, and the machine's run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// `/proc/sys/kernel/random/boot_id`.
    pub(super) boot: String,
    /// The file system.
    pub(super) device: u64,
    /// The directory in it.
    pub(super) inode: u64,
}

impl Identity {
    /// Tells the files of several agents apart.
    pub(super) fn file_stem(&self) -> String {
        format!("agent-{:x}-{:x}", self.device, self.inode)
    }
}

/// What the witness knew at the start.
#[derive(Debug)]
pub(super) enum Testimony {
    /// There was none.
    None,
    /// It cannot be read.
    Damaged,
    /// This.
    Says {
        /// Where and when.
        identity: Identity,
        /// Of the last start.
        generation: u64,
        /// Of the last change.
        sequence: u64,
        /// Over all changes.
        chain: Chain,
    },
}

impl Testimony {
    pub(super) fn generation(&self) -> u64 {
        if let Self::Says { generation, .. } = self { *generation } else { 0 }
    }

    pub(super) fn sequence(&self) -> Option<u64> {
        if let Self::Says { sequence, .. } = self { Some(*sequence) } else { None }
    }
}

/// The open file.
pub(super) struct Witness {
    path: PathBuf,
    file: File,
    identity: Identity,
}

#[derive(Serialize, Deserialize)]
struct Statement {
    identity: Identity,
    generation: u64,
    sequence: u64,
    chain: Chain,
}

impl Witness {
    pub(super) fn open(
        runtime: &Path,
        identity: Identity,
    ) -> Result<(Self, Testimony), StateError> {
        let path = runtime.join(format!("{}.witness", identity.file_stem()));
        let testimony = match File::open(&path) {
            Ok(file) => read(file).map_err(StateError::io("read", &path))?,
            Err(error) if error.kind() == ErrorKind::NotFound => Testimony::None,
            Err(error) => return Err(StateError::io("open", &path)(error)),
        };
        let file =
            private_file().create(true).open(&path).map_err(StateError::io("open", &path))?;
        Ok((Self { path, file, identity }, testimony))
    }

    pub(super) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(super) fn write(
        &mut self,
        generation: u64,
        sequence: u64,
        chain: Chain,
    ) -> Result<(), StateError> {
        let statement = Statement { identity: self.identity.clone(), generation, sequence, chain };
        let failed = StateError::io("write", &self.path);
        let text = serde_json::to_string(&statement).map_err(|error| failed(error.into()))?;
        // Numbers only grow, so a shorter text never leaves an end of a longer one behind; the
        // padding makes sure of it.
        let text = format!("{text:<LENGTH$}\n");
        let written = self.file.write_all_at(text.as_bytes(), 0);
        written.map_err(StateError::io("write", &self.path))
    }
}

fn read(file: File) -> std::io::Result<Testimony> {
    let mut text = Vec::new();
    file.take(2 * LENGTH as u64).read_to_end(&mut text)?;
    if text.is_empty() {
        return Ok(Testimony::None);
    }
    Ok(serde_json::from_slice(&text).map_or(Testimony::Damaged, |statement: Statement| {
        let Statement { identity, generation, sequence, chain } = statement;
        Testimony::Says { identity, generation, sequence, chain }
    }))
}

/// Bytes of a statement, more than the longest takes.
const LENGTH: usize = 320;
