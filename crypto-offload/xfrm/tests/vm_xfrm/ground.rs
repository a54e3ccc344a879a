//! Two network namespaces with a cable between them, and an engine in each.
//!
//! ```text
//! left:  10.1.0.1, fd00:1::1  192.0.2.1, 2001:db8::1 ─── 192.0.2.2, 2001:db8::2  10.2.0.1, fd00:2::1 :right
//! ```

use std::{
    fs::File,
    net::IpAddr,
    os::fd::AsFd,
    process::Command,
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
        for name in [&left, &right] {
            ip(&format!("netns add {name}"));
        }
        ip(&format!("-n {left} link add cable type veth peer name cable netns {right}"));
        address(&left, 1, 2);
        address(&right, 2, 1);
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
    // Busybox's own comes first on some paths, and knows no xfrm.
    let output = Command::new("/sbin/ip").args(arguments.split_whitespace()).output();
    let output = output.expect("iproute2");
    assert!(output.status.success(), "ip {arguments}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
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

fn address(name: &str, own: u8, other: u8) {
    for family in [Family::V4, Family::V6] {
        let (length, host) = if family == Family::V4 { (24, 32) } else { (64, 128) };
        let (own_outer, own_inner) = (outer(family, own), inner(family, own));
        ip(&format!("-n {name} address add {own_outer}/{length} dev cable {}", nodad(family)));
        ip(&format!("-n {name} address add {own_inner}/{host} dev lo {}", nodad(family)));
    }
    ip(&format!("-n {name} link set lo up"));
    ip(&format!("-n {name} link set cable up"));
    for family in [Family::V4, Family::V6] {
        let (to, from) = (inner(family, other), inner(family, own));
        ip(&format!("-n {name} route add {to} dev cable src {from}"));
    }
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
