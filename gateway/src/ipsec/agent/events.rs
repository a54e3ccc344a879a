//! The agent's events, on a connection of their own: told as ours, and to whoever rotates.

use std::io;
use std::path::{Path, PathBuf};

use gateway_control::agent::{Request, Response};
use gateway_control::{Event, EventKind};
use tokio::sync::mpsc;

use super::Notice;
use super::connection::{Buffer, Connection};
use super::task::{Pause, SILENCE};
use crate::events::{Events, Occurrence};

/// How far we have read, in which run of the agent.
#[derive(Default)]
struct Position {
    /// Its process; `None` before the first hello.
    run: Option<u32>,
    /// The last event read.
    after: u64,
}

/// Until nobody listens any more.
pub(super) async fn follow(socket: PathBuf, events: Events, notices: mpsc::Sender<Notice>) {
    let (mut position, mut pause) = (Position::default(), Pause::default());
    while !notices.is_closed() {
        let before = position.after;
        // That it is lost is told by the other connection.
        if let Err(error) = read(&socket, &mut position, &events, &notices).await {
            tracing::debug!(%error, "the agent's events stop");
        }
        if position.after != before {
            pause = Pause::default();
        }
        tokio::time::sleep(pause.next()).await;
    }
}

async fn read(
    socket: &Path,
    position: &mut Position,
    events: &Events,
    notices: &mpsc::Sender<Notice>,
) -> io::Result<()> {
    let (connection, mut buffer) = (Connection::open(socket)?, Buffer::new());
    let hello = connection.greet(None, &mut buffer).await?;
    let first = position.run.is_none();
    if position.run.replace(hello.pid) != Some(hello.pid) {
        position.after = 0;
    }
    if first {
        // What happened before we came is in the pairs that we are about to look at.
        while let Some(last) = next(&connection, position.after, 0, &mut buffer).await?.last() {
            position.after = last.seq;
        }
    }
    loop {
        for event in next(&connection, position.after, WAIT_MS, &mut buffer).await? {
            position.after = event.seq;
            tell(&event, events);
            if notices.send(Notice::Event(event)).await.is_err() {
                return Ok(());
            }
        }
    }
}

async fn next(
    connection: &Connection,
    after: u64,
    wait_ms: u64,
    buffer: &mut Buffer,
) -> io::Result<Vec<Event>> {
    let request = Request::Events { after, wait_ms };
    let patience = std::time::Duration::from_millis(wait_ms) + SILENCE;
    let answer = tokio::time::timeout(patience, connection.exchange(&request, buffer)).await;
    match answer.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        Response::Events { events } => Ok(events),
        _ => Err(io::Error::other("it answers a question for events with something else")),
    }
}

fn tell(event: &Event, events: &Events) {
    // The connection for requests has told it already, out of the hello.
    if event.kind == EventKind::StateDistrusted {
        return;
    }
    events.record(Occurrence {
        kind: event.kind,
        object: &event.object,
        from: &event.from,
        to: &event.to,
        reason: &event.reason,
        owner: &event.owner,
    });
}

/// As long as the agent lets anybody wait.
const WAIT_MS: u64 = 30_000;
