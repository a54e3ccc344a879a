//! Keys that a person puts into the right host's kernel with `ip xfrm`.

use anyhow::Result;
use crypto_offload::{Aead, KeyingMaterial, SecretKey, SequenceNumbers, Spi};
use gateway_control::KeyOffer;

use crate::hosts::{Hosts, Side};

/// What the person has chosen for the right host's inbound SA.
pub(crate) fn offer(index: usize, aead: Aead) -> Result<KeyOffer> {
    let bytes: Vec<u8> =
        (0..aead.key_len() + Aead::SALT_LEN).map(|at| (at * 7 + index * 31) as u8 + 1).collect();
    let keying = KeyingMaterial::new(aead, SecretKey::copy_from(&bytes))?;
    Ok(KeyOffer::new(Spi::new(0xc200_0000 + index as u32)?, &keying))
}

/// Both SAs and the policies, on the right host.
pub(crate) fn install(
    hosts: &Hosts,
    index: usize,
    inbound: &KeyOffer,
    outbound: &KeyOffer,
    sequence_numbers: SequenceNumbers,
) -> Result<()> {
    let (right, left) = (Side::Right.outer(), Side::Left.outer());
    let reqid = index + 1;
    for (source, destination, offer) in [(left, right, inbound), (right, left, outbound)] {
        let key: String =
            offer.key.0.dangerous_bytes().iter().map(|b| format!("{b:02x}")).collect();
        let esn = match sequence_numbers {
            SequenceNumbers::Extended => " flag esn",
            SequenceNumbers::Short => "",
        };
        hosts.ip(
            Side::Right,
            &format!(
                "xfrm state add src {source} dst {destination} proto esp spi {:#x} reqid {reqid} \
                 mode tunnel replay-window 128{esn} aead {} 0x{key} 128",
                offer.spi.value(),
                kernel_name(offer.aead)
            ),
        )?;
    }
    let (near, far) = (Side::Right.inner(index).0, Side::Left.inner(index).0);
    for (direction, from, to, source, destination) in [
        ("out", &near, &far, right, left),
        ("in", &far, &near, left, right),
        ("fwd", &far, &near, left, right),
    ] {
        hosts.ip(
            Side::Right,
            &format!(
                "xfrm policy add src {from} dst {to} dir {direction} tmpl src {source} \
                 dst {destination} proto esp reqid {reqid} mode tunnel"
            ),
        )?;
    }
    Ok(())
}

const fn kernel_name(aead: Aead) -> &'static str {
    match aead {
        Aead::Aes128Gcm | Aead::Aes256Gcm => "rfc4106(gcm(aes))",
        Aead::ChaCha20Poly1305 => "rfc7539esp(chacha20,poly1305)",
    }
}
