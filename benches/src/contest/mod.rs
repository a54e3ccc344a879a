//! Who takes part in the SRTP figure, and what each is asked to do.
//!
//! A [`Contestant`] protects or opens batches of [`packets`], all with the same [`keys`] and so
//! with the same bytes as result, which [`Entry::new`] checks before anything is timed. Whole
//! stacks (ours, webrtc-srtp, libsrtp) parse, estimate, keep windows and count; the others are
//! primitives and only encrypt and authenticate, the ROC included.
//!
//! Peers that need a C library are behind features, since the workspace must build without
//! them; one that is left out is reported as [`Absent`], never passed over.

mod entry;
#[cfg(feature = "ipsec-mb")]
mod ipsec_mb;
pub mod keys;
#[cfg(feature = "libsrtp")]
mod libsrtp;
mod nonce;
mod ours;
pub mod packets;
mod ring_like;
mod rustcrypto;
mod webrtc;

use std::fmt;

pub use entry::{Clock, Entry};
use packets::{BATCH, HEADER_LEN, Packet, Sessions};
use serde::Serialize;
use srtp::{Backend, Profile};

/// One question: how long does this take per packet?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// The cipher suite.
    pub profile: Profile,
    /// What is done.
    pub work: Work,
    /// Bytes of payload.
    pub payload: usize,
}

impl Case {
    /// Bytes of the RTP packet.
    pub fn plain_len(&self) -> usize {
        HEADER_LEN + self.payload
    }
}

/// What is done to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// Encrypt and authenticate.
    Protect,
    /// Verify and decrypt.
    Open,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protect => "protect",
            Self::Open => "open",
        })
    }
}

/// Who does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// `srtp`, packet by packet.
    Ours,
    /// `srtp`, in batches of 32 sessions.
    OursBatch,
    /// `srtp`, packet by packet, as it is on CPUs that it has no code of its own for.
    OursPortable,
    /// `webrtc-srtp`.
    WebrtcSrtp,
    /// Debian's libsrtp.
    Libsrtp,
    /// `aes`, `ctr`, `hmac`, `sha1`, `aes-gcm`.
    RustCrypto,
    /// ring's AES-GCM.
    Ring,
    /// aws-lc-rs's AES-GCM.
    AwsLc,
    /// intel-ipsec-mb.
    IpsecMb,
}

impl Peer {
    /// All of them, ours first.
    pub const ALL: [Self; 9] = [
        Self::Ours,
        Self::OursBatch,
        Self::OursPortable,
        Self::WebrtcSrtp,
        Self::Libsrtp,
        Self::RustCrypto,
        Self::Ring,
        Self::AwsLc,
        Self::IpsecMb,
    ];

    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::OursBatch => "ours, 32 at once",
            Self::OursPortable => "ours, portable code",
            Self::WebrtcSrtp => "webrtc-srtp",
            Self::Libsrtp => "libsrtp",
            Self::RustCrypto => "RustCrypto",
            Self::Ring => "ring",
            Self::AwsLc => "aws-lc-rs",
            Self::IpsecMb => "intel-ipsec-mb, 32 at once",
        }
    }

    /// Whether it has anything like the profile: ring and aws-lc-rs are compared in GCM alone.
    pub fn knows(self, profile: Profile) -> bool {
        !matches!(self, Self::Ring | Self::AwsLc) || profile.is_aead()
    }

    /// Whose packets its batches hold.
    pub fn sessions(self) -> Sessions {
        match self {
            Self::OursBatch | Self::IpsecMb => Sessions::Each,
            _ => Sessions::One,
        }
    }

    /// Gets it ready for `case`.
    pub fn contestant(self, case: Case) -> Result<Box<dyn Contestant>, Absent> {
        match self {
            Self::Ours => boxed(ours::OneByOne::new(case, Backend::detect())),
            Self::WebrtcSrtp => boxed(webrtc::WebrtcSrtp::new(case)),
            Self::OursPortable => boxed(ours::OneByOne::new(case, Backend::Portable)),
            Self::OursBatch => boxed(ours::Batch::new(case)),
            #[cfg(feature = "libsrtp")]
            Self::Libsrtp => boxed(libsrtp::Libsrtp::new(case)),
            Self::RustCrypto => rustcrypto::new(case),
            Self::Ring => boxed(ring_like::ring::Gcm::new(case)),
            #[cfg(feature = "aws-lc")]
            Self::AwsLc => boxed(ring_like::aws_lc_rs::Gcm::new(case)),
            #[cfg(feature = "ipsec-mb")]
            Self::IpsecMb => boxed(ipsec_mb::IpsecMb::new(case)),
            #[allow(unreachable_patterns, reason = "with all features nobody is left")]
            _ => Err(Absent("left out of this build: see the features of benches/Cargo.toml")),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a peer does not take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Absent(pub &'static str);

/// Someone who can do the work of one case.
pub trait Contestant {
    /// Does the work on each packet and sets its length; returns on how many it succeeded.
    fn work(&mut self, packets: &mut [Packet; BATCH]) -> usize;

    /// What the work made of `packet`, the last one of a batch: in place, if not said otherwise.
    fn result<'a>(&'a self, packet: &'a Packet) -> &'a [u8] {
        packet.content()
    }
}

fn boxed<C: Contestant + 'static>(
    contestant: Result<C, Absent>,
) -> Result<Box<dyn Contestant>, Absent> {
    Ok(Box::new(contestant?))
}
