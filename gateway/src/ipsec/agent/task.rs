//! The task that owns the connection for requests: connects, says hello, keeps requests on their
//! way, and begins again when the connection breaks.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use gateway_control::EventKind;
use gateway_control::agent::{AgentHello, Response};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::connection::{Buffer, Connection};
use super::generation::Generation;
use super::{Ask, Link, Notice};
use crate::events::{Events, Occurrence};

pub(super) struct Task {
    pub(super) socket: PathBuf,
    pub(super) asked: mpsc::Receiver<Ask>,
    pub(super) link: watch::Sender<Link>,
    pub(super) arrived: watch::Sender<u64>,
    pub(super) generation: Generation,
    pub(super) events: Events,
    pub(super) notices: mpsc::Sender<Notice>,
    /// It was there, went, and has not come back.
    pub(super) missed: bool,
}

impl Task {
    /// Until nobody can ask any more.
    pub(super) async fn run(mut self) {
        let mut pause = Pause::default();
        while !self.asked.is_closed() {
            let ended = match self.connect().await {
                Ok((connection, buffer)) => {
                    pause = Pause::default();
                    self.serve(connection, buffer).await
                }
                Err(error) => error,
            };
            self.lost(&ended);
            tokio::time::sleep(pause.next()).await;
        }
    }

    async fn connect(&mut self) -> io::Result<(Connection, Buffer)> {
        let (connection, mut buffer) = (Connection::open(&self.socket)?, Buffer::new());
        let greeting = connection.greet(self.generation.seen(), &mut buffer);
        let hello = tokio::time::timeout(SILENCE, greeting).await.map_err(|_| silent())??;
        self.generation.saw(hello.generation);
        self.arrived(&hello);
        Ok((connection, buffer))
    }

    /// Until the connection breaks; says why.
    async fn serve(&mut self, connection: Connection, mut buffer: Buffer) -> io::Error {
        let mut sending: Option<Ask> = None;
        let mut waiting: VecDeque<(Instant, oneshot::Sender<Response>)> = VecDeque::new();
        loop {
            let oldest = waiting.front().map_or_else(Instant::now, |(since, _)| *since);
            let free = sending.is_none() && waiting.len() < ON_THEIR_WAY;
            // An answer may come while a request waits for room: neither may hold up the other.
            let step = tokio::select! {
                asked = self.asked.recv(), if free => match asked {
                    Some(ask) => {
                        sending = Some(ask);
                        Ok(())
                    }
                    None => Err(io::Error::other("nobody asks any more")),
                },
                sent = send(&connection, sending.as_ref()), if sending.is_some() => {
                    waiting.extend(sending.take().map(|ask| (Instant::now(), ask.answer)));
                    sent
                }
                response = connection.receive(&mut buffer) => {
                    response.and_then(|response| deliver(response, waiting.pop_front()))
                }
                () = tokio::time::sleep_until(oldest + SILENCE), if !waiting.is_empty() => {
                    Err(silent())
                }
            };
            if let Err(error) = step {
                return error;
            }
        }
    }

    fn arrived(&mut self, hello: &AgentHello) {
        tracing::info!(
            release = hello.release,
            pid = hello.pid,
            generation = hello.generation,
            engines = hello.engines.join(" "),
            "offload agent"
        );
        if self.missed {
            self.tell(EventKind::AgentRestored, "up", "it answers again");
        }
        if let Some(reason) = &hello.distrusted {
            self.tell(EventKind::StateDistrusted, "", reason);
        }
        self.missed = false;
        self.link.send_replace(Link::Up);
        self.arrived.send_modify(|count| *count += 1);
        // Whoever listens looks at every pair, so one unread notice is as good as two.
        let _ = self.notices.try_send(Notice::Arrived);
    }

    fn lost(&mut self, error: &io::Error) {
        let reason = format!("{}: {error}", self.socket.display());
        let since = match &*self.link.borrow() {
            Link::Up => None,
            Link::Down { since, .. } => Some(*since),
        };
        if since.is_none() {
            self.missed = true;
            self.tell(EventKind::AgentLost, "down", &reason);
        }
        let since = since.unwrap_or_else(Instant::now);
        self.link.send_replace(Link::Down { since, reason });
    }

    fn tell(&self, kind: EventKind, to: &str, reason: &str) {
        let (object, from, owner) = ("offload-agent", "", "gateway");
        self.events.record(Occurrence { kind, object, from, to, reason, owner });
    }
}

async fn send(connection: &Connection, ask: Option<&Ask>) -> io::Result<()> {
    match ask {
        Some(ask) => connection.send(&ask.message).await,
        None => Ok(()),
    }
}

/// Answers come in the order of requests. Whoever asked may have given up.
fn deliver(
    response: Response,
    waiting: Option<(Instant, oneshot::Sender<Response>)>,
) -> io::Result<()> {
    let (_, answer) = waiting.ok_or_else(|| io::Error::other("it answered what nobody asked"))?;
    let _ = answer.send(response);
    Ok(())
}

fn silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", SILENCE.as_secs()))
}

/// So many requests may be unanswered: enough for the agent never to wait for us, and far from
/// filling the socket.
const ON_THEIR_WAY: usize = 32;

/// Longer than the agent takes for anything: probing every device is its slowest.
pub(super) const SILENCE: Duration = Duration::from_secs(15);

/// Between attempts to connect. A restart takes a fraction of a second, all of which its traffic
/// waits for us; only an agent that is gone for longer is tried ever more seldom.
#[derive(Default)]
pub(super) struct Pause {
    tried: u32,
}

impl Pause {
    pub(super) fn next(&mut self) -> Duration {
        let doublings = self.tried.saturating_sub(OFTEN).min(MAX_DOUBLINGS);
        self.tried = self.tried.saturating_add(1);
        SHORTEST_PAUSE * 2_u32.pow(doublings)
    }
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(20);

/// Attempts in the first second.
const OFTEN: u32 = 50;

/// 20 ms to 2.56 s.
const MAX_DOUBLINGS: u32 = 7;
