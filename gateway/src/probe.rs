//! `gateway probe`: what this machine can do, each line with its evidence. Everything is tried
//! or read here and now; nothing is concluded from version numbers.

use std::fmt::Write as _;
use std::net::{Ipv6Addr, UdpSocket};

use crypto_offload::Answer;
use kernel_tls::{Support, TlsFeature};
use packet_io::{Choice, OpenError, uring};

use crate::machine::{Machine, sysctl};

/// One thing, whether it is there, and how we know.
struct Finding {
    what: String,
    answer: String,
    evidence: String,
}

impl Finding {
    fn new(what: &str, answer: impl Into<String>, evidence: impl Into<String>) -> Self {
        Self { what: what.to_owned(), answer: answer.into(), evidence: evidence.into() }
    }
}

/// The report, a line each.
pub(crate) fn report() -> String {
    let machine = Machine::read();
    let mut findings = vec![
        kernel(),
        driver("driver io_uring", Choice::Uring),
        driver("driver epoll", Choice::Epoll),
        Finding::new("driver af_xdp", "no", "not in this release"),
    ];
    findings.extend(packet_io::probe().into_iter().map(|capability| {
        Finding::new(capability.name, yes(capability.available), capability.evidence)
    }));
    findings.extend([aes(), cpus(), ipv6(), files(&machine), ephemeral(&machine)]);
    findings.extend(kernel_tls());
    findings.push(dtls());
    let mut text = String::new();
    for Finding { what, answer, evidence } in findings {
        let _ = writeln!(text, "{what:<33} {answer:<15} {evidence}");
    }
    text
}

fn kernel() -> Finding {
    let release = sysctl("kernel/osrelease").unwrap_or_else(|| "unknown".to_owned());
    Finding::new("kernel", release, "/proc/sys/kernel/osrelease")
}

fn driver(what: &str, choice: Choice) -> Finding {
    match packet_io::open(choice, &uring::Config::default()) {
        Ok(_) if choice == Choice::Epoll => Finding::new(what, "yes", "opened an epoll instance"),
        Ok(opened) => Finding::new(what, "yes", opened.reason),
        // Nobody asked for it here, so nothing is to be chosen instead.
        Err(OpenError::Uring { reason }) => Finding::new(what, "no", reason),
        Err(error) => Finding::new(what, "no", error.to_string()),
    }
}

/// Where the kernel has no TLS, one line says so for all.
fn kernel_tls() -> Vec<Finding> {
    let support = Support::shared();
    let lines = support.lines().iter();
    match support.has(TlsFeature::Ulp) {
        true => lines.map(records).collect(),
        false => lines.filter(|line| line.feature == TlsFeature::Ulp).map(records).collect(),
    }
}

/// Each with what was tried and what can be done about it.
fn records(line: &kernel_tls::Line) -> Finding {
    let answer = match line.answer {
        Answer::Yes => "yes",
        Answer::No => "no",
        Answer::Unknown => "unknown",
    };
    let remedy = line.remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
    Finding::new(&line.feature.to_string(), answer, format!("{}{remedy}", line.evidence))
}

fn dtls() -> Finding {
    let (works, evidence) = crate::webrtc::check::probe();
    Finding::new("DTLS-SRTP", yes(works), evidence)
}

fn aes() -> Finding {
    #[cfg(target_arch = "x86_64")]
    let (found, evidence) = (std::is_x86_feature_detected!("aes"), "CPUID: aes");
    #[cfg(target_arch = "aarch64")]
    let (found, evidence) = (std::arch::is_aarch64_feature_detected!("aes"), "HWCAP: aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let (found, evidence) = (false, "not looked for on this architecture");
    Finding::new("AES in hardware", yes(found), evidence)
}

fn cpus() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    Finding::new("CPUs", count.to_string(), "affinity mask and cgroup quota")
}

fn ipv6() -> Finding {
    match UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) {
        Ok(_) => Finding::new("IPv6", "yes", "bound a socket to ::1"),
        Err(error) => Finding::new("IPv6", "no", format!("bind to ::1: {error}")),
    }
}

fn files(machine: &Machine) -> Finding {
    let answer = machine.files.map_or_else(unknown, |files| files.to_string());
    Finding::new("descriptors", answer, "RLIMIT_NOFILE, hard; a call holds 4 or more")
}

fn ephemeral(machine: &Machine) -> Finding {
    let answer = machine.ephemeral.map_or_else(unknown, |range| range.to_string());
    Finding::new("ephemeral ports", answer, "net.ipv4.ip_local_port_range")
}

fn yes(found: bool) -> &'static str {
    if found { "yes" } else { "no" }
}

fn unknown() -> String {
    "unknown".to_owned()
}
