//! What an engine is asked to install for a pair: its SAs and policies.

use crypto_offload::{
    Direction, KeyingMaterial, Mode, PolicyDirection, PolicySpec, SaId, SaPair, SaSpec, Selector,
    Spi, UdpEncapsulation,
};

use crate::state::PairRecord;

/// The name of a pair's SA.
pub(super) fn sa_id(pair: &SaPair, direction: Direction, spi: Spi) -> SaId {
    let destination = match direction {
        Direction::Inbound => pair.local,
        Direction::Outbound => pair.remote,
    };
    SaId { destination, spi }
}

/// The UDP ports of a pair's SA.
pub(super) fn encapsulation(pair: &SaPair, direction: Direction) -> Option<UdpEncapsulation> {
    let ports = pair.encapsulation?;
    Some(match direction {
        Direction::Inbound => ports.inbound(),
        Direction::Outbound => ports.outbound(),
    })
}

/// One SA; `resume_after` is 0 for a new key.
pub(super) fn sa(
    record: &PairRecord,
    direction: Direction,
    spi: Spi,
    keying: KeyingMaterial,
    resume_after: u64,
) -> SaSpec {
    let pair = &record.terms;
    let outbound = pair.outbound_selector();
    let (source, selector) = match direction {
        Direction::Inbound => (pair.remote, outbound.reversed()),
        Direction::Outbound => (pair.local, outbound),
    };
    SaSpec {
        id: sa_id(pair, direction, spi),
        source,
        direction,
        mode: pair.mode,
        keying,
        sequence_numbers: pair.sequence_numbers,
        replay_window: pair.replay_window,
        lifetimes: pair.lifetimes,
        encapsulation: encapsulation(pair, direction),
        reqid: record.reqid,
        selector,
        device: pair.device.clone(),
        resume_after,
    }
}

/// The inbound policies: in tunnel mode packets are also handed on.
pub(super) fn inbound_policies(record: &PairRecord) -> Vec<PolicySpec> {
    let directions: &[PolicyDirection] = match record.terms.mode {
        Mode::Tunnel => &[PolicyDirection::In, PolicyDirection::Forward],
        Mode::Transport => &[PolicyDirection::In],
    };
    let pair = &record.terms;
    let policy = |direction: &PolicyDirection| PolicySpec {
        direction: *direction,
        selector: inbound_selector(pair),
        mode: pair.mode,
        source: pair.remote,
        destination: pair.local,
        reqid: record.reqid,
        spi: None,
        device: pair.device.clone(),
    };
    directions.iter().map(policy).collect()
}

/// The outbound policy, through one SA or none.
pub(super) fn outbound_policy(record: &PairRecord, spi: Option<Spi>) -> PolicySpec {
    let pair = &record.terms;
    PolicySpec {
        direction: PolicyDirection::Out,
        selector: pair.outbound_selector(),
        mode: pair.mode,
        source: pair.local,
        destination: pair.remote,
        reqid: record.reqid,
        spi,
        device: pair.device.clone(),
    }
}

fn inbound_selector(pair: &SaPair) -> Selector {
    pair.outbound_selector().reversed()
}
