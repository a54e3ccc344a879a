//! Two network namespaces with a cable between them, and an engine in each.
//!
//! ```text
//! left:  10.1.0.1, fd00:1::1  192.0.2.1, 2001:db8::1 ─── 192.0.2.2, 2001:db8::2  10.2.0.1, fd00:2::1 :right
//! ```

use std::{
    fs::File,
    io::Write,
    net::IpAddr,
    os::fd::AsFd,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
};

use crypto_offload_xfrm::XfrmEngine;

use crate::sys;

/// One end, with its engine.
pub(crate) struct End {
    name: String,
    pub(crate) engine: XfrmEngine,
}

/// Both ends.
pub(crate) struct Ground {
    pub(crate) left: End,
    pub(crate) right: End,
}

impl Ground {
    /// Names nobody else has: tests may run side by side.
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let (left, right) = (format!("left{number}"), format!("right{number}"));
        ip_all(&[], &format!("netns add {left}\nnetns add {right}\n"));
        let cable = format!("link add cable type veth peer name cable netns {right}\n");
        ip_all(&["-n", &left], &(cable + &addresses(1, 2)));
        ip_all(&["-n", &right], &addresses(2, 1));
        Self { left: End::open(left), right: End::open(right) }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for end in [&self.left, &self.right] {
            let _ = Command::new("ip").args(["netns", "delete", &end.name]).status();
        }
    }
}

impl End {
    fn open(name: String) -> Self {
        let engine = inside(&name, || XfrmEngine::open().expect("the VM's kernel has XFRM"));
        Self { name, engine }
    }

    /// As after a crash: another engine in the same namespace.
    pub(crate) fn restart(&mut self) {
        self.engine = inside(&self.name, || XfrmEngine::open().expect("as before"));
    }

    /// Runs `work` with the engine on a thread inside this namespace.
    pub(crate) fn with<T: Send>(&mut self, work: impl FnOnce(&mut XfrmEngine) -> T + Send) -> T {
        let engine = &mut self.engine;
        inside(&self.name, move || work(engine))
    }

    /// Runs `work` on a thread inside this namespace.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        inside(&self.name, work)
    }

    /// Runs iproute2 in this namespace.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        ip(&format!("-n {} {arguments}", self.name))
    }
}

/// Runs iproute2.
pub(crate) fn ip(arguments: &str) -> String {
    let output = Command::new(IP).args(arguments.split_whitespace()).output();
    let output = output.expect("iproute2");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

/// Runs iproute2 once for many lines: an emulated CPU takes a tenth of a second to start it.
fn ip_all(options: &[&str], lines: &str) {
    let mut ip = Command::new(IP);
    let mut ip = ip.args(options).args(["-batch", "-"]).stdin(Stdio::piped()).spawn();
    let ip = ip.as_mut().expect("iproute2");
    ip.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("it reads");
    assert!(ip.wait().expect("it ends").success(), "ip {options:?}: {lines}");
}

/// An outer address.
pub(crate) fn outer(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => [192, 0, 2, host].into(),
        Family::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()].into(),
    }
}

/// An inner address.
pub(crate) fn inner(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V4 => [10, host, 0, 1].into(),
        Family::V6 => [0xfd00, host.into(), 0, 0, 0, 0, 0, 1].into(),
    }
}

/// Of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// Lines for iproute2: what host `own` has, and how it reaches host `other`.
fn addresses(own: u8, other: u8) -> String {
    let mut lines = String::new();
    for family in [Family::V4, Family::V6] {
        let (length, host) = if family == Family::V4 { (24, 32) } else { (64, 128) };
        let (at, inside, nodad) = (outer(family, own), inner(family, own), nodad(family));
        lines += &format!("address add {at}/{length} dev cable {nodad}\n");
        lines += &format!("address add {inside}/{host} dev lo {nodad}\n");
    }
    lines += "link set lo up\nlink set cable up\n";
    for family in [Family::V4, Family::V6] {
        let (to, from) = (inner(family, other), inner(family, own));
        lines += &format!("route add {to} dev cable src {from}\n");
    }
    lines
}

/// Without it an IPv6 address is of no use for a second.
fn nodad(family: Family) -> &'static str {
    match family {
        Family::V4 => "",
        Family::V6 => "nodad",
    }
}

fn inside<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/var/run/netns/{name}")).expect("the namespace");
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            sys::enter(namespace.as_fd()).expect("root may");
            work()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Busybox's own comes first on some paths, and knows no xfrm.
const IP: &str = "/sbin/ip";
