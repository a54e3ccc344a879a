//! The life of an SA: overlap, retirement, limits, refusals and the end.

use anyhow::{Result, bail, ensure};
use crypto_offload::{Aead, Epoch, ErrorClass, KeyingMaterial, Limits, SecretKey};
use gateway_control::{
    EventKind, KeyOffer,
    agent::{AgentErrorCode, Request, Response},
};

use crate::{
    agent::{Agent, prepare},
    engine::Engine,
    ground::{echo, ip_says, name, pair},
    hosts::Side,
    simulated::Device,
};

pub(crate) fn old_and_new_inbound_overlap_and_retiring_removes_just_the_old(
    engine: Engine,
) -> Result<()> {
    let (world, line) = engine.world_with_pair(&engine.terms())?;
    let (left, right) = (world.left(), world.right());
    let ((ours, _), (theirs, _)) = (left.prepare(&name(0)?, 2)?, right.prepare(&name(0)?, 2)?);
    left.install_outbound(&name(0)?, 2, theirs)?;
    right.install_outbound(&name(0)?, 2, ours)?;
    // The left sends under the new keys, the right still under the old ones.
    left.switch(&name(0)?, 2)?;
    let carried = Some(line.echo(&[100; 5])?);
    let counts = |agent: &Agent| -> Result<Vec<_>> {
        let status = agent.show(&name(0)?)?;
        let inbound = status.epochs.into_iter().map(|epoch| (epoch.epoch.0, epoch.inbound));
        Ok(inbound.map(|(epoch, sa)| (epoch, sa.map(|sa| sa.usage.packets))).collect())
    };
    ensure!(counts(right)? == [(1, Some(0)), (2, carried)], "{:?}", counts(right)?);
    ensure!(counts(left)? == [(1, carried), (2, Some(0))], "{:?}", counts(left)?);
    right.switch(&name(0)?, 2)?;
    for agent in world.both() {
        agent.ask(&Request::RetireOutbound { name: name(0)?, epoch: Epoch(1) })?;
        let outbound: Vec<_> = agent.show(&name(0)?)?.epochs.into_iter().collect();
        ensure!(outbound.len() == 2 && outbound[0].outbound.is_none(), "{outbound:?}");
        ensure!(outbound[0].inbound.is_some() && outbound[1].outbound.is_some(), "{outbound:?}");
    }
    line.echo(&[100])?;
    for agent in world.both() {
        agent.ask(&Request::RetireInbound { name: name(0)?, epoch: Epoch(1) })?;
        ensure!(counts(agent)?.len() == 1, "{:?}", counts(agent)?);
    }
    line.echo(&[100]).map(drop)
}

pub(crate) fn discard_removes_just_what_was_prepared(engine: Engine) -> Result<()> {
    let (world, line) = engine.world_with_pair(&engine.terms())?;
    world.left().prepare(&name(0)?, 2)?;
    let two = world.left().show(&name(0)?)?;
    ensure!(two.epochs.len() == 2, "{two:?}");
    world.left().ask(&Request::Discard { name: name(0)?, epoch: Epoch(2) })?;
    let one = world.left().show(&name(0)?)?;
    ensure!(one.epochs.len() == 1 && one.active == Some(Epoch(1)), "{one:?}");
    line.echo(&[100]).map(drop)
}

pub(crate) fn a_hard_limit_ends_the_sa_and_the_soft_one_tells_before(engine: Engine) -> Result<()> {
    let world = engine.world(1)?;
    engine.bring_up(&world, 0, &engine.terms_that_encrypt(), |pair| {
        pair.lifetimes.soft = Limits { packets: Some(5), ..Limits::default() };
        pair.lifetimes.hard = Limits { packets: Some(10), ..Limits::default() };
    })?;
    let came = echo(&world.hosts, 0, 11)?;
    ensure!((9..=10).contains(&came), "{came} came back of 11 with a limit of 10");
    let soft = world.left().event(EventKind::SaRotationDue, "pair-0")?;
    let hard = world.left().event(EventKind::SaLost, "pair-0")?;
    ensure!(soft.seq < hard.seq, "{soft:?} after {hard:?}");
    Ok(())
}

pub(crate) fn an_spi_in_use_and_unknown_names_have_their_codes(engine: Engine) -> Result<()> {
    let (world, line) = engine.world_with_pair(&engine.terms())?;
    let left = world.left();
    left.define(&pair(Side::Left, 1, &engine.terms())?)?;
    let Some(taken) = left.show(&name(0)?)?.epochs.swap_remove(0).inbound else {
        bail!("no inbound SA");
    };
    let keying = KeyingMaterial::new(Aead::Aes128Gcm, SecretKey::copy_from(&[7; 20]))?;
    let given = Some(KeyOffer::new(taken.spi, &keying));
    let conflict = left.refusal(&Request::Prepare { name: name(1)?, epoch: Epoch(1), given })?;
    let codes = [AgentErrorCode::Conflict, AgentErrorCode::Engine(ErrorClass::Conflict)];
    ensure!(codes.contains(&conflict.code), "{conflict:?}");
    ensure!(left.show(&name(1)?)?.epochs.is_empty(), "something of it is left");
    let unknown = left.refusal(&prepare(&name(9)?, 1))?;
    ensure!(unknown.code == AgentErrorCode::UnknownPair, "{unknown:?}");
    let unknown = left.refusal(&Request::Switch { name: name(0)?, epoch: Epoch(9) })?;
    ensure!(unknown.code == AgentErrorCode::UnknownEpoch, "{unknown:?}");
    line.echo(&[100]).map(drop)
}

pub(crate) fn removing_a_pair_leaves_nothing(engine: Engine) -> Result<()> {
    let (world, _) = engine.world_with_pair(&engine.terms())?;
    world.left().prepare(&name(0)?, 2)?;
    let in_device = || world.device.as_ref().map_or(Ok(0), Device::sas);
    ensure!((in_device()? > 0) == (engine == Engine::Device), "{} in the device", in_device()?);
    world.left().ask(&Request::Undefine { name: name(0)? })?;
    let Response::Pairs(list) = world.left().ask(&Request::List { after: None, limit: 10 })? else {
        bail!("no list");
    };
    ensure!(list.total == 0, "{list:?}");
    if engine != Engine::UserSpace {
        for what in ["state", "policy"] {
            let left = ip_says(&world.hosts, Side::Left, &format!("xfrm {what}"))?;
            ensure!(!left.contains("src "), "xfrm {what} is left: {left}");
        }
    }
    ensure!(in_device()? == 0, "the device still has SAs");
    Ok(())
}
