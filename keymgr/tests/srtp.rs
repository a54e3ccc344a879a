//! `keymgr srtp` as people and scripts meet it: what it asks, page by page, what it prints, and how it
//! ends. What the real gateway answers is tested there.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "what fails here is the test; clippy.toml only knows functions marked as tests"
)]

mod stand_in;

use gateway_control::{SrtpList, SrtpRekeyReport};
use serde_json::{Value, json};
use stand_in::StandIn;

/// A leg of this call; `own_keys` as a gateway says it.
fn leg(call: &str, rekey_due: bool, own_keys: &Value) -> Value {
    json!({
        "call_id": call, "stream": 1, "tag": "b", "media": 1, "kind": "audio", "keying": "sdes",
        "profile": "AEAD_AES_128_GCM", "age_seconds": 90.0,
        "packets": {"opened": 4711, "sealed": 4712}, "rekey_due": rekey_due,
        "own_keys": own_keys, "ice": null,
        "dtls": {"state": "failed", "reason": "no packet came"},
    })
}

fn rekeyed(call: &str, result: &str, own_keys: &Value) -> Value {
    json!({
        "call_id": call, "stream": 1, "tag": "b", "media": 1, "result": result,
        "own_keys": own_keys, "reason": "why",
    })
}

fn page(legs: &[Value], next: Option<u64>) -> Value {
    json!({"legs": legs, "next": next})
}

#[test]
fn a_list_has_every_page_and_tells_of_each_leg() {
    let several = json!({"mki": 2, "left": 1});
    let pages = [
        page(&[leg("one", false, &several)], Some(7)),
        page(&[leg("two", true, &Value::Null)], None),
    ];
    let stand_in = StandIn::with_pages(200, &pages);
    let (code, out, err) = stand_in.keymgr(&["srtp", "list"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let asked: Vec<_> = stand_in.all_asked().into_iter().map(|(line, _)| line).collect();
    assert_eq!(asked, ["GET /v1/srtp", "GET /v1/srtp?after=7"]);
    let line = |call| out.lines().find(|line| line.starts_with(call)).expect("a line").to_owned();
    for word in ["sdes", "AEAD_AES_128_GCM", "2, 1 left", "4711", "4712", "failed: no packet came"]
    {
        assert!(line("one").contains(word), "{word}: {out}");
    }
    assert!(line("two").contains(" due "), "{out}");
    assert!(!line("two").contains("left") && !line("one").contains(" due "), "{out}");
}

#[test]
fn json_is_the_admin_apis_own_documents_in_one_and_due_legs_can_be_asked_for_alone() {
    let pages = [
        page(&[leg("one", false, &Value::Null)], Some(7)),
        page(&[leg("two", true, &Value::Null)], None),
    ];
    for (flags, calls) in [(&[][..], &["one", "two"][..]), (&["--due"], &["two"])] {
        let stand_in = StandIn::with_pages(200, &pages);
        let arguments = [&["--json", "srtp", "list"], flags].concat();
        let (code, out, _) = stand_in.keymgr(&arguments);
        assert_eq!(code, 0);
        let list: SrtpList = serde_json::from_str(&out).unwrap();
        let listed: Vec<_> = list.legs.iter().map(|leg| leg.call_id.as_str()).collect();
        assert_eq!(listed, calls);
    }
    let stand_in = StandIn::new(200, &page(&[], None));
    let (code, out, _) = stand_in.keymgr(&["srtp", "list", "--call", "a&b@c"]);
    assert_eq!((code, out.as_str()), (0, "no SRTP legs\n"));
    assert_eq!(stand_in.asked().0, "GET /v1/srtp?call=a%26b%40c");
}

#[test]
fn a_gateway_that_knows_nothing_of_several_keys_is_understood() {
    let mut old = leg("one", false, &Value::Null);
    old.as_object_mut().unwrap().remove("own_keys");
    let (code, out, err) = StandIn::new(200, &page(&[old], None)).keymgr(&["srtp", "list"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
}

#[test]
fn new_keys_are_asked_for_page_by_page_and_what_became_of_each_leg_is_told() {
    let pages = [
        page(&[rekeyed("one", "switched", &json!({"mki": 2, "left": 0}))], Some(3)),
        page(&[rekeyed("two", "marked", &Value::Null)], None),
    ];
    let stand_in = StandIn::with_pages(200, &pages);
    let (code, out, err) = stand_in.keymgr(&["srtp", "rekey", "--all", "--older-than", "60"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(
        out.contains("2, 0 left") && out.contains("switched") && out.contains("marked"),
        "{out}"
    );
    assert!(out.ends_with(
        "1 legs switched to their next key, 1 marked, 0 marked before, 0 not possible\n"
    ));
    let asked = stand_in.all_asked();
    let expected = |after: Value| {
        let body = json!({
            "call_id": null, "tag": null, "all": true, "older_than_seconds": 60, "dry_run": false,
            "after": after,
        });
        ("POST /v1/srtp/rekey".to_owned(), body)
    };
    assert_eq!(asked, [expected(Value::Null), expected(json!(3))]);
}

#[test]
fn legs_that_cannot_have_new_keys_are_a_failure_of_its_own() {
    let report = page(&[rekeyed("one", "not_possible", &Value::Null)], None);
    let stand_in = StandIn::new(200, &report);
    let arguments = ["--json", "srtp", "rekey", "--call", "one", "--tag", "b", "--dry-run"];
    let (code, out, err) = stand_in.keymgr(&arguments);
    assert_eq!(code, 5, "{err}");
    assert!(err.contains("not possible for 1 legs"), "{err}");
    let printed: SrtpRekeyReport = serde_json::from_str(&out).unwrap();
    assert_eq!(printed, serde_json::from_value(report).unwrap());
    let (_, body) = stand_in.asked();
    assert_eq!((&body["call_id"], &body["tag"]), (&json!("one"), &json!("b")));
    assert_eq!(body["dry_run"], true);
}

#[test]
fn whose_keys_has_to_be_said_and_only_once() {
    let stand_in = StandIn::new(200, &page(&[], None));
    for wrong in
        [&["rekey"][..], &["rekey", "--all", "--call", "x"], &["rekey", "--all", "--tag", "b"]]
    {
        assert_eq!(stand_in.keymgr(&[&["srtp"], wrong].concat()).0, 2, "{wrong:?}");
    }
    assert!(stand_in.all_asked().is_empty(), "nothing was asked for");
}
