//! How often each thing happened in a call, so that a test can't pass for want of events.

use super::Refused;

/// Counts of what befell the packets of a call.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// RTP packets opened.
    opened: usize,
    /// RTCP packets opened.
    reports: usize,
    /// Of those opened, RTP packets that came behind a wrap that they had been sent before.
    late_over_wrap: usize,
    /// Times that a source's sequence number wrapped.
    wraps: usize,
    /// Packets lost for good.
    lost: usize,
    replayed: usize,
    too_old: usize,
    /// So old that the wrong ROC was guessed.
    wrong_roc: usize,
    /// Altered on the way, and refused by both.
    altered: usize,
    /// Refused by the sender, which had used the index.
    not_sent: usize,
}

impl Tally {
    pub(crate) fn verdict(&mut self, verdict: &Result<(), Refused>, opened: Opened) {
        match (verdict, opened) {
            (Ok(()), Opened::Report) => self.reports += 1,
            (Ok(()), Opened::Media) => self.opened += 1,
            (Ok(()), Opened::MediaFromBeforeTheWrap) => {
                self.opened += 1;
                self.late_over_wrap += 1;
            }
            (Err(Refused::Replayed), _) => self.replayed += 1,
            (Err(Refused::TooOld), _) => self.too_old += 1,
            (Err(_), _) => self.wrong_roc += 1,
        }
    }

    pub(crate) fn wrapped(&mut self) {
        self.wraps += 1;
    }

    pub(crate) fn lost(&mut self) {
        self.lost += 1;
    }

    pub(crate) fn altered(&mut self) {
        self.altered += 1;
    }

    pub(crate) fn not_sent(&mut self) {
        self.not_sent += 1;
    }

    /// Panics if anything hardly happened. The seeds give several times these numbers.
    pub(crate) fn demand_everything(&self, guards_indexes: bool) {
        let enough = self.opened > 500
            && self.reports > 20
            && self.late_over_wrap > 5
            && self.wraps > 8
            && self.lost > 100
            && self.replayed > 20
            && self.too_old > 20
            && self.wrong_roc > 2
            && self.altered > 10
            && (self.not_sent > 10 || !guards_indexes);
        assert!(enough, "a call in which too little happened: {self:?}");
    }
}

/// What was opened, if it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    Media,
    MediaFromBeforeTheWrap,
    Report,
}
