//! The numbers behind `/metrics`, as they are when somebody asks.

use gateway_control::TlsStatus;
use kernel_tls::TlsStatistics;
use tls_relay::{ListenerCounters, TlsRelay};

use super::Tls;

/// Everything that is counted of TLS listeners.
#[derive(Default)]
pub(crate) struct Figures {
    /// Listeners and certificates, without connections.
    pub(crate) status: TlsStatus,
    pub(crate) counters: Vec<ListenerCounters>,
    /// Notices that did not become events.
    pub(crate) notices_lost: u64,
    /// The kernel's own, of the network namespace; empty where it has no TLS.
    pub(crate) kernel: Vec<(String, u64)>,
}

impl Tls {
    /// `None` without listeners, or where they do not answer: a page without them is better than
    /// none.
    pub(crate) async fn figures(&self) -> Option<Figures> {
        self.aside(read).await.ok().flatten()
    }
}

fn read(relay: &TlsRelay) -> Figures {
    let kernel = TlsStatistics::read().map(|statistics| statistics.counters().to_vec());
    Figures {
        status: relay.status(0, 0),
        counters: relay.counters(),
        notices_lost: relay.notices_lost(),
        kernel: kernel.unwrap_or_default(),
    }
}
