//! SRTP and SRTCP (RFC 3711, RFC 7714), sans-IO: in place in the caller's buffer, without
//! allocation per packet.
//!
//! A session has two directions, each with a key of its own: a [`Sender`] protects what we send,
//! a [`Receiver`] opens what the peer sends. Both take any number of SSRCs up to a bound, keep
//! 48-bit indexes through sequence wraps, never let an index be used twice, and say when their
//! key runs out.
//!
//! ```
//! use srtp::{MasterKey, Policy, Profile, Receiver, Refusal, Sender};
//!
//! let profile = Profile::AeadAes128Gcm;
//! let key = MasterKey::from_concatenated(profile, &[7; 28])?;
//! let mut sender = Sender::new(&key, &Policy::default())?;
//! let mut receiver = Receiver::new(&key, &Policy::default())?;
//!
//! let plain = *b"\x80\x00\x00\x01\x00\x00\x00\xa0\xca\xfe\xba\xbehello";
//! let mut buffer = [0; 64];
//! buffer[..plain.len()].copy_from_slice(&plain);
//! let sealed = sender.protect_rtp(&mut buffer, plain.len())?;
//! assert_eq!(sealed.len, plain.len() + profile.rtp_overhead());
//!
//! let mut replay = buffer;
//! let opened = receiver.open_rtp(&mut buffer[..sealed.len])?;
//! assert_eq!(buffer[..opened.len], plain);
//! assert_eq!(receiver.open_rtp(&mut replay[..sealed.len]), Err(Refusal::Replayed));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Profiles
//!
//! [`Profile::ALL`] has every profile in use, [`Profile::COMMON`] those that nearly every peer
//! has. Some lack what is expected of SRTP: the NULL cipher hides nothing. Such a profile has a
//! [`Weakness`], and a direction under it is refused unless [`Policy::accepted`] names that
//! weakness, because a downgrade of the signalling looks just like a peer that wants it.
//!
//! ```
//! use srtp::{MasterKey, Policy, Profile, Sender, Unsuitable, Weakness, Weaknesses};
//!
//! let key = MasterKey::from_concatenated(Profile::NullHmacSha1_80, &[7; 30])?;
//! let refused = Sender::new(&key, &Policy::default()).err();
//! assert_eq!(refused, Some(Unsuitable::NotAccepted(Weakness::NullCipher)));
//!
//! let accepted = Weaknesses::NONE.with(Weakness::NullCipher);
//! Sender::new(&key, &Policy { accepted, ..Policy::default() })?;
//! # Ok::<(), srtp::Unsuitable>(())
//! ```
//!
//! # Header extensions
//!
//! SRTP authenticates RTP's header but leaves it readable. [`Policy::header_extensions`] hides
//! what should not be, in every profile: the CSRCs and whole extensions with [`Cryptex`] (RFC
//! 9335, `a=cryptex`), or the data of chosen elements (RFC 6904, `a=extmap:3
//! urn:ietf:params:rtp-hdrext:encrypt ..`). The caller sets what was negotiated; a direction does
//! one of the two.
//!
//! ```
//! use srtp::{Cryptex, ExtensionIds, HeaderExtensions, MasterKey, Policy, Profile, Sender};
//!
//! let profile = Profile::AesCm128HmacSha1_80;
//! let key = MasterKey::from_concatenated(profile, &[7; 30])?;
//! // One element, id 1, with an audio level (RFC 6464) of 0x2a.
//! let plain = *b"\x90\x00\x00\x01\x00\x00\x00\xa0\xca\xfe\xba\xbe\xbe\xde\x00\x01\x10\x2a\x00\x00voice";
//! let sealed_by = |header_extensions| {
//!     let policy = Policy { header_extensions, ..Policy::default() };
//!     let mut buffer = [0; 64];
//!     buffer[..plain.len()].copy_from_slice(&plain);
//!     Sender::new(&key, &policy)?.protect_rtp(&mut buffer, plain.len())?;
//!     Ok::<_, Box<dyn std::error::Error>>(buffer)
//! };
//!
//! let sealed = sealed_by(HeaderExtensions::Clear)?;
//! assert_eq!(sealed[12..20], plain[12..20], "anyone can read the level");
//! let sealed = sealed_by(HeaderExtensions::Encrypted(ExtensionIds::new([1])?))?;
//! assert_eq!(sealed[12..17], plain[12..17], "that there is one");
//! assert_ne!(sealed[17], plain[17]);
//! let sealed = sealed_by(HeaderExtensions::Cryptex(Cryptex::Required))?;
//! assert_eq!(sealed[12..16], *b"\xc0\xde\x00\x01", "that there is something");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Not here: parsing of SDES lines, DTLS, sockets, clocks. Known limits: one master key per
//! direction, key derivation rate zero only; `ring` does not
//! zeroize the expanded GCM keys.
#![deny(unsafe_code)]

mod backend;
mod batch;
mod header_extension;
mod index;
mod key_ring;
mod lifetime;
mod master_key;
mod mki;
mod policy;
mod profile;
mod receiver;
mod recency;
mod refusal;
mod replay;
mod roc_guess;
pub mod rtcp;
pub mod rtp;
mod sealed_state;
mod sender;
mod session_keys;
mod session_parameters;
#[cfg(target_arch = "x86_64")]
mod simd;
mod ssrc_index;
mod streams;
mod succession;
mod transform;
mod unsuitable;
mod weakness;

pub use backend::Backend;
pub use batch::{BATCH_LEN, ToOpen, ToProtect, open_rtp_batch, protect_rtp_batch};
pub use header_extension::{Cryptex, ExtensionIds, HeaderExtensions};
pub use index::PacketIndex;
pub use key_ring::{KeyStatus, MAX_KEYS};
pub use lifetime::{KeyState, Lifetimes};
pub use master_key::{KeyParameters, MasterKey};
pub use mki::Mki;
pub use policy::Policy;
pub use profile::Profile;
pub use receiver::{Opened, OpenedRtcp, Receiver};
pub use refusal::{Malformed, Refusal};
pub use sealed_state::{NotRestored, NotSealed, StateKey};
pub use sender::{Sealed, SealedRtcp, Sender};
pub use session_keys::{PacketKind, SessionKeys};
pub use session_parameters::SessionParameters;
pub use succession::Succession;
pub use unsuitable::{KeyNotFound, Unsuitable};
pub use weakness::{Weakness, Weaknesses};
