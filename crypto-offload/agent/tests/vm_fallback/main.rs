//! The ladder of places on a real kernel: what a device takes, what it refuses, what it loses, and
//! that traffic goes on wherever its SAs fell back to.
//!
//! The device is netdevsim's: it takes SAs for crypto offload as a NIC's driver does, up to 33 of
//! one cipher, and encrypts nothing. So traffic is judged only where SAs are elsewhere. Run by
//! `make test-vm` (deploy/testvm/README.md).
#![allow(clippy::print_stdout, reason = "a test says what it skips")]

#[path = "../two_hosts/mod.rs"]
mod two_hosts;
mod without_esp;

use anyhow::{Context, Result, ensure};
use crypto_offload::{
    Aead, Effective, ErrorClass,
    Placement::{self, InlineCrypto, InlinePacket, KernelSoftware},
    PlacementPolicy, SequenceNumbers,
};
use gateway_control::{EventKind, agent::AgentErrorCode};

use crate::{
    agent::prepare,
    ground::{Terms, bring_into_use, echo, ip_says, name, pair, wait_until},
    hosts::Side,
    two_hosts::{agent, ground, hosts, world},
    world::World,
};

#[test]
fn what_a_full_device_refuses_goes_to_the_kernel_and_carries_traffic() -> Result<()> {
    let Some(world) = World::with_device("what_a_full_device_refuses_goes_to_the_kernel", 19)?
    else {
        return Ok(());
    };
    let terms = prefer(&[InlineCrypto, KernelSoftware]);
    for index in 0..16 {
        let placed = world.bring_up(index, &terms)?;
        ensure!(placed.iter().all(|at| *at == whole(InlineCrypto)), "{index}: {placed:?}");
    }
    // The 33rd SA fits, the 34th does not; nor does any of the next pair.
    let [inbound, outbound] = world.bring_up(16, &terms)?;
    ensure!(inbound == whole(InlineCrypto), "{inbound:?}");
    demand_fallback(&outbound, InlineCrypto, KernelSoftware, NO_ROOM)?;
    ensure!(world.device.as_ref().is_some_and(|device| device.sas().unwrap_or(0) == 33));
    for at in world.bring_up(17, &terms)? {
        demand_fallback(&at, InlineCrypto, KernelSoftware, "ENOSPC")?;
    }
    let event = world.left().event(EventKind::PlacementFallback, "pair-17 epoch 1")?;
    ensure!(event.from == "inline-crypto" && event.to == "kernel-software", "{event:?}");
    ensure!(event.reason.contains(NO_ROOM), "{event:?}");
    ensure!(echo(&world.hosts, 17, 20)? == 20, "pair 17 loses packets");

    let strict = Terms { placement: PlacementPolicy::Require(InlineCrypto), ..terms };
    world.left().define(&pair(Side::Left, 18, &strict)?)?;
    let before = kernel_has(&world)?;
    let refusal = world.left().refusal(&prepare(&name(18)?, 1))?;
    ensure!(refusal.code == AgentErrorCode::Engine(ErrorClass::Exhausted), "{refusal:?}");
    ensure!(refusal.message.contains(NO_ROOM), "{refusal}");
    ensure!(kernel_has(&world)? == before, "something of it is left");
    Ok(())
}

#[test]
fn what_the_driver_cannot_do_goes_to_the_kernel_with_the_drivers_words() -> Result<()> {
    let Some(world) = World::with_device("what_the_driver_cannot_do_goes_to_the_kernel", 3)? else {
        return Ok(());
    };
    let plain = prefer(&[InlineCrypto, KernelSoftware]);
    let esn = SequenceNumbers::Extended;
    let cases = [
        (Terms { aead: Aead::ChaCha20Poly1305, ..plain.clone() }, "netdevsim: Failed to get key"),
        (Terms { sequence_numbers: esn, ..plain.clone() }, "Device doesn't support"),
    ];
    for (index, (terms, why)) in cases.iter().enumerate() {
        for at in world.bring_up(index, terms)? {
            demand_fallback(&at, InlineCrypto, KernelSoftware, why)
                .with_context(|| format!("{terms:?}"))?;
            println!("{}, {:?}: {at:?}", terms.aead, terms.sequence_numbers);
        }
        let shown = world.left().show(&name(index)?)?;
        let inbound = shown.epochs[0].inbound.as_ref().context("an inbound SA")?;
        ensure!(inbound.placement.reason.is_some(), "{inbound:?}");
        world.left().event(EventKind::PlacementFallback, &format!("pair-{index} epoch 1"))?;
        ensure!(echo(&world.hosts, index, 20)? == 20, "pair {index} loses packets");
    }
    let packet = prefer(&[InlinePacket, InlineCrypto, KernelSoftware]);
    for at in world.bring_up(2, &packet)? {
        demand_fallback(&at, InlinePacket, InlineCrypto, "inline-packet by xfrm")?;
        println!("packet offload: {at:?}");
    }
    Ok(())
}

