//! The log of rotations: the newest in memory, and each as a line of JSON in the state directory,
//! if there is one. The file is only ever appended to; rotating it is logrotate's.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crypto_offload::PairName;
use gateway_control::RotationRecord;

/// Clones share it.
#[derive(Clone)]
pub(crate) struct RotationLog(Arc<Mutex<Inner>>);

struct Inner {
    newest: VecDeque<RotationRecord>,
    file: Option<PathBuf>,
}

impl RotationLog {
    /// With what the file of `state` already tells.
    pub(crate) fn open(state: Option<&Path>) -> Self {
        let file = state.map(|directory| directory.join(FILE));
        let newest = file.as_deref().map(read).unwrap_or_default();
        Self(Arc::new(Mutex::new(Inner { newest, file })))
    }

    /// Adds one.
    pub(crate) fn add(&self, record: RotationRecord) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &inner.file
            && let Err(error) = append(file, &record)
        {
            tracing::warn!(file = %file.display(), %error, "a rotation is missing in the log");
        }
        keep(&mut inner.newest, record);
    }

    /// The newest of one pair.
    pub(crate) fn newest_of(&self, name: &PairName) -> Option<RotationRecord> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.newest.iter().rev().find(|record| record.name == *name).cloned()
    }

    /// The newest first.
    pub(crate) fn newest(&self, limit: usize) -> Vec<RotationRecord> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.newest.iter().rev().take(limit).cloned().collect()
    }
}

fn keep(newest: &mut VecDeque<RotationRecord>, record: RotationRecord) {
    if newest.len() == KEPT {
        newest.pop_front();
    }
    newest.push_back(record);
}

/// Lines that cannot be read are passed over: the last one may be cut off.
fn read(file: &Path) -> VecDeque<RotationRecord> {
    let mut newest = VecDeque::new();
    let Ok(file) = std::fs::File::open(file) else { return newest };
    for line in BufReader::new(file).lines().map_while(Result::ok) {
        if let Ok(record) = serde_json::from_str(&line) {
            keep(&mut newest, record);
        }
    }
    newest
}

/// One write for each line, so that a crash leaves whole lines.
fn append(file: &Path, record: &RotationRecord) -> io::Result<()> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    OpenOptions::new().append(true).create(true).mode(0o600).open(file)?.write_all(&line)
}

const FILE: &str = "rotations.jsonl";

/// Ten rotations of a thousand pairs.
const KEPT: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crypto_offload::{Epoch, Spi};

    fn record(to: u64) -> RotationRecord {
        let spi = |value| Spi::new(value).unwrap();
        RotationRecord {
            time: 1,
            name: PairName::new("trunk-1").unwrap(),
            who: "schedule".to_owned(),
            why: "age".to_owned(),
            from: Some(Epoch(to - 1)),
            to: Epoch(to),
            old_spis: None,
            new_spis: (spi(0xc000_0001), spi(0xc000_0002)),
            seconds: 1.5,
            lost: Some(0),
        }
    }

    #[test]
    fn rotations_outlive_us_and_a_line_that_was_cut_off_spoils_no_other() {
        let directory = std::env::temp_dir().join(format!("postern-log-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let log = RotationLog::open(Some(&directory));
        log.add(record(2));
        let file = directory.join(FILE);
        OpenOptions::new().append(true).open(&file).unwrap().write_all(b"{\"time\":\n").unwrap();
        log.add(record(3));
        let again = RotationLog::open(Some(&directory)).newest(10);
        assert_eq!(again, [record(3), record(2)]);
        assert_eq!(log.newest(1), [record(3)]);
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
