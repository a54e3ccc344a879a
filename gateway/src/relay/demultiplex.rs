//! What a datagram is, by its first bytes: RFC 7983 tells RTP from STUN and DTLS, RFC 5761
//! section 4 tells RTCP from RTP on one socket.

use super::drop_reason::DropReason;

/// Which of a stream's two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The even port.
    Rtp = 0,
    /// The odd port.
    Rtcp = 1,
}

/// How a party carries its RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carriage {
    /// On the RTP socket (rtcp-mux).
    Muxed,
    /// On a socket of its own.
    Separate,
}

/// What a packet of the media is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// RTP.
    Rtp,
    /// RTCP.
    Rtcp,
}

/// What agents speak beside media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// ICE's checks and consent.
    Stun = 0,
    /// DTLS-SRTP's handshake.
    Dtls = 1,
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// For the peer.
    Media(Media),
    /// For an agent.
    Agent(Protocol),
}

/// Tells what `packet` is, or why it can be nothing that a stream takes here. The length is not
/// looked at beyond the first two bytes: the header's own check does that.
pub(super) fn classify(
    component: Component,
    carriage: Carriage,
    packet: &[u8],
) -> Result<Content, DropReason> {
    let &[first, second, ..] = packet else { return Err(DropReason::Malformed) };
    match first {
        128..=191 => {}
        0..=3 => return Ok(Content::Agent(Protocol::Stun)),
        20..=63 => return Ok(Content::Agent(Protocol::Dtls)),
        _ => return Err(DropReason::NotMedia),
    }
    // RFC 5761 section 4: RTCP packet types 192 to 223 collide only with payload types 64 to 95
    // under a marker bit, which must not be used with rtcp-mux.
    let rtcp_type = matches!(second, 192..=223);
    let media = match (component, carriage) {
        (Component::Rtp, Carriage::Muxed) if rtcp_type => Media::Rtcp,
        // Some mux without having agreed to. RFC 3551 section 6 reserves payload types 72 to 76
        // so that a report is never taken for RTP: as such each would look like a new source.
        (Component::Rtp, _) if matches!(second, 200..=204) => Media::Rtcp,
        (Component::Rtp, _) => Media::Rtp,
        (Component::Rtcp, _) if rtcp_type => Media::Rtcp,
        (Component::Rtcp, _) => return Err(DropReason::NotMedia),
    };
    Ok(Content::Media(media))
}

/// Whether an agent need look at it: a STUN message has the cookie and the length of one (RFC 8489
/// section 5), a DTLS record a header (RFC 6347 section 4.1).
pub(super) fn is_worth_handing_up(protocol: Protocol, packet: &[u8]) -> bool {
    match (protocol, packet) {
        (Protocol::Stun, &[_, _, high, low, c0, c1, c2, c3, ..]) => {
            let length = 20 + usize::from(u16::from_be_bytes([high, low]));
            [c0, c1, c2, c3] == MAGIC_COOKIE && length == packet.len()
        }
        (Protocol::Stun, _) => false,
        (Protocol::Dtls, _) => packet.len() > 13,
    }
}

/// What every STUN message has behind its length.
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_decides_as_rfc_7983_says() {
        for first in 0..=255_u8 {
            let told = classify(Component::Rtp, Carriage::Separate, &[first, 0]);
            let expected = match first {
                0..=3 => Ok(Content::Agent(Protocol::Stun)),
                20..=63 => Ok(Content::Agent(Protocol::Dtls)),
                128..=191 => Ok(Content::Media(Media::Rtp)),
                _ => Err(DropReason::NotMedia),
            };
            assert_eq!(told, expected, "first byte {first}");
        }
    }

    #[test]
    fn on_the_rtp_socket_reports_are_told_always_and_all_rtcp_with_mux() {
        let rtp_socket = Component::Rtp;
        for kind in 192..=223 {
            let muxed = classify(rtp_socket, Carriage::Muxed, &[0x80, kind]);
            assert_eq!(muxed, Ok(Content::Media(Media::Rtcp)), "packet type {kind}");
            let expected = if matches!(kind, 200..=204) { Media::Rtcp } else { Media::Rtp };
            let separate = classify(rtp_socket, Carriage::Separate, &[0x80, kind]);
            assert_eq!(separate, Ok(Content::Media(expected)), "packet type {kind}");
        }
    }

    #[test]
    fn the_rtcp_socket_takes_nothing_else() {
        let rtcp_socket = Component::Rtcp;
        let rtcp = Ok(Content::Media(Media::Rtcp));
        assert_eq!(classify(rtcp_socket, Carriage::Separate, &[0x81, 200]), rtcp);
        assert_eq!(classify(rtcp_socket, Carriage::Muxed, &[0x81, 200]), rtcp);
        assert_eq!(
            classify(rtcp_socket, Carriage::Separate, &[0x80, 0]),
            Err(DropReason::NotMedia)
        );
    }

    #[test]
    fn stun_without_its_cookie_or_of_another_length_is_no_agents_business() {
        let message = [&[0, 1, 0, 4, 0x21, 0x12, 0xa4, 0x42][..], &[7; 16]].concat();
        let worth = |packet: &[u8]| is_worth_handing_up(Protocol::Stun, packet);
        assert!(worth(&message));
        for length in 0..message.len() {
            assert!(!worth(&message[..length]), "{length} bytes");
        }
        assert!(!worth(&[&message[..], &[0]].concat()));
        for at in 4..8 {
            let mut other = message.clone();
            other[at] ^= 1;
            assert!(!worth(&other), "byte {at}");
        }
    }

    #[test]
    fn an_empty_datagram_is_malformed() {
        assert_eq!(classify(Component::Rtp, Carriage::Muxed, &[]), Err(DropReason::Malformed));
    }
}
