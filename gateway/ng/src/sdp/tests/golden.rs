//! Whole bodies in and out, line for line.

use super::*;
use crate::sdp::SessionRewrite;

#[test]
fn plain_audio_gets_our_address_and_no_session_level_connection() {
    let sdp = parse(&[
        "v=0",
        "o=alice 2890844526 2890844526 IN IP4 192.0.2.10",
        "s=call",
        "c=IN IP4 192.0.2.10",
        "t=0 0",
        "a=tool:phone",
        "m=audio 49170 RTP/AVP 0 8 101",
        "a=ptime:20",
        "a=sendrecv",
        "a=rtpmap:101 telephone-event/8000",
        "a=silenceSupp:off - - - -",
        "a=fmtp:101 0-16",
    ]);
    let written = sdp.rewrite(&SessionRewrite::default(), &[relay(plain("198.51.100.1:30000"))]);
    assert_lines(
        &written,
        &[
            "v=0",
            "o=alice 2890844526 2890844526 IN IP4 192.0.2.10",
            "s=call",
            "t=0 0",
            "a=tool:phone",
            "m=audio 30000 RTP/AVP 0 8 101",
            "c=IN IP4 198.51.100.1",
            "a=rtpmap:0 PCMU/8000",
            "a=rtpmap:8 PCMA/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-16",
            "a=silenceSupp:off - - - -",
            "a=sendrecv",
            "a=rtcp:30001",
            "a=ptime:20",
        ],
    );
}
