//! The addresses that a listener connects to: which is tried, and which is left alone for a while.
//!
//! Health is what connections say: an address that refused or did not answer is left alone for
//! `upstream_retry` while another one serves, and told once. Then one connection tries it, claiming
//! it for as long again, so that a dead address delays one connection at a time and not all of
//! them. Where every address is down, each is tried in order: the first SBC that comes back is
//! found at once. Nothing probes an address that nobody wants.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gateway_control::{EventKind, TlsUpstream};
use rustix::io::Errno;

use crate::counters::UpstreamCount;
use crate::notice::{Notice, Teller};

/// The addresses of one listener, in order of preference; all threads share them.
#[derive(Debug)]
pub(crate) struct Upstreams {
    listener: String,
    teller: Teller,
    // Held for a few comparisons, once or twice for each connection.
    addresses: Mutex<Vec<Upstream>>,
}

#[derive(Debug)]
struct Upstream {
    address: SocketAddr,
    down: Option<Down>,
    open: u64,
    connected: u64,
    failures: Vec<(&'static str, u64)>,
}

#[derive(Debug)]
struct Down {
    retry_at: Instant,
    reason: String,
}

/// Why an address could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamFailure {
    /// The connection was refused, or the host cannot be reached.
    #[error("{0}")]
    Socket(io::Error),
    /// It did not answer in `connect_timeout`.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// This machine has no socket or port left: no fault of the upstream's.
    #[error("{0}")]
    Local(io::Error),
    /// TLS could not be agreed on; `originate` only.
    #[error("TLS handshake: {0}")]
    Handshake(String),
}

impl From<io::Error> for UpstreamFailure {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(
                Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL,
            ) => Self::Local(error),
            _ => Self::Socket(error),
        }
    }
}

impl UpstreamFailure {
    fn label(&self) -> &'static str {
        match self {
            Self::Socket(error) if error.kind() == io::ErrorKind::ConnectionRefused => "refused",
            Self::Socket(_) => "unreachable",
            Self::Timeout(_) => "timeout",
            Self::Local(_) => "local",
            Self::Handshake(_) => "handshake",
        }
    }
}

impl Upstreams {
    pub(crate) fn new(listener: &str, addresses: &[SocketAddr], teller: Teller) -> Self {
        let addresses = addresses.iter().map(|address| Upstream::new(*address)).collect();
        Self { listener: listener.to_owned(), teller, addresses: Mutex::new(addresses) }
    }

    /// New addresses; what is known of those that stay is kept.
    pub(crate) fn replace(&self, addresses: &[SocketAddr]) {
        let mut known = self.lock();
        let mut old = std::mem::take(&mut *known);
        known.extend(addresses.iter().map(|address| {
            match old.iter().position(|upstream| upstream.address == *address) {
                Some(at) => old.swap_remove(at),
                None => Upstream::new(*address),
            }
        }));
    }

    /// The addresses to try now, in this order.
    pub(crate) fn candidates(&self, now: Instant, retry: Duration) -> Vec<SocketAddr> {
        let mut upstreams = self.lock();
        if upstreams.iter().all(|upstream| upstream.down.is_some()) {
            return upstreams.iter().map(|upstream| upstream.address).collect();
        }
        let mut served = false;
        upstreams
            .iter_mut()
            .filter_map(|upstream| {
                let tried = upstream.may_be_tried(now, retry, served);
                served |= upstream.down.is_none();
                tried.then_some(upstream.address)
            })
            .collect()
    }

    /// It took a connection, which is open until [`closed`](Self::closed).
    pub(crate) fn connected(&self, address: SocketAddr) {
        if let Some(upstream) = find(&mut self.lock(), address) {
            upstream.connected += 1;
            upstream.open += 1;
        }
    }

    /// It is of use: it took a connection, and where TLS goes to it its handshake was good. Before
    /// that, one that was down stays so: else every connection would have two words to tell of it.
    pub(crate) fn serves(&self, address: SocketAddr) {
        let mut upstreams = self.lock();
        let Some(upstream) = find(&mut upstreams, address) else { return };
        if let Some(down) = upstream.down.take() {
            drop(upstreams);
            self.tell(EventKind::TlsUpstreamUp, address, "down", "up", down.reason);
        }
    }

    /// A connection to it is gone.
    pub(crate) fn closed(&self, address: SocketAddr) {
        if let Some(upstream) = find(&mut self.lock(), address) {
            upstream.open = upstream.open.saturating_sub(1);
        }
    }

    /// It took none.
    pub(crate) fn failed(
        &self,
        address: SocketAddr,
        failure: &UpstreamFailure,
        now: Instant,
        retry: Duration,
    ) {
        let reason = failure.to_string();
        let mut upstreams = self.lock();
        let Some(upstream) = find(&mut upstreams, address) else { return };
        let label = failure.label();
        match upstream.failures.iter_mut().find(|(known, _)| *known == label) {
            Some((_, count)) => *count += 1,
            None => upstream.failures.push((label, 1)),
        }
        if matches!(failure, UpstreamFailure::Local(_)) {
            return;
        }
        let down = Down { retry_at: now + retry, reason: reason.clone() };
        if upstream.down.replace(down).is_none() {
            drop(upstreams);
            let remedy = format!(
                "{reason}; it is tried again every {retry:?}: see that it listens there and that \
                 nothing filters the way"
            );
            self.tell(EventKind::TlsUpstreamDown, address, "up", "down", remedy);
        }
    }

