//! User-space ESP allocates nothing per packet: measured with an allocator that counts what every
//! thread of the process asks for, between two hosts with steady traffic.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

#[path = "sys.rs"]
mod allocator;
#[path = "../user_space/host.rs"]
#[expect(dead_code, reason = "the other tests need more of it")]
mod host;
#[path = "../user_space/pair.rs"]
#[expect(dead_code, reason = "the other tests need more of it")]
mod pair;
#[path = "../user_space/sys.rs"]
mod sys;

use std::net::UdpSocket;

use pair::{Family, Terms, tunnel};

#[global_allocator]
static COUNTING: allocator::Counting = allocator::Counting;

#[test]
fn steady_traffic_allocates_nothing() {
    const TEST: &str = "steady_traffic_allocates_nothing";
    // Fewer than half of the smallest reservation: extending one may allocate, on another thread.
    const PACKETS: usize = 150;
    let before = allocator::allocations();
    drop(std::hint::black_box(Box::new(1)));
    assert!(allocator::allocations() > before, "the counter counts");
    for encapsulation in [pair::UDP, None] {
        let terms = Terms { encapsulation, ..Terms::default() };
        let Some([left, right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
        let (ours, theirs) = (left.udp("10.1.0.1"), right.udp("10.2.0.1"));
        ours.connect(theirs.local_addr().unwrap()).unwrap();
        echo(&ours, &theirs, 100);
        let before = allocator::allocations();
        echo(&ours, &theirs, PACKETS);
        assert_eq!(allocator::allocations() - before, 0, "{encapsulation:?}");
    }
}

/// Packets one by one, there and back.
fn echo(ours: &UdpSocket, theirs: &UdpSocket, packets: usize) {
    let (payload, mut buffer) = ([7; 1000], [0; 2048]);
    for number in 0..packets {
        ours.send(&payload[..number % 1000]).unwrap();
        let (length, from) = theirs.recv_from(&mut buffer).unwrap();
        theirs.send_to(&buffer[..length], from).unwrap();
        assert_eq!(ours.recv(&mut buffer).unwrap(), number % 1000);
    }
}
