//! Bytes from anyone, as SRTCP: refused without a panic, and nothing forged opens.
#![no_main]

use libfuzzer_sys::fuzz_target;
use srtp::{Backend, MasterKey, Policy, Profile, Receiver, Weaknesses};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, packet)) = bytes.split_first() else { return };
    let profile = Profile::ALL[usize::from(*choice & 0x7f) % Profile::ALL.len()];
    let key = vec![0x42; profile.key_len() + profile.salt_len()];
    let backends = Backend::available();
    let backend = backends[usize::from(*choice >> 7) % backends.len()];
    let policy = Policy { accepted: Weaknesses::ALL, backend, ..Policy::default() };
    let Ok(key) = MasterKey::from_concatenated(profile, &key) else { return };
    let mut receiver = Receiver::new(&key, &policy).unwrap();
    assert!(receiver.open_rtcp(&mut packet.to_vec()).is_err());
});
