//! What an association at rest takes, libssl's part with it: a process's resident memory with a
//! thousand secured pairs less that with a few. A binary of its own, as it measures the process.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::time::{Duration, Instant, SystemTime};

use ng::sdp::HashFunction;
use srtp::Profile;
use webrtc::dtls::{Association, DtlsSettings, Output, Role};
use webrtc::identity::Identity;

const PAIRS: usize = 1000;

/// Bytes: a quarter of the 40 KiB that a WebRTC leg may take, with its ICE agent and all that the
/// gateway keeps of it. 5.2 KB were measured.
const MOST: usize = 10 * 1024;

#[test]
fn an_association_at_rest_takes_less_than_a_quarter_of_a_legs_share() {
    let identity = Identity::generate(SystemTime::now(), Duration::from_hours(1)).unwrap();
    // What is made once is made before.
    let first: Vec<_> = (0..8).map(|_| secured(&identity)).collect();
    let before = resident();
    let pairs: Vec<_> = (0..PAIRS).map(|_| secured(&identity)).collect();
    let each = (resident() - before) / (2 * PAIRS);
    println!("{each} bytes for an association at rest, half of them clients");
    assert!(each < MOST, "{each} bytes");
    drop((first, pairs));
}

/// A client and a server that are done with each other and with their keys.
fn secured(identity: &Identity) -> [Association; 2] {
    let now = Instant::now();
    let fingerprints = [identity.fingerprint(HashFunction::Sha256)];
    let association = |role| {
        let settings = DtlsSettings::default();
        Association::new(identity, &settings, role, &fingerprints, &Profile::COMMON, now).unwrap()
    };
    let mut sides = [Role::Client, Role::Server].map(association);
    sides[1].address_proven();
    let mut done = [false; 2];
    while done != [true; 2] {
        for at in 0..2 {
            let mut datagrams = Vec::new();
            loop {
                match sides[at].poll() {
                    Output::Transmit(datagram) => datagrams.push(datagram.to_vec()),
                    Output::Secured { .. } => done[at] = true,
                    Output::Timeout(_) => break,
                    other => panic!("{other:?}"),
                }
            }
            for datagram in datagrams {
                sides[1 - at].receive(&datagram, now);
            }
        }
    }
    sides
}

/// Resident memory in bytes (proc(5), `VmRSS`).
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<usize>().unwrap()
}
