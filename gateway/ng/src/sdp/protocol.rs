//! The names of transports and directions, and what each implies.

use bytes::Bytes;

use super::{Direction, Protocol};

impl Protocol {
    /// The transport of an `m=` line or of ng's `transport-protocol`; the field writes either case.
    pub fn from_name(name: &Bytes) -> Self {
        Self::RTP
            .into_iter()
            .find(|known| known.name().eq_ignore_ascii_case(name))
            .unwrap_or_else(|| Self::Other(name.clone()))
    }

    /// As `m=` spells it.
    pub fn name(&self) -> &[u8] {
        match self {
            Self::RtpAvp => b"RTP/AVP",
            Self::RtpAvpf => b"RTP/AVPF",
            Self::RtpSavp => b"RTP/SAVP",
            Self::RtpSavpf => b"RTP/SAVPF",
            Self::UdpTlsRtpSavp => b"UDP/TLS/RTP/SAVP",
            Self::UdpTlsRtpSavpf => b"UDP/TLS/RTP/SAVPF",
            Self::Other(name) => name,
        }
    }

    /// One of the RTP profiles that we relay; anything else passes through.
    pub fn is_rtp(&self) -> bool {
        !matches!(self, Self::Other(_))
    }

    /// SRTP, keyed by SDES or DTLS.
    pub fn is_srtp(&self) -> bool {
        matches!(self, Self::RtpSavp | Self::RtpSavpf) || self.is_dtls()
    }

    /// SRTP keyed by DTLS (RFC 5764).
    pub fn is_dtls(&self) -> bool {
        matches!(self, Self::UdpTlsRtpSavp | Self::UdpTlsRtpSavpf)
    }

    /// With RTCP feedback (RFC 4585).
    pub fn is_feedback(&self) -> bool {
        matches!(self, Self::RtpAvpf | Self::RtpSavpf | Self::UdpTlsRtpSavpf)
    }

    const RTP: [Self; 6] = [
        Self::RtpAvp,
        Self::RtpAvpf,
        Self::RtpSavp,
        Self::RtpSavpf,
        Self::UdpTlsRtpSavp,
        Self::UdpTlsRtpSavpf,
    ];
}

impl Direction {
    /// The attribute's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The direction of an attribute's name, where it is one.
    pub const fn from_name(name: &[u8]) -> Option<Self> {
        Some(match name {
            b"sendrecv" => Self::SendRecv,
            b"sendonly" => Self::SendOnly,
            b"recvonly" => Self::RecvOnly,
            b"inactive" => Self::Inactive,
            _ => return None,
        })
    }

    /// The party that wrote it sends.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// The party that wrote it receives.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }
}
