//! Network namespaces that belong to threads: nothing is left behind when those have ended.

use std::fs;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::sys;

/// Runs `work` on a thread with a network namespace of its own, loopback up; says SKIPPED and why
/// where this machine gives none.
pub(crate) fn alone(test: &str, work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let run = scope.spawn(|| {
            if let Err(error) = sys::unshare_network() {
                println!("SKIPPED {test}: a network namespace needs root; unshare says: {error}");
                return;
            }
            ip("link set lo up");
            work();
        });
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Like [`alone`], twice: `left` and `right` each run in a namespace, joined by a veth pair with
/// 192.0.2.1 and 2001:db8::1 on the left, 192.0.2.2 and 2001:db8::2 on the right, MTU 1500. When
/// the left one ends, the right one is told through its [`Receiver`].
pub(crate) fn pair(
    test: &str,
    left: impl FnOnce() + Send,
    right: impl FnOnce(Receiver<()>) + Send,
) {
    let (tell_thread, thread_of_right) = channel::<String>();
    let (tell_ready, ready) = channel::<()>();
    let (end, ended) = channel::<()>();
    thread::scope(|scope| {
        let right = scope.spawn(move || {
            if sys::unshare_network().is_err() {
                return;
            }
            ip("link set lo up");
            tell_thread.send(thread_id()).unwrap();
            ready.recv().unwrap();
            addresses("right", 2);
            settle("right", 2);
            right(ended);
        });
        alone(test, move || {
            let right = thread_of_right.recv().unwrap();
            ip(&format!(
                "link add left address {} type veth peer name right address {} netns {right}",
                hardware(1),
                hardware(2)
            ));
            addresses("left", 1);
            start(tell_ready, end, left);
        });
        right.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

fn start(tell_ready: Sender<()>, end: Sender<()>, left: impl FnOnce()) {
    tell_ready.send(()).unwrap();
    settle("left", 1);
    left();
    drop(end);
}

fn addresses(device: &str, host: u8) {
    ip(&format!("addr add 192.0.2.{host}/24 dev {device}"));
    ip(&format!("addr add 2001:db8::{host}/64 dev {device} nodad"));
    ip(&format!("link set {device} up"));
    // Known from the start: what waits for neighbour discovery is lost beyond some packets.
    let other = 3 - host;
    for address in [format!("192.0.2.{other}"), format!("2001:db8::{other}")] {
        let hardware = hardware(other);
        ip(&format!("neigh replace {address} lladdr {hardware} dev {device} nud permanent"));
    }
}

/// Waits for what the kernel does on a thread of its own: until the device has a queue, packets
/// sent by it vanish, and until the IPv6 address has its route, no socket can be bound to it.
fn settle(device: &str, host: u8) {
    let is_settled = || {
        let link = ip(&format!("link show {device}"));
        let has_queue = link.contains("state UP") && !link.contains("qdisc noop ");
        has_queue && !ip(&format!("-6 route show table local 2001:db8::{host}")).is_empty()
    };
    while !is_settled() {
        thread::sleep(Duration::from_millis(1));
    }
}

fn hardware(host: u8) -> String {
    format!("02:00:00:00:00:{host:02x}")
}

/// The calling thread's number, by which others name its namespace.
fn thread_id() -> String {
    let link = fs::read_link("/proc/thread-self").unwrap();
    link.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Runs ip(8) in the calling thread's namespace.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
