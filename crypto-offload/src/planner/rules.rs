//! What is refused whatever an engine says of itself.
//!
//! The inline rules are the checks of mlx5 (`mlx5e_xfrm_validate_state` in the kernel's
//! `en_accel/ipsec.c`), the one driver with packet offload. Two of its checks cannot fail here:
//! `reqid` is never 0 ([`Reqid`](crate::Reqid)), and every algorithm has a 16-byte ICV and
//! sequential IVs. A probe that succeeded is believed over the rule for algorithms.

use crate::{Aead, Answer, Capability, Evidence, Feature, Limits, Mode, Placement, SaPair};

/// Why not, if so. `about` finds what the engine says of itself.
pub(super) fn refusal<'a>(
    pair: &SaPair,
    placement: Placement,
    about: impl Fn(Feature) -> Option<&'a Capability>,
) -> Option<String> {
    match placement {
        Placement::KernelSoftware => None,
        Placement::UserSpace => (pair.mode != Mode::Tunnel).then(|| {
            "our own ESP does tunnel mode only: its packets come from a TUN device".into()
        }),
        Placement::InlineCrypto => inline(pair, about),
        Placement::InlinePacket => inline(pair, about).or_else(|| packet(pair)),
    }
}

fn inline<'a>(pair: &SaPair, about: impl Fn(Feature) -> Option<&'a Capability>) -> Option<String> {
    let proven = about(Feature::Aead(pair.aead)).is_some_and(|entry| {
        let seen = matches!(entry.evidence, Evidence::Probed { .. } | Evidence::Observed { .. });
        entry.answer == Answer::Yes && seen
    });
    if pair.aead == Aead::ChaCha20Poly1305 && !proven {
        return Some(format!("devices do AES-GCM only, not {}", pair.aead));
    }
    let protocol = pair.protocol.filter(|protocol| !OFFLOADED_PROTOCOLS.contains(protocol))?;
    Some(format!("devices select any protocol, TCP or UDP, not protocol {protocol}"))
}

fn packet(pair: &SaPair) -> Option<String> {
    if !PACKET_WINDOWS.contains(&pair.replay_window) {
        let window = pair.replay_window;
        return Some(format!("replay_window {window}: packet offload takes 32, 64, 128 or 256"));
    }
    if pair.encapsulation.is_some() && pair.mode == Mode::Tunnel {
        return Some("packet offload does ESP in UDP in transport mode only".to_owned());
    }
    let (soft, hard) = (pair.lifetimes.soft, pair.lifetimes.hard);
    limit("packets", soft, hard, |limits| limits.packets)
        .or_else(|| limit("bytes", soft, hard, |limits| limits.bytes))
}

/// The driver compares them as numbers where none is the largest: a hard limit without a soft one
/// is to it a soft limit above the hard one.
fn limit(unit: &str, soft: Limits, hard: Limits, of: fn(&Limits) -> Option<u64>) -> Option<String> {
    let (soft, hard) = (of(&soft), of(&hard));
    if soft == Some(0) || hard == Some(0) {
        return Some(format!("packet offload takes no limit of 0 {unit}"));
    }
    let hard = hard?;
    if soft.is_some_and(|soft| soft < hard) {
        return None;
    }
    Some(format!("packet offload takes a hard limit of {unit} only with a soft one below it"))
}

/// Any, TCP, UDP.
const OFFLOADED_PROTOCOLS: [u8; 3] = [0, 6, 17];
/// Bits of the device's replay window.
const PACKET_WINDOWS: [u32; 4] = [32, 64, 128, 256];
