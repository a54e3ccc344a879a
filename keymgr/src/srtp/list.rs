//! `keymgr srtp list`: how legs are keyed, and how their ICE and DTLS are.

use std::time::Duration;

use gateway_control::{SrtpAgentState, SrtpLeg, SrtpList, SrtpOwnKeys, path};

use crate::{
    Failure, cli,
    gateway::Gateway,
    output,
    table::{print, table, time},
};

pub(super) async fn list(gateway: &Gateway, asked: &cli::Legs) -> Result<(), Failure> {
    let mut list = all(gateway, asked).await?;
    list.legs.retain(|leg| !asked.due || leg.rekey_due);
    if gateway.json() {
        return crate::print_json(&list);
    }
    match list.legs.is_empty() {
        true => output::line("no SRTP legs"),
        false => show(&list.legs),
    }
}

/// Page by page.
async fn all(gateway: &Gateway, asked: &cli::Legs) -> Result<SrtpList, Failure> {
    let whose = asked.call.as_ref().map(|call| format!("?call={}", encoded(call)));
    let mut place = format!("{}{}", path::SRTP, whose.unwrap_or_default());
    let mut list = SrtpList::default();
    loop {
        let page: SrtpList = gateway.get(&place).await?;
        list.legs.extend(page.legs);
        match page.next {
            Some(next) => place = format!("{}?after={next}", path::SRTP),
            None => return Ok(list),
        }
    }
}

fn show(legs: &[SrtpLeg]) -> Result<(), Failure> {
    let mut lines = table([
        "CALL", "STREAM", "TAG", "MEDIA", "KEYS", "PROFILE", "MKI", "AGE", "OPENED", "SEALED",
        "REKEY", "ICE", "DTLS",
    ]);
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    for leg in legs {
        let packets = |of: fn(&gateway_control::SrtpPackets) -> u64| {
            leg.packets.as_ref().map_or_else(|| "?".to_owned(), |packets| of(packets).to_string())
        };
        lines.add_row([
            leg.call_id.clone(),
            leg.stream.to_string(),
            or_none(&leg.tag),
            format!("{} {}", leg.media, leg.kind),
            leg.keying.name().to_owned(),
            or_none(&leg.profile),
            own_keys(leg.own_keys),
            time(Duration::from_secs_f64(leg.age_seconds.max(0.0))),
            packets(|packets| packets.opened),
            packets(|packets| packets.sealed),
            if leg.rekey_due { "due" } else { "-" }.to_owned(),
            agent(leg.ice.as_ref()),
            agent(leg.dtls.as_ref()),
        ]);
    }
    print(&lines)
}

/// The MKI that we send under, and how many are left.
pub(super) fn own_keys(keys: Option<SrtpOwnKeys>) -> String {
    keys.map_or_else(|| "-".to_owned(), |keys| format!("{}, {} left", keys.mki, keys.left))
}

/// Its state, and why it failed.
fn agent(state: Option<&SrtpAgentState>) -> String {
    match state {
        None => "-".to_owned(),
        Some(SrtpAgentState { state, reason: None }) => state.clone(),
        Some(SrtpAgentState { state, reason: Some(reason) }) => format!("{state}: {reason}"),
    }
}

/// A call-id as a query's value (RFC 3986 section 2.1).
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_ids_pass_whole_in_a_query() {
        assert_eq!(encoded("a-1@ua.example"), "a-1%40ua.example");
        assert_eq!(encoded("a&limit=9 ä"), "a%26limit%3D9%20%C3%A4");
    }

    #[test]
    fn keys_are_told_by_the_one_in_use_and_how_many_are_left() {
        assert_eq!(own_keys(Some(SrtpOwnKeys { mki: 2, left: 1 })), "2, 1 left");
        assert_eq!(own_keys(None), "-");
    }

    #[test]
    fn a_failed_agent_says_why() {
        let failed = SrtpAgentState { state: "failed".into(), reason: Some("no pair".into()) };
        assert_eq!(agent(Some(&failed)), "failed: no pair");
        assert_eq!(agent(None), "-");
    }
}
