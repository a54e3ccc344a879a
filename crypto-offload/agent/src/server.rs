//! The socket: who may connect, and threads that bring requests to the owner of the engines.
//!
//! A connection has a thread of its own, which waits for messages, and for events where it is
//! asked to, so that no client waits for another's silence. What touches engines or state goes to
//! the one thread that calls [`Server::serve`] and comes back over a channel; that thread never
//! waits for a client. Messages are bounded; a client that sends what is none, or does not take
//! its answers, loses its connection and nothing else.

mod connection;
mod sys;

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use gateway_control::agent::{Request, Response};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::{EventLog, Pairs};
use connection::Connection;

/// Who may ask, besides root and our own user.
#[derive(Clone, Debug, Default)]
pub struct Allowed {
    /// Users, by number.
    pub users: Vec<u32>,
    /// Groups, by number: the peer's own and its supplementary ones.
    pub groups: Vec<u32>,
}

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {}: {source}", path.display())]
pub struct ServeError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The listening socket, and the way to the owner.
pub struct Server {
    requests: Receiver<Errand>,
    sender: SyncSender<Errand>,
    /// Until connections are taken.
    door: Option<(OwnedFd, Allowed)>,
    path: PathBuf,
}

/// A request, and where its answer goes.
struct Errand {
    request: Request,
    answer: SyncSender<Response>,
}

impl Server {
    /// Makes the socket: connections wait in its queue from now on. Before privileges are given
    /// up, as the file's owner and group are set.
    ///
    /// # Errors
    /// When there is no such place, or we may not.
    pub fn bind(path: &Path, allowed: Allowed) -> Result<Self, ServeError> {
        let failed = |(operation, source): (&'static str, io::Error)| ServeError {
            operation,
            path: path.to_owned(),
            source,
        };
        let listener = listener(path, &allowed).map_err(failed)?;
        let (sender, requests) = sync_channel(MOST_CONNECTIONS);
        let door = Some((listener, allowed));
        Ok(Self { requests, sender, door, path: path.to_owned() })
    }

    /// Takes connections, on threads that start now and inherit what privileges are left; they
    /// are answered by [`serve`](Self::serve).
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn accept(&mut self, events: Arc<EventLog>) -> Result<(), ServeError> {
        let Some((listener, allowed)) = self.door.take() else { return Ok(()) };
        let desk = self.sender.clone();
        let accept = move || accept(&listener, &allowed, &desk, &events);
        let spawned = thread::Builder::new().name("accept".to_owned()).spawn(accept);
        spawned.map(drop).map_err(|source| ServeError {
            operation: "serve",
            path: self.path.clone(),
            source,
        })
    }