    /// For the admin API.
    pub(crate) fn status(&self, now: Instant) -> Vec<TlsUpstream> {
        let upstreams = self.lock();
        upstreams
            .iter()
            .map(|upstream| TlsUpstream {
                address: upstream.address,
                up: upstream.down.as_ref().is_none_or(|down| down.retry_at <= now),
                connections: upstream.open,
                failures: upstream.failures.iter().map(|(_, count)| count).sum(),
                reason: upstream.down.as_ref().map(|down| down.reason.clone()),
            })
            .collect()
    }

    /// For metrics.
    pub(crate) fn counts(&self) -> Vec<UpstreamCount> {
        let upstreams = self.lock();
        upstreams
            .iter()
            .map(|upstream| UpstreamCount {
                address: upstream.address,
                connected: upstream.connected,
                failures: upstream.failures.clone(),
            })
            .collect()
    }

    fn tell(&self, kind: EventKind, address: SocketAddr, from: &str, to: &str, reason: String) {
        self.teller.tell(Notice {
            kind,
            object: format!("listener {}, upstream {address}", self.listener),
            from: from.to_owned(),
            to: to.to_owned(),
            reason,
            owner: "gateway",
        });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Upstream>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upstream {
    fn new(address: SocketAddr) -> Self {
        Self { address, down: None, open: 0, connected: 0, failures: Vec::new() }
    }

    /// One that is down is tried by whoever comes first after its time, and by nobody else until
    /// the outcome is known or as much time has passed again. Behind one that serves it is only the
    /// last resort, so its turn is not used up.
    fn may_be_tried(&mut self, now: Instant, retry: Duration, served: bool) -> bool {
        match &mut self.down {
            None => true,
            Some(down) if down.retry_at <= now => {
                if !served {
                    down.retry_at = now + retry;
                }
                true
            }
            Some(_) => false,
        }
    }
}

fn find(upstreams: &mut [Upstream], address: SocketAddr) -> Option<&mut Upstream> {
    upstreams.iter_mut().find(|upstream| upstream.address == address)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Duration = Duration::from_secs(10);

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    fn refused() -> UpstreamFailure {
        UpstreamFailure::Socket(io::ErrorKind::ConnectionRefused.into())
    }

    fn pair() -> (Upstreams, crate::notice::Notices) {
        let (teller, notices) = Teller::new();
        (Upstreams::new("sip", &[address(1), address(2)], teller), notices)
    }

    #[test]
    fn the_first_is_preferred_and_the_second_serves_while_it_is_down() {
        let (upstreams, _notices) = pair();
        let now = Instant::now();
        assert_eq!(upstreams.candidates(now, RETRY), [address(1), address(2)]);
        upstreams.failed(address(1), &refused(), now, RETRY);
        assert_eq!(upstreams.candidates(now, RETRY), [address(2)]);
    }

    #[test]
    fn after_its_time_one_connection_tries_it_and_the_others_do_not() {
        let (upstreams, _notices) = pair();
        let now = Instant::now();
        upstreams.failed(address(1), &refused(), now, RETRY);
        let later = now + RETRY;
        assert_eq!(upstreams.candidates(later, RETRY), [address(1), address(2)]);
        assert_eq!(upstreams.candidates(later, RETRY), [address(2)]);
        upstreams.serves(address(1));
        assert_eq!(upstreams.candidates(later, RETRY), [address(1), address(2)]);
    }

    #[test]
    fn where_all_are_down_all_are_tried() {
        let (upstreams, _notices) = pair();
        let now = Instant::now();
        upstreams.failed(address(1), &refused(), now, RETRY);
        upstreams.failed(address(2), &refused(), now, RETRY);
        assert_eq!(upstreams.candidates(now, RETRY), [address(1), address(2)]);
    }

    #[test]
    fn going_down_and_coming_back_are_told_once_each() {
        let (upstreams, mut notices) = pair();
        let now = Instant::now();
        for _ in 0..3 {
            upstreams.failed(address(1), &refused(), now, RETRY);
        }
        upstreams.serves(address(1));
        upstreams.serves(address(1));
        let kinds: Vec<_> = std::iter::from_fn(|| notices.try_recv().ok())
            .map(|notice| (notice.kind, notice.object))
            .collect();
        let object = "listener sip, upstream 192.0.2.1:1".to_owned();
        assert_eq!(
            kinds,
            [(EventKind::TlsUpstreamDown, object.clone()), (EventKind::TlsUpstreamUp, object)]
        );
        assert_eq!(upstreams.counts()[0].failures, [("refused", 3)]);
    }

    #[test]
    fn a_machine_without_descriptors_does_not_blame_its_upstreams() {
        let (upstreams, mut notices) = pair();
        let now = Instant::now();
        let out = io::Error::from(Errno::MFILE);
        upstreams.failed(address(1), &out.into(), now, RETRY);
        assert_eq!(upstreams.candidates(now, RETRY), [address(1), address(2)]);
        assert!(notices.try_recv().is_err());
        assert_eq!(upstreams.counts()[0].failures, [("local", 1)]);
    }

    #[test]
    fn one_that_connects_and_then_fails_its_handshake_is_told_once() {
        let (upstreams, mut notices) = pair();
        for _ in 0..3 {
            upstreams.connected(address(1));
            let failure = UpstreamFailure::Handshake("it shows another's certificate".to_owned());
            upstreams.failed(address(1), &failure, Instant::now(), RETRY);
            upstreams.closed(address(1));
        }
        assert_eq!(std::iter::from_fn(|| notices.try_recv().ok()).count(), 1);
    }

    #[test]
    fn new_addresses_keep_what_is_known_of_old_ones() {
        let (upstreams, _notices) = pair();
        let now = Instant::now();
        upstreams.failed(address(2), &refused(), now, RETRY);
        upstreams.replace(&[address(3), address(2)]);
        assert_eq!(upstreams.candidates(now, RETRY), [address(3)]);
    }
}
