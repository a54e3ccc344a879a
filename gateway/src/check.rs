//! `gateway check`: what this machine would make of a configuration, without running it.

use std::fmt::Write as _;

use packet_io::uring;

use crate::admin::remote;
use crate::config::{Config, PortRange, RECEIVE_BUFFER};
use crate::machine::Machine;
use crate::ports::{AddressError, check_addresses};
use crate::{settings, tls, webrtc};

/// What would run, and what to mind.
pub(crate) struct Report {
    facts: Vec<String>,
    warnings: Vec<String>,
}

/// Why the configuration would not run here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error(transparent)]
    Address(#[from] AddressError),
    #[error("relay.io (--io): {0}")]
    Driver(#[from] packet_io::OpenError),
    #[error("admin.tls: {0}")]
    Tls(#[from] admin_client::FileError),
    #[error(transparent)]
    Listeners(#[from] tls::check::Faults),
    #[error(transparent)]
    WebRtc(#[from] webrtc::CertificateError),
}

impl Report {
    /// As `gateway check` prints it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for fact in &self.facts {
            let _ = writeln!(text, "ok       {fact}");
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning  {warning}");
        }
        text
    }
}

/// Tries addresses and the driver, then holds the numbers against the machine's.
pub(crate) fn check(config: &Config) -> Result<Report, CheckError> {
    let interfaces = settings::interfaces(config);
    check_addresses(&interfaces)?;
    let driver = packet_io::open(config.relay.io.into(), &uring::Config::default())?;
    let (name, reason) = (packet_io::AnyDriver::name(&driver.driver), driver.reason);
    let mut facts = vec![format!("driver {name}: {reason}")];
    for interface in &config.interface {
        facts.push(format!("interface {interface}: this host has the address"));
    }
    let (ports, pairs) = (config.relay.ports, config.relay.ports.pairs());
    facts.push(format!("ports {ports}: {pairs} pairs on each address"));
    if let Some(tls) = &config.admin.tls {
        remote::server(tls)?;
        facts.push(format!("admin API at {}: its certificate, key and authority work", tls.listen));
    }
    facts.push(webrtc::check::check(&config.webrtc)?);
    let mut warnings = warnings(config, &Machine::read());
    let listeners = tls::check::check(&config.tls)?;
    facts.extend(listeners.facts);
    warnings.extend(listeners.warnings);
    Ok(Report { facts, warnings })
}

/// What would run, but not as well or as long as it should.
pub(crate) fn warnings(config: &Config, machine: &Machine) -> Vec<String> {
    let numbers =
        [ephemeral_ports(config, machine), descriptors(config, machine), buffer(config, machine)];
    numbers.into_iter().flatten().chain(devices(config, machine)).collect()
}

/// Any program's outgoing connection may then sit on a media port.
fn ephemeral_ports(config: &Config, machine: &Machine) -> Option<String> {
    let ports = config.relay.ports;
    let ephemeral = machine.ephemeral.filter(|range| range.overlaps(ports))?;
    let shared = PortRange { min: ports.min.max(ephemeral.min), max: ports.max.min(ephemeral.max) };
    let reserved =
        |port: u16| machine.reserved.iter().any(|range| (range.min..=range.max).contains(&port));
    if (shared.min..=shared.max).all(reserved) {
        return None;
    }
    Some(format!(
        "relay.ports (--ports) {ports} overlaps the kernel's ephemeral range {ephemeral}: other \
         programs may take media ports; run `sysctl net.ipv4.ip_local_reserved_ports={shared}` \
         or choose ports outside"
    ))
}

fn descriptors(config: &Config, machine: &Machine) -> Option<String> {
    let files = machine.files?;
    let ports = config.relay.ports.pairs() as u64 * 2 * config.interface.len() as u64;
    // The client's and the upstream's.
    let listeners = config.tls.listener.iter();
    let tls: u64 = listeners.map(|listener| listener.max_connections as u64 * 2).sum();
    let needed = ports + tls + OTHER_DESCRIPTORS;
    if files >= needed {
        return None;
    }
    Some(match tls {
        0 => format!(
            "RLIMIT_NOFILE is {files}, the port range may open {needed}: calls will be refused \
             before the ports run out; raise LimitNOFILE (systemd) or `ulimit -Hn`, or narrow \
             relay.ports (--ports)"
        ),
        tls => format!(
            "RLIMIT_NOFILE is {files}, the port range and TLS connections ({tls}) may open \
             {needed}: calls or connections will be refused before; raise LimitNOFILE (systemd) or \
             `ulimit -Hn`, or lower max_connections of TLS listeners or narrow relay.ports (--ports)"
        ),
    })
}

fn buffer(config: &Config, machine: &Machine) -> Option<String> {
    let (wanted, most) = (config.relay.receive_buffer, machine.receive_buffer?);
    // The default is as much of it as there is.
    (wanted.0 > most && wanted.0 != RECEIVE_BUFFER.0).then(|| {
        format!(
            "relay.receive_buffer {wanted} is more than the kernel grants; run \
             `sysctl net.core.rmem_max={}`",
            wanted.0
        )
    })
}

/// Inline placements are a device's: without it an SA goes to the next place, or nowhere.
fn devices(config: &Config, machine: &Machine) -> Vec<String> {
    let Some(present) = &machine.devices else { return Vec::new() };
    let named = config.ipsec.sa.iter().filter_map(|sa| Some((&sa.name, sa.device.as_ref()?)));
    let absent = named.filter(|(_, device)| !present.contains(device));
    let warning = |(name, device)| {
        format!(
            "ipsec.sa {name}: there is no device {device} here: its SAs cannot be inline; mend \
             `device`, or see `ip link`"
        )
    };
    absent.map(warning).collect()
}

/// Rings, listeners, connections, the log.
const OTHER_DESCRIPTORS: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine {
            ephemeral: Some(PortRange { min: 32768, max: 60999 }),
            reserved: Vec::new(),
            files: Some(20_000),
            receive_buffer: Some(212_992),
            devices: Some(vec!["lo".to_owned(), "eth0".to_owned()]),
        }
    }

    #[test]
    fn a_port_range_inside_the_ephemeral_one_is_warned_of_unless_reserved() {
        let config = Config::default();
        let warning = &warnings(&config, &machine())[0];
        assert!(warning.contains("ip_local_reserved_ports=32768-39999"), "{warning}");

        let reserved = vec![PortRange { min: 30000, max: 39999 }];
        assert_eq!(warnings(&config, &Machine { reserved, ..machine() }), [""; 0]);

        let mut config = config;
        config.relay.ports = PortRange { min: 20000, max: 29999 };
        assert_eq!(warnings(&config, &machine()), [""; 0]);
    }

    #[test]
    fn too_few_descriptors_for_the_range_are_warned_of() {
        let mut config = Config::default();
        config.relay.ports = PortRange { min: 10000, max: 29999 };
        let warning = &warnings(&config, &machine())[0];
        assert!(warning.contains("RLIMIT_NOFILE") && warning.contains("20256"), "{warning}");
    }

    #[test]
    fn tls_connections_are_among_the_descriptors() {
        let mut config = Config::default();
        config.relay.ports = PortRange { min: 20000, max: 20099 };
        let listener = "[[tls.listener]]\nname = \"sip\"\nmode = \"terminate\"\n\
                        listen = \"127.0.0.1:5061\"\nupstream = [\"127.0.0.1:5060\"]\n";
        for (connections, warned) in [(9_000, 0), (10_000, 1)] {
            let text = format!("{listener}max_connections = {connections}\n");
            config.tls = toml::from_str::<Config>(&text).unwrap().tls;
            let warnings = warnings(&config, &machine());
            assert_eq!(warnings.len(), warned, "{warnings:?}");
            assert!(warnings.iter().all(|text| text.contains("max_connections")), "{warnings:?}");
        }
    }

    #[test]
    fn a_receive_buffer_that_the_kernel_would_cut_is_warned_of() {
        let mut config = Config::default();
        config.relay.ports = PortRange { min: 20000, max: 20099 };
        config.relay.receive_buffer = "1MiB".parse().unwrap();
        let warning = &warnings(&config, &machine())[0];
        assert!(warning.contains("rmem_max=1048576"), "{warning}");
    }

    #[test]
    fn a_device_that_is_not_there_is_warned_of() {
        let mut config = Config::default();
        config.relay.ports = PortRange { min: 20000, max: 20099 };
        let sa = "[[ipsec.sa]]\nname = \"trunk-1\"\nlocal = \"192.0.2.1\"\n\
                  remote = \"192.0.2.2\"\nmode = \"transport\"\n";
        for (device, expected) in [("eth0", None), ("eth7", Some("no device eth7"))] {
            let text = format!("{sa}device = \"{device}\"\n");
            config.ipsec.sa = toml::from_str::<Config>(&text).unwrap().ipsec.sa;
            let warnings = warnings(&config, &machine());
            assert_eq!(warnings.len(), usize::from(expected.is_some()), "{warnings:?}");
            assert!(expected.is_none_or(|text| warnings[0].contains(text)), "{warnings:?}");
        }
    }
}
