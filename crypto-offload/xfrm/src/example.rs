//! SAs to test with.

use std::num::NonZeroU32;

use crypto_offload::{
    Aead, Direction, KeyingMaterial, Lifetimes, Limits, Mode, Reqid, SaId, SaSpec, SecretKey,
    Selector, SequenceNumbers, Spi,
};

/// To 192.0.2.2, for 10.1/16 to 10.2/16.
pub(crate) fn outbound() -> SaSpec {
    let hard = Limits { packets: Some(1000), ..Lifetimes::default().hard };
    let soft = Limits { packets: Some(900), ..Lifetimes::default().soft };
    SaSpec {
        id: SaId {
            destination: [192, 0, 2, 2].into(),
            spi: Spi::new(0xc000_0001).expect("free to use"),
        },
        source: [192, 0, 2, 1].into(),
        direction: Direction::Outbound,
        mode: Mode::Tunnel,
        keying: keying(Aead::Aes128Gcm),
        sequence_numbers: SequenceNumbers::Extended,
        replay_window: 64,
        lifetimes: Lifetimes { soft, hard },
        encapsulation: None,
        reqid: Reqid(NonZeroU32::new(77).expect("not 0")),
        selector: Selector {
            source: "10.1.0.0/16".parse().expect("a prefix"),
            destination: "10.2.0.0/16".parse().expect("a prefix"),
            protocol: None,
            source_port: None,
            destination_port: None,
        },
        device: None,
        resume_after: 0,
    }
}

/// The same, the other way.
pub(crate) fn inbound() -> SaSpec {
    let other = outbound();
    SaSpec {
        id: SaId { destination: other.source, spi: other.id.spi },
        source: other.id.destination,
        direction: Direction::Inbound,
        selector: other.selector.reversed(),
        ..other
    }
}

/// All sevens.
pub(crate) fn keying(aead: Aead) -> KeyingMaterial {
    let key = SecretKey::copy_from(&vec![7; aead.key_len() + Aead::SALT_LEN]);
    KeyingMaterial::new(aead, key).expect("the right length")
}