    /// Answers requests and takes in engines' events until `stopped` says so.
    pub fn serve(&self, pairs: &mut Pairs, mut stopped: impl FnMut() -> bool) {
        let mut watched = Instant::now();
        while !stopped() {
            match self.requests.recv_timeout(WATCH_EVERY.saturating_sub(watched.elapsed())) {
                Ok(Errand { request, answer }) => {
                    // A connection that ended meanwhile needs no answer.
                    let _ = answer.send(pairs.answer(request));
                }
                Err(RecvTimeoutError::Timeout) => {}
                // Not while we hold a sender.
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if watched.elapsed() >= WATCH_EVERY {
                pairs.watch();
                watched = Instant::now();
            }
        }
    }

    /// Wakes [`serve`](Self::serve), to look at `stopped`.
    pub fn waker(&self) -> impl Fn() + Send + 'static {
        let sender = self.sender.clone();
        move || {
            let (answer, _) = sync_channel(1);
            let _ = sender.try_send(Errand { request: Request::Capabilities, answer });
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A socket file for those in `allowed`; root can open any.
fn listener(path: &Path, allowed: &Allowed) -> Result<OwnedFd, (&'static str, io::Error)> {
    let failed = |operation| move |error: rustix::io::Errno| (operation, io::Error::from(error));
    create_parent(path)?;
    let address = SocketAddrUnix::new(path).map_err(failed("use"))?;
    let make =
        || net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let socket = make().map_err(failed("make"))?;
    clear_away(path, net::connect(&make().map_err(failed("make"))?, &address))
        .map_err(|error| ("listen at", error))?;
    net::bind(&socket, &address).map_err(failed("bind"))?;
    restrict(path, allowed).map_err(|error| ("restrict", error))?;
    net::listen(&socket, BACKLOG).map_err(failed("listen on"))?;
    Ok(socket)
}

/// Removes the socket that a dead agent left, and nothing else: neither a file that somebody named
/// by a slip, nor the socket of somebody who answers.
fn clear_away(path: &Path, connected: Result<(), rustix::io::Errno>) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else { return Ok(()) };
    let refuse = |reason| Err(io::Error::new(io::ErrorKind::AlreadyExists, reason));
    if !found.file_type().is_socket() {
        return refuse("something else is in the way: move it, or give another --socket");
    }
    // A socket of another type answers in its way, too.
    if matches!(connected, Ok(()) | Err(rustix::io::Errno::PROTOTYPE | rustix::io::Errno::AGAIN)) {
        return refuse("something answers there: end it, or give another --socket");
    }
    fs::remove_file(path)
}

/// A directory that others may pass through, and not look into.
fn create_parent(path: &Path) -> Result<(), (&'static str, io::Error)> {
    let Some(parent) = path.parent().filter(|parent| !parent.exists()) else { return Ok(()) };
    let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(parent);
    made.map_err(|error| ("make the directory of", error))
}

/// Access to the file is the first door, the peer's credentials are the second.
fn restrict(path: &Path, allowed: &Allowed) -> io::Result<()> {
    let (user, group) = (allowed.users.first().copied(), allowed.groups.first().copied());
    let mode = match (allowed.users.len(), allowed.groups.len()) {
        (..=1, 0) => 0o600,
        (..=1, 1) => 0o660,
        // A file has one owner and one group: for more, credentials alone decide.
        _ => 0o666,
    };
    std::os::unix::fs::chown(path, user, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn accept(
    listener: &OwnedFd,
    allowed: &Allowed,
    desk: &SyncSender<Errand>,
    events: &Arc<EventLog>,
) {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        let socket = match net::accept_with(listener, SocketFlags::CLOEXEC) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "cannot take a connection");
                // Out of descriptors, most likely: it gets no better by asking at once.
                thread::sleep(Duration::from_millis(100));
                continue;
            }
        };
        if !may_ask(&socket, allowed) {
            continue;
        }
        if open.load(Ordering::Relaxed) >= MOST_CONNECTIONS {
            tracing::warn!("{MOST_CONNECTIONS} connections are open, another is refused");
            continue;
        }
        let open = Arc::clone(&open);
        open.fetch_add(1, Ordering::Relaxed);
        let connection = Connection::new(socket, desk.clone(), Arc::clone(events));
        let counter = Arc::clone(&open);
        let spawned = thread::Builder::new().name("connection".to_owned()).spawn(move || {
            connection.run();
            counter.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = spawned {
            open.fetch_sub(1, Ordering::Relaxed);
            tracing::warn!(%error, "cannot serve a connection");
        }
    }
}

fn may_ask(socket: &OwnedFd, allowed: &Allowed) -> bool {
    let peer = match sockopt::socket_peercred(socket.as_fd()) {
        Ok(peer) => peer,
        Err(error) => {
            tracing::warn!(%error, "cannot tell who connects");
            return false;
        }
    };
    let (user, group) = (peer.uid.as_raw(), peer.gid.as_raw());
    let may = user == 0
        || user == rustix::process::getuid().as_raw()
        || allowed.users.contains(&user)
        || allowed.groups.contains(&group)
        || (!allowed.groups.is_empty() && is_in_one_of(socket, &allowed.groups));
    if !may {
        let process = peer.pid.as_raw_nonzero();
        tracing::warn!(user, group, process, "refused: name it with --allow-uid or --allow-gid");
    }
    may
}

fn is_in_one_of(socket: &OwnedFd, groups: &[u32]) -> bool {
    match sys::peer_groups(socket.as_fd()) {
        Ok(theirs) => theirs.iter().any(|group| groups.contains(group)),
        Err(error) => {
            tracing::warn!(%error, "cannot tell the groups of who connects");
            false
        }
    }
}

const BACKLOG: i32 = 16;

/// A gateway has two, a test or a person a few.
const MOST_CONNECTIONS: usize = 32;

/// How late an engine's event may be.
const WATCH_EVERY: Duration = Duration::from_millis(50);
