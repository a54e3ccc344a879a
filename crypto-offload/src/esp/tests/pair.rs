//! One SA as its two ends, and what each refuses.

use super::super::{DropReason, HEADROOM, NextHeader, Open, Opened, Seal, TAILROOM};
use crate::{
    Aead, Direction, KeyingMaterial, Lifetimes, Limits, Mode, Reqid, SaId, SaSpec, SecretKey,
    Selector, SequenceNumbers, Spi,
};

/// An SA of `aead` with a key of its own, without limits.
pub(super) fn sa(aead: Aead, sequence_numbers: SequenceNumbers) -> SaSpec {
    let key: Vec<u8> = (0..aead.key_len() + Aead::SALT_LEN).map(|at| at as u8 ^ 0x5a).collect();
    keyed(aead, &key, sequence_numbers)
}

/// An SA with this key and salt.
pub(super) fn keyed(aead: Aead, key: &[u8], sequence_numbers: SequenceNumbers) -> SaSpec {
    let any = "0.0.0.0/0".parse().expect("a prefix");
    SaSpec {
        id: SaId {
            destination: "192.0.2.2".parse().expect("an address"),
            spi: Spi::new(0xc000_0001).expect("not reserved"),
        },
        source: "192.0.2.1".parse().expect("an address"),
        direction: Direction::Outbound,
        mode: Mode::Tunnel,
        keying: KeyingMaterial::new(aead, SecretKey::copy_from(key)).expect("the right length"),
        sequence_numbers,
        replay_window: 64,
        lifetimes: Lifetimes { soft: Limits::default(), hard: Limits::default() },
        encapsulation: None,
        reqid: Reqid(1.try_into().expect("not 0")),
        selector: Selector {
            source: any,
            destination: any,
            protocol: None,
            source_port: None,
            destination_port: None,
        },
        device: None,
        resume_after: 0,
    }
}

/// The ESP packet around `payload`.
pub(super) fn sealed(
    seal: &mut Seal,
    payload: &[u8],
    next_header: NextHeader,
) -> Result<Vec<u8>, DropReason> {
    let mut slot = vec![0xee; HEADROOM + payload.len() + TAILROOM];
    let at = HEADROOM..HEADROOM + payload.len();
    slot[at.clone()].copy_from_slice(payload);
    let packet = seal.seal(&mut slot, at, next_header)?;
    Ok(slot[packet].to_vec())
}

/// A copy of `packet`, opened: its payload.
pub(super) fn opened(open: &mut Open, packet: &[u8]) -> Result<(Vec<u8>, Opened), DropReason> {
    let mut packet = packet.to_vec();
    let opened = open.open(&mut packet)?;
    Ok((packet[opened.payload.clone()].to_vec(), opened))
}

fn send(seal: &mut Seal) -> Vec<u8> {
    sealed(seal, b"payload", NextHeader::IPV4).expect("sealed")
}

#[test]
fn every_tampered_bit_is_noticed_and_the_packet_itself_still_accepted() {
    for aead in Aead::ALL {
        for numbers in [SequenceNumbers::Extended, SequenceNumbers::Short] {
            let sa = sa(aead, numbers);
            let (mut seal, mut open) = (Seal::new(&sa), Open::new(&sa));
            let packet = send(&mut seal);
            // The SPI selects the SA, and is not compared again.
            for bit in 32..packet.len() * 8 {
                let mut tampered = packet.clone();
                tampered[bit / 8] ^= 1 << (bit % 8);
                let refused = opened(&mut open, &tampered).expect_err("forged");
                assert!(
                    matches!(refused, DropReason::Forged | DropReason::Late | DropReason::Replayed),
                    "{refused:?}"
                );
            }
            assert_eq!(open.highest(), 0);
            assert_eq!(open.allowance().packets(), 0);
            assert_eq!(opened(&mut open, &packet).expect("authentic").0, b"payload");
            assert_eq!(opened(&mut open, &packet).expect_err("again"), DropReason::Replayed);
        }
    }
}

