//! Bytes from anyone as an ESP packet: refused without a panic or a change. The same bytes from the
//! peer, inside an authentic packet: opened as they were, and judged without a panic.
#![no_main]

use crypto_offload::{
    Aead, Direction, KeyingMaterial, Lifetimes, Limits, Mode, Reqid, SaId, SaSpec, SecretKey,
    Selector, SequenceNumbers, Spi,
    esp::{DropReason, HEADROOM, Inner, NextHeader, Open, Seal, TAILROOM, ecn},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let [choice, next_header, traffic_class, rest @ ..] = bytes else { return };
    let sa = sa(*choice);
    let mut open = Open::new(&sa);
    assert!(open.open(&mut rest.to_vec()).is_err());
    assert_eq!((open.highest(), open.allowance().packets()), (sa.resume_after, sa.resume_after));

    let mut slot = vec![0; HEADROOM + rest.len() + TAILROOM];
    let payload = HEADROOM..HEADROOM + rest.len();
    slot[payload.clone()].copy_from_slice(rest);
    let Ok(sealed) = Seal::new(&sa).seal(&mut slot, payload, NextHeader(*next_header)) else {
        panic!("a new SA seals");
    };
    let packet = &mut slot[sealed];
    let opened = match open.open(packet) {
        Ok(opened) => opened,
        Err(refused) => {
            assert_eq!((refused, NextHeader(*next_header)), (DropReason::Dummy, NextHeader::NONE));
            return;
        }
    };
    let payload = &mut packet[opened.payload];
    assert_eq!(payload, rest);
    if let Ok(inner) = Inner::tunnelled(opened.next_header, payload) {
        assert!(inner.length <= payload.len());
        let _ = inner.fits(&sa.selector);
        let _ = ecn::decapsulate(&mut payload[..inner.length], *traffic_class);
        assert!(Inner::parse(&payload[..inner.length]).is_ok());
    }
});

fn sa(choice: u8) -> SaSpec {
    let aead = Aead::ALL[usize::from(choice) % Aead::ALL.len()];
    let key = vec![0x42; aead.key_len() + Aead::SALT_LEN];
    SaSpec {
        id: SaId { destination: [192, 0, 2, 2].into(), spi: Spi::new(0xc000_0001).unwrap() },
        source: [192, 0, 2, 1].into(),
        direction: Direction::Inbound,
        mode: Mode::Tunnel,
        keying: KeyingMaterial::new(aead, SecretKey::copy_from(&key)).unwrap(),
        sequence_numbers: match choice & 0x80 {
            0 => SequenceNumbers::Extended,
            _ => SequenceNumbers::Short,
        },
        replay_window: u32::from(choice & 0x7f) * 32 + 1,
        lifetimes: Lifetimes { soft: Limits::default(), hard: Limits::default() },
        encapsulation: None,
        reqid: Reqid(1.try_into().unwrap()),
        selector: Selector {
            source: "10.0.0.0/8".parse().unwrap(),
            destination: "::/0".parse().unwrap(),
            protocol: Some(17),
            source_port: None,
            destination_port: Some(5060),
        },
        device: None,
        resume_after: u64::from(choice) << 24,
    }
}
