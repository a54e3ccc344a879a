//! The gateway's end of the offload agent.
//!
//! [`Agent`] asks; its task owns the connection, keeps several requests on their way at once, and
//! connects again when the agent restarts. Requests are idempotent, so one whose answer was lost
//! is simply sent again: whoever asks sees a restart of the agent as a slow answer. Another
//! connection waits for the agent's events. No SA is remembered here: the agent is the truth.

mod connection;
mod events;
mod generation;
#[cfg(test)]
pub(crate) mod model;
mod requests;
pub(crate) mod spawn;
mod task;

use std::path::Path;
use std::time::Duration;

use crypto_offload::ErrorClass;
use crypto_offload::rotation::Failure;
use gateway_control::Event;
use gateway_control::agent::{AgentError, AgentErrorCode, Request, Response};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use self::connection::Message;
use self::generation::Generation;
use self::task::Task;
use crate::events::Events;

/// Asks the agent; clones share its connection.
#[derive(Clone)]
pub(crate) struct Agent {
    asks: mpsc::Sender<Ask>,
    link: watch::Receiver<Link>,
    arrivals: watch::Receiver<u64>,
}

/// Tells when the agent has been restarted, or was out of reach.
#[derive(Clone)]
pub(crate) struct Arrivals {
    count: watch::Receiver<u64>,
    seen: u64,
}

/// Whether the agent answers.
#[derive(Clone, Debug)]
pub(crate) enum Link {
    /// Yes.
    Up,
    /// Not since then.
    Down {
        /// When that began.
        since: Instant,
        /// Why.
        reason: String,
    },
}

/// One request on its way to the task.
struct Ask {
    message: Message,
    answer: oneshot::Sender<Response>,
}

/// Why the agent did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AskError {
    /// It said no.
    #[error(transparent)]
    Refused(#[from] AgentError),
    /// It does not answer.
    #[error("the offload agent does not answer: {0}")]
    Absent(String),
}

impl AskError {
    /// Whether asking again may help.
    pub(crate) const fn failure(&self) -> Failure {
        match self {
            Self::Absent(_) => Failure::Transient,
            Self::Refused(error) => match error.code {
                AgentErrorCode::Engine(ErrorClass::Busy) => Failure::Transient,
                _ => Failure::Final,
            },
        }
    }
}

/// What the agent's events are told to.
pub(crate) struct News {
    /// What happened, oldest first.
    pub(crate) happened: mpsc::Receiver<Notice>,
}

/// Something that may ask for a rotation.
#[derive(Debug)]
pub(crate) enum Notice {
    /// The agent is there, for the first time or again: look at everything.
    Arrived,
    /// It says so.
    Event(Event),
}

impl Agent {
    /// Starts to connect to the agent at `socket`, and goes on until the process ends.
    pub(crate) fn connect(socket: &Path, state: Option<&Path>, events: &Events) -> (Self, News) {
        let (asks, asked) = mpsc::channel(QUEUED);
        let down = Link::Down { since: Instant::now(), reason: "not connected yet".to_owned() };
        let (link, linked) = watch::channel(down);
        let (arrived, arrivals) = watch::channel(0);
        let (notices, happened) = mpsc::channel(QUEUED);
        let task = Task {
            socket: socket.to_owned(),
            asked,
            link,
            arrived,
            generation: Generation::load(state),
            events: events.clone(),
            notices: notices.clone(),
            missed: false,
        };
        tokio::spawn(task.run());
        tokio::spawn(events::follow(socket.to_owned(), events.clone(), notices));
        (Self { asks, link: linked, arrivals }, News { happened })
    }

    /// An agent that is not there, for a gateway that is to have none.
    pub(crate) fn none() -> Self {
        let (asks, _) = mpsc::channel(1);
        let reason = "ipsec.agent is \"none\"".to_owned();
        let since = Instant::now().checked_sub(GAP).unwrap_or_else(Instant::now);
        let (link, arrivals) =
            (watch::channel(Link::Down { since, reason }).1, watch::channel(0).1);
        Self { asks, link, arrivals }
    }

    /// Whether it answers.
    pub(crate) fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// Those from now on.
    pub(crate) fn arrivals(&self) -> Arrivals {
        let count = self.arrivals.clone();
        let seen = *count.borrow();
        Arrivals { count, seen }
    }

    /// One request, sent again while the agent restarts.
    ///
    /// # Errors
    /// What it refused, or that it has not answered for longer than a restart takes.
    async fn ask(&self, request: &Request) -> Result<Response, AskError> {
        let message =
            |request| Message::new(request).map_err(|error| AskError::Absent(error.to_string()));
        loop {
            self.wait_until_up().await?;
            let (answer, answered) = oneshot::channel();
            let ask = Ask { message: message(request)?, answer };
            if self.asks.send(ask).await.is_err() {
                return Err(self.absent());
            }
            match answered.await {
                Ok(Response::Refused(error)) => return Err(error.into()),
                Ok(response) => return Ok(response),
                // The connection broke with the request on it.
                Err(_) => tokio::time::sleep(BEFORE_ASKING_AGAIN).await,
            }
        }
    }

    async fn wait_until_up(&self) -> Result<(), AskError> {
        let mut link = self.link.clone();
        let since = match &*link.borrow() {
            Link::Up => return Ok(()),
            Link::Down { since, .. } => *since,
        };
        let up = link.wait_for(|link| matches!(link, Link::Up));
        match tokio::time::timeout_at(since + GAP, up).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(self.absent()),
        }
    }

    fn absent(&self) -> AskError {
        match self.link() {
            Link::Down { reason, .. } => AskError::Absent(reason),
            Link::Up => AskError::Absent("it restarts again and again".to_owned()),
        }
    }
}

