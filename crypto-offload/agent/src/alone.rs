//! One agent for each network namespace.
//!
//! Two would remove each other's SAs: to either, what carries our reqids and is in no record of its
//! own was left behind by an agent that died. The claim is an abstract Unix socket, whose names are
//! a namespace's own, and which ends with us however we end. Anybody may take such a name, so the
//! holder's credentials decide: only root, or our own user, is believed to be an agent.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    thread,
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{self, AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt},
    process::getuid,
};

use crate::cli::Failure;

/// Claims the calling thread's network namespace until we end.
pub(crate) fn claim() -> Result<(), Failure> {
    let failed = |error: Errno| Failure::from(anyhow::Error::from(io::Error::from(error)));
    let socket = socket().map_err(failed)?;
    let name = SocketAddrUnix::new_abstract_name(NAME).map_err(failed)?;
    match net::bind(&socket, &name) {
        Ok(()) => {
            net::listen(&socket, BACKLOG).map_err(failed)?;
            hold(socket).map_err(anyhow::Error::from)?;
            Ok(())
        }
        Err(Errno::ADDRINUSE) => judge(&socket, &name),
        Err(error) => Err(failed(error)),
    }
}

/// Whoever asks who we are learns it by connecting; nothing is said.
fn hold(socket: OwnedFd) -> io::Result<()> {
    let answer = move || {
        loop {
            if net::accept_with(&socket, SocketFlags::CLOEXEC).is_err() {
                thread::sleep(Duration::from_millis(100));
            }
        }
    };
    thread::Builder::new().name("alone".to_owned()).spawn(answer).map(drop)
}

/// Who has the name.
fn judge(socket: &OwnedFd, name: &SocketAddrUnix) -> Result<(), Failure> {
    let holder = net::connect(socket, name).and_then(|()| sockopt::socket_peercred(socket.as_fd()));
    match holder {
        Ok(holder) if holder.uid.is_root() || holder.uid == getuid() => {
            let process = holder.pid.as_raw_nonzero();
            Err(Failure::in_use(anyhow::anyhow!(
                "another agent, process {process}, serves this network namespace: end it, or start \
                 this one in a namespace of its own (`ip netns exec`)"
            )))
        }
        // Not one of us. It must not keep us from our work.
        Ok(holder) => {
            let user = holder.uid.as_raw();
            tracing::warn!(user, "somebody has the name by which agents find each other");
            Ok(())
        }
        Err(error) => {
            tracing::warn!(%error, "somebody has the name by which agents find each other");
            Ok(())
        }
    }
}

fn socket() -> Result<OwnedFd, Errno> {
    net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

const NAME: &[u8] = b"postern-offload-agent";
const BACKLOG: i32 = 16;
