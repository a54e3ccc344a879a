//! A kernel whose ESP module is not loaded and cannot be: the error says which one, and what may
//! go to user space goes there.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use crypto_offload::{
    Aead, ErrorClass,
    Placement::{KernelSoftware, UserSpace},
    PlacementPolicy, SequenceNumbers,
};
use gateway_control::{EventKind, agent::AgentErrorCode};

use crate::{
    agent::{Agent, prepare},
    demand_fallback,
    ground::{Terms, bring_into_use, echo, hosts, name, pair, wait_until},
    hosts::Side,
};

#[test]
fn a_kernel_without_esp_is_told_and_user_space_carries_the_traffic() -> Result<()> {
    let _missing = MissingEsp::arrange()?;
    let hosts = hosts(2)?;
    let left = Agent::start(&hosts, Side::Left, "xfrm,user-space")?;
    let right = Agent::start(&hosts, Side::Right, "xfrm,user-space")?;
    let terms = Terms {
        placement: PlacementPolicy::Prefer(vec![KernelSoftware, UserSpace]),
        aead: Aead::Aes256Gcm,
        sequence_numbers: SequenceNumbers::Extended,
        device: None,
        encapsulation: None,
    };
    for (agent, side) in [(&left, Side::Left), (&right, Side::Right)] {
        agent.define(&pair(side, 0, &terms)?)?;
    }
    for at in bring_into_use([&left, &right], &name(0)?, 1)?.iter().flatten() {
        demand_fallback(at, KernelSoftware, UserSpace, "Requested type not found")?;
    }
    let event = left.event(EventKind::PlacementFallback, "pair-0 epoch 1")?;
    ensure!(event.to == "user-space", "{event:?}");
    ensure!(echo(&hosts, 0, 20)? == 20, "it loses packets");

    let strict = Terms { placement: PlacementPolicy::Require(KernelSoftware), ..terms };
    left.define(&pair(Side::Left, 1, &strict)?)?;
    let refusal = left.refusal(&prepare(&name(1)?, 1))?;
    println!("{refusal}");
    ensure!(refusal.code == AgentErrorCode::Engine(ErrorClass::Unsupported), "{refusal:?}");
    ensure!(refusal.message.contains("modprobe esp4"), "{refusal:?}");
    Ok(())
}

/// The kernel has no ESP, and may load none, while this lives.
struct MissingEsp {
    loader: String,
}

impl MissingEsp {
    fn arrange() -> Result<Self> {
        let missing = Self { loader: fs::read_to_string(LOADER)? };
        fs::write(LOADER, "/bin/false")?;
        // SAs of namespaces that have just gone keep the module for a moment.
        wait_until("esp4 to be unloaded", || {
            let mut loaded = String::new();
            for module in ["esp4_offload", "esp4"] {
                let _ = Command::new("rmmod").arg(module).output()?;
                loaded = fs::read_to_string("/proc/modules")?;
            }
            Ok(!loaded.lines().any(|line| line.starts_with("esp4")))
        })
        .context("rmmod")?;
        Ok(missing)
    }
}

impl Drop for MissingEsp {
    fn drop(&mut self) {
        let _ = fs::write(LOADER, &self.loader);
        let _ = Command::new("modprobe").args(["-a", "esp4", "esp4_offload"]).status();
    }
}

const LOADER: &str = "/proc/sys/kernel/modprobe";
