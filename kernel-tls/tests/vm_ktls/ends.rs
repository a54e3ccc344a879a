//! How connections end: peers that die, that leave half-way, and ours that close.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::time::Duration;

use kernel_tls::Received;
use rustix::net::Shutdown;
use rustix::net::sockopt::{set_socket_linger, set_socket_send_buffer_size};

use crate::attacker::{Attacker, send};
use crate::ground::{
    Deadline, Flow, Place, TLS13, connect, flush, has_tls13, kernel_suites, suite,
};
use crate::support::end::Talk;

/// Reads until the connection is over; how often that took, so that nothing spins.
fn error_of(victim: &mut Talk) -> ErrorKind {
    let until = Deadline::new();
    loop {
        match victim.read() {
            Ok(Received::Data(_) | Received::Nothing) => {}
            Ok(end) => panic!("{end:?}"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return error.kind(),
        }
        until.check("the end");
    }
}

#[test]
fn a_peer_that_leaves_without_close_notify_has_cut_the_data_short() {
    for suite in kernel_suites() {
        let policy = Place::Kernel.policy();
        let (mut victim, attacker) = Attacker::of_server(suite, &policy);
        drop(attacker);
        assert_eq!(error_of(&mut victim), ErrorKind::UnexpectedEof);
        // In the middle of a record.
        let (mut victim, mut attacker) = Attacker::of_server(suite, &policy);
        let record = attacker.seal(23, &[1; 1_000]);
        send(&attacker.socket, &record[..500]);
        drop(attacker);
        let kind = error_of(&mut victim);
        assert_eq!(kind, ErrorKind::UnexpectedEof);
    }
}

#[test]
fn a_reset_is_an_error_and_nothing_spins() {
    for suite in kernel_suites() {
        let (mut victim, attacker) = Attacker::of_server(suite, &Place::Kernel.policy());
        set_socket_linger(&attacker.socket, Some(Duration::ZERO)).expect("a reset");
        drop(attacker);
        assert_eq!(error_of(&mut victim), ErrorKind::ConnectionReset);
        let error = victim.write(b"more").expect_err("nobody is there");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}

#[test]
fn a_peer_that_dies_in_the_middle_of_a_key_update_ends_only_itself() {
    if !has_tls13() {
        return;
    }
    for reset in [false, true] {
        for update in [&[24, 0, 0, 1, 1][..], &[24, 0]] {
            let (mut victim, mut attacker) =
                Attacker::of_server(suite(TLS13), &Place::Kernel.policy());
            attacker.record(22, update);
            if reset {
                set_socket_linger(&attacker.socket, Some(Duration::ZERO)).expect("a reset");
            }
            drop(attacker);
            let kind = error_of(&mut victim);
            let ends =
                [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(ends.contains(&kind), "{kind:?}");
        }
    }
}

#[test]
fn what_was_written_before_close_notify_arrives_although_the_socket_is_shut_down_at_once() {
    for suite in kernel_suites() {
        for round in 0..20 {
            let (server, client) = (Place::Kernel.policy(), Place::User.policy());
            let mut ends = connect(suite, &server, &client);
            set_socket_send_buffer_size(&ends.0.socket, 4_096).expect("a small buffer");
            let mut flow = Flow::new(0);
            let until = Deadline::new();
            let mut goal = 100_000 + 777 * round;
            while flow.sent < goal {
                let before = flow.sent;
                flow.write(&mut ends.0, (goal - before).min(16_384 - 1_000));
                if flow.sent == before && flow.sent > 50_000 {
                    // The buffer is full: this is the moment at which it ends.
                    goal = flow.sent;
                }
                if flow.sent <= 50_000 {
                    flow.read(&mut ends.1);
                }
                until.check("writing");
            }
            ends.0.stream.close_write(&ends.0.socket).expect("closed");
            let mut shut = false;
            loop {
                flush(&mut ends.0);
                if !ends.0.stream.wants_flush() && !shut {
                    shut_down(&ends.0.socket);
                    shut = true;
                }
                if flow.read(&mut ends.1) {
                    break;
                }
                until.check("close_notify");
            }
            assert_eq!(flow.received, flow.sent, "round {round}");
        }
    }
}

fn shut_down(socket: &OwnedFd) {
    rustix::net::shutdown(socket, Shutdown::Write).expect("shut down");
}

#[test]
fn a_half_closed_connection_goes_on_the_other_way() {
    for suite in kernel_suites() {
        let policy = Place::Kernel.policy();
        let mut ends = connect(suite, &policy, &policy);
        ends.0.stream.close_write(&ends.0.socket).expect("closed");
        shut_down(&ends.0.socket);
        let mut flow = Flow::new(1);
        let until = Deadline::new();
        let mut closed = false;
        while flow.received < 200_000 {
            flow.write(&mut ends.1, 20_000);
            flow.read(&mut ends.0);
            closed = closed || matches!(ends.1.read(), Ok(Received::CloseNotify));
            until.check("the other way");
        }
        assert!(closed);
        let error = ends.0.write(b"more").expect_err("closed");
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    }
}
