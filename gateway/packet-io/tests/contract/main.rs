//! What every driver promises, run against each of them.
//!
//! A claim is a function over any [`Driver`]; the macro makes it one test per driver and mode.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod bench;
mod delivery;
mod lifecycle;
mod ring;
mod wake;

use packet_io::{Config, Epoll, TaskRun};

/// Makes each claim a test of each driver.
macro_rules! contract {
    ($($module:ident: $($claim:ident)*;)*) => { $($(mod $claim {
        #[test]
        fn epoll() {
            crate::$module::$claim(super::Epoll::new(&super::Config::default()).unwrap());
        }
        #[test]
        fn uring_deferred() {
            let config = super::Config { task_run: super::TaskRun::Deferred, ..Default::default() };
            if let Some(driver) = super::bench::uring(&config) {
                crate::$module::$claim(driver);
            }
        }
        #[test]
        fn uring_cooperative() {
            let task_run = super::TaskRun::Cooperative;
            let config = super::Config { task_run, ..Default::default() };
            if let Some(driver) = super::bench::uring(&config) {
                crate::$module::$claim(driver);
            }
        }
    })*)* };
}

contract! {
    delivery:
        delivers_payload_source_and_timestamp
        relays_over_ipv6
        sends_grown_and_shrunk_in_place
        flags_what_is_longer_than_the_buffer
        delivers_empty_datagrams
        counts_refused_sends_and_goes_on
        tells_of_kernel_drops;
    lifecycle:
        serves_many_sockets
        honours_the_budget
        a_flooded_socket_starves_no_other
        delivers_nothing_to_a_later_owner_of_the_token
        frees_the_port_when_removed
        refuses_a_token_in_use;
    wake:
        loses_no_wake_up
        loses_no_edge
        rests_when_nothing_is_left;
}
