//! What replaces the session's own lines.

use super::*;
use crate::sdp::SessionRewrite;

#[test]
fn origin_and_session_name_are_replaced_field_by_field() {
    let sdp = with_session(&["m=audio 0 RTP/AVP 0"]);
    let head = |session: &SessionRewrite| {
        let written = sdp.rewrite(session, &[]);
        let text = String::from_utf8(written.to_vec()).expect("text");
        text.lines().skip(1).take(2).collect::<Vec<_>>().join("|")
    };
    let keep = SessionRewrite::default;
    assert_eq!(head(&keep()), "o=alice 2890844526 2890844527 IN IP4 192.0.2.10|s=call");
    let address = Some("2001:db8::1".parse().expect("address"));
    assert_eq!(
        head(&SessionRewrite { origin_address: address, ..keep() }),
        "o=alice 2890844526 2890844527 IN IP6 2001:db8::1|s=call"
    );
    assert_eq!(
        head(&SessionRewrite { origin_username: Some("bob".into()), ..keep() }),
        "o=bob 2890844526 2890844527 IN IP4 192.0.2.10|s=call"
    );
    assert_eq!(
        head(&SessionRewrite { origin_version: Some(9), session_name: Some("".into()), ..keep() }),
        "o=alice 2890844526 9 IN IP4 192.0.2.10|s=-"
    );
    assert_eq!(
        head(&SessionRewrite { origin_session_id: Some(8), ..keep() }),
        "o=alice 8 2890844527 IN IP4 192.0.2.10|s=call"
    );
}

#[test]
fn values_from_outside_the_body_cannot_start_lines_of_their_own() {
    let sdp = with_session(&["m=audio 4000 RTP/AVP 0"]);
    let session = SessionRewrite {
        origin_username: Some("a b\r\nc=IN IP4 203.0.113.9".into()),
        session_name: Some("x\nc=IN IP4 203.0.113.9".into()),
        loop_protect: Some("id\rc=IN IP4 203.0.113.9".into()),
        ..SessionRewrite::default()
    };
    let local =
        LocalMedia { generate_mid: Some("1\na=inactive".into()), ..plain("198.51.100.1:30000") };
    assert_lines(
        &sdp.rewrite(&session, &[relay(local)]),
        &[
            "v=0",
            "o=a 2890844526 2890844527 IN IP4 192.0.2.10",
            "s=x",
            "t=0 0",
            "a=rtpengine:id",
            "m=audio 30000 RTP/AVP 0",
            "c=IN IP4 198.51.100.1",
            "a=mid:1",
            "a=rtpmap:0 PCMU/8000",
            "a=sendrecv",
            "a=rtcp:30001",
        ],
    );
}
