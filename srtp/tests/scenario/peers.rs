//! Both implementations at one packet: what they say of it, and what they should.

use srtp::PacketKind;

use super::{Endpoint, Ours, Refused};

/// The two ends under comparison, and where in the call they are.
pub(crate) struct Peers<'a> {
    pub(crate) ours: &'a mut Ours,
    pub(crate) theirs: &'a mut dyn Endpoint,
    pub(crate) seed: u64,
    pub(crate) step: usize,
    /// Reports that our sender has protected: its next SRTCP index.
    reports: u64,
}

/// Who protects a source's reports. The bytes are compared where both can count alike.
pub(crate) enum Reporter {
    Ours,
    Theirs { twin: Box<Ours>, sent: u64 },
}

impl<'a> Peers<'a> {
    pub(crate) fn new(ours: &'a mut Ours, theirs: &'a mut dyn Endpoint, seed: u64) -> Self {
        Self { ours, theirs, seed, step: 0, reports: 0 }
    }

    /// Has both protect an RTP packet, which must be refused or come out the same.
    pub(crate) fn protect_media(
        &mut self,
        plain: &[u8],
        expected: &Result<(), Refused>,
    ) -> Option<Vec<u8>> {
        let ours = self.ours.protect(PacketKind::Rtp, plain);
        self.demand("we protecting", &ours, expected);
        if expected.is_err() && !self.theirs.guards_indexes() {
            return None;
        }
        let theirs = self.theirs.protect(PacketKind::Rtp, plain);
        self.demand("they protecting", &theirs, expected);
        self.demand_same(&ours, &theirs, "protected RTP");
        ours.ok()
    }

    /// Has `reporter` protect a report. Returns its SRTCP index too.
    pub(crate) fn protect_report(
        &mut self,
        reporter: &mut Reporter,
        plain: &[u8],
    ) -> (u64, Vec<u8>) {
        let (index, protected) = match reporter {
            Reporter::Ours => {
                self.reports += 1;
                (self.reports - 1, self.ours.protect(PacketKind::Rtcp, plain))
            }
            Reporter::Theirs { twin, sent } => {
                *sent += 1;
                let protected = self.theirs.protect(PacketKind::Rtcp, plain);
                let ours = twin.protect(PacketKind::Rtcp, plain);
                self.demand_same(&ours, &protected, "protected RTCP");
                (*sent, protected)
            }
        };
        self.demand("protecting a report", &protected, &Ok(()));
        (index, protected.unwrap_or_default())
    }

    /// Has both open a packet, which must give `plain` or be refused as expected.
    pub(crate) fn open(
        &mut self,
        kind: PacketKind,
        protected: &[u8],
        plain: &[u8],
        expected: &Result<(), Refused>,
    ) {
        let ours = self.ours.open(kind, protected);
        self.demand("we opening", &ours, expected);
        let sent = expected.clone().map(|()| plain.to_vec());
        if expected.is_ok() {
            self.demand_same(&ours, &sent, "what we opened and what was sent");
        }
        if self.opened_by_both(kind) {
            let theirs = self.theirs.open(kind, protected);
            self.demand("they opening", &theirs, expected);
            if expected.is_ok() {
                self.demand_same(&theirs, &sent, "what they opened and what was sent");
            }
        }
    }

    /// Has both refuse a packet that was altered on its way, for whatever reason.
    pub(crate) fn refuse_altered(&mut self, kind: PacketKind, altered: &[u8]) {
        let ours = self.ours.open(kind, altered);
        assert!(ours.is_err(), "{}: we opened an altered packet {altered:02x?}", self.place());
        if self.opened_by_both(kind) {
            let theirs = self.theirs.open(kind, altered);
            assert!(theirs.is_err(), "{}: they opened an altered {altered:02x?}", self.place());
        }
    }

    fn opened_by_both(&self, kind: PacketKind) -> bool {
        kind == PacketKind::Rtp || self.theirs.opens_reports()
    }

    fn demand(
        &self,
        who: &str,
        outcome: &Result<Vec<u8>, Refused>,
        expected: &Result<(), Refused>,
    ) {
        let as_expected = match (outcome, expected) {
            (Ok(_), Ok(())) => true,
            (Err(refused), Err(expected)) => refused.means(expected),
            _ => false,
        };
        let place = self.place();
        assert!(as_expected, "{place}: {who}: {outcome:02x?}, expected {expected:?}");
    }

    fn demand_same(
        &self,
        ours: &Result<Vec<u8>, Refused>,
        theirs: &Result<Vec<u8>, Refused>,
        what: &str,
    ) {
        if let (Ok(ours), Ok(theirs)) = (ours, theirs) {
            let place = self.place();
            assert!(ours == theirs, "{place}: {what} differ:\n{ours:02x?}\n{theirs:02x?}");
        }
    }

    fn place(&self) -> String {
        format!("seed {} step {}", self.seed, self.step)
    }
}
