//! One call on a virtual clock and a wire in memory: a plain party, a party that speaks SRTP, and
//! somebody who is neither.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gateway::relay::command::{CallReport, KeyLimit, KeyOwner, StreamPlan, WorkerEvent};
use gateway::relay::drop_reason::DropReason;
use gateway::relay::key_plan::{ReceivePlan, SendPlan};
use gateway::relay::table::{Table, Told};
use srtp::Profile;

use crate::relay_support::*;

pub(crate) const PROFILE: Profile = Profile::AesCm128HmacSha1_80;
pub(crate) const SSRC: u32 = 0x1234_5678;
pub(crate) const PLAIN: usize = 0;
pub(crate) const SECURE: usize = 1;
pub(crate) const HIJACKER: &str = "203.0.113.66:4000";

/// One call, a plain party and one that speaks SRTP, and the time.
pub(crate) struct Call {
    pub(crate) table: Table,
    pub(crate) wire: Wire,
    pub(crate) now: Instant,
    pub(crate) realtime_ns: u64,
    /// Ours, by stream: RTP and RTCP.
    pub(crate) local: [[SocketAddr; 2]; 2],
    /// Theirs, by stream: RTP and RTCP.
    pub(crate) party: [[SocketAddr; 2]; 2],
    pub(crate) crypto: Crypto,
}

impl Call {
    pub(crate) fn new() -> Self {
        Self::with_profile(PROFILE)
    }

    pub(crate) fn with_profile(profile: Profile) -> Self {
        Self::planned(profile, |_| {})
    }

    /// A call whose first plan was changed by `change` before it was applied.
    pub(crate) fn planned(profile: Profile, change: impl FnOnce(&mut [StreamPlan; 2])) -> Self {
        Self::planned_on(Table::new(1024, Vec::new()), profile, change)
    }

    /// The same on a worker that was made otherwise.
    pub(crate) fn planned_on(
        table: Table,
        profile: Profile,
        change: impl FnOnce(&mut [StreamPlan; 2]),
    ) -> Self {
        let ((ports_a, local_a), (ports_b, local_b)) = (open_pair(), open_pair());
        let party = [
            ["198.51.100.1:4000", "198.51.100.1:4001"].map(|address| address.parse().unwrap()),
            ["198.51.100.2:6000", "198.51.100.2:6001"].map(|address| address.parse().unwrap()),
        ];
        let mut call = Self {
            table,
            wire: Wire::new(),
            now: Instant::now(),
            realtime_ns: 1_700_000_000_000_000_000,
            local: [local_a, local_b],
            party,
            crypto: Crypto::new(profile, 1, 2),
        };
        let mut plans = [
            StreamPlan {
                sockets: Some(ports_a),
                remote: remote(party[PLAIN]),
                receive_key: ReceivePlan::Clear,
                send_key: SendPlan::Clear,
                ..unchanged(1)
            },
            StreamPlan {
                sockets: Some(ports_b),
                remote: remote(party[SECURE]),
                receive_key: set_receive(profile, 1),
                send_key: set_send(profile, 2),
                ..unchanged(0)
            },
        ];
        change(&mut plans);
        call.apply(plans);
        call
    }

    pub(crate) fn apply(&mut self, plans: [StreamPlan; 2]) {
        self.table.apply(crate::relay_support::call(plans), &mut self.wire, self.now).unwrap();
    }

    pub(crate) fn passes(&mut self, time: Duration) {
        self.now += time;
    }

    /// `bytes` arrive at component `component` of stream `at` from `from`; what left because
    /// of it.
    pub(crate) fn arrives(
        &mut self,
        from: SocketAddr,
        at: (usize, usize),
        bytes: &[u8],
    ) -> Vec<Datagram> {
        self.wire.deliver(Datagram {
            from,
            to: self.local[at.0][at.1],
            bytes: bytes.to_vec(),
            timestamp_ns: self.realtime_ns,
            kernel_drops: 0,
        });
        self.turn();
        std::mem::take(&mut self.wire.sent)
    }

    pub(crate) fn turn(&mut self) {
        self.realtime_ns += 50_000;
        let realtime_ns = self.realtime_ns;
        self.table.turn(&mut self.wire, self.now, || realtime_ns).unwrap();
    }

    /// A party sends from where it said; the one datagram that leaves, if one does.
    pub(crate) fn sends(&mut self, party: usize, bytes: &[u8]) -> Option<Datagram> {
        self.sends_from(self.party[party][0], party, bytes)
    }

    pub(crate) fn sends_from(
        &mut self,
        from: SocketAddr,
        party: usize,
        bytes: &[u8],
    ) -> Option<Datagram> {
        let mut sent = self.arrives(from, (party, 0), bytes);
        assert!(sent.len() <= 1, "one packet in, several out");
        sent.pop()
    }

    /// The plain party sends; what the other one makes of it.
    pub(crate) fn secured(&mut self, packet: &[u8]) -> Option<Vec<u8>> {
        let datagram = self.sends(PLAIN, packet)?;
        assert_eq!(datagram.to, self.party[SECURE][0]);
        assert_eq!(datagram.from, self.local[SECURE][0]);
        assert_ne!(datagram.bytes[12..], packet[12..], "it left in clear");
        Some(self.crypto.open(&datagram.bytes).expect("opens under the key we send with"))
    }

    pub(crate) fn report(&self) -> CallReport {
        self.table.report(CALL).unwrap()
    }

    pub(crate) fn drops(&self, stream: usize, reason: DropReason) -> u64 {
        self.report().streams[stream].drops[reason as usize]
    }

    #[track_caller]
    pub(crate) fn assert_only_drops(&self, stream: usize, expected: &[(DropReason, u64)]) {
        let drops = self.report().streams[stream].drops;
        let counted: Vec<_> = DropReason::ALL
            .into_iter()
            .map(|reason| (reason, drops[reason as usize]))
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(counted, expected);
    }
}

/// What ten scans, which is all of the calls, tell of keys.
pub(crate) fn limits(call: &mut Call, told: Told) -> Vec<(KeyOwner, KeyLimit)> {
    let mut met = Vec::new();
    for _ in 0..10 {
        call.table.scan(10, Duration::MAX, call.now, |event| {
            let WorkerEvent::KeyLimit { call: CALL, owner, limit, .. } = event else {
                panic!("{event:?}");
            };
            met.push((owner, limit));
            told
        });
    }
    met
}

pub(crate) fn hijacker() -> SocketAddr {
    HIJACKER.parse().unwrap()
}
