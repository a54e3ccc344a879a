//! The workers as everybody but themselves sees them: started together, commanded by control,
//! asked for numbers by the listeners, watched for stalls.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gateway_control::EventKind;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Mutex, mpsc, oneshot};

use crate::config::Config;
use crate::events::{Events, Occurrence};
use crate::relay::command::{CallKey, Command, WorkerEvent, WorkerSnapshot};
use crate::relay::uplink::Uplink;
use crate::relay::worker::{self, StartError, WorkerConfig};
use crate::settings;

/// What may be shared: asks, never commands.
#[derive(Clone)]
pub(crate) struct Workers {
    links: Arc<[Link]>,
    recent: Arc<Mutex<Option<Round>>>,
}

/// Every worker's numbers at one time, in order; `None` for one that did not answer.
pub(crate) type Snapshots = Vec<Option<WorkerSnapshot>>;

/// The last time that all were asked.
struct Round {
    asked: Instant,
    snapshots: Snapshots,
}

/// One worker.
pub(crate) struct Link {
    /// `io_uring` or `epoll`.
    pub(crate) driver: &'static str,
    /// Why that one.
    pub(crate) reason: String,
    commands: mpsc::Sender<Command>,
    stalled: AtomicBool,
}

/// Control's side: commands in order, whatever the worker is doing.
pub(crate) struct Outbox {
    commands: mpsc::Sender<Command>,
    /// What did not fit the inbox of a worker that is behind. It holds sockets and keys that are
    /// in no other place, so it is kept, never dropped.
    backlog: VecDeque<Command>,
}

/// Control's end of one worker.
pub(crate) struct Inlet {
    pub(crate) outbox: Outbox,
    pub(crate) events: mpsc::Receiver<WorkerEvent>,
}

/// All that starting yields, in the workers' order.
pub(crate) struct Started {
    pub(crate) workers: Workers,
    pub(crate) inlets: Vec<Inlet>,
    pub(crate) threads: Vec<JoinHandle<io::Result<()>>>,
}

/// Starts as many as the configuration says, each with these ways to the agents' threads; a
/// fallback is an event.
pub(crate) fn start(
    config: &Config,
    uplinks: &[Uplink],
    events: &Events,
) -> Result<Started, StartError> {
    let (mut links, mut inlets, mut threads) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..settings::workers(config) {
        let own = settings::worker(config, index);
        let handle = worker::spawn(WorkerConfig { uplinks: uplinks.to_vec(), ..own })?;
        if handle.fallback {
            events.record(Occurrence {
                kind: EventKind::PlacementFallback,
                object: &format!("worker {index}"),
                from: "io_uring",
                to: handle.driver,
                reason: &handle.reason,
                owner: "kernel",
            });
        }
        let outbox = Outbox::new(handle.commands.clone());
        inlets.push(Inlet { outbox, events: handle.events });
        threads.push(handle.thread);
        links.push(Link {
            driver: handle.driver,
            reason: handle.reason,
            commands: handle.commands,
            stalled: AtomicBool::new(false),
        });
    }
    let workers = Workers { links: links.into(), recent: Arc::default() };
    Ok(Started { workers, inlets, threads })
}

impl Outbox {
    fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands, backlog: VecDeque::new() }
    }

    /// Sends, or keeps in order until the worker has room again.
    pub(crate) fn send(&mut self, command: Command) {
        self.flush();
        if !self.backlog.is_empty() {
            self.backlog.push_back(command);
            return;
        }
        // A closed inbox means that the worker is gone, and all of its calls with it.
        if let Err(TrySendError::Full(command)) = self.commands.try_send(command) {
            self.backlog.push_back(command);
        }
    }

    /// Sends what was kept, as far as there is room.
    pub(crate) fn flush(&mut self) {
        while let Some(command) = self.backlog.pop_front() {
            if let Err(TrySendError::Full(command)) = self.commands.try_send(command) {
                self.backlog.push_front(command);
                return;
            }
        }
    }

    /// Commands wait for room: a worker like that takes no new call.
    pub(crate) fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// So many wait that nothing may be added which the SBC can be refused.
    pub(crate) fn is_overwhelmed(&self) -> bool {
        self.backlog.len() >= BACKLOG
    }
}

impl Workers {
    /// Another way to each worker. What goes by one way keeps its order, what goes by two does not.
    pub(crate) fn outboxes(&self) -> Vec<Outbox> {
        self.links.iter().map(|link| Outbox::new(link.commands.clone())).collect()
    }

    pub(crate) fn links(&self) -> &[Link] {
        &self.links
    }

    /// Tells all to leave. One too far behind to be told ends with the process.
    pub(crate) fn stop(&self) {
        for link in self.links.iter() {
            let _ = link.commands.try_send(Command::Stop);
        }
    }

    /// Every worker's numbers, a moment old at most. A snapshot copies a histogram on the thread
    /// that relays media, so however many ask, and however often, workers are not asked more
    /// often than that.
    pub(crate) async fn snapshots(&self, patience: Duration) -> Snapshots {
        let mut recent = self.recent.lock().await;
        if let Some(round) = &*recent
            && round.asked.elapsed() < SNAPSHOT_AGE
        {
            return round.snapshots.clone();
        }
        let asked = Instant::now();
        let snapshots = self.ask_all(patience).await;
        *recent = Some(Round { asked, snapshots: snapshots.clone() });
        snapshots
    }

