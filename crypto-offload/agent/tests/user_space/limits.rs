//! Limits of packets and time, and numbers that a disk has not promised yet.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crypto_offload::{Direction, EngineEvent, IpsecEngine, Limits};
use offload_agent::user_space::{
    Settings,
    reservation::{InMemory, Reservation, Reservations, block},
};
use packet_io::wait_readable;

use crate::{
    host::{Host, PATIENCE, join, wait_until},
    pair::{Family, Terms, Way, establish, tunnel},
};

fn packets(packets: u64) -> Limits {
    Limits { packets: Some(packets), ..Limits::default() }
}

/// Waits for the next events of `host`.
fn events(host: &Host) -> Vec<EngineEvent> {
    host.run(|engine| {
        assert!(wait_readable(engine.event_source().unwrap(), PATIENCE).unwrap(), "no event");
        engine.events().unwrap()
    })
}

#[test]
fn limits_of_packets_are_told_once_and_the_hard_one_is_kept() {
    const TEST: &str = "limits_of_packets_are_told_once_and_the_hard_one_is_kept";
    let terms = Terms { soft: packets(3), hard: packets(5), ..Terms::default() };
    let Some([left, right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
    let (ours, theirs) = (left.udp("10.1.0.1"), right.udp("10.2.0.1"));
    for number in 0..8 {
        ours.send_to(&[number], theirs.local_addr().unwrap()).unwrap();
    }
    let mut buffer = [0; 10];
    for number in 0..5 {
        theirs.recv(&mut buffer).unwrap();
        assert_eq!(buffer[0], number);
    }
    wait_until("the drops", || left.counter("outbound_hard_limit") == 3);
    let id = terms.id(Way::ToRight, 1);
    for host in [&left, &right] {
        let mut told = Vec::new();
        while told.len() < 2 {
            told.extend(events(host));
        }
        assert_eq!(told, [EngineEvent::SoftLimit(id), EngineEvent::HardLimit(id)]);
    }
}

#[test]
fn limits_of_time_are_told_and_the_hard_one_is_kept() {
    const TEST: &str = "limits_of_time_are_told_and_the_hard_one_is_kept";
    let seconds = |seconds| Limits { seconds: Some(seconds), ..Limits::default() };
    let terms = Terms { soft: seconds(1), hard: seconds(2), ..Terms::default() };
    let Some([left, right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
    let (ours, theirs) = (left.udp("10.1.0.1"), right.udp("10.2.0.1"));
    ours.send_to(&[1], theirs.local_addr().unwrap()).unwrap();
    theirs.recv(&mut [0; 10]).unwrap();
    let ids = [terms.id(Way::ToRight, 1), terms.id(Way::ToLeft, 1)];
    let mut told = Vec::new();
    while told.len() < 4 {
        told.extend(events(&left));
    }
    assert!(ids.iter().all(|id| told[..2].contains(&EngineEvent::SoftLimit(*id))), "{told:?}");
    assert!(ids.iter().all(|id| told[2..].contains(&EngineEvent::HardLimit(*id))), "{told:?}");
    ours.send_to(&[2], theirs.local_addr().unwrap()).unwrap();
    wait_until("the drop", || left.counter("outbound_hard_limit") == 1);
}

/// A disk that can be full.
#[derive(Default)]
struct Disk {
    is_full: AtomicBool,
    written: InMemory,
}

impl Reservations for Disk {
    fn reserve(&self, wanted: &[Reservation]) -> io::Result<()> {
        if self.is_full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.written.reserve(wanted)
    }
}

#[test]
fn no_number_is_sent_that_was_not_reserved() {
    const TEST: &str = "no_number_is_sent_that_was_not_reserved";
    let disk = Arc::new(Disk::default());
    disk.is_full.store(true, Ordering::SeqCst);
    let Ok(left) = Host::new(Settings::default(), Arc::clone(&disk) as Arc<dyn Reservations>)
    else {
        return println!("SKIPPED {TEST}: a network namespace needs root");
    };
    let Some(right) = Host::plain(TEST) else { return };
    join(&left, &right);
    let terms = Terms { resume_after: 1_000, ..Terms::default() };
    establish(&left, &right, terms, Family::Ipv4);
    let ours = left.udp("10.1.0.1");
    let _theirs = right.udp("10.2.0.1");
    let id = terms.id(Way::ToRight, 1);
    let sequence = || left.run(move |engine| engine.usage(id).unwrap().sequence);
    let end = 1_000 + block(Direction::Outbound);
    let send = || (0..200).for_each(|_| drop(ours.send_to(&[0], "10.2.0.1:9")));
    wait_until("the end of the first block", || {
        send();
        left.counter("outbound_unreserved") > 100
    });
    assert_eq!(sequence(), end);
    assert_eq!(disk.written.reserved(id, Direction::Outbound), None);
    disk.is_full.store(false, Ordering::SeqCst);
    wait_until("numbers beyond it", || {
        send();
        sequence() > end
    });
    let reserved = disk.written.reserved(id, Direction::Outbound).unwrap();
    assert!(reserved >= end + block(Direction::Outbound), "{reserved}");
    // The receiver's reservations, in blocks of 4,096, went on meanwhile.
    assert_eq!(right.counter("inbound_unreserved"), 0);
}

#[test]
fn a_receiver_takes_a_sender_that_resumed_far_ahead() {
    const TEST: &str = "a_receiver_takes_a_sender_that_resumed_far_ahead";
    let terms = Terms::default();
    let Some([left, right]) = tunnel(TEST, terms, Family::Ipv4) else { return };
    let (ours, theirs) = (left.udp("10.1.0.1"), right.udp("10.2.0.1"));
    theirs.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let id = terms.id(Way::ToRight, 1);
    left.run(move |engine| {
        engine.remove(id).unwrap();
        let mut resumed = terms.sa(Way::ToRight, 1, Direction::Outbound, Family::Ipv4);
        resumed.resume_after = 10_000_000;
        engine.install(&resumed, crypto_offload::Placement::UserSpace).unwrap();
    });
    wait_until("a packet", || {
        ours.send_to(&[1], theirs.local_addr().unwrap()).unwrap();
        theirs.recv(&mut [0; 10]).is_ok()
    });
    let usage = right.run(move |engine| engine.usage(id).unwrap());
    assert!(usage.sequence > 10_000_000, "{usage:?}");
    assert!(right.counter("inbound_unreserved") >= 1);
}