impl Arrivals {
    /// Until there is one that was not [`seen`](Self::seen) yet; tells its number. May be dropped
    /// and asked again.
    pub(crate) async fn next(&mut self) -> u64 {
        let arrived = self.count.wait_for(|count| *count != self.seen).await.map(|count| *count);
        match arrived {
            Ok(count) => count,
            // There is no agent, and will be none.
            Err(_) => std::future::pending().await,
        }
    }

    /// Whether there is one already.
    pub(crate) fn is_new(&self) -> bool {
        *self.count.borrow() != self.seen
    }

    /// What follows from it is done.
    pub(crate) const fn seen(&mut self, count: u64) {
        self.seen = count;
    }
}

/// A restart of the agent is to take a second at most; beyond this it is gone.
const GAP: Duration = Duration::from_secs(3);

/// A connection that broke is found to be broken before the next request is put on it.
const BEFORE_ASKING_AGAIN: Duration = Duration::from_millis(10);

/// Requests and notices that wait for their turn; more wait at their sender.
const QUEUED: usize = 256;

#[cfg(test)]
mod tests {
    use super::model::{Model, Trouble};
    use super::*;
    use crypto_offload::{Epoch, PairName, SaPair};
    use gateway_control::EventKind;

    pub(crate) fn pair(name: &str, octet: u8) -> SaPair {
        let json = serde_json::json!({
            "name": name, "local": "192.0.2.1", "remote": "192.0.2.2",
            "local_net": format!("10.{octet}.1.0/24"), "remote_net": format!("10.{octet}.2.0/24"),
        });
        serde_json::from_value(json).unwrap()
    }

    fn kinds(events: &Events) -> Vec<EventKind> {
        events.after(0).iter().map(|event| event.kind).collect()
    }

    #[tokio::test]
    async fn many_requests_on_their_way_each_get_their_own_answer() {
        let model = Model::new("pipeline");
        let _run = model.run();
        let (agent, _news) = Agent::connect(model.path(), None, &Events::new());
        let mut asked = tokio::task::JoinSet::new();
        for number in 0..200_u8 {
            let agent = agent.clone();
            asked.spawn(async move {
                let name = format!("trunk-{number:03}");
                let status = agent.define(pair(&name, number)).await.unwrap();
                assert_eq!(status.pair.name.as_str(), name);
            });
        }
        asked.join_all().await;
        assert_eq!(agent.every_pair().await.unwrap().len(), 200);
    }

    #[tokio::test]
    async fn a_restart_of_the_agent_is_a_slow_answer_and_is_told() {
        let (model, events) = (Model::new("restart"), Events::new());
        let run = model.run();
        let (agent, _news) = Agent::connect(model.path(), None, &events);
        let name = PairName::new("trunk-1").unwrap();
        agent.define(pair("trunk-1", 1)).await.unwrap();
        drop(run);
        let asking = tokio::spawn({
            let (agent, name) = (agent.clone(), name.clone());
            async move { agent.prepare(&name, Epoch(1), None).await }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let _run = model.run();
        asking.await.unwrap().unwrap();
        assert_eq!(kinds(&events), [EventKind::AgentLost, EventKind::AgentRestored]);
        assert!(model.with(|state| state.seen_generations.contains(&Some(1))));
    }

    #[tokio::test]
    async fn a_request_whose_answer_was_lost_is_sent_again() {
        let model = Model::new("lost-answer");
        let _run = model.run();
        let (agent, _news) = Agent::connect(model.path(), None, &Events::new());
        let name = PairName::new("trunk-1").unwrap();
        agent.define(pair("trunk-1", 1)).await.unwrap();
        let mut deaths = 1;
        model.fail(move |request| match request {
            Request::Prepare { .. } if deaths > 0 => {
                deaths -= 1;
                Some(Trouble::Die)
            }
            _ => None,
        });
        let (offer, _) = agent.prepare(&name, Epoch(1), None).await.unwrap();
        let kept = model.with(|state| {
            let keys = &state.pairs[&name].epochs[&Epoch(1)];
            keys.inbound.as_ref().map(|offer| offer.dangerous_duplicate())
        });
        assert_eq!(kept, Some(offer));
        let prepared = |asked: &&String| asked.starts_with("prepare");
        assert_eq!(model.with(|state| state.asked.iter().filter(prepared).count()), 2);
    }

    #[tokio::test]
    async fn without_an_agent_the_answer_names_the_socket() {
        let model = Model::new("absent");
        let (agent, _news) = Agent::connect(model.path(), None, &Events::new());
        tokio::time::sleep(Duration::from_millis(50)).await;
        let started = Instant::now();
        let error = agent.statistics().await.unwrap_err().to_string();
        assert!(error.contains(&model.path().display().to_string()), "{error}");
        assert!(started.elapsed() < GAP + Duration::from_secs(1));
        assert!(Agent::none().statistics().await.unwrap_err().to_string().contains("\"none\""));
    }

    #[tokio::test]
    async fn the_agents_events_become_ours_and_old_ones_are_not_told_again() {
        let (model, events) = (Model::new("events"), Events::new());
        let _run = model.run();
        model.event(EventKind::SaLost, "old", "before our time");
        let (_agent, mut news) = Agent::connect(model.path(), None, &events);
        assert!(matches!(news.happened.recv().await, Some(Notice::Arrived)));
        tokio::time::sleep(Duration::from_millis(200)).await;
        model.event(EventKind::SaLost, "trunk-1", "hard limit");
        let Some(Notice::Event(event)) = news.happened.recv().await else { panic!("an event") };
        assert_eq!((event.seq, event.object.as_str()), (2, "trunk-1"));
        let told = events.after(0);
        assert_eq!((told.len(), told[0].reason.as_str()), (1, "hard limit"));
    }
}