    /// All are asked before the first is waited for.
    async fn ask_all(&self, patience: Duration) -> Snapshots {
        let asked: Vec<_> = self.links.iter().map(Link::ask_snapshot).collect();
        let deadline = tokio::time::Instant::now() + patience;
        let mut snapshots = Vec::with_capacity(asked.len());
        for answer in asked {
            snapshots.push(match answer {
                Some(answer) => {
                    tokio::time::timeout_at(deadline, answer).await.ok().and_then(Result::ok)
                }
                None => None,
            });
        }
        snapshots
    }

    /// Numbers of the workers that did not answer the last watch.
    pub(crate) fn stalled(&self) -> Vec<usize> {
        let stalled = |(index, link): (usize, &Link)| link.is_stalled().then_some(index);
        self.links.iter().enumerate().filter_map(stalled).collect()
    }

    /// Asks every worker for next to nothing, every so often, for as long as the process lives.
    pub(crate) async fn watch(self, patience: Duration, events: Events) {
        loop {
            for (index, link) in self.links.iter().enumerate() {
                let stalled = !link.answers(patience).await;
                if link.stalled.swap(stalled, Ordering::Relaxed) != stalled {
                    events.record(stall(&format!("worker {index}"), stalled));
                }
            }
            tokio::time::sleep(WATCH_INTERVAL).await;
        }
    }
}

impl Link {
    pub(crate) fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::Relaxed)
    }

    fn ask_snapshot(&self) -> Option<oneshot::Receiver<WorkerSnapshot>> {
        let (reply, answer) = oneshot::channel();
        self.commands.try_send(Command::Snapshot(reply)).ok()?;
        Some(answer)
    }

    /// Whether it answers at all: a report on a call that cannot exist costs it nothing.
    async fn answers(&self, patience: Duration) -> bool {
        let (reply, answer) = oneshot::channel();
        let ask = async {
            self.commands.send(Command::Report { call: NO_CALL, reply }).await.is_ok()
                && answer.await.is_ok()
        };
        tokio::time::timeout(patience, ask).await.unwrap_or(false)
    }
}

fn stall(object: &str, stalled: bool) -> Occurrence<'_> {
    let (kind, from, to) = match stalled {
        true => (EventKind::WorkerStalled, "running", "stalled"),
        false => (EventKind::WorkerRecovered, "stalled", "running"),
    };
    let reason = match stalled {
        true => "it did not answer within limits.stall_timeout",
        false => "it answers again",
    };
    Occurrence { kind, object, from, to, reason, owner: "gateway" }
}

/// Each may hold sockets and keys. What ends calls is added beyond it, and calls are bounded.
const BACKLOG: usize = 4096;

/// Keys count up from small numbers.
const NO_CALL: CallKey = CallKey(u64::MAX);

/// Younger than anybody's interval of asking, old enough that a flood costs 50 copies a second.
const SNAPSHOT_AGE: Duration = Duration::from_millis(20);

/// Often enough for a kubelet that asks every ten seconds, too rare to cost anything.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);

/// Workers that do nothing but show what they are told.
#[cfg(test)]
pub(crate) fn idle(count: usize) -> (Workers, Vec<Outbox>, Vec<mpsc::Receiver<Command>>) {
    let (mut links, mut outboxes, mut inboxes) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..count {
        let (commands, inbox) = mpsc::channel(2);
        outboxes.push(Outbox::new(commands.clone()));
        let stalled = AtomicBool::new(false);
        links.push(Link { driver: "epoll", reason: String::new(), commands, stalled });
        inboxes.push(inbox);
    }
    (Workers { links: links.into(), recent: Arc::default() }, outboxes, inboxes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(room: usize) -> (Outbox, mpsc::Receiver<Command>) {
        let (commands, inbox) = mpsc::channel(room);
        (Outbox::new(commands), inbox)
    }

    fn close(call: u64) -> Command {
        Command::Close { call: CallKey(call), reply: oneshot::channel().0 }
    }

    fn call(command: Command) -> u64 {
        match command {
            Command::Close { call, .. } => call.0,
            other => panic!("not a close: {other:?}"),
        }
    }

    #[test]
    fn a_full_inbox_keeps_the_order_and_loses_nothing() {
        let (mut outbox, mut inbox) = outbox(2);
        for number in 0..5 {
            outbox.send(close(number));
        }
        assert_eq!(outbox.backlog.len(), 3);
        let mut seen = Vec::new();
        while let Ok(command) = inbox.try_recv() {
            seen.push(call(command));
            outbox.flush();
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
        assert!(!outbox.is_behind());
    }

    #[tokio::test]
    async fn a_worker_that_does_not_answer_is_stalled_and_recovers() {
        let (commands, mut inbox) = mpsc::channel(4);
        let link = Link {
            driver: "epoll",
            reason: String::new(),
            commands,
            stalled: AtomicBool::new(false),
        };
        assert!(!link.answers(Duration::from_millis(5)).await);
        let answering = tokio::spawn(async move {
            while let Some(command) = inbox.recv().await {
                if let Command::Report { reply, .. } = command {
                    let _ = reply.send(None);
                }
            }
        });
        assert!(link.answers(Duration::from_secs(5)).await);
        drop(link);
        answering.await.unwrap();
    }
}
