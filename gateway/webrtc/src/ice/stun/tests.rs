//! RFC 5769's vectors, and messages of ours read back.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;
use crate::ice::Role;

/// RFC 5769 section 2: the password of all its short-term messages.
const PASSWORD: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

/// RFC 5769 section 2.1.
const REQUEST: &str = "
    00010058 2112a442 b7e7a701bc34d686fa87dfae
    80220010 5354554e207465737420636c69656e74
    00240004 6e0001ff
    80290008 932ff9b151263b36
    00060009 6576746a3a68367659202020
    00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
    80280004 e57a3bcf";

/// RFC 5769 section 2.2.
const ANSWER_IPV4: &str = "
    0101003c 2112a442 b7e7a701bc34d686fa87dfae
    8022000b 7465737420766563746f7220
    00200008 0001a147e112a643
    00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7
    80280004 c07d4c96";

/// RFC 5769 section 2.3.
const ANSWER_IPV6: &str = "
    01010048 2112a442 b7e7a701bc34d686fa87dfae
    8022000b 7465737420766563746f7220
    00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9
    00080014 a382954e4be67bf11784c97c8292c275bfe3ed41
    80280004 c8fb0b4c";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

#[test]
fn the_request_of_rfc_5769_is_read_and_authentic() {
    let bytes = bytes(REQUEST);
    let message = Message::parse(&bytes).expect("parses");
    assert_eq!(message.class, Class::Request);
    assert_eq!(message.username, Some(&b"evtj:h6vY"[..]));
    assert_eq!(message.fragments(), Some((&b"evtj"[..], &b"h6vY"[..])));
    assert_eq!(message.priority, Some(0x6E00_01FF));
    assert_eq!(message.role, Some((Role::Controlled, 0x932F_F9B1_5126_3B36)));
    assert!(message.is_authentic(PASSWORD));
    assert!(!message.is_authentic(&PASSWORD[1..]));
}

#[test]
fn the_answers_of_rfc_5769_are_read_and_authentic() {
    for (hex, mapped) in [
        (ANSWER_IPV4, "192.0.2.1:32853"),
        (ANSWER_IPV6, "[2001:db8:1234:5678:11:2233:4455:6677]:32853"),
    ] {
        let bytes = bytes(hex);
        let message = Message::parse(&bytes).expect("parses");
        assert_eq!(message.class, Class::Success);
        assert_eq!(message.mapped, Some(mapped.parse().expect("address")));
        assert!(message.is_authentic(PASSWORD));
    }
}

#[test]
fn a_message_without_integrity_is_never_authentic() {
    let mut message = vec![0, 1, 0, 8];
    message.extend(MAGIC_COOKIE.to_be_bytes());
    message.extend([7; 12]);
    let checksum = crc32(&message) ^ FINGERPRINT_XOR;
    message.extend([0x80, 0x28, 0, 4]);
    message.extend(checksum.to_be_bytes());
    let message = Message::parse(&message).expect("parses");
    assert!(!message.is_authentic(b""));
}

#[test]
fn attributes_that_must_be_understood_are_named_in_the_refusal() {
    let id = TransactionId([9; 12]);
    let refusal = error(id, 420, &[0x0030, 0x7F01], PASSWORD);
    let message = Message::parse(&refusal).expect("parses");
    assert_eq!((message.class, message.error), (Class::Error, Some(420)));
    assert!(message.is_authentic(PASSWORD));
    assert!(refusal.windows(8).any(|part| part == [0, 0x0A, 0, 4, 0, 0x30, 0x7F, 1]));
}

#[test]
fn unknown_attributes_are_seen_before_integrity_and_not_after() {
    let request = CheckRequest {
        transaction: TransactionId([1; 12]),
        fragments: ("abcd", "efgh"),
        priority: 1,
        role: Role::Controlling,
        tie_breaker: 2,
        nomination: Nominate::Yes,
    };
    let written = check(request, PASSWORD);
    let body = &written[..written.len() - 8];
    let with = |at: usize| {
        let mut forged = [&body[..at], &[0x12, 0x34, 0, 0], &body[at..], &[]].concat();
        let length = (forged.len() - HEADER + 8) as u16;
        forged[2..4].copy_from_slice(&length.to_be_bytes());
        let checksum = crc32(&forged) ^ FINGERPRINT_XOR;
        forged.extend([0x80, 0x28, 0, 4]);
        forged.extend(checksum.to_be_bytes());
        forged
    };
    let before = with(HEADER);
    let message = Message::parse(&before).expect("parses");
    assert_eq!(message.unknown.kinds(), [0x1234]);
    assert!(!message.is_authentic(PASSWORD));
    let after = with(body.len());
    let message = Message::parse(&after).expect("parses");
    assert!(message.unknown.kinds().is_empty());
    assert!(message.is_authentic(PASSWORD));
}

proptest! {
    #[test]
    fn a_check_is_read_as_it_was_written(
        ours in "[a-zA-Z0-9+/]{4,256}",
        theirs in "[a-zA-Z0-9+/]{4,256}",
        password in "[a-zA-Z0-9+/]{22,256}",
        transaction: [u8; 12],
        priority: u32,
        tie_breaker: u64,
    ) {
        let request = CheckRequest {
            transaction: TransactionId(transaction),
            fragments: (&theirs, &ours),
            priority,
            role: Role::Controlling,
            tie_breaker,
            nomination: Nominate::Yes,
        };
        let written = check(request, password.as_bytes());
        prop_assert!(written.len() < 700);
        let message = Message::parse(&written).expect("parses");
        prop_assert!(message.is_authentic(password.as_bytes()));
        prop_assert_eq!(message.fragments(), Some((theirs.as_bytes(), ours.as_bytes())));
        prop_assert_eq!(message.priority, Some(priority));
        prop_assert_eq!(message.role, Some((Role::Controlling, tie_breaker)));
        prop_assert_eq!(message.transaction, TransactionId(transaction));
        prop_assert!(message.use_candidate);
    }

    #[test]
    fn a_mapped_address_is_read_as_it_was_written_and_smaller_than_any_check(
        address: SocketAddr,
        transaction: [u8; 12],
    ) {
        let written = success(TransactionId(transaction), address, PASSWORD);
        let message = Message::parse(&written).expect("parses");
        let mapped = message.mapped.expect("mapped");
        prop_assert_eq!((mapped.ip(), mapped.port()), (address.ip(), address.port()));
        prop_assert!(written.len() <= 76);
    }

    #[test]
    fn anything_is_read_or_refused_without_panic(noise: Vec<u8>) {
        let _ = Message::parse(&noise).map(|message| message.is_authentic(PASSWORD));
        let mut dressed = bytes(ANSWER_IPV6)[..HEADER].to_vec();
        dressed.extend(&noise);
        dressed[2..4].copy_from_slice(&(noise.len() as u16).to_be_bytes());
        let _ = Message::parse(&dressed).map(|message| message.is_authentic(PASSWORD));
    }
}
