//! The SRTP of the media agents: libsrtp, an implementation that shares nothing with ours, so
//! that an error of ours cannot undo itself. One [`Session`] is one direction under one key.

mod sys;

use std::fmt;
use std::sync::OnceLock;

use srtp::Profile;

/// One direction of one party, under one master key.
pub(crate) struct Session {
    context: sys::Context,
}

/// Which way a session works.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Role {
    /// It protects what its party sends.
    Sender,
    /// It opens what its party receives.
    Receiver,
}

/// Whether a packet is media or control; they differ in key, index and trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rtp,
    Rtcp,
}

/// libsrtp refused; the number is its `srtp_err_status_t`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused(i32);

/// The bytes that a buffer needs beyond its packet.
pub(crate) const TRAILER: usize = sys::TRAILER;

impl Session {
    /// A session under `key`, master key then salt.
    pub(crate) fn new(profile: Profile, role: Role, key: &[u8]) -> Result<Self, Refused> {
        static LIBRARY: OnceLock<i32> = OnceLock::new();
        let status = *LIBRARY.get_or_init(sys::init);
        if status != 0 {
            return Err(Refused(status));
        }
        assert_eq!(key.len(), profile.key_len() + profile.salt_len(), "key and salt of {profile}");
        let streams = match role {
            Role::Sender => sys::Streams::AnyOutbound,
            Role::Receiver => sys::Streams::AnyInbound,
        };
        let context = sys::Context::new(profile_id(profile), streams, key).map_err(Refused)?;
        Ok(Self { context })
    }

    /// Protects the first `len` bytes of `buffer` in place; returns the new length.
    pub(crate) fn protect(
        &mut self,
        kind: Kind,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<usize, Refused> {
        let operation = match kind {
            Kind::Rtp => sys::Operation::Protect,
            Kind::Rtcp => sys::Operation::ProtectRtcp,
        };
        self.context.run(operation, buffer, len).map_err(Refused)
    }

    /// Checks and opens the first `len` bytes of `buffer` in place; returns the new length.
    pub(crate) fn unprotect(
        &mut self,
        kind: Kind,
        buffer: &mut [u8],
        len: usize,
    ) -> Result<usize, Refused> {
        let operation = match kind {
            Kind::Rtp => sys::Operation::Unprotect,
            Kind::Rtcp => sys::Operation::UnprotectRtcp,
        };
        self.context.run(operation, buffer, len).map_err(Refused)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let meaning = match self.0 {
            7 => "authentication failure",
            8 => "cipher failure",
            9 => "replayed index",
            10 => "index too old",
            _ => "see srtp_err_status_t",
        };
        write!(f, "libsrtp status {}: {meaning}", self.0)
    }
}

fn profile_id(profile: Profile) -> sys::ProfileId {
    match profile {
        Profile::AesCm128HmacSha1_80 => sys::ProfileId::Aes128CmSha1_80,
        Profile::AesCm128HmacSha1_32 => sys::ProfileId::Aes128CmSha1_32,
        Profile::AeadAes128Gcm => sys::ProfileId::AeadAes128Gcm,
        Profile::AeadAes256Gcm => sys::ProfileId::AeadAes256Gcm,
    }
}

#[test]
fn libsrtp_opens_what_libsrtp_protected_and_refuses_it_twice() {
    for profile in Profile::ALL {
        let key = vec![7; profile.key_len() + profile.salt_len()];
        let mut sender = Session::new(profile, Role::Sender, &key).expect("a sender");
        let mut receiver = Session::new(profile, Role::Receiver, &key).expect("a receiver");
        let plain = [0x80, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, b'h', b'i'];
        let mut buffer = [0; 64 + TRAILER];
        buffer[..plain.len()].copy_from_slice(&plain);

        let sealed = sender.protect(Kind::Rtp, &mut buffer, plain.len()).expect("protected");
        assert_eq!(sealed, plain.len() + profile.rtp_overhead());
        let mut again = buffer;
        let opened = receiver.unprotect(Kind::Rtp, &mut buffer, sealed).expect("opened");
        assert_eq!(buffer[..opened], plain);
        assert_eq!(receiver.unprotect(Kind::Rtp, &mut again, sealed), Err(Refused(9)));
    }
}
