//! Takes connections from a listening socket and starts their tasks on this thread.
//!
//! Every thread waits for the same socket and takes a few at a time, so that a thread that is busy
//! leaves them to the others, and its own connections go on in between. What is beyond a limit is
//! taken and closed at once: left in the queue it would keep others from being served. Where the
//! process is out of descriptors or memory, it pauses instead of spinning, and says so.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::connection::{self, Accepted};
use crate::counters::Refusal;
use crate::listener::{Accepting, BACKLOG, Listener};
use crate::socket::{Socket, canonical};
use crate::thread::Local;

/// Takes connections until the listener's socket is stopped.
pub(crate) async fn run(local: Rc<Local>, listener: Arc<Listener>, mut accepting: Accepting) {
    let socket = Arc::clone(&accepting.socket);
    #[expect(
        deprecated,
        reason = "what replaces it is unsafe, for types that may change their descriptor"
    )]
    let ready = AsyncFd::with_interest(socket, Interest::READABLE);
    let Ok(ready) = ready else {
        listener.starved(&io::Error::last_os_error());
        return;
    };
    loop {
        let taken = tokio::select! {
            biased;
            () = accepting.stopped() => break,
            taken = batch(&local, &listener, &ready) => taken,
        };
        match taken {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => {
                local.tally(&listener).refused(Refusal::Resources);
                listener.starved(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    // Whoever is in the queue has been told by the kernel that it is connected. Those who go on
    // coming meanwhile are not waited for.
    for _ in 0..BACKLOG {
        let Ok(Some(())) = take(&local, &listener, &accepting.socket, Instant::now()) else {
            break;
        };
    }
}

/// Waits for connections and takes a few.
async fn batch(
    local: &Rc<Local>,
    listener: &Arc<Listener>,
    ready: &AsyncFd<Arc<OwnedFd>>,
) -> io::Result<()> {
    let mut guard = ready.readable().await?;
    let now = Instant::now();
    for _ in 0..BATCH {
        if take(local, listener, guard.get_inner(), now)?.is_none() {
            guard.clear_ready();
            break;
        }
    }
    Ok(())
}

/// Takes one; `None`: there is none.
fn take(
    local: &Rc<Local>,
    listener: &Arc<Listener>,
    socket: &OwnedFd,
    now: Instant,
) -> io::Result<Option<()>> {
    match acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
        Ok((fd, peer)) => {
            let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok()).map(canonical);
            if let Some(peer) = peer {
                begin(local, listener, fd, peer, now)?;
            }
            Ok(Some(()))
        }
        Err(Errno::AGAIN) => Ok(None),
        Err(error) if is_of_the_peer(error) => Ok(Some(())),
        Err(error) => Err(error.into()),
    }
}

/// accept(2): an error that is pending on the new socket counts as if it had not come; so does a
/// connection that a packet filter forbade. Any other error is ours, and would come again at once.
fn is_of_the_peer(error: Errno) -> bool {
    matches!(
        error,
        Errno::INTR
            | Errno::CONNABORTED
            | Errno::PERM
            | Errno::PROTO
            | Errno::NOPROTOOPT
            | Errno::OPNOTSUPP
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NONET
    )
}

fn begin(
    local: &Rc<Local>,
    listener: &Arc<Listener>,
    fd: OwnedFd,
    peer: SocketAddr,
    now: Instant,
) -> io::Result<()> {
    let tally = local.tally(listener);
    tally.accepted.add(1);
    let terms = listener.terms();
    let limits = &terms.settings.limits;
    let Some(place) = listener.connections.take(limits.max_connections) else {
        tally.refused(Refusal::Connections);
        listener.refused(Refusal::Connections, limits.max_connections, now);
        return Ok(());
    };
    let Some(handshaking) = listener.handshakes.take(limits.max_handshakes) else {
        tally.refused(Refusal::Handshakes);
        listener.refused(Refusal::Handshakes, limits.max_handshakes, now);
        return Ok(());
    };
    let socket = Socket::new(fd)?;
    let id = local.common.last_id.fetch_add(1, Ordering::Relaxed) + 1;
    let entered = local.registry.enter(id, Arc::clone(listener), peer, now);
    let accepted = Accepted { socket, entered, terms, place, handshaking };
    tokio::task::spawn_local(connection::run(Rc::clone(local), accepted));
    Ok(())
}

/// Some milliseconds' worth of handshakes: live connections wait no longer than that.
const BATCH: usize = 16;

/// Long enough for descriptors to come free, short enough for a client to wait.
const PAUSE: Duration = Duration::from_millis(100);