#[test]
fn a_device_without_offload_leaves_it_to_the_kernel_and_says_so() -> Result<()> {
    let world = World::new("xfrm", 1)?;
    let terms = Terms { device: Some("wire"), ..prefer(&[InlineCrypto, KernelSoftware]) };
    for at in world.bring_up(0, &terms)? {
        demand_fallback(&at, InlineCrypto, KernelSoftware, "esp-hw-offload of wire: off")?;
    }
    let event = world.left().event(EventKind::PlacementFallback, "pair-0 epoch 1")?;
    ensure!(event.reason.contains("wire"), "{event:?}");
    ensure!(echo(&world.hosts, 0, 20)? == 20, "it loses packets");
    Ok(())
}

#[test]
fn what_is_required_and_not_there_is_refused_and_leaves_nothing() -> Result<()> {
    let Some(world) = World::with_device("what_is_required_and_not_there_is_refused", 4)? else {
        return Ok(());
    };
    let require =
        |placement, terms: Terms| Terms { placement: PlacementPolicy::Require(placement), ..terms };
    let plain = prefer(&[InlineCrypto]);
    let cases = [
        require(InlineCrypto, Terms { aead: Aead::ChaCha20Poly1305, ..plain.clone() }),
        require(InlinePacket, plain.clone()),
        require(InlineCrypto, Terms { device: Some("wire"), ..plain.clone() }),
        require(InlineCrypto, Terms { device: Some("nowhere"), ..plain.clone() }),
    ];
    for (index, terms) in cases.iter().enumerate() {
        world.left().define(&pair(Side::Left, index, terms)?)?;
        // The policies that drop what there are no keys for.
        let before = kernel_has(&world)?;
        let refusal = world.left().refusal(&prepare(&name(index)?, 1))?;
        println!("{:?} on {:?}: {refusal}", terms.placement, terms.device);
        let unsupported = AgentErrorCode::Engine(ErrorClass::Unsupported);
        ensure!(refusal.code == unsupported, "{refusal:?}");
        ensure!(refusal.hint.is_some(), "{refusal:?}");
        let left = kernel_has(&world)?;
        ensure!(left == before && !left.contains("spi"), "{terms:?} leaves {left}");
    }
    Ok(())
}

#[test]
fn a_link_that_goes_down_loses_its_sas_and_no_others() -> Result<()> {
    let Some(world) = World::with_device("a_link_that_goes_down_loses_its_sas", 2)? else {
        return Ok(());
    };
    let inline = prefer(&[InlineCrypto, KernelSoftware]);
    let software = Terms { aead: Aead::ChaCha20Poly1305, ..inline.clone() };
    ensure!(world.bring_up(0, &inline)? == [whole(InlineCrypto), whole(InlineCrypto)]);
    world.bring_up(1, &software)?;

    world.hosts.ip(Side::Left, "link set sim0 down")?;
    let lost = world.left().event(EventKind::SaLost, "pair-0")?;
    ensure!(lost.to == "gone" && lost.reason.contains("sim0 went down"), "{lost:?}");
    world.left().event(EventKind::PlacementFallback, "sim0")?;
    wait_until("both SAs to be told lost", || {
        let status = world.left().show(&name(0)?)?;
        Ok(status.epochs.is_empty() && status.active.is_none())
    })?;
    let states = ip_says(&world.hosts, Side::Left, "xfrm state")?;
    ensure!(!states.contains("sim0"), "{states}");
    ensure!(states.matches("proto esp").count() == 2, "{states}");
    ensure!(echo(&world.hosts, 1, 20)? == 20, "the pair in software loses packets");
    // What was protected goes nowhere rather than out in clear.
    ensure!(echo(&world.hosts, 0, 1)? == 0, "a pair without SAs carries packets");

    world.hosts.ip(Side::Left, "link set sim0 up")?;
    let again = bring_into_use(world.both(), &name(0)?, 2)?[0].clone();
    ensure!(again == [whole(InlineCrypto), whole(InlineCrypto)], "{again:?}");
    Ok(())
}

/// The left kernel's SAs and policies, as it tells them itself.
fn kernel_has(world: &World) -> Result<String> {
    let states = ip_says(&world.hosts, Side::Left, "xfrm state list nokeys")?;
    Ok(states + &ip_says(&world.hosts, Side::Left, "xfrm policy list")?)
}

/// What netdevsim takes, on the device that is there.
fn prefer(placements: &[Placement]) -> Terms {
    Terms {
        aead: Aead::Aes128Gcm,
        sequence_numbers: SequenceNumbers::Short,
        device: Some("sim0"),
        ..Terms::placed(PlacementPolicy::Prefer(placements.to_vec()))
    }
}

fn whole(placement: Placement) -> Effective {
    Effective { requested: placement, effective: placement, reason: None }
}

fn demand_fallback(at: &Effective, from: Placement, to: Placement, why: &str) -> Result<()> {
    ensure!(at.requested == from && at.effective == to, "{at:?}");
    ensure!(at.reason.as_ref().is_some_and(|reason| reason.contains(why)), "{at:?} without {why}");
    Ok(())
}

/// The driver's words for a full table.
const NO_ROOM: &str = "No space for SA in Rx table";
