//! No vector has an MKI (RFC 3711 section 3.1, RFC 7714 section 8.2): what it does to a packet.

use srtp::{
    KeyParameters, MasterKey, Mki, Policy, Profile, Receiver, Refusal, Sender, Weakness, Weaknesses,
};

use crate::{on_backends, with_tailroom};

/// An MKI stands behind the tag in AEAD packets and before it in the others, and is not covered
/// by the tag: the rest is as without.
#[test]
fn an_mki_changes_nothing_but_its_own_place() {
    let accepted = Weaknesses::NONE.with(Weakness::NullCipher).with(Weakness::F8);
    for (profile, policy) in Profile::ALL.into_iter().flat_map(on_backends) {
        let policy = Policy { accepted, ..policy };
        let mki = Mki::new(b"mki!").expect("4 bytes");
        let master = vec![9; profile.key_len() + profile.salt_len()];
        let master = MasterKey::from_concatenated(profile, &master).expect("its length");
        let key = KeyParameters { mki, ..(&master).into() };
        let sender = |key| Sender::new(key, &policy).expect("suitable");
        let plain = [&[0x80, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3][..], b"payload"].concat();
        let mut with = with_tailroom(&plain);
        let mut without = with.clone();
        let with_len = sender(key.clone()).protect_rtp(&mut with, plain.len()).expect("protects");
        let without_len =
            sender((&master).into()).protect_rtp(&mut without, plain.len()).expect("protects");
        let at = if profile.is_aead() { without_len.len } else { plain.len() };
        let mut expected = without[..without_len.len].to_vec();
        expected.splice(at..at, *b"mki!");
        assert_eq!(with[..with_len.len], expected, "{profile}");

        let mut receiver = Receiver::new(key, &policy).expect("suitable");
        let mut other = with[..with_len.len].to_vec();
        other[at] ^= 1;
        assert_eq!(receiver.open_rtp(&mut other), Err(Refusal::UnknownMki));
        let opened = receiver.open_rtp(&mut with[..with_len.len]).expect("opens");
        assert_eq!(with[..opened.len], plain, "{profile}");
    }
}
