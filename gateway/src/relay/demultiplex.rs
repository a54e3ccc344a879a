//! What a datagram is, by its first bytes: RFC 7983 tells RTP from STUN and DTLS, RFC 5761
//! section 4 tells RTCP from RTP on one socket.

use super::drop_reason::DropReason;

/// Which of a stream's two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Component {
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

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Media {
    /// RTP.
    Rtp,
    /// RTCP.
    Rtcp,
}

/// Tells what `packet` is, or why it can be neither RTP nor RTCP here. The length is not
/// looked at beyond the first two bytes: the header's own check does that.
pub(super) fn classify(
    component: Component,
    carriage: Carriage,
    packet: &[u8],
) -> Result<Media, DropReason> {
    let &[first, second, ..] = packet else { return Err(DropReason::Malformed) };
    match first {
        128..=191 => {}
        // STUN and DTLS: no stream speaks them before ICE and DTLS-SRTP are set up on it.
        0..=3 | 20..=63 => return Err(DropReason::UnexpectedProtocol),
        _ => return Err(DropReason::NotMedia),
    }
    // RFC 5761 section 4: RTCP packet types 192 to 223 collide only with payload types 64 to 95
    // under a marker bit, which must not be used with rtcp-mux.
    let rtcp_type = matches!(second, 192..=223);
    match (component, carriage) {
        (Component::Rtp, Carriage::Muxed) if rtcp_type => Ok(Media::Rtcp),
        // Some mux without having agreed to. RFC 3551 section 6 reserves payload types 72 to 76
        // so that a report is never taken for RTP: as such each would look like a new source.
        (Component::Rtp, _) if matches!(second, 200..=204) => Ok(Media::Rtcp),
        (Component::Rtp, _) => Ok(Media::Rtp),
        (Component::Rtcp, _) if rtcp_type => Ok(Media::Rtcp),
        (Component::Rtcp, _) => Err(DropReason::NotMedia),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_decides_as_rfc_7983_says() {
        for first in 0..=255_u8 {
            let told = classify(Component::Rtp, Carriage::Separate, &[first, 0]);
            let expected = match first {
                0..=3 | 20..=63 => Err(DropReason::UnexpectedProtocol),
                128..=191 => Ok(Media::Rtp),
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
            assert_eq!(muxed, Ok(Media::Rtcp), "packet type {kind}");
            let expected = if matches!(kind, 200..=204) { Media::Rtcp } else { Media::Rtp };
            let separate = classify(rtp_socket, Carriage::Separate, &[0x80, kind]);
            assert_eq!(separate, Ok(expected), "packet type {kind}");
        }
    }

    #[test]
    fn the_rtcp_socket_takes_nothing_else() {
        let rtcp_socket = Component::Rtcp;
        assert_eq!(classify(rtcp_socket, Carriage::Separate, &[0x81, 200]), Ok(Media::Rtcp));
        assert_eq!(classify(rtcp_socket, Carriage::Muxed, &[0x81, 200]), Ok(Media::Rtcp));
        assert_eq!(
            classify(rtcp_socket, Carriage::Separate, &[0x80, 0]),
            Err(DropReason::NotMedia)
        );
    }

    #[test]
    fn an_empty_datagram_is_malformed() {
        assert_eq!(classify(Component::Rtp, Carriage::Muxed, &[]), Err(DropReason::Malformed));
    }
}
