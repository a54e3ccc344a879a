//! The relay under test: ours, or Debian's rtpengine-daemon in its place, driven alike.

use std::process::Command;

use anyhow::{Result, ensure};
use serde_json::json;

use crate::abroad::HERE;
use crate::dialogue::Dialogue;
use crate::gateway::Gateway;
use crate::ng;
use crate::scene::{Scene, wait_for};

/// Which relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Relay {
    Ours,
    Rtpengine,
}

/// A relay that answers ng; dropping it ends it.
pub(crate) enum Running {
    Ours(Gateway),
    Rtpengine { _process: Dialogue },
}

impl Relay {
    /// What a scene is called that runs through this relay.
    pub(crate) fn scene(self, name: &str) -> String {
        match self {
            Self::Ours => name.to_owned(),
            Self::Rtpengine => format!("{name}_by_rtpengine"),
        }
    }

    /// What has to be installed for it, beside `others`.
    pub(crate) fn programs(self, others: &[&'static str]) -> Vec<&'static str> {
        let own: &[_] = if self == Self::Rtpengine { &["rtpengine"] } else { &[] };
        [own, others].concat()
    }

    pub(crate) fn start(self, scene: &Scene) -> Result<Running> {
        self.start_at(scene, HERE)
    }

    /// The same, at this address.
    pub(crate) fn start_at(self, scene: &Scene, address: &str) -> Result<Running> {
        match self {
            Self::Ours => Ok(Running::Ours(Gateway::start(scene, &configuration_at(address, ""))?)),
            Self::Rtpengine => {
                let process = start_rtpengine(scene, "rtpengine", address)?;
                Ok(Running::Rtpengine { _process: process })
            }
        }
    }
}

impl Running {
    /// What ours dropped, by reason; to be shown where a packet is missed.
    pub(crate) fn dropped(&self) -> String {
        match self {
            Self::Ours(gateway) => format!("dropped: {:?}", dropped(gateway)),
            Self::Rtpengine { .. } => String::new(),
        }
    }
}

/// Packets dropped by workers and agents so far, where there are any.
pub(crate) fn dropped(gateway: &Gateway) -> Result<Vec<(String, f64)>> {
    let mut all = gateway.metrics("postern_dropped_packets_total")?;
    all.extend(gateway.metrics("postern_webrtc_dropped_total")?);
    Ok(all.into_iter().filter(|(_, count)| *count > 0.0).collect())
}

/// The part of our configuration after the control's listeners, with more of `[webrtc]`.
pub(crate) fn configuration(webrtc: &str) -> String {
    configuration_at(HERE, webrtc)
}

/// The same, at another address.
pub(crate) fn configuration_at(address: &str, webrtc: &str) -> String {
    format!("[[interface]]\naddress = \"{address}\"\n[webrtc]\nenabled = true\n{webrtc}")
}

/// Starts rtpengine in this thread's namespace and waits until it answers.
pub(crate) fn start_rtpengine(scene: &Scene, name: &str, address: &str) -> Result<Dialogue> {
    let mut command = Command::new("rtpengine");
    command.args(["--foreground", "--log-stderr", "--log-level=7", "--table=-1"]);
    command.args(["--num-threads=2", "--port-min=30000", "--port-max=31999"]);
    command.arg(format!("--interface={address}")).arg(format!("--listen-ng={}", ng::NG));
    let mut process = Dialogue::start(scene, name, &mut command)?;
    wait_for("rtpengine that answers", || {
        ensure!(process.ended()?.is_none(), "it ended: {}", process.said());
        Ok(ng::ask(&json!({"command": "ping"})).ok())
    })?;
    Ok(process)
}
