//! What every engine owes, whichever it is: the same claims about each, by way of the agent's
//! socket, with two agents in two network namespaces and real packets between them.
//!
//! It runs here for user space. It knows the kernel's ESP and netdevsim too, for machines that have
//! them, but is not among the test VM's targets yet: `vm_xfrm`, `vm_mixed` and `vm_fallback` are.
//! netdevsim encrypts nothing, so there packets are judged only where its SAs fell back to software.
#![allow(clippy::print_stdout, reason = "a test says what it skips")]

#[path = "../vm/agent.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod agent;
#[path = "../support/client.rs"]
#[allow(dead_code, unreachable_pub, clippy::expect_used, reason = "shared with other targets")]
mod client;
#[path = "../vm/ground.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod ground;
#[path = "../../../../gateway/tests/ipsec/hosts.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod hosts;
mod life;
#[path = "../vm_fallback/simulated.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod simulated;
mod traffic;
mod wire;
mod world;

use anyhow::{Context, Result};

use crate::world::{Engine, engines};

/// One claim, for each engine that this machine has.
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

#[test]
fn a_device_takes_what_it_can_and_the_rest_falls_back_and_nothing_stays() -> Result<()> {
    if std::env::var_os("POSTERN_VM").is_none() {
        println!("SKIPPED contract_netdevsim: this kernel is not the test VM's");
        return Ok(());
    }
    life::a_device_takes_what_it_can(Engine::Xfrm)
}
