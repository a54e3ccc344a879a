//! Anyone's datagrams, and genuine ones damaged, at any state of an association in either role: it
//! never panics, says little at once, and what both sides agree on is the same.
#![no_main]

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use libfuzzer_sys::fuzz_target;
use ng::sdp::HashFunction;
use srtp::Profile;
use webrtc::dtls::{Association, DtlsSettings, Output, Role, SrtpKeys};
use webrtc::identity::Identity;

/// Most outputs in a row: a flight of 16 KiB at the least MTU, and what happened.
const MOST_OUTPUTS: usize = 64;

fuzz_target!(|data: &[u8]| {
    let Some((&[choice, genuine], mut rest)) = data.split_first_chunk() else { return };
    let mut pair = Pair::new(choice);
    for _ in 0..genuine % 16 {
        pair.carry(|_| ());
    }
    let victim = usize::from(choice >> 7);
    while let Some((&command, after)) = rest.split_first() {
        rest = after;
        match command {
            0..128 => {
                let length = (usize::from(command) * 8).min(rest.len());
                let (datagram, after) = rest.split_at(length);
                rest = after;
                pair.sides[victim].receive(datagram, pair.now);
            }
            128..192 => {
                let Some((&[at, mask], after)) = rest.split_first_chunk() else { return };
                rest = after;
                pair.carry(|datagram| {
                    let at = (usize::from(command & 63) << 8 | usize::from(at)) % datagram.len();
                    datagram[at] ^= mask;
                });
            }
            192..240 => pair.carry(|_| ()),
            240..248 => pair.wait(Duration::from_millis(100 << (command - 240))),
            248..252 => pair.sides[victim].address_proven(),
            _ => pair.sides[victim].close(pair.now),
        }
        pair.drain();
    }
});

struct Pair {
    sides: [Association; 2],
    /// Who is to receive it, and what.
    under_way: VecDeque<(usize, Vec<u8>)>,
    keys: [Option<SrtpKeys>; 2],
    now: Instant,
}

impl Pair {
    fn new(choice: u8) -> Self {
        static IDENTITY: OnceLock<Identity> = OnceLock::new();
        let make = || Identity::generate(SystemTime::now(), Duration::from_secs(3600)).unwrap();
        let identity = IDENTITY.get_or_init(make);
        let now = Instant::now();
        let mtu = if choice & 1 == 0 { 1200 } else { 300 };
        let settings = DtlsSettings { mtu, ..DtlsSettings::default() };
        let fingerprints = [identity.fingerprint(HashFunction::Sha256)];
        let side = |role| {
            let profiles = &Profile::COMMON;
            Association::new(identity, &settings, role, &fingerprints, profiles, now).unwrap()
        };
        let sides = [side(Role::Client), side(Role::Server)];
        let mut pair = Self { sides, under_way: VecDeque::new(), keys: [None, None], now };
        if choice & 2 == 0 {
            pair.sides[1].address_proven();
        }
        pair.drain();
        pair
    }

    /// Carries one datagram, damaged or not.
    fn carry(&mut self, damage: impl Fn(&mut [u8])) {
        let Some((to, mut datagram)) = self.under_way.pop_front() else { return };
        damage(&mut datagram);
        self.sides[to].receive(&datagram, self.now);
        self.drain();
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for side in &mut self.sides {
            side.handle_timeout(self.now);
        }
    }

    fn drain(&mut self) {
        for at in 0..2 {
            for count in 0.. {
                assert!(count < MOST_OUTPUTS);
                match self.sides[at].poll() {
                    Output::Transmit(datagram) => {
                        self.under_way.push_back((1 - at, datagram.to_vec()));
                    }
                    Output::Secured { keys, .. } => self.keys[at] = Some(keys),
                    Output::Sign(_) => panic!("the key is here"),
                    Output::Failed(_) | Output::Closed => {}
                    Output::Timeout(due) => {
                        assert!(due.is_none_or(|due| due >= self.now));
                        break;
                    }
                }
            }
        }
        if let [Some(client), Some(server)] = &self.keys {
            assert!(client.send == server.receive && client.receive == server.send);
        }
    }
}
