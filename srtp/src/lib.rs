//! SRTP and SRTCP (RFC 3711, RFC 6188, RFC 7714), sans-IO: in place in the caller's buffer,
//! without allocation, lock or clock per packet.
//!
//! A session has two directions, each with keys of its own: a [`Sender`] protects what we send,
//! a [`Receiver`] opens what the peer sends. Both take any number of SSRCs up to a bound, keep
//! 48-bit indexes through sequence wraps, never let an index be used twice, and say when their
//! key runs out. What fails changes nothing but the bytes of its own buffer, and says why by a
//! [`Refusal`] that is worth counting.
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
//! # Coming from libsrtp
//!
//! | libsrtp | here |
//! | --- | --- |
//! | `srtp_init`, `srtp_shutdown` | nothing: there is no global state |
//! | `srtp_create` with `ssrc_any_outbound`, `ssrc_any_inbound` | [`Sender::new`], [`Receiver::new`]: a value for each direction, which takes any SSRC |
//! | `srtp_add_stream`, `srtp_remove_stream` | nothing: a stream begins with its first packet; [`Policy::max_streams`] |
//! | `srtp_crypto_policy_set_…` | [`Profile`]; what has a [`Weakness`] also [`Policy::accepted`] |
//! | `sec_serv_conf`, `sec_serv_auth`, `sec_serv_none` | [`Policy::parameters`] |
//! | `srtp_append_salt_to_key` | [`MasterKey::from_concatenated`] |
//! | `srtp_protect`, `srtp_unprotect` | [`Sender::protect_rtp`], [`Receiver::open_rtp`]; many at once: [`protect_rtp_batch`], [`open_rtp_batch`] |
//! | `srtp_protect_rtcp`, `srtp_unprotect_rtcp` | [`Sender::protect_rtcp`], [`Receiver::open_rtcp`] |
//! | `SRTP_MAX_TRAILER_LEN` | [`Profile::rtp_overhead`], [`Profile::rtcp_overhead`], and [`Mki::len`] |
//! | `keys`, `use_mki`, `mki_index` | [`Sender::install`], [`Sender::switch_to`], [`Sender::retire`]: [several keys](#several-keys-mki) |
//! | `srtp_update` | [`Succession`]: [another key without an MKI](#another-key-without-an-mki) |
//! | `srtp_set_stream_roc`, `srtp_get_stream_roc` | [`Sender::resume`], [`Receiver::expect_roc`]; [`Sender::streams`], [`Receiver::highest`]: [takeover](#takeover) |
//! | `window_size` | [`Policy::replay_window`] |
//! | `allow_repeat_tx` | nothing: to send a packet again, send the bytes again that came of it |
//! | `enc_xtn_hdr` | [`HeaderExtensions::Encrypted`] |
//! | `srtp_install_event_handler` | values: [`KeyState::SoftLimit`] and [`Refusal::KeyExhausted`], with the packet: [lifetimes](#lifetimes) |
//! | `srtp_err_status_t` | [`Unsuitable`] when a direction is built, [`Refusal`] for a packet |
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
//! Session parameters (UNENCRYPTED_SRTP and the like, RFC 4568 section 6.3) are the same: agreed in
//! [`Policy::parameters`], accepted in [`Policy::accepted`].
//!
//! # Several keys: MKI
//!
//! Keys that packets name by an MKI (RFC 3711 section 3.1) rotate without losing a packet: give the
//! new one to the receiver, then to the sender, switch, and retire the old one once the network
//! has delivered what was under way. A direction holds up to [`MAX_KEYS`] of them; indexes and
//! replay windows go on from one to the next.
//!
//! ```
//! use srtp::{KeyParameters, MasterKey, Mki, Policy, Profile, Receiver, Refusal, Sender};
//!
//! # let packet = |sequence: u8| {
//! #     let mut packet = [0x5a; 64];
//! #     packet[..4].copy_from_slice(&[0x80, 0, 0, sequence]);
//! #     packet
//! # };
//! let profile = Profile::AesCm128HmacSha1_80;
//! let [old, new] = [[1; 30], [2; 30]].map(|key| MasterKey::from_concatenated(profile, &key));
//! let (old, new) = (old?, new?);
//! let old = KeyParameters { mki: Mki::new(b"1")?, ..KeyParameters::from(&old) };
//! let new = KeyParameters { mki: Mki::new(b"2")?, ..KeyParameters::from(&new) };
//! let mut sender = Sender::new(old.clone(), &Policy::default())?;
//! let mut receiver = Receiver::new(old.clone(), &Policy::default())?;
//! # let [mut late, mut buffer, mut too_late] = [1, 2, 3].map(packet);
//! let late_len = sender.protect_rtp(&mut late, 48)?.len;
//! # let too_late_len = sender.protect_rtp(&mut too_late, 48)?.len;
//! # buffer[3] = 4;
//!
//! receiver.install(&new)?;
//! sender.install(&new)?;
//! sender.switch_to(&new.mki)?;
//! let len = sender.protect_rtp(&mut buffer, 48)?.len;
//! receiver.open_rtp(&mut buffer[..len])?;
//! receiver.open_rtp(&mut late[..late_len])?;
//!
//! // Some seconds later.
//! sender.retire(&old.mki)?;
//! receiver.retire(&old.mki)?;
//! let refused = receiver.open_rtp(&mut too_late[..too_late_len]);
//! assert_eq!(refused, Err(Refusal::UnknownMki));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Another key without an MKI
//!
//! A re-INVITE or a new DTLS handshake brings another key, and no packet says which it is under. A
//! [`Succession`] tries the receivers of the old keys too, until some seconds after the first packet
//! under the new one, and tells the new one where the streams stood, because the ROC goes on over a
//! change of key (RFC 3711 section 3.3.1), although some peers begin again: both are tried.
//! Sending, [`Sender::resume`] carries the ROC over.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use srtp::{MasterKey, Policy, Profile, Receiver, Sender, Succession};
//!
//! # let packet = |sequence: u8| {
//! #     let mut packet = [0x5a; 64];
//! #     packet[..4].copy_from_slice(&[0x80, 0, 0, sequence]);
//! #     packet
//! # };
//! let profile = Profile::AeadAes128Gcm;
//! let [old, new] = [[1; 28], [2; 28]].map(|key| MasterKey::from_concatenated(profile, &key));
//! let (old, new, policy) = (old?, new?, Policy::default());
//! # let [mut early, mut late] = [1, 2].map(packet);
//! let mut before = Sender::new(&old, &policy)?;
//! let early_len = before.protect_rtp(&mut early, 48)?.len;
//! let mut after = Sender::new(&new, &policy)?;
//! for (ssrc, last) in before.streams() {
//!     after.resume(ssrc, last)?;
//! }
//! let late_len = after.protect_rtp(&mut late, 48)?.len;
//!
//! let mut receivers = Succession::new(Receiver::new(&old, &policy)?, Duration::from_secs(5));
//! receivers.follow(Receiver::new(&new, &policy)?);
//! // One overtakes the other.
//! receivers.open_rtp(&mut late[..late_len], Instant::now())?;
//! receivers.open_rtp(&mut early[..early_len], Instant::now())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Lifetimes
//!
//! A key protects at most 2^48 SRTP and 2^31 SRTCP packets (RFC 3711 section 9.2), or what SDES
//! says (`|2^20`), counted across its SSRCs. From seven eighths on, each packet comes with
//! [`KeyState::SoftLimit`]: that is the time to agree on another key, or to switch to one that is
//! installed. At the limit packets under it are refused, in both directions; a sender that has
//! other keys goes on under the next of them.
//!
//! ```
//! use srtp::{KeyParameters, KeyState, Lifetimes, MasterKey, Policy, Profile, Refusal, Sender};
//!
//! # let packet = |sequence: u8| {
//! #     let mut packet = [0x5a; 64];
//! #     packet[..4].copy_from_slice(&[0x80, 0, 0, sequence]);
//! #     packet
//! # };
//! let master = MasterKey::from_concatenated(Profile::AeadAes128Gcm, &[7; 28])?;
//! let key = KeyParameters { lifetimes: Lifetimes::from_sdes(8)?, ..KeyParameters::from(&master) };
//! let mut sender = Sender::new(key, &Policy::default())?;
//! for sequence in 1..=8 {
//!     let sealed = sender.protect_rtp(&mut packet(sequence), 48)?;
//!     assert_eq!(sealed.key == KeyState::SoftLimit, sequence >= 7);
//! }
//! assert_eq!(sender.protect_rtp(&mut packet(9), 48), Err(Refusal::KeyExhausted));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Batches
//!
//! Packets of different sessions at once fill what the CPU has: with AVX-512, HMAC-SHA1 of sixteen
//! packets side by side. The outcome is that of one by one. [`Policy::backend`] is chosen by asking
//! the CPU; every [`Backend`] makes the same bytes.
//!
//! ```
//! use srtp::{MasterKey, Policy, Profile, Sender, ToProtect, protect_rtp_batch};
//!
//! let key = |call| MasterKey::from_concatenated(Profile::AesCm128HmacSha1_80, &[call; 30]);
//! let mut senders = Vec::new();
//! for call in 0..32 {
//!     senders.push(Sender::new(&key(call)?, &Policy::default())?);
//! }
//! let mut buffers = [[0x80; 200]; 32];
//! let mut packets = Vec::new();
//! for (call, buffer) in buffers.iter_mut().enumerate() {
//!     packets.push(ToProtect::new(call, buffer, 172));
//! }
//! protect_rtp_batch(&mut senders[..], &mut packets);
//! for packet in &packets {
//!     let sealed = packet.outcome.expect("every packet gets one")?;
//!     assert_eq!(sealed.len, 172 + 10);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Takeover
//!
//! A standby, or the same process after a restart, goes on with [`Sender::seal_state`] and
//! [`Sender::restore_state`] (and the receiver's): indexes, windows and the use of keys, encrypted
//! and authenticated, because a state that somebody sets back lets replays in and uses nonces
//! twice. Keys are not in it. Who has no state, but knows where streams stood, says so by
//! [`Sender::resume`], [`Receiver::expect`] and [`Receiver::expect_roc`].
//!
//! ```
//! use ring::rand::SystemRandom;
//! use srtp::{MasterKey, Policy, Profile, Refusal, Sender, StateKey};
//!
//! # let packet = |sequence: u8| {
//! #     let mut packet = [0x5a; 64];
//! #     packet[..4].copy_from_slice(&[0x80, 0, 0, sequence]);
//! #     packet
//! # };
//! let key = MasterKey::from_concatenated(Profile::AeadAes128Gcm, &[7; 28])?;
//! let mut active = Sender::new(&key, &Policy::default())?;
//! active.protect_rtp(&mut packet(1), 48)?;
//! let state_key = StateKey::new(&[9; 32]); // 32 random bytes, shared by both
//! let state = active.seal_state(&state_key, &SystemRandom::new())?;
//!
//! let mut standby = Sender::new(&key, &Policy::default())?;
//! // The active one may have sent fifty packets of a stream since.
//! standby.restore_state(&state, &state_key, 50)?;
//! assert_eq!(standby.protect_rtp(&mut packet(51), 48), Err(Refusal::IndexReused));
//! standby.protect_rtp(&mut packet(52), 48)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
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
//! # Secrets
//!
//! Keys are [`SecretKey`](crypto_offload::SecretKey)s or wiped when dropped, print nothing, and
//! leave only by functions that begin with `dangerous_`. Tags are compared in constant time.
//! `unsafe` is denied but for the intrinsics of `simd`, which are fuzzed against portable code.
//!
//! # Limits
//!
//! * Not here: parsing of SDES lines, DTLS, sockets, clocks; MIKEY, EKT, TESLA, double encryption
//!   (RFC 8723).
//! * The key derivation rate is 0 (RFC 3711 section 4.3.1): keys are derived once. Who negotiates
//!   refuses others. Keys are found by MKI, not by `<From, To>` (section 8.1.1).
//! * A direction either encrypts elements (RFC 6904) or has Cryptex (RFC 9335), not both (RFC 9335
//!   section 5), and has one profile and one length of MKI.
//! * A stream is never forgotten while its direction lives, for its packets could be replayed:
//!   beyond [`Policy::max_streams`] and 1,024 retired ones further SSRCs are refused.
//! * A packet has at most 1 MiB, the reach of AES-CM's block counter (RFC 3711 section 4.1.1).
//! * A sender counts its SRTCP packets over all its SSRCs, where others count per SSRC (section
//!   3.4 does not say): receivers do not notice. They end at 2^31, whatever keys it is given,
//!   rather than begin again under one that may have used the first.
//! * SRTCP, and SRTP through a [`Succession`], goes one by one, not in batches. SRTCP's key
//!   schedule is made for each packet (0.2 µs) instead of kept.
//! * Moving a direction may leave a copy of its keys on the stack, which nobody wipes: box it
//!   early. What lies on the heap is wiped.
//! * `ring` does not wipe the AES-GCM keys that it has expanded: those of SRTCP, and of SRTP where
//!   there is no AVX-512. Nor are registers and stack wiped.
//! * AArch64 runs the portable code: tested under emulation, not measured.
//! * Peers: libsrtp before 2.8 derives AES-192's session keys in a way of its own (its issue 763)
//!   and does not open its own SRTCP with an MKI and a short tag. ffmpeg, under the name
//!   AES_CM_128_HMAC_SHA1_32, gives SRTCP a tag of 4 bytes where RFC 4568 section 6.2.2 has 10. The
//!   interop tests show each.
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
