//! Floods under forged addresses: of checks that no password signs, and of ClientHellos. The
//! gateway's memory and its agents' time stay within bounds, no path changes, and a call beside them
//! loses nothing.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, setpriority_process};

use crate::abroad::{Abroad, HERE};
use crate::dialogue::Dialogue;
use crate::gateway::Gateway;
use crate::hostile::beside_a_call;
use crate::losses::Losses;
use crate::relay::dropped;
use crate::scene::{Scene, demand};
use crate::secure_peer::{Certificate, Leg};
use crate::spoof::{Flood, Sources, Spoof, URGENT};
use crate::stun::binding_request;

#[test]
fn a_flood_of_forged_client_hellos_costs_bounded_memory_and_time_and_no_packet() {
    demand("hello_flood", &["rtpengine"], |scene| {
        let settings = format!("handshake_cpu = {SHARE}\n{RELAY}");
        beside_a_call(scene, Abroad::alone()?, &settings, |abroad, gateway, _| {
            give_the_worker_its_core(gateway)?;
            let certificate = Certificate::new(scene, "good", 0)?;
            let leg = Leg::new("awaits", 6000, &certificate.fingerprint)?;
            let hello = client_hello(scene)?;
            let live = own_ports(gateway, leg.relay)?;
            println!("the live call's ports: {live:?}");
            let signalled = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 2), 6000);
            let waiting = v4(leg.relay)?;
            for (name, sources, targets) in [
                ("strangers at a leg that waits", Sources::Many, vec![waiting]),
                ("the signalled address", Sources::One(signalled), vec![waiting]),
                ("strangers at every port", Sources::Many, live),
            ] {
                demand_bounds(abroad, gateway, name, sources, targets, vec![hello.clone()])?;
            }
            // Whom they pretended to be is served afterwards.
            let options = ["-use_srtp", "SRTP_AES128_CM_SHA1_80"];
            let leg = Leg::new("late", 6001, &certificate.fingerprint)?;
            let client = leg.shake_hands(scene, abroad, &certificate, &options)?;
            leg.wait_for("secured").with_context(|| client.said())
        })
    });
}

#[test]
fn forged_stun_never_changes_a_path() {
    demand("stun_flood", &["rtpengine"], |scene| {
        beside_a_call(scene, Abroad::alone()?, RELAY, |abroad, gateway, call| {
            give_the_worker_its_core(gateway)?;
            let certificate = Certificate::new(scene, "good", 0)?;
            let leg = Leg::new("awaits", 6000, &certificate.fingerprint)?;
            let targets = own_ports(gateway, leg.relay)?;
            let requests: Vec<Vec<u8>> = (0..1000)
                .map(|number| {
                    let username = if number % 2 == 0 { "no:body" } else { &call.username };
                    binding_request(username, "not the password at all", number)
                })
                .collect();
            demand_bounds(abroad, gateway, "forged checks", Sources::Many, targets, requests)?;
            let refused = |reason| gateway.metric("postern_ice_refused_total", &[reason]);
            let (unknown, wrong) = (refused("\"unknown_ufrag\"")?, refused("\"wrong_password\"")?);
            println!("refused: {unknown} unknown, {wrong} under a wrong password");
            ensure!(unknown > 0.0 && wrong > 0.0, "{unknown} unknown, {wrong} wrong");
            Ok(())
        })
    });
}

/// Floods, and demands that memory and the agents' time stayed within their bounds.
fn demand_bounds(
    abroad: &Abroad,
    gateway: &Gateway,
    name: &str,
    sources: Sources,
    targets: Vec<SocketAddrV4>,
    payloads: Vec<Vec<u8>>,
) -> Result<()> {
    let (memory, time) = (gateway.resident()?, agents_time(gateway)?);
    let before = Losses::of(abroad)?;
    let flood: Flood =
        abroad.run(move || Spoof::new()?.flood(sources, &targets, &payloads, RATE, LASTING))?;
    let lost = Losses::of(abroad)?.since(before);
    let grown = gateway.resident()?.saturating_sub(memory);
    let share = (agents_time(gateway)? - time) / flood.lasted.as_secs_f64();
    println!("{name}: {:.0}/s, {grown} KiB more, {share:.2} of the agents' thread", flood.rate());
    println!("  dropped: {:?}; by the kernel: {lost:?}", dropped(gateway)?);
    ensure!(flood.rate() > LEAST_RATE, "{name}: only {:.0}/s", flood.rate());
    ensure!(grown < GROWTH, "{name}: {grown} KiB more");
    ensure!(share < SHARE, "{name}: the agents took {share:.2} of a core");
    Ok(())
}

