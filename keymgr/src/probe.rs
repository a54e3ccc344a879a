//! `keymgr probe`: what the engines can do, and how we know.

use crypto_offload::{Answer, Capabilities, Feature};
use gateway_control::path;

use crate::{
    Failure,
    gateway::Gateway,
    table::{print, table},
};

pub(crate) async fn probe(gateway: &Gateway, again: bool) -> Result<(), Failure> {
    let engines: Vec<(String, Capabilities)> = match again {
        true => gateway.post(path::CAPABILITIES, &()).await?,
        false => gateway.get(path::CAPABILITIES).await?,
    };
    if gateway.json() {
        return crate::print_json(&engines);
    }
    let mut lines = table(["ENGINE", "PLACEMENT", "DEVICE", "FEATURE", "", "EVIDENCE"]);
    for (engine, capabilities) in &engines {
        for entry in &capabilities.entries {
            lines.add_row([
                engine.clone(),
                entry.placement.to_string(),
                entry.device.clone().unwrap_or_else(|| "-".to_owned()),
                feature(entry.feature),
                answer(entry.answer).to_owned(),
                entry.evidence.to_string(),
            ]);
        }
    }
    print(&lines)
}

fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::Yes => "yes",
        Answer::No => "no",
        Answer::Unknown => "unknown",
    }
}

fn feature(feature: Feature) -> String {
    match feature {
        Feature::Engine => "present".to_owned(),
        Feature::Aead(aead) => aead.to_string(),
        Feature::Mode(mode) => format!("{mode:?} mode").to_lowercase(),
        Feature::Ipv6 => "outer IPv6".to_owned(),
        Feature::UdpEncapsulation => "ESP in UDP".to_owned(),
        Feature::Esn => "ESN".to_owned(),
        Feature::ReplayWindow(packets) => format!("replay window of {packets}"),
        Feature::CountedLimits => "limits of packets and bytes".to_owned(),
    }
}
