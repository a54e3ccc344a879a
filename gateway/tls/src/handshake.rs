//! Drives one TLS handshake over a socket: reads what it wants, steps it, sends what it says.
//!
//! No buffer lives across a wait except what is to be sent, so ten thousand peers that say nothing
//! cost a task and a socket each. A step whose signature is a token's runs on a blocking thread.
//! How long all of it may take is the caller's to say; what it came to is the caller's to count.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};

use kernel_tls::{Handshake, HandshakeError, Hello, HelloReader, Progress, Reading};
use rustls::{ProtocolVersion, ServerConfig};
use tokio::task::JoinHandle;

use crate::identity::{Identity, Outward, Signing};
use crate::socket::{Side, Socket};
use crate::thread::Local;

/// Why a handshake came to nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The protocol, ours or the peer's doing; with the version, where it was agreed on.
    Tls(Box<HandshakeError>, &'static str),
    /// The peer went before it said anything: a health check, or a port scan.
    Silent,
    /// The peer went in the middle, or its socket failed.
    Gone,
}

impl Failure {
    /// The result's name in metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Tls(error, _) => error.label(),
            Self::Silent => "silent",
            Self::Gone => "peer_gone",
        }
    }

    pub(crate) fn version(&self) -> &'static str {
        match self {
            Self::Tls(_, version) => version,
            Self::Silent | Self::Gone => NO_VERSION,
        }
    }
}

/// The server's side: the hello, the choice, then the rest.
pub(crate) async fn serve(
    socket: &Socket,
    local: &Local,
    reading: Reading,
    identity: &Identity,
) -> Result<Handshake, Failure> {
    let hello = hello(socket, local, reading).await?;
    let chosen = choose(&hello, identity).and_then(|(config, signing)| {
        Handshake::server(config, hello).map(|handshake| (handshake, signing))
    });
    let (handshake, signing) = chosen.map_err(|error| Failure::Tls(Box::new(error), NO_VERSION))?;
    Drive { socket, local, reading, signing }.run(handshake).await
}

/// The client's side.
pub(crate) async fn ask(
    socket: &Socket,
    local: &Local,
    reading: Reading,
    outward: Outward,
) -> Result<Handshake, Failure> {
    let handshake = Handshake::client(outward.config, outward.server_name)
        .map_err(|error| Failure::Tls(Box::new(error), NO_VERSION))?;
    Drive { socket, local, reading, signing: outward.signing }.run(handshake).await
}

/// The configuration for a client that said this.
fn choose(
    hello: &Hello,
    identity: &Identity,
) -> Result<(Arc<ServerConfig>, Signing), HandshakeError> {
    identity.server_config(hello).map_err(|refusal| hello.refuse(refusal.alert(), refusal.label()))
}

async fn hello(socket: &Socket, local: &Local, reading: Reading) -> Result<Hello, Failure> {
    let mut reader = HelloReader::new();
    loop {
        let wanted = match reading {
            Reading::Exact => reader.wanted(),
            Reading::Greedy => GREEDY,
        };
        let said = !reader.is_empty();
        let taken = |bytes: &[u8]| reader.received(bytes);
        match read(socket, local, wanted, taken).await {
            Ok(Some(Ok(Some(hello)))) => return Ok(hello),
            Ok(Some(Ok(None))) => {}
            Ok(Some(Err(error))) => return Err(Failure::Tls(Box::new(error), NO_VERSION)),
            Ok(None) | Err(_) if !said => return Err(Failure::Silent),
            Ok(None) | Err(_) => return Err(Failure::Gone),
        }
    }
}

