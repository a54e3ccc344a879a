//! `gateway probe`: what this machine can do, each line with its evidence. Everything is tried
//! or read here and now; nothing is concluded from version numbers.

use std::fmt::Write as _;
use std::net::{Ipv6Addr, UdpSocket};

use packet_io::{Choice, uring};

use crate::machine::{Machine, sysctl};

/// One thing, whether it is there, and how we know.
struct Finding {
    what: &'static str,
    answer: String,
    evidence: String,
}

/// The report, a line each.
pub(crate) fn report() -> String {
    let findings = [
        kernel(),
        driver("io_uring", Choice::Uring),
        driver("epoll", Choice::Epoll),
        af_xdp(),
        aes(),
        cpus(),
        ipv6(),
        files(),
        ephemeral(),
    ];
    let mut text = String::new();
    for Finding { what, answer, evidence } in findings {
        let _ = writeln!(text, "{what:<16} {answer:<12} {evidence}");
    }
    text
}

fn kernel() -> Finding {
    let release = sysctl("kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    let evidence = "/proc/sys/kernel/osrelease".to_owned();
    Finding { what: "kernel", answer: release, evidence }
}

fn driver(what: &'static str, choice: Choice) -> Finding {
    match packet_io::open(choice, &uring::Config::default()) {
        Ok(_) => {
            let evidence = "opened one and its probe passed".to_owned();
            Finding { what, answer: "yes".to_owned(), evidence }
        }
        Err(error) => Finding { what, answer: "no".to_owned(), evidence: error.to_string() },
    }
}

fn af_xdp() -> Finding {
    let evidence = "not in this release".to_owned();
    Finding { what: "af_xdp", answer: "no".to_owned(), evidence }
}

fn aes() -> Finding {
    #[cfg(target_arch = "x86_64")]
    let (found, evidence) = (std::is_x86_feature_detected!("aes"), "CPUID: aes".to_owned());
    #[cfg(target_arch = "aarch64")]
    let (found, evidence) =
        (std::arch::is_aarch64_feature_detected!("aes"), "HWCAP: aes".to_owned());
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let (found, evidence) = (false, "not looked for on this architecture".to_owned());
    Finding { what: "aes in hardware", answer: yes(found), evidence }
}

fn cpus() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    let evidence = "affinity mask and cgroup quota".to_owned();
    Finding { what: "cpus", answer: count.to_string(), evidence }
}

fn ipv6() -> Finding {
    let evidence = match UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => {
            return Finding {
                what: "ipv6",
                answer: yes(true),
                evidence: "bound a socket to ::1".to_owned(),
            };
        }
        Err(error) => format!("bind to ::1: {error}"),
    };
    Finding { what: "ipv6", answer: yes(false), evidence }
}

fn files() -> Finding {
    let answer = Machine::read().files.map_or("unknown".to_owned(), |files| files.to_string());
    let evidence = "RLIMIT_NOFILE, hard; a call holds 4 or more".to_owned();
    Finding { what: "descriptors", answer, evidence }
}

fn ephemeral() -> Finding {
    let range = Machine::read().ephemeral;
    let answer = range.map_or("unknown".to_owned(), |range| range.to_string());
    let evidence = "net.ipv4.ip_local_port_range".to_owned();
    Finding { what: "ephemeral ports", answer, evidence }
}

fn yes(found: bool) -> String {
    if found { "yes" } else { "no" }.to_owned()
}
