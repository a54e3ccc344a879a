//! `keymgr sa add`.

use std::net::IpAddr;

use crypto_offload::{
    Lifetimes, PairName, PlacementPolicy, RotationTiming, SaPair, SequenceNumbers,
};
use gateway_control::{AddSa, path};
use ipnet::IpNet;
use serde::Deserialize;

use super::{plan, rotate};
use crate::{Failure, cli::Add, gateway::Gateway, keys, output};

pub(super) async fn add(gateway: &Gateway, add: &Add) -> Result<(), Failure> {
    let pair = match &add.file {
        Some(file) => plan::read_pair(file)?,
        None => pair_of(add)?,
    };
    if add.dry_run {
        return plan::show_plan(gateway, &pair).await;
    }
    let keys = add.keys.as_deref().map(keys::read).transpose();
    let keys = keys.map_err(|error| Failure::usage(format!("--keys: {error}")))?;
    let name = pair.name.clone();
    let has_peer = pair.peer.is_some();
    match gateway.post(path::SAS, &AddSa { pair, keys }).await? {
        Added::Started { operation } => {
            let followed = rotate::follow(gateway, &operation).await;
            followed.map_err(|failure| match has_peer {
                // With keys by hand it is forgotten, as the operation says.
                true => failure.and(&format!(
                    "{name} is defined and the gateway goes on trying; keymgr sa remove {name} ends that"
                )),
                false => failure,
            })
        }
        Added::Defined(status) if gateway.json() => crate::print_json(&status),
        Added::Defined(_) => output::line(format_args!(
            "added {name}, without keys: keymgr sa export {name} --to PUBLIC-KEY"
        )),
    }
}

/// With a peer or keys an operation, else the pair.
#[derive(Deserialize)]
#[serde(untagged)]
enum Added {
    Started { operation: String },
    Defined(serde_json::Value),
}

fn pair_of(add: &Add) -> Result<SaPair, Failure> {
    let (name, local, remote) = required(add)?;
    let placement = match (add.require, add.prefer.as_slice()) {
        (Some(placement), _) => PlacementPolicy::Require(placement),
        (None, []) => PlacementPolicy::default(),
        (None, preferred) => PlacementPolicy::Prefer(preferred.to_vec()),
    };
    let mut lifetimes = Lifetimes::default();
    lifetimes.soft.seconds = add.soft_seconds.or(lifetimes.soft.seconds);
    lifetimes.hard.seconds = add.hard_seconds.or(lifetimes.hard.seconds);
    let mut rotation = RotationTiming::default();
    rotation.overlap = add.overlap.unwrap_or(rotation.overlap);
    let pair = SaPair {
        name,
        group: add.group.clone(),
        peer: add.peer.clone(),
        local,
        remote,
        local_net: add.local_net.unwrap_or_else(|| IpNet::from(local)),
        remote_net: add.remote_net.unwrap_or_else(|| IpNet::from(remote)),
        protocol: None,
        local_port: None,
        remote_port: None,
        mode: add.mode.into(),
        aead: add.aead,
        sequence_numbers: match add.no_esn {
            true => SequenceNumbers::Short,
            false => SequenceNumbers::Extended,
        },
        replay_window: add.replay_window,
        lifetimes,
        encapsulation: add.udp,
        placement,
        device: add.device.clone(),
        rotation,
    };
    pair.check().map_err(|error| Failure::usage(error.to_string()))?;
    Ok(pair)
}

/// The parser asks for them unless there is a file.
fn required(add: &Add) -> Result<(PairName, IpAddr, IpAddr), Failure> {
    let missing = || Failure::usage("a pair needs a name, --local and --remote");
    let name = add.name.clone().ok_or_else(missing)?;
    Ok((name, add.local.ok_or_else(missing)?, add.remote.ok_or_else(missing)?))
}
