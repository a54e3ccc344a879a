use crypto_offload::{Aead, SecretKey};

use super::*;
use crate::state::KeyName;

/// A log in a directory of its own, removed again.
struct Written {
    log: Log,
    directory: PathBuf,
}

impl Written {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("state-log-{}-{name}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut log = Log::new(root(), 0, [0; CHAIN_LEN]);
        log.replace(&directory, NAME, &Change { generation: 1, entries: &[], secrets: &[] })
            .unwrap();
        Self { log, directory }
    }

    fn path(&self) -> PathBuf {
        self.directory.join(NAME)
    }

    fn append(&mut self, keying: &KeyingMaterial) -> Result<(), StateError> {
        let entries = [Entry::Key(KeyName(keying.fingerprint()))];
        self.log.append(&Change { generation: 1, entries: &entries, secrets: &[keying] })
    }

    /// Has the next writes fail.
    fn close(&mut self) {
        self.log.open.as_mut().unwrap().file = File::open(self.path()).unwrap();
    }

    fn reopen(&mut self) {
        self.log.open.as_mut().unwrap().file = private_file().open(self.path()).unwrap();
    }

    fn read(&self) -> Reading {
        Log::read(&self.path(), &root()).unwrap()
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn root() -> StateKey {
    StateKey::for_tests()
}

fn keying(fill: u8) -> KeyingMaterial {
    KeyingMaterial::new(Aead::Aes128Gcm, SecretKey::copy_from(&[fill; 20])).unwrap()
}

#[test]
fn no_nonce_seals_two_keys_also_after_a_write_that_failed() {
    let mut written = Written::new("nonce");
    let mut nonces = Vec::new();
    for failures in [0, 1, 3, 0] {
        written.close();
        for fill in 0..failures {
            assert!(written.append(&keying(fill)).is_err());
            nonces.push((written.log.sequence + 1, written.log.failed - 1));
        }
        written.reopen();
        let before = usize::try_from(written.log.length).unwrap();
        written.append(&keying(9)).unwrap();
        let bytes = fs::read(written.path()).unwrap();
        let (sequence, attempt) = (u64_at(&bytes, before + 4), u32_at(&bytes, before + 12));
        nonces.push((sequence.unwrap(), attempt.unwrap()));
    }
    let count = nonces.len();
    nonces.sort_unstable();
    nonces.dedup();
    assert_eq!(nonces.len(), count, "{nonces:?}");
    let reading = written.read();
    assert!(!reading.damaged && !reading.wrong_key);
    assert_eq!(reading.changes.len(), 5);
    assert!(reading.changes[1..].iter().all(|change| change.keys[0].1 == keying(9)));
}

#[test]
fn what_a_failed_write_left_behind_damages_nothing() {
    let mut written = Written::new("left");
    written.close();
    assert!(written.append(&keying(1)).is_err());
    // A full disk took most of a long change; the next one is shorter.
    let file = private_file().open(written.path()).unwrap();
    file.write_all_at(&[0xee; 5000], written.log.length).unwrap();
    written.reopen();
    written.append(&keying(2)).unwrap();
    let reading = written.read();
    assert!(!reading.damaged);
    assert_eq!(reading.changes.len(), 2);
    assert!(reading.changes[1].keys[0].1 == keying(2));
}

const NAME: &str = "state.log";
