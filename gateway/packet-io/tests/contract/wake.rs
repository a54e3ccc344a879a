//! Claims about sleeping between turns.

use std::net::SocketAddr;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use packet_io::{Driver, Verdict, wait_readable};
use tokio::io::unix::AsyncFd;

use crate::bench::{BUDGET, LOOPBACK, PATIENCE, add, echo, flood, peer, run_until};

const ROUNDS: u32 = 10_000;

/// Sends a packet, waits for it to come back, sends the next.
fn ping(to: SocketAddr) -> JoinHandle<()> {
    thread::spawn(move || {
        let peer = peer(LOOPBACK);
        let mut buffer = [0; 4];
        for round in 0..ROUNDS {
            // Varies where in the driver's turn the packet lands.
            (0..round % 200).for_each(|_| std::hint::spin_loop());
            peer.send_to(&round.to_be_bytes(), to).unwrap();
            assert_eq!(peer.recv(&mut buffer).ok(), Some(4), "the driver slept through a packet");
            assert_eq!(buffer, round.to_be_bytes());
        }
    })
}

pub(crate) fn loses_no_wake_up(mut driver: impl Driver) {
    let ping = ping(add(&mut driver, 0));
    run_until(&mut driver, echo, |sum| sum.received == ROUNDS as usize);
    ping.join().unwrap();
}

/// As above, waiting as a worker does: edge-triggered, through tokio.
pub(crate) fn loses_no_edge(mut driver: impl Driver) {
    let ping = ping(add(&mut driver, 0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let readiness = driver.readiness().try_clone_to_owned().unwrap();
        #[expect(deprecated, reason = "its unsafe successor asks for what an OwnedFd is: constant")]
        let readiness = AsyncFd::new(readiness).unwrap();
        let mut received = 0;
        while received < ROUNDS as usize {
            let ready = tokio::time::timeout(PATIENCE, readiness.readable()).await;
            assert!(ready.is_ok(), "no edge came");
            // Cleared before the turns: an edge that comes during them is kept.
            ready.unwrap().unwrap().clear_ready();
            loop {
                let turn = driver.turn(BUDGET, echo).unwrap();
                received += turn.received;
                if !turn.more {
                    break;
                }
            }
        }
    });
    ping.join().unwrap();
}

pub(crate) fn rests_when_nothing_is_left(mut driver: impl Driver) {
    let peer = peer(LOOPBACK);
    for token in 0..100 {
        let to = add(&mut driver, token);
        flood(&peer, to, b"x", 3);
    }
    run_until(&mut driver, |_| Verdict::Drop, |sum| sum.received == 300 && !sum.more);
    let readable = wait_readable(driver.readiness(), Duration::from_millis(50)).unwrap();
    assert!(!readable, "readable with nothing to do: a worker would spin");
}
