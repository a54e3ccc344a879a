//! Calls.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// Calls that are up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallList {
    /// How many there are, listed or not.
    pub total: usize,
    /// Up to the limit asked for.
    pub calls: Vec<CallSummary>,
}

/// One call in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallSummary {
    /// As signalling names it; bytes that are not UTF-8 are replaced.
    pub call_id: String,
    /// The worker that relays it.
    pub worker: usize,
    /// Since it was made.
    pub age_seconds: f64,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CallDetail {
    /// The call.
    #[serde(flatten)]
    pub summary: CallSummary,
    /// Each party's media sections. Empty when the worker did not answer in time.
    pub streams: Vec<StreamDetail>,
}

/// One party's one media section.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamDetail {
    /// Our RTP socket.
    pub local_rtp: Option<SocketAddr>,
    /// Our RTCP socket.
    pub local_rtcp: Option<SocketAddr>,
    /// Where RTP goes.
    pub remote_rtp: Option<SocketAddr>,
    /// Where RTCP goes.
    pub remote_rtcp: Option<SocketAddr>,
    /// The SRTP suite agreed, where it is SRTP.
    #[serde(default)]
    pub suite: Option<String>,
    /// What that protection lacks, by the names of `srtp.accept`; mostly nothing.
    #[serde(default)]
    pub weaknesses: Vec<String>,
    /// Traffic has confirmed the remote address.
    pub confirmed: bool,
    /// RTP from the party.
    pub rtp_in: Flow,
    /// RTP to the party.
    pub rtp_out: Flow,
    /// RTCP from the party.
    pub rtcp_in: Flow,
    /// RTCP to the party.
    pub rtcp_out: Flow,
    /// Drops of what the party sent, by reason; reasons that never occurred are left out.
    pub drops: BTreeMap<String, u64>,
    /// How long what the party sent stayed in this machine.
    pub residence: ResidenceSummary,
}

/// Packets and bytes in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Packets.
    pub packets: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
    /// Packets dropped.
    pub errors: u64,
}

/// Residence time: from the kernel's receive timestamp to after the batch's sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ResidenceSummary {
    /// Packets measured.
    pub count: u64,
    /// Median.
    pub p50_seconds: f64,
    /// 99 %.
    pub p99_seconds: f64,
    /// 99.9 %.
    pub p999_seconds: f64,
    /// The longest.
    pub max_seconds: f64,
}
