//! A direction's state, sealed, for a standby or for after a restart.
//!
//! What is carried: every stream's highest index and window, the SRTCP index, how much each key
//! has been used, which one is in use. Not carried: keys; whoever takes over builds a direction
//! with the same ones and restores into it. A state names the keys it belongs to by a digest, so
//! that it cannot be restored under others.
//!
//! The seal is AES-256-GCM under a key derived by HKDF-SHA256 from a [`StateKey`] and 32 random
//! bytes for each state, so that no nonce needs to be remembered. It is needed because a state
//! that somebody could set back would let replays in and have nonces used twice. Setting back by
//! an older sealed state it does not prevent: keep only the newest.
//!
//! ```text
//! version (1) | direction (1) | salt (32) | ciphertext | tag (16)
//! ```

mod content;
#[cfg(test)]
mod tests;

use std::fmt;

use crypto_offload::SecretKey;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
    rand::SecureRandom,
};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::{Receiver, Sender};
pub(crate) use content::{Content, KeyUse};

/// What seals states: 32 random bytes that all who take over from each other share.
#[derive(Debug)]
pub struct StateKey(SecretKey);

/// Why a state was not sealed: the random source failed.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("no random bytes to seal the state with")]
pub struct NotSealed;

/// Why a state was not restored. The direction is as it was before.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotRestored {
    /// Not a sealed state of this version, or of the other direction.
    #[error("not the sealed state of a {expected}")]
    OtherKind {
        /// What it was to be restored into.
        expected: &'static str,
    },
    /// Sealed under another [`StateKey`], changed, or cut.
    #[error("the seal is broken, or another state key's")]
    BrokenSeal,
    /// It belongs to a key that this direction does not have.
    #[error("the state belongs to other keys")]
    OtherKeys,
    /// This direction has handled packets already.
    #[error("a state can only be restored into a direction that has handled no packets")]
    InUse,
    /// The policy has room for fewer streams.
    #[error("the state has {got} streams, more than the policy's {most}")]
    TooManyStreams {
        /// Streams in the state.
        got: usize,
        /// Streams that fit, retired ones included.
        most: usize,
    },
}

impl StateKey {
    /// The key of these 32 bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(SecretKey::copy_from(bytes))
    }

    /// The AEAD key and nonce of one state.
    #[expect(clippy::expect_used, reason = "HKDF gives up to 8,160 bytes, and the key has 32")]
    fn derive(&self, salt: &[u8]) -> (LessSafeKey, Nonce) {
        struct Bytes;
        impl KeyType for Bytes {
            fn len(&self) -> usize {
                32 + NONCE_LEN
            }
        }
        let secret = Salt::new(HKDF_SHA256, salt).extract(self.0.dangerous_bytes());
        let mut bytes = Zeroizing::new([0; 32 + NONCE_LEN]);
        let derived = secret.expand(&[b"postern srtp state"], Bytes).expect("44 bytes");
        derived.fill(bytes.as_mut()).expect("as many bytes as were asked for");
        let (key, nonce) = bytes.split_at(32);
        let key = UnboundKey::new(&AES_256_GCM, key).expect("32 bytes");
        let nonce = Nonce::try_assume_unique_for_key(nonce).expect("12 bytes");
        (LessSafeKey::new(key), nonce)
    }
}

impl Sender {
    /// This sender's state, sealed under `key`: some 170 bytes per stream.
    pub fn seal_state(
        &self,
        key: &StateKey,
        random: &dyn SecureRandom,
    ) -> Result<Vec<u8>, NotSealed> {
        seal(Direction::Sending, self.content(), key, random)
    }

    /// Goes on where the sender of `sealed` stopped. `ahead` is how many packets per stream, and
    /// SRTCP packets in all, it may have sent since: those indexes count as used, so that no nonce
    /// repeats, and a packet that would need one is refused. Each stream counts for the lifetime.
    ///
    /// Of a stream that began after the state was sealed nothing is known here: seal again when
    /// one begins, or see to it that its source does not repeat sequence numbers.
    pub fn restore_state(
        &mut self,
        sealed: &[u8],
        key: &StateKey,
        ahead: u32,
    ) -> Result<(), NotRestored> {
        self.restore(&open(Direction::Sending, sealed, key)?, ahead)
    }
}

impl Receiver {
    /// This receiver's state, sealed under `key`: some 170 bytes per stream.
    pub fn seal_state(
        &self,
        key: &StateKey,
        random: &dyn SecureRandom,
    ) -> Result<Vec<u8>, NotSealed> {
        seal(Direction::Receiving, self.content(), key, random)
    }

    /// Goes on where the receiver of `sealed` stopped. What that one received since could be
    /// replayed once.
    pub fn restore_state(&mut self, sealed: &[u8], key: &StateKey) -> Result<(), NotRestored> {
        self.restore(&open(Direction::Receiving, sealed, key)?)
    }
}

/// Which kind of direction a state is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Direction {
    Sending = 1,
    Receiving = 2,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Direction {
    const fn name(self) -> &'static str {
        match self {
            Self::Sending => "sender",
            Self::Receiving => "receiver",
        }
    }
}

fn seal(
    direction: Direction,
    content: Content,
    key: &StateKey,
    random: &dyn SecureRandom,
) -> Result<Vec<u8>, NotSealed> {
    let mut sealed = vec![VERSION, direction as u8];
    sealed.resize(HEADER_LEN, 0);
    random.fill(&mut sealed[2..]).map_err(|_| NotSealed)?;
    let (aead, nonce) = key.derive(&sealed[2..]);
    let mut body = content.to_bytes();
    let tag = aead
        .seal_in_place_separate_tag(nonce, Aad::from(&sealed[..2]), &mut body)
        .map_err(|_| NotSealed)?;
    sealed.extend_from_slice(&body);
    sealed.extend_from_slice(tag.as_ref());
    Ok(sealed)
}

fn open(direction: Direction, sealed: &[u8], key: &StateKey) -> Result<Content, NotRestored> {
    let other = NotRestored::OtherKind { expected: direction.name() };
    let (header, body) = sealed.split_at_checked(HEADER_LEN).ok_or(other)?;
    if header[..2] != [VERSION, direction as u8] {
        return Err(other);
    }
    let (aead, nonce) = key.derive(&header[2..]);
    let mut body = body.to_vec();
    let opened = aead.open_in_place(nonce, Aad::from(&header[..2]), &mut body);
    let content = opened.ok().and_then(|bytes| Content::from_bytes(bytes));
    body.zeroize();
    content.ok_or(NotRestored::BrokenSeal)
}

/// Of the layout, this file's and the content's.
const VERSION: u8 = 1;
/// Version, direction and salt.
const HEADER_LEN: usize = 2 + 32;