/// Reads at most `wanted` bytes into the thread's buffer and hands them to `take`; `None`: the peer
/// has closed. It waits before it reads: right after a flight was sent there is nothing yet, and a
/// hello that is there already is told of by the same `epoll_wait` as everything else.
async fn read<T>(
    socket: &Socket,
    local: &Local,
    wanted: usize,
    mut take: impl FnMut(&[u8]) -> T,
) -> io::Result<Option<T>> {
    poll_fn(|cx| {
        ready!(socket.poll_ready(cx, Side::Read));
        let buffer = &mut local.buffers.borrow_mut().plain;
        let room = wanted.min(buffer.len());
        let room = buffer.get_mut(..room).unwrap_or_default();
        match socket.recv(room) {
            Ok(0) => Poll::Ready(Ok(None)),
            Ok(count) => {
                if count < room.len() {
                    socket.clear(cx, Side::Read);
                }
                Poll::Ready(Ok(Some(take(room.get(..count).unwrap_or_default()))))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.poll_again(cx, Side::Read).map(|()| Ok(None))
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    })
    .await
}

struct Drive<'a> {
    socket: &'a Socket,
    local: &'a Local,
    reading: Reading,
    signing: Signing,
}

impl Drive<'_> {
    async fn run(&self, mut handshake: Handshake) -> Result<Handshake, Failure> {
        loop {
            let (next, out, result) = self.step(handshake).await?;
            handshake = next;
            if !out.is_empty() {
                self.socket.write_all(&out).await.map_err(|_| Failure::Gone)?;
            }
            match result {
                Ok(Progress::Complete) => return Ok(handshake),
                Ok(Progress::NeedsBytes) => self.feed(&mut handshake).await?,
                Err(error) => {
                    let version = version_name(handshake.version());
                    return Err(Failure::Tls(Box::new(error), version));
                }
            }
        }
    }

    async fn feed(&self, handshake: &mut Handshake) -> Result<(), Failure> {
        let wanted = handshake.wanted(self.reading);
        let taken = |bytes: &[u8]| handshake.received(bytes);
        match read(self.socket, self.local, wanted, taken).await {
            Ok(Some(())) => Ok(()),
            Ok(None) | Err(_) => Err(Failure::Gone),
        }
    }

    async fn step(&self, handshake: Handshake) -> Result<Stepped, Failure> {
        match self.signing {
            Signing::Inline => Ok(step(handshake)),
            // The pool is bounded, so that a token that hangs holds handshakes up, and no thread
            // that relays; the caller's time limit ends the wait.
            Signing::Blocking => aside(move || step(handshake)).await,
        }
    }
}

/// Runs `work` on a blocking thread. Where nobody waits for it any more and it has not begun, it
/// never does: otherwise clients that come and go while a token hangs would leave more work behind
/// than `max_handshakes` allows, and a token that is back would sign for clients that are gone.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    struct Asked<T>(JoinHandle<T>);
    impl<T> Drop for Asked<T> {
        fn drop(&mut self) {
            self.0.abort();
        }
    }
    let mut asked = Asked(tokio::task::spawn_blocking(work));
    (&mut asked.0).await.map_err(|_| Failure::Gone)
}

type Stepped = (Handshake, Vec<u8>, Result<Progress, HandshakeError>);

fn step(mut handshake: Handshake) -> Stepped {
    let mut out = Vec::new();
    let result = handshake.step(&mut out);
    (handshake, out, result)
}

/// A version's name in metrics and in the admin API.
pub(crate) fn version_name(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "1.3",
        Some(ProtocolVersion::TLSv1_2) => "1.2",
        _ => NO_VERSION,
    }
}

const NO_VERSION: &str = "none";

/// The largest record and its header: a flight, whatever it is.
const GREEDY: usize = 16 * 1024 + 2048;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// A token that hangs has one thread here; who gives up behind it leaves nothing behind.
    #[test]
    fn what_nobody_waits_for_is_not_begun() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
        let (release, hangs) = mpsc::channel::<()>();
        let signed = Arc::new(AtomicUsize::new(0));
        runtime.block_on(async {
            let token = tokio::task::spawn_blocking(move || hangs.recv());
            for _ in 0..100 {
                let signed = Arc::clone(&signed);
                let one = aside(move || signed.fetch_add(1, Ordering::Relaxed));
                let _given_up = tokio::time::timeout(Duration::from_millis(1), one).await;
            }
            drop(release);
            let _ended = token.await;
            let last = Arc::clone(&signed);
            assert_eq!(aside(move || last.load(Ordering::Relaxed)).await.unwrap(), 0);
        });
    }
}
