//! Calls through the relay under test, all legs on the blaster's two sockets.

use std::net::{SocketAddr, SocketAddrV4};

use anyhow::{Context, Result, bail};
use loadgen::body;
use loadgen::control::{Control, Dialogue};
use ring::rand::SystemRandom;
use srtp::{Policy, Profile};

use crate::relay_process::NG;
use crate::sockets::Sockets;

/// The suite that the comparisons use: what almost every SDES phone and trunk speaks.
pub const PROFILE: Profile = Profile::AesCm128HmacSha1_80;

/// A call as the blaster drives it.
pub struct Call {
    /// The relay's port that faces the plain leg.
    pub plain: SocketAddrV4,
    /// The relay's port that faces the SRTP leg.
    pub secure: SocketAddrV4,
    /// The plain leg's sequence.
    pub plain_sequence: Sequence,
    /// The SRTP leg's sequence.
    pub secure_sequence: Sequence,
    /// Protects what the SRTP leg sends.
    pub to_relay: srtp::Sender,
    /// Opens what the SRTP leg receives.
    pub from_relay: srtp::Receiver,
}

/// An RTP sequence number that counts up.
#[derive(Default)]
pub struct Sequence(u16);

impl Sequence {
    /// The next one.
    pub fn advance(&mut self) -> u16 {
        self.0 = self.0.wrapping_add(1);
        self.0
    }
}

/// Sets `count` calls up through the relay that listens at [`NG`].
pub fn set_up(sockets: &Sockets, count: usize) -> Result<Vec<Call>> {
    let mut control = Control::connect(SocketAddr::V4(NG))?;
    let random = SystemRandom::new();
    (0..count)
        .map(|number| {
            set_up_one(&mut control, &random, sockets, &Dialogue::new(number))
                .with_context(|| format!("call {number}"))
        })
        .collect()
}

fn set_up_one(
    control: &mut Control,
    random: &SystemRandom,
    sockets: &Sockets,
    dialogue: &Dialogue,
) -> Result<Call> {
    let offered = control.offer(dialogue, body::plain_sdp(sockets.plain.local_addr()?))?;
    let (secure, theirs) = body::chosen(&offered, PROFILE)?;
    let ours = body::fresh_key(random, PROFILE, theirs.tag)?;
    let answer = body::secure_sdp(sockets.secure.local_addr()?, &ours);
    let (_, plain) = body::audio(&control.answer(dialogue, answer)?)?;
    Ok(Call {
        plain: v4(plain)?,
        secure: v4(secure)?,
        plain_sequence: Sequence::default(),
        secure_sequence: Sequence::default(),
        to_relay: srtp::Sender::new(&ours.key.master, &Policy::default())?,
        from_relay: srtp::Receiver::new(&theirs.key.master, &Policy::default())?,
    })
}

fn v4(address: SocketAddr) -> Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(_) => bail!("{address} is not IPv4"),
    }
}
