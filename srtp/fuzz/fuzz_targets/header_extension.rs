//! Plain bytes from anyone, their header extensions hidden: what can be protected opens again to
//! the same bytes, but for the empty extension that Cryptex gives CSRCs without one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use srtp::{
    Cryptex, ExtensionIds, HeaderExtensions, MasterKey, Policy, Profile, Receiver, Sender,
    Weaknesses, rtp,
};

fuzz_target!(|bytes: &[u8]| {
    let Some((&[profile, extensions], plain)) = bytes.split_first_chunk() else { return };
    let profile = Profile::ALL[usize::from(profile) % Profile::ALL.len()];
    let header_extensions = match extensions {
        0..64 => HeaderExtensions::Cryptex(Cryptex::Optional),
        64..128 => HeaderExtensions::Cryptex(Cryptex::Required),
        step => HeaderExtensions::Encrypted(
            ExtensionIds::new((1..=255).step_by(usize::from(step - 127))).unwrap(),
        ),
    };
    let policy = Policy { accepted: Weaknesses::ALL, header_extensions, ..Policy::default() };
    let key = vec![0x42; profile.key_len() + profile.salt_len()];
    let key = MasterKey::from_concatenated(profile, &key).unwrap();
    let mut sender = Sender::new(&key, &policy).unwrap();
    let mut receiver = Receiver::new(&key, &policy).unwrap();

    let mut buffer = [plain, &[0; 20]].concat();
    let Ok(sealed) = sender.protect_rtp(&mut buffer, plain.len()) else { return };
    let opened = receiver.open_rtp(&mut buffer[..sealed.len]).unwrap();
    let opened = &buffer[..opened.len];
    if opened.len() == plain.len() {
        assert_eq!(opened, plain);
        return;
    }
    let header = rtp::Header::new_checked(opened).unwrap();
    assert_eq!(header.extension(), Some((0xbede, &[][..])));
    assert_eq!(
        [&opened[..header.payload_offset() - 4], header.payload()].concat()[1..],
        plain[1..]
    );
    assert_eq!(opened[0], plain[0] | 0x10);
});
