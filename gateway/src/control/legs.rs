//! What DTLS and ICE agents say of legs: to the call's state, for `query` and later SDP, and to the
//! operator where a leg came to nothing. A leg fails alone: the call and its other legs go on.

use std::time::Instant;

use gateway_control::EventKind;

use super::Control;
use crate::events::Occurrence;
use crate::webrtc::plan::{LegNews, LegNewsKind};

impl Control {
    /// Keeps the news, and tells of a failure.
    pub(super) fn agents_say(&mut self, news: LegNews) {
        let (call, stream) = (news.call.0, news.stream.0);
        match &news.kind {
            LegNewsKind::Connected { local, remote } => {
                tracing::debug!(call, stream, %local, %remote, "ICE chose a pair");
            }
            LegNewsKind::Secured { profile, .. } => {
                tracing::debug!(call, stream, profile = profile.name(), "DTLS brought keys");
            }
            LegNewsKind::Continued { .. } => {
                tracing::debug!(call, stream, "the party may go on with its DTLS association");
            }
            LegNewsKind::Disconnected { reason } => self.leg_failed(&news, reason),
            LegNewsKind::Unsecured { reason, .. } => self.leg_failed(&news, reason),
        }
        self.calls.leg_news(news, Instant::now());
    }

    /// Not each of them: parties decide how many there are. All are counted, and `query` tells of
    /// each.
    fn leg_failed(&mut self, news: &LegNews, reason: &str) {
        let Some(unsaid) = self.leg_failures.admit(Instant::now()) else { return };
        let reason = match unsaid {
            0 => reason.to_owned(),
            unsaid => format!("{reason}; {unsaid} others since the last were not told"),
        };
        self.events.record(Occurrence {
            kind: EventKind::WebRtcLegFailed,
            object: &format!("call {} stream {}", news.call.0, news.stream.0),
            from: "",
            to: "",
            reason: &reason,
            owner: "party",
        });
    }
}
