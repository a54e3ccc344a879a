//! A kernel whose ESP module is not loaded and cannot be: the error says which one, and what may
//! go to user space goes there.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};
use crypto_offload::{
    ErrorClass,
    Placement::{KernelSoftware, UserSpace},
    PlacementPolicy,
};
use gateway_control::{EventKind, agent::AgentErrorCode};

use crate::{
    agent::prepare,
    demand_fallback,
    ground::{Terms, echo, name, pair, wait_until},
    hosts::Side,
    world::World,
};

#[test]
fn a_kernel_without_esp_is_told_and_user_space_carries_the_traffic() -> Result<()> {
    let _missing = MissingEsp::arrange()?;
    let world = World::new("xfrm,user-space", 2)?;
    let terms = Terms::placed(PlacementPolicy::Prefer(vec![KernelSoftware, UserSpace]));
    for at in &world.bring_up(0, &terms)? {
        demand_fallback(at, KernelSoftware, UserSpace, "Requested type not found")?;
    }
    let event = world.left().event(EventKind::PlacementFallback, "pair-0 epoch 1")?;
    ensure!(event.to == "user-space", "{event:?}");
    ensure!(echo(&world.hosts, 0, 20)? == 20, "it loses packets");

    let strict = Terms { placement: PlacementPolicy::Require(KernelSoftware), ..terms };
    world.left().define(&pair(Side::Left, 1, &strict)?)?;
    let refusal = world.left().refusal(&prepare(&name(1)?, 1))?;
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
