//! Claims about io_uring alone: what happens when its rings are too small.

use packet_io::{Config, Driver, Received, TaskRun, Uring, Verdict};

use crate::bench::{LOOPBACK, add, echo, payload, peer, run_until, uring};

const SOCKETS: u32 = 50;
const EACH: u32 = 4;

/// Has packets wait on many sockets, then takes them all, each once and in order.
fn takes_all(driver: &mut Uring) {
    let addresses: Vec<_> = (0..SOCKETS).map(|token| add(driver, token)).collect();
    let peer = peer(LOOPBACK);
    for round in 0..10 {
        let mut next = vec![round * EACH; SOCKETS as usize];
        for number in 0..EACH {
            for to in &addresses {
                peer.send_to(&(round * EACH + number).to_be_bytes(), to).unwrap();
            }
        }
        let take = |packet: Received<'_>| {
            let next = &mut next[packet.token.0 as usize];
            assert_eq!(payload(&packet), next.to_be_bytes());
            *next += 1;
            echo(packet)
        };
        let all = (SOCKETS * EACH) as usize;
        let sum = run_until(driver, take, |sum| sum.received == all);
        assert_eq!(sum.send_errors, 0);
    }
}

fn modes(config: Config) -> impl Iterator<Item = Uring> {
    let modes = [TaskRun::Deferred, TaskRun::Cooperative];
    modes.into_iter().filter_map(move |task_run| uring(&Config { task_run, ..config }))
}

#[test]
fn takes_all_when_buffers_run_out() {
    for mut driver in modes(Config { buffers: 8, ..Config::default() }) {
        takes_all(&mut driver);
        let counters = driver.counters();
        assert!(counters.buffers_exhausted > 0, "buffers did not run out: {counters:?}");
        assert_eq!(counters.rearmed, counters.buffers_exhausted);
    }
}

#[test]
fn takes_all_when_completions_overflow() {
    for mut driver in modes(Config { submissions: 4, completions: 8, ..Config::default() }) {
        takes_all(&mut driver);
        assert!(driver.counters().overflows > 0, "completions did not overflow");
    }
}

#[test]
fn survives_a_full_queue_of_everything() {
    for mut driver in
        modes(Config { buffers: 4, submissions: 1, completions: 2, ..Config::default() })
    {
        takes_all(&mut driver);
        (0..SOCKETS).for_each(|token| driver.remove(packet_io::Token(token)));
        driver.flush().unwrap();
        let turn = driver.turn(1, |_| Verdict::Drop).unwrap();
        assert_eq!(turn.received, 0);
    }
}

#[test]
fn refuses_a_number_of_buffers_that_is_no_power_of_two() {
    if uring(&Config::default()).is_none() {
        return;
    }
    let refused = Uring::new(&Config { buffers: 100, ..Config::default() }).err().unwrap();
    assert!(refused.to_string().contains("power of two"), "{refused}");
}
