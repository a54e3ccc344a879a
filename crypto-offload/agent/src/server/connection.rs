//! One client: its messages in, the answers out, in order.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use gateway_control::agent::{AgentErrorCode, MAX_MESSAGE, Request, Response};
use rustix::{
    event::{PollFd, PollFlags, Timespec},
    net::{self, RecvFlags, SendFlags, sockopt},
};
use zeroize::{Zeroize, Zeroizing};

use super::Errand;
use crate::{EventLog, refusal::Refusal};

pub(super) struct Connection {
    socket: OwnedFd,
    desk: SyncSender<Errand>,
    events: Arc<EventLog>,
}

/// Whether the connection goes on after a message.
enum Next {
    Continue,
    Close,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, desk: SyncSender<Errand>, events: Arc<EventLog>) -> Self {
        Self { socket, desk, events }
    }

    pub(super) fn run(&self) {
        if let Err(error) = self.converse() {
            tracing::debug!(%error, "a connection ended");
        }
    }

    fn converse(&self) -> io::Result<()> {
        sockopt::set_socket_timeout(&self.socket, sockopt::Timeout::Send, Some(PATIENCE))?;
        // Keys pass through both: one allocation each, wiped after each message.
        let mut buffer = Zeroizing::new(vec![0; MAX_MESSAGE]);
        let mut greeted = false;
        loop {
            let (_, length) = net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::TRUNC)?;
            if length == 0 {
                return Ok(());
            }
            let (response, next) = match buffer.get(..length) {
                Some(message) => self.respond(message, &mut greeted),
                None => (refused(format!("{length} bytes: {MAX_MESSAGE} at most")), Next::Close),
            };
            let used = length.min(MAX_MESSAGE);
            buffer[..used].zeroize();
            self.send(&response)?;
            if let Next::Close = next {
                return Ok(());
            }
        }
    }

    fn respond(&self, message: &[u8], greeted: &mut bool) -> (Response, Next) {
        let request: Request = match serde_json::from_slice(message) {
            Ok(request) => request,
            Err(error) => return (refused(format!("not a request: {error}")), Next::Close),
        };
        if let Request::Hello { .. } = request {
            let response = self.ask(request);
            *greeted = matches!(response, Response::Hello(_));
            let next = if *greeted { Next::Continue } else { Next::Close };
            return (response, next);
        }
        if !*greeted {
            return (refused("a connection begins with hello".to_owned()), Next::Close);
        }
        if let Request::Events { after, wait_ms } = request {
            return self.wait_for_events(after, Duration::from_millis(wait_ms).min(LONGEST_WAIT));
        }
        (self.ask(request), Next::Continue)
    }

    /// Looks up now and then, so that a client that is gone frees its place.
    fn wait_for_events(&self, after: u64, wait: Duration) -> (Response, Next) {
        let deadline = Instant::now() + wait;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let events = self.events.after(after, left.min(LOOK_UP));
            let over = !events.is_empty() || left.is_zero();
            if over || self.is_gone() {
                let next = if over { Next::Continue } else { Next::Close };
                return (Response::Events { events }, next);
            }
        }
    }

    fn is_gone(&self) -> bool {
        let mut poll = [PollFd::new(&self.socket, PollFlags::empty())];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let polled = rustix::event::poll(&mut poll, Some(&now));
        polled.is_err() || poll[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// Brings a request to the owner of the engines and waits for its answer.
    fn ask(&self, request: Request) -> Response {
        let (answer, answered) = sync_channel(1);
        let sent = self.desk.send(Errand { request, answer });
        let response = sent.ok().and_then(|()| answered.recv().ok());
        response.unwrap_or_else(|| refused("the agent is ending".to_owned()))
    }

    fn send(&self, response: &Response) -> io::Result<()> {
        let mut message = Zeroizing::new(Vec::with_capacity(MAX_MESSAGE));
        serde_json::to_writer(&mut *message, response)?;
        if message.len() > MAX_MESSAGE {
            let length = message.len();
            let response = refused(format!("an answer of {length} bytes does not fit"));
            message = Zeroizing::new(serde_json::to_vec(&response)?);
        }
        net::send(&self.socket, &message, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn refused(message: String) -> Response {
    let Refusal(error) = Refusal::new(AgentErrorCode::Invalid, "message", message);
    Response::Refused(error)
}

/// For a client to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a client that is gone may keep its place.
const LOOK_UP: Duration = Duration::from_secs(1);

/// See [`Request::Events`].
const LONGEST_WAIT: Duration = Duration::from_secs(60);
