//! What every engine owes, whichever it is: the same claims about each, by way of the agent's
//! socket, with two agents in two network namespaces and real packets between them.
//!
//! On any machine it runs for user space; in the test VM, which runs the same program, for the
//! kernel's ESP too, in software and beside netdevsim. That device encrypts nothing: packets are
//! judged only where its SAs fell back to software.
#![allow(clippy::print_stdout, reason = "a test says what it skips")]

mod engine;
mod life;
mod traffic;
#[path = "../two_hosts/mod.rs"]
mod two_hosts;
mod wire;

use anyhow::{Context, Result};

use crate::{
    engine::engines,
    two_hosts::{agent, ground, hosts, simulated, world},
};

/// One claim, for each engine that is judged here.
macro_rules! claims {
    ($($module:ident :: $claim:ident),* $(,)?) => {
        $(#[test]
        fn $claim() -> Result<()> {
            for engine in engines(stringify!($claim)) {
                $module::$claim(engine).with_context(|| format!("{engine:?}"))?;
            }
            Ok(())
        })*
    };
}

claims![
    traffic::every_kind_of_tunnel_carries_every_length_encrypted_and_counts_agree,
    traffic::transport_mode_is_carried_or_refused_with_the_reason,
    traffic::a_switch_under_traffic_loses_repeats_and_reorders_nothing,
    wire::replays_and_forgeries_are_dropped_and_counted,
    life::old_and_new_inbound_overlap_and_retiring_removes_just_the_old,
    life::discard_removes_just_what_was_prepared,
    life::a_hard_limit_ends_the_sa_and_the_soft_one_tells_before,
    life::an_spi_in_use_and_unknown_names_have_their_codes,
    life::removing_a_pair_leaves_nothing,
];