#[test]
fn numbers_end_without_esn_and_are_refused_before_they_wrap() {
    let mut sa = sa(Aead::Aes128Gcm, SequenceNumbers::Short);
    sa.resume_after = u64::from(u32::MAX) - 1;
    let (mut seal, mut open) = (Seal::new(&sa), Open::new(&sa));
    let last = send(&mut seal);
    assert_eq!(last[4..8], [0xff; 4]);
    assert_eq!(last[8..16], [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    assert_eq!(opened(&mut open, &last).expect("authentic").1.sequence, u64::from(u32::MAX));
    for _ in 0..2 {
        let refused = sealed(&mut seal, b"payload", NextHeader::IPV4);
        assert_eq!(refused, Err(DropReason::SequenceExhausted));
    }
}

#[test]
fn extended_numbers_pass_the_wrap_and_end_at_64_bits() {
    let mut sa = sa(Aead::ChaCha20Poly1305, SequenceNumbers::Extended);
    sa.resume_after = u64::from(u32::MAX) - 2;
    let (mut seal, mut open) = (Seal::new(&sa), Open::new(&sa));
    let packets: Vec<_> = (0..5).map(|_| send(&mut seal)).collect();
    for at in [4, 0, 3, 1, 2] {
        let (_, found) = opened(&mut open, &packets[at]).expect("authentic");
        assert_eq!(found.sequence, sa.resume_after + 1 + at as u64);
    }
    sa.resume_after = u64::MAX - 2;
    let mut seal = Seal::new(&sa);
    send(&mut seal);
    send(&mut seal);
    let refused = sealed(&mut seal, b"payload", NextHeader::IPV4);
    assert_eq!(refused, Err(DropReason::SequenceExhausted));
}

#[test]
fn nothing_passes_the_ceiling_of_either_end() {
    let sa = sa(Aead::Aes256Gcm, SequenceNumbers::Extended);
    let (mut seal, mut open) = (Seal::new(&sa), Open::new(&sa));
    seal.set_ceiling(2);
    let first = send(&mut seal);
    let second = send(&mut seal);
    let refused = sealed(&mut seal, b"payload", NextHeader::IPV4);
    assert_eq!(refused, Err(DropReason::Unreserved));
    assert_eq!(seal.sequence(), 2);
    seal.set_ceiling(3);
    let third = send(&mut seal);

    open.set_ceiling(1);
    assert_eq!(opened(&mut open, &third).expect_err("above"), DropReason::Unreserved);
    assert_eq!(opened(&mut open, &second).expect_err("above"), DropReason::Unreserved);
    assert_eq!((open.refused(), open.highest()), (Some(3), 0));
    opened(&mut open, &first).expect("below");
    open.set_ceiling(3);
    assert_eq!(open.refused(), None);
    opened(&mut open, &second).expect("not marked when it was refused");
}

#[test]
fn a_spent_sa_neither_seals_nor_opens() {
    let mut sa = sa(Aead::Aes256Gcm, SequenceNumbers::Extended);
    let mut free = Seal::new(&sa);
    sa.lifetimes.hard.packets = Some(2);
    let (mut seal, mut open) = (Seal::new(&sa), Open::new(&sa));
    for _ in 0..2 {
        let packet = send(&mut seal);
        opened(&mut open, &packet).expect("within the limit");
        send(&mut free);
    }
    let refused = sealed(&mut seal, b"payload", NextHeader::IPV4);
    assert_eq!(refused, Err(DropReason::HardLimit));
    let third = send(&mut free);
    assert_eq!(opened(&mut open, &third).expect_err("spent"), DropReason::HardLimit);
}

#[test]
fn a_slot_without_room_spends_no_number() {
    let mut seal = Seal::new(&sa(Aead::Aes256Gcm, SequenceNumbers::Extended));
    let mut slot = [0; 100];
    let refused = seal.seal(&mut slot, HEADROOM - 1..40, NextHeader::IPV4);
    assert_eq!(refused, Err(DropReason::NoRoom));
    let refused = seal.seal(&mut slot, HEADROOM..90, NextHeader::IPV4);
    assert_eq!(refused, Err(DropReason::NoRoom));
    assert_eq!((seal.sequence(), seal.allowance().packets()), (0, 0));
    seal.seal(&mut slot, HEADROOM..82, NextHeader::IPV4).expect("the last byte is enough");
}

#[test]
fn dummies_are_used_up_and_dropped() {
    let sa = sa(Aead::Aes256Gcm, SequenceNumbers::Extended);
    let (mut seal, mut open) = (Seal::new(&sa), Open::new(&sa));
    let packet = sealed(&mut seal, &[7; 100], NextHeader::NONE).expect("sealed");
    assert_eq!(opened(&mut open, &packet).expect_err("filler"), DropReason::Dummy);
    assert_eq!(opened(&mut open, &packet).expect_err("filler"), DropReason::Replayed);
}

#[test]
fn what_is_shorter_than_any_packet_is_refused_at_every_length() {
    let sa = sa(Aead::Aes256Gcm, SequenceNumbers::Extended);
    let (mut seal, mut open) = (Seal::new(&sa), Open::new(&sa));
    let packet = sealed(&mut seal, &[], NextHeader::IPV4).expect("sealed");
    for length in 0..packet.len() {
        let refused = opened(&mut open, &packet[..length]).expect_err("short");
        assert_eq!(refused, DropReason::TooShort, "{length} bytes");
    }
    assert_eq!(opened(&mut open, &packet).expect("whole").0, b"");
}

#[test]
fn what_is_below_the_floor_of_a_resumed_sa_is_late_whether_numbers_are_extended_or_short() {
    for numbers in [SequenceNumbers::Extended, SequenceNumbers::Short] {
        let sa = sa(Aead::Aes128Gcm, numbers);
        let (mut seal, resumed) = (Seal::new(&sa), SaSpec { resume_after: 512, ..sa });
        let mut open = Open::new(&resumed);
        for number in 1..=512 {
            let refused = opened(&mut open, &send(&mut seal)).expect_err("below the floor");
            let within = number > 512 - u64::from(resumed.replay_window);
            let expected = if within { DropReason::Replayed } else { DropReason::Late };
            assert_eq!(refused, expected, "number {number}, {numbers:?}");
        }
        let mut forged = send(&mut seal);
        opened(&mut open, &forged).expect("above the floor");
        forged[7] += 1;
        assert_eq!(opened(&mut open, &forged).expect_err("another number"), DropReason::Forged);
    }
}
