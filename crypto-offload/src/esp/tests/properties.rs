//! Properties over many packets.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::{DropReason, NextHeader, Open, Seal};
use super::pair::{opened, sa, sealed};
use crate::{Aead, SequenceNumbers};

fn aeads() -> impl Strategy<Value = Aead> {
    proptest::sample::select(Aead::ALL.as_slice())
}

fn numbers() -> impl Strategy<Value = SequenceNumbers> {
    proptest::sample::select([SequenceNumbers::Extended, SequenceNumbers::Short].as_slice())
}

#[test]
fn every_length_of_payload_comes_back() {
    for aead in Aead::ALL {
        let sa = sa(aead, SequenceNumbers::Extended);
        let (mut seal, mut open) = (Seal::new(&sa), Open::new(&sa));
        for length in 0..=1500 {
            let payload: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
            let packet = sealed(&mut seal, &payload, NextHeader::IPV6).expect("sealed");
            assert_eq!(packet.len() % 4, 0, "{length} bytes");
            let (found, about) = opened(&mut open, &packet).expect("authentic");
            assert_eq!((found, about.next_header), (payload, NextHeader::IPV6));
        }
    }
}

proptest! {
    #[test]
    fn a_sender_that_resumes_above_its_ceiling_repeats_no_iv(
        aead in aeads(),
        numbers in numbers(),
        runs in proptest::collection::vec((0u64..40, 1u64..40), 1..8),
    ) {
        let mut sa = sa(aead, numbers);
        let mut ivs = HashSet::new();
        for (packets, block) in runs {
            let mut seal = Seal::new(&sa);
            let ceiling = sa.resume_after + block;
            seal.set_ceiling(ceiling);
            for _ in 0..packets {
                match sealed(&mut seal, &[1, 2, 3], NextHeader::IPV4) {
                    Ok(packet) => prop_assert!(ivs.insert(packet[8..16].to_vec())),
                    Err(refused) => prop_assert_eq!(refused, DropReason::Unreserved),
                }
            }
            sa.resume_after = ceiling;
        }
    }

    #[test]
    fn a_receiver_takes_each_packet_once_in_any_order_over_a_wrap(
        aead in aeads(),
        start in (1u64 << 32) - 60..(1 << 32),
        order in proptest::collection::vec(0usize..120, 1..300),
    ) {
        let mut sa = sa(aead, SequenceNumbers::Extended);
        sa.resume_after = start;
        let (mut seal, mut open) = (Seal::new(&sa), Open::new(&sa));
        let packets: Vec<_> = (0..120u8)
            .map(|at| sealed(&mut seal, &[at], NextHeader::IPV4).expect("sealed"))
            .collect();
        let mut taken = HashSet::new();
        let mut highest = start;
        for at in order {
            let sequence = start + 1 + at as u64;
            let late = sequence + u64::from(sa.replay_window) <= highest;
            match opened(&mut open, &packets[at]) {
                Ok((payload, about)) => {
                    prop_assert_eq!((payload, about.sequence), (vec![at as u8], sequence));
                    prop_assert!(!late && taken.insert(at));
                    highest = highest.max(sequence);
                }
                // Behind the window a number reads as one a wrap further on, which nobody sealed.
                Err(DropReason::Late | DropReason::Forged) => prop_assert!(late),
                Err(refused) => {
                    prop_assert_eq!(refused, DropReason::Replayed);
                    prop_assert!(taken.contains(&at));
                }
            }
        }
    }

    #[test]
    fn noise_is_refused_and_changes_nothing(
        numbers in numbers(),
        mut noise in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut open = Open::new(&sa(Aead::Aes128Gcm, numbers));
        prop_assert!(open.open(&mut noise).is_err());
        prop_assert_eq!((open.highest(), open.allowance().packets(), open.refused()), (0, 0, None));
    }
}
