//! Plain bytes from anyone: what can be protected opens again to the same bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use srtp::{Backend, MasterKey, Policy, Profile, Receiver, Sender, Weaknesses};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, plain)) = bytes.split_first() else { return };
    let profile = Profile::ALL[usize::from(*choice & 0x7f) % Profile::ALL.len()];
    let key = vec![0x42; profile.key_len() + profile.salt_len()];
    let backends = Backend::available();
    let backend = backends[usize::from(*choice >> 7) % backends.len()];
    let policy = Policy { accepted: Weaknesses::ALL, backend, ..Policy::default() };
    let Ok(key) = MasterKey::from_concatenated(profile, &key) else { return };
    let mut sender = Sender::new(&key, &policy).unwrap();
    let mut receiver = Receiver::new(&key, &policy).unwrap();

    let mut buffer = [plain, &[0; 20]].concat();
    if let Ok(sealed) = sender.protect_rtp(&mut buffer, plain.len()) {
        let opened = receiver.open_rtp(&mut buffer[..sealed.len]);
        assert_eq!(opened.map(|opened| opened.len), Ok(plain.len()));
        assert_eq!(&buffer[..plain.len()], plain);
    }
    let mut buffer = [plain, &[0; 20]].concat();
    if let Ok(sealed) = sender.protect_rtcp(&mut buffer, plain.len()) {
        let opened = receiver.open_rtcp(&mut buffer[..sealed.len]);
        assert_eq!(opened.map(|opened| opened.len), Ok(plain.len()));
        assert_eq!(&buffer[..plain.len()], plain);
    }
});
