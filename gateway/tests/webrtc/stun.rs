//! Binding requests as an attacker writes them (RFC 8489 section 5, RFC 8445 section 7.1).

use ring::hmac;

/// A request under this username and password, that nominates.
pub(crate) fn binding_request(username: &str, password: &str, number: u32) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.extend([7; 8]);
    message.extend(number.to_be_bytes());
    attribute(&mut message, 0x0006, username.as_bytes());
    attribute(&mut message, 0x0024, &0x6eff_ffff_u32.to_be_bytes());
    attribute(&mut message, 0x802a, &[9; 8]);
    attribute(&mut message, 0x0025, &[]);
    // Each covers the length as it is with itself (RFC 8489 sections 14.5, 14.7).
    set_length(&mut message, 24);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let tag = hmac::sign(&key, &message);
    attribute(&mut message, 0x0008, tag.as_ref());
    set_length(&mut message, 8);
    let check = crc32(&message) ^ 0x5354_554e;
    attribute(&mut message, 0x8028, &check.to_be_bytes());
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    set_length(message, 0);
}

fn set_length(message: &mut [u8], to_come: usize) {
    let length = (message.len() - 20 + to_come) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

#[test]
fn the_check_is_that_of_iso_3309() {
    assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
}
