//! Between a gateway and its agent: hands messages on, and says when one passes.
//!
//! So a test can strike at every step of a rotation: before the agent has heard of it, or after it
//! has done it and before the gateway knows.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use anyhow::Result;
use socket2::{Domain, SockAddr, Socket, Type};

/// Where in a step to strike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// The request has come and has not been handed on.
    Asked,
    /// The answer has come and has not been handed on.
    Answered,
}

/// Told at the moment; the message is held until the other half of the pair is dropped.
struct Trap {
    verb: &'static str,
    moment: Moment,
    sprung: mpsc::Sender<Held>,
}

/// A message that waits; it goes on when this is dropped.
pub(crate) struct Held {
    _release: mpsc::Sender<()>,
}

/// Listens as long as the process lives.
#[derive(Clone)]
pub(crate) struct Proxy {
    trap: Arc<Mutex<Option<Trap>>>,
}

impl Proxy {
    pub(crate) fn listen(path: &Path, agent: &Path) -> Result<Self> {
        let listener = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        listener.bind(&SockAddr::unix(path)?)?;
        listener.listen(64)?;
        let proxy = Self { trap: Arc::default() };
        let (own, agent) = (proxy.clone(), agent.to_owned());
        thread::spawn(move || {
            while let Ok((gateway, _)) = listener.accept() {
                let (own, agent) = (own.clone(), agent.clone());
                // An agent that is away is a connection that ends.
                thread::spawn(move || own.join(gateway, &agent));
            }
        });
        Ok(proxy)
    }

    /// The next request of that kind is held at that moment.
    pub(crate) fn set_trap(&self, verb: &'static str, moment: Moment) -> mpsc::Receiver<Held> {
        let (sprung, told) = mpsc::channel();
        *self.lock() = Some(Trap { verb, moment, sprung });
        told
    }

    pub(crate) fn clear(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Trap>> {
        self.trap.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// One request and its answer at a time, as the protocol has them.
    fn join(&self, mut gateway: Socket, agent: &PathBuf) -> Result<()> {
        let mut to_agent = Socket::new(Domain::UNIX, Type::SEQPACKET, None)?;
        to_agent.connect(&SockAddr::unix(agent)?)?;
        let mut message = vec![0; gateway_control::agent::MAX_MESSAGE];
        loop {
            let len = gateway.read(&mut message)?;
            if len == 0 {
                return Ok(());
            }
            let verb = verb(&message[..len]);
            self.spring(&verb, Moment::Asked);
            to_agent.write_all(&message[..len])?;
            let len = to_agent.read(&mut message)?;
            if len == 0 {
                return Ok(());
            }
            self.spring(&verb, Moment::Answered);
            gateway.write_all(&message[..len])?;
        }
    }

    fn spring(&self, verb: &str, moment: Moment) {
        let sprung = {
            let mut trap = self.lock();
            let fits = |trap: &Trap| trap.verb == verb && trap.moment == moment;
            if !trap.as_ref().is_some_and(fits) {
                return;
            }
            trap.take()
        };
        let Some(trap) = sprung else { return };
        let (release, released) = mpsc::channel();
        if trap.sprung.send(Held { _release: release }).is_ok() {
            let _ = released.recv_timeout(HELD_AT_MOST);
        }
    }
}

fn verb(message: &[u8]) -> String {
    let request: serde_json::Value = serde_json::from_slice(message).unwrap_or_default();
    request["request"].as_str().unwrap_or_default().to_owned()
}

const HELD_AT_MOST: Duration = Duration::from_secs(2);
