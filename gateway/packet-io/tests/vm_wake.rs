//! On the test VM's kernels, whose io_uring signals deferred work late or once: the driver that is
//! chosen there wakes for each packet (docs/decisions.md, section 9).

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::Duration;

use packet_io::{
    Choice, Config, Driver, Opened, SocketOptions, Token, Verdict, open, open_media_socket,
    wait_readable,
};

const ROUNDS: u32 = 200;
/// A thousand times what the emulated CPU takes.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn a_sleeping_driver_wakes_for_each_packet() {
    for choice in [Choice::Uring, Choice::Auto, Choice::Epoll] {
        let Opened { mut driver, reason, .. } = open(choice, &Config::default()).unwrap();
        println!("{choice:?}: {reason}");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let socket = open_media_socket(any, SocketOptions::default()).unwrap();
        let to = socket.local_addr().unwrap();
        driver.add(Token(0), socket).unwrap();
        driver.flush().unwrap();
        let sender = thread::spawn(move || {
            let sender = UdpSocket::bind(any).unwrap();
            for round in 0..ROUNDS {
                sender.send_to(&round.to_be_bytes(), to).unwrap();
                // Long enough for the driver to sleep again.
                thread::sleep(Duration::from_millis(2));
            }
        });
        let mut received = 0;
        while received < ROUNDS as usize {
            let awake = wait_readable(driver.readiness(), PATIENCE).unwrap();
            assert!(awake, "{choice:?} slept through packet {received}: {reason}");
            while driver
                .turn(64, |_| {
                    received += 1;
                    Verdict::Drop
                })
                .unwrap()
                .more
            {}
        }
        sender.join().unwrap();
    }
}
