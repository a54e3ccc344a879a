//! Options that come in pieces: a transport in halves, interfaces one by one, `delete`'s flags.

use bytes::Bytes;

use super::flag::{DeleteFlag, Half};
use super::read::{Taken, each_bytes};
use crate::sdp::Protocol;
use crate::wire::Value;

/// Transport given in halves (`SRTP AVPF`).
#[derive(Debug, Default)]
pub(super) struct Halves {
    any: bool,
    secure: bool,
    feedback: bool,
    dtls: bool,
}

/// Interface names, as they come.
#[derive(Debug, Default)]
pub(super) struct Interfaces {
    pub(super) from: Option<Bytes>,
    pub(super) to: Option<Bytes>,
}

/// Flags that only `delete` knows.
#[derive(Debug, Default)]
pub(super) struct DeleteFlags {
    pub(super) fatal: bool,
    pub(super) fast: bool,
    pub(super) to_tag: bool,
}

impl Halves {
    pub(super) fn add(&mut self, half: Half) {
        self.any = true;
        match half {
            Half::Rtp => self.secure = false,
            Half::Srtp => self.secure = true,
            Half::Avp => self.feedback = false,
            Half::Avpf => self.feedback = true,
            Half::Dtls => self.dtls = true,
        }
    }

    /// The profile, where any half was given.
    pub(super) fn protocol(&self) -> Option<Protocol> {
        self.any.then_some(match (self.dtls, self.secure, self.feedback) {
            (true, _, false) => Protocol::UdpTlsRtpSavp,
            (true, _, true) => Protocol::UdpTlsRtpSavpf,
            (false, true, false) => Protocol::RtpSavp,
            (false, true, true) => Protocol::RtpSavpf,
            (false, false, false) => Protocol::RtpAvp,
            (false, false, true) => Protocol::RtpAvpf,
        })
    }
}

impl Interfaces {
    /// A list of both, or one after the other.
    pub(super) fn add(&mut self, value: &Value) -> Taken {
        each_bytes(value, |name| {
            let free = if self.from.is_none() { &mut self.from } else { &mut self.to };
            if free.is_some() {
                return Taken::No;
            }
            *free = Some(name.clone());
            Taken::Yes
        })
    }

    /// Both, once all have come; one that was not given is empty.
    pub(super) fn direction(&mut self) -> Option<(Bytes, Bytes)> {
        match (self.from.take(), self.to.take()) {
            (None, None) => None,
            (from, to) => Some((from.unwrap_or_default(), to.unwrap_or_default())),
        }
    }
}

impl DeleteFlags {
    pub(super) fn add(&mut self, flag: DeleteFlag) {
        match flag {
            DeleteFlag::Fatal => self.fatal = true,
            DeleteFlag::Fast => self.fast = true,
            DeleteFlag::ToTag => self.to_tag = true,
        }
    }
}
