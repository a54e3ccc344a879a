//! rtcp-mux (RFC 5761) and `a=rtcp` (RFC 3605): what we offer one side, what we answer the other.
//!
//! By default the callee is offered what the caller offered, and a caller that offered it gets it,
//! whatever the callee answers: each leg is as its party wants it. The ng options change either half.

use std::net::SocketAddr;

use ng::request::{Flags, RtcpMux};
use ng::sdp::RtcpLine;

use super::media::Said;
use super::party::{Media, Offered};
use super::ports::LocalPorts;

/// How a party's offer of rtcp-mux will be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum MuxAnswer {
    /// Yes, whatever the other side says: browsers have no other way.
    #[default]
    Accept,
    /// No (`reject`).
    Refuse,
}

impl MuxAnswer {
    /// What the options of the offer ask for.
    pub(super) fn of(options: RtcpMux) -> Self {
        if options.reject { Self::Refuse } else { Self::Accept }
    }
}

/// What the answerer's leg comes to: multiplexed when we offered it and it agreed.
pub(super) fn answerer_leg(offered: &Offered, said: &Said) -> Settled {
    match offered.rtcp_mux && said.rtcp_mux {
        true => Settled::OnePort,
        false => Settled::TwoPorts,
    }
}

/// What the offerer's leg comes to, given what it offered.
pub(super) fn offerer_leg(offerer: &Media, offer: &Said) -> Settled {
    match offer.rtcp_mux && offerer.mux_answer == MuxAnswer::Accept {
        true => Settled::OnePort,
        false => Settled::TwoPorts,
    }
}

/// Whether to offer rtcp-mux to the other side. A leg that is multiplexed already stays so.
pub(super) fn offers(options: RtcpMux, source: &Said, in_force: Settled) -> bool {
    if options.offer || options.require {
        return true;
    }
    !options.demux && (source.rtcp_mux || in_force == Settled::OnePort)
}

/// The `a=rtcp` line of an offer or answer. With multiplexing settled (an answer, or an offer
/// that requires it) it names the RTP port, else RTCP's own.
pub(super) fn rtcp_line(flags: &Flags, ports: &LocalPorts, settled: Settled) -> RtcpLine {
    if flags.no_rtcp_attribute {
        return RtcpLine::Omit;
    }
    let address: SocketAddr = match settled {
        Settled::OnePort => ports.rtp(),
        Settled::TwoPorts => ports.rtcp(),
    };
    match flags.full_rtcp_attribute {
        true => RtcpLine::Full(address),
        false => RtcpLine::Port(address.port()),
    }
}

/// Where a leg's RTCP is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Settled {
    /// On the RTP port.
    OnePort,
    /// On its own, at least until the answer.
    #[default]
    TwoPorts,
}