/// The gateway's UDP ports on the wire but that one.
fn own_ports(gateway: &Gateway, but: SocketAddr) -> Result<Vec<SocketAddrV4>> {
    let range = fs::read_to_string(format!("/proc/{}/net/udp", gateway.process.id()))?;
    let here = Ipv4Addr::from(HERE.parse::<Ipv4Addr>()?.octets());
    let wanted = format!("{:08X}", u32::from_le_bytes(here.octets()));
    let ports = range.lines().skip(1).filter_map(|line| {
        let local = line.split_whitespace().nth(1)?;
        let (address, port) = local.split_once(':')?;
        (address == wanted).then(|| u16::from_str_radix(port, 16).ok()).flatten()
    });
    let relayed = ports.filter(|port| RELAY_PORTS.contains(port) && *port != but.port());
    let ports: Vec<_> = relayed.map(|port| SocketAddrV4::new(here, port)).collect();
    ensure!(!ports.is_empty(), "no port: {range}");
    Ok(ports)
}

/// Seconds that the agents' threads have run.
fn agents_time(gateway: &Gateway) -> Result<f64> {
    let mut ticks = 0_u64;
    for task in tasks(gateway, "(webrtc-")? {
        // utime and stime are fields 14 and 15; the first after the name is field 3.
        let fields: Vec<&str> = task.rest.split_whitespace().collect();
        ticks += fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    }
    Ok(ticks as f64 / 100.0)
}

/// A relay that expects floods has CPUs of its own. This machine has two for all that runs on it,
/// so the worker comes before what else does, as the sender does.
fn give_the_worker_its_core(gateway: &Gateway) -> Result<()> {
    for task in tasks(gateway, "(relay-")? {
        setpriority_process(Pid::from_raw(task.id), URGENT).context("the worker's priority")?;
    }
    Ok(())
}

/// A thread of the gateway's.
struct Task {
    id: i32,
    /// What proc(5) says after the name.
    rest: String,
}

/// Those that are called so.
fn tasks(gateway: &Gateway, name: &str) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for task in fs::read_dir(format!("/proc/{}/task", gateway.process.id()))? {
        let stat = fs::read_to_string(task?.path().join("stat"))?;
        let (head, rest) = stat.rsplit_once(')').context("proc(5)")?;
        if head.contains(name) {
            let id = head.split(' ').next().context("proc(5)")?.parse()?;
            tasks.push(Task { id, rest: rest.to_owned() });
        }
    }
    ensure!(!tasks.is_empty(), "no thread {name}");
    Ok(tasks)
}

/// A ClientHello that openssl sends.
fn client_hello(scene: &Scene) -> Result<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut command = Command::new("openssl");
    command.args(["s_client", "-dtls1_2", "-use_srtp", "SRTP_AES128_CM_SHA1_80", "-connect"]);
    command.arg(socket.local_addr()?.to_string());
    let _client = Dialogue::start(scene, "hello", &mut command)?;
    let mut buffer = vec![0; 2048];
    let length = socket.recv(&mut buffer).context("no ClientHello")?;
    buffer.truncate(length);
    Ok(buffer)
}

fn v4(address: SocketAddr) -> Result<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(address) => bail!("{address} is not IPv4"),
    }
}

/// What the gateway takes media ports from, unless told.
const RELAY_PORTS: std::ops::RangeInclusive<u16> = 30_000..=39_999;
/// As the guide has it for who expects floods: what comes while a worker waits for the CPU, which
/// others have too, is not lost.
const RELAY: &str = "[relay]\nworkers = 1\nreceive_buffer = \"1MiB\"\n";
const RATE: u32 = 100_000;
/// Below this it is another test.
const LEAST_RATE: f64 = 90_000.0;
const LASTING: Duration = Duration::from_secs(3);
/// KiB. The queues between worker and agents have 2.3 MiB, what waits for a handshake 0.4, and
/// associations under way are bounded; the rest is the allocator's.
const GROWTH: u64 = 4 * 1024;
/// Of one core. The budget of handshakes in these scenes; what is refused before one costs less.
const SHARE: f64 = 0.3;
