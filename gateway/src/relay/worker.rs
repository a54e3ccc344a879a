//! A worker: one thread that owns its calls, a driver for their media sockets and an inbox.
//!
//! 1. [`spawn`] starts the thread, which pins itself, probes and opens the driver, and reports
//!    which one and why (or why none) before `spawn` returns.
//! 2. With io_uring it runs inside the tokio-uring runtime, else inside tokio's current-thread
//!    runtime; either drives the inbox and the timer, never the media.
//! 3. Media: wait for the driver's descriptor, clear its readiness, take turns of up to a batch
//!    until nothing is left. Between two turns the inbox gets its share and the runtime its
//!    turn, so neither a flood of media nor a flood of commands starves the other.
//! 4. [`Command::Stop`], or dropping the command sender, ends it.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::OwnedFd;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use packet_io::{AnyDriver, Choice, Driver, OpenError, Opened, clock, uring};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{Interval, MissedTickBehavior};

use super::command::{Command, WorkerEvent};
use super::stats::Identity;
use super::sys;
use super::table::{Table, Told};
use super::uplink::Uplink;

/// What a worker is started with.
#[derive(Clone, Debug)]
pub struct WorkerConfig {
    /// Which worker: names the thread and its metrics.
    pub index: usize,
    /// The driver to use.
    pub io: Choice,
    /// Sizes of the io_uring driver, and how long either lets packets gather.
    pub uring: uring::Config,
    /// The processor to pin the thread to, if any.
    pub core: Option<usize>,
    /// SRTP replay window in packets (64 or more).
    pub replay_window: usize,
    /// A call without packets for this long is reported, and again after as long.
    pub idle_after: Duration,
    /// The ways to the agents' threads, by the uplink of an
    /// [`AgentTap`](super::command::AgentTap).
    pub uplinks: Vec<Uplink>,
}

impl Default for WorkerConfig {
    fn default() -> Self {
        Self {
            index: 0,
            io: Choice::Auto,
            uring: uring::Config::default(),
            core: None,
            replay_window: 1024,
            idle_after: Duration::from_secs(5),
            uplinks: Vec::new(),
        }
    }
}

/// Control's end of a worker.
#[derive(Debug)]
pub struct WorkerHandle {
    /// Which worker.
    pub index: usize,
    /// The driver in use, as `io_uring` or `epoll`.
    pub driver: &'static str,
    /// Why that one: a sentence for the operator.
    pub reason: String,
    /// It is not the driver that [`Choice::Auto`] would rather have had.
    pub fallback: bool,
    /// Its inbox.
    pub commands: mpsc::Sender<Command>,
    /// What it says unasked.
    pub events: mpsc::Receiver<WorkerEvent>,
    /// Ends with what ended the worker.
    pub thread: JoinHandle<io::Result<()>>,
}

/// Why a worker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No driver as asked for.
    #[error(transparent)]
    Driver(#[from] OpenError),
    /// The thread cannot run on the core it was given.
    #[error("worker {worker} cannot be pinned to core {core}: {source}")]
    Pin {
        /// Which worker.
        worker: usize,
        /// The core.
        core: usize,
        /// What the kernel said.
        source: io::Error,
    },
    /// No thread, or no runtime on it.
    #[error("worker {worker} cannot start: {source}")]
    Thread {
        /// Which worker.
        worker: usize,
        /// What failed.
        source: io::Error,
    },
}

/// The shortest that the scheduler grants. With the default of about 3 ms, whatever else runs on
/// the core holds up media for that long at a time.
const SLICE: Duration = Duration::from_micros(100);
/// Commands that wait before their sender has to.
const INBOX: usize = 1024;
/// Events that wait; what does not fit is told again by a later scan.
const EVENTS: usize = 1024;
/// Each scan looks at one call in so many: all of them once a second, without a long pause.
const SCAN_SHARE: usize = 10;
/// Time between two scans.
const SCAN_INTERVAL: Duration = Duration::from_millis(100);

/// Starts a worker and waits until it serves or says why it cannot.
///
/// # Errors
/// [`StartError`]; no thread is left behind.
pub fn spawn(config: WorkerConfig) -> Result<WorkerHandle, StartError> {
    let (commands, inbox) = mpsc::channel(INBOX);
    let (events_out, events) = mpsc::channel(EVENTS);
    // Not tokio's: this may well be called from within a runtime, where waiting on that panics.
    let (ready, started) = std::sync::mpsc::sync_channel(1);
    let index = config.index;
    let thread_error = |source| StartError::Thread { worker: index, source };
    let thread = thread::Builder::new()
        .name(format!("relay-{index}"))
        .spawn(move || run(&config, inbox, events_out, ready))
        .map_err(thread_error)?;
    let Ready { driver, reason, fallback } = started
        .recv()
        .map_err(|_| thread_error(io::Error::other("its thread ended before it was ready")))??;
    Ok(WorkerHandle { index, driver, reason, fallback, commands, events, thread })
}

/// What a started worker says of its driver.
struct Ready {
    driver: &'static str,
    reason: String,
    fallback: bool,
}

type ReadySender = SyncSender<Result<Ready, StartError>>;

/// The thread. Its own end of `ready` is answered in every case.
fn run(
    config: &WorkerConfig,
    inbox: mpsc::Receiver<Command>,
    events: mpsc::Sender<WorkerEvent>,
    ready: ReadySender,
) -> io::Result<()> {
    let (driver, said, runtime) = match open(config) {
        Ok(opened) => opened,
        Err(error) => {
            // The spawner waits for it; were it gone, there would be nobody to tell.
            let _ = ready.send(Err(error));
            return Ok(());
        }
    };
    let worker = Worker {
        identity: Identity { worker: config.index, driver: said.driver },
        table: Table::new(config.replay_window, config.uplinks.clone()),
        driver,
        inbox,
        events,
        idle_after: config.idle_after,
        next_scan: clock::monotonic() + SCAN_INTERVAL,
    };
    let _ = ready.send(Ok(said));
    runtime.block_on(worker.serve()).inspect_err(|error| {
        tracing::error!(worker = config.index, %error, "the worker's driver failed: it has ended");
    })
}

/// Everything that can fail at start, in the thread that will use it.
fn open(config: &WorkerConfig) -> Result<(AnyDriver, Ready, Runtime), StartError> {
    let worker = config.index;
    if let Some(core) = config.core {
        sys::pin_current_thread(core).map_err(|source| StartError::Pin { worker, core, source })?;
    }
    if let Err(error) = sys::request_short_slice(SLICE) {
        // A container's seccomp profile may forbid it: slower to wake on a busy core, no worse.
        tracing::info!(worker, %error, "not scheduled in short slices");
    }
    let Opened { driver, reason, fallback } = packet_io::open(config.io, &config.uring)?;
    let runtime =
        Runtime::for_driver(&driver).map_err(|source| StartError::Thread { worker, source })?;
    let said = Ready { driver: driver.name(), reason, fallback };
    Ok((driver, said, runtime))
}

/// What drives the inbox and the timer.
enum Runtime {
    Uring(tokio_uring::Runtime),
    Plain(tokio::runtime::Runtime),
}

impl Runtime {
    /// Where io_uring works for media it works for the runtime.
    fn for_driver(driver: &AnyDriver) -> io::Result<Self> {
        match driver {
            AnyDriver::Uring(_) => {
                tokio_uring::Runtime::new(&tokio_uring::builder()).map(Self::Uring)
            }
            AnyDriver::Epoll(_) => {
                tokio::runtime::Builder::new_current_thread().enable_all().build().map(Self::Plain)
            }
        }
    }

    fn block_on<T>(self, work: impl Future<Output = T>) -> T {
        match self {
            Self::Uring(runtime) => runtime.block_on(work),
            Self::Plain(runtime) => runtime.block_on(work),
        }
    }
}

struct Worker {
    identity: Identity,
    table: Table,
    driver: AnyDriver,
    inbox: mpsc::Receiver<Command>,
    events: mpsc::Sender<WorkerEvent>,
    idle_after: Duration,
    /// For when media leaves no time to wait for the timer.
    next_scan: Instant,
}

/// What ended a sleep.
enum Woken {
    Media,
    Timer,
    Command(Option<Command>),
}

impl Worker {
    async fn serve(mut self) -> io::Result<()> {
        // A duplicate: the driver stays free to be borrowed for turns.
        let media = sys::watch(self.driver.readiness().try_clone_to_owned()?)?;
        // tokio's list of those who yield is made by the first to do so: now, not amid packets.
        tokio::task::yield_now().await;
        let mut scans = tokio::time::interval(SCAN_INTERVAL);
        scans.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let flow = match self.sleep(&media, &mut scans).await? {
                Woken::Media => self.drain().await?,
                Woken::Timer => {
                    self.scan(clock::monotonic());
                    ControlFlow::Continue(())
                }
                Woken::Command(Some(command)) => self.obey(command),
                Woken::Command(None) => ControlFlow::Break(()),
            };
            if flow.is_break() {
                return Ok(());
            }
            self.driver.flush()?;
        }
    }

    async fn sleep(&mut self, media: &AsyncFd<OwnedFd>, scans: &mut Interval) -> io::Result<Woken> {
        tokio::select! {
            ready = media.readable() => {
                // Cleared before the turns: what arrives during the last one wakes us again.
                ready?.clear_ready();
                Ok(Woken::Media)
            }
            command = self.inbox.recv() => Ok(Woken::Command(command)),
            _ = scans.tick() => Ok(Woken::Timer),
        }
    }

    /// Takes turns until the driver has nothing left.
    async fn drain(&mut self) -> io::Result<ControlFlow<()>> {
        self.table.note_wakeup();
        loop {
            if self.obey_waiting().is_break() {
                return Ok(ControlFlow::Break(()));
            }
            let now = clock::monotonic();
            let turn = self.table.turn(&mut self.driver, now, clock::realtime_ns)?;
            if !turn.more {
                return Ok(ControlFlow::Continue(()));
            }
            if now >= self.next_scan {
                self.scan(now);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Obeys what waits now, before the packets that wait now: control sends a plan before it
    /// tells anybody the address in it, so the first packet to an address finds its plan done.
    fn obey_waiting(&mut self) -> ControlFlow<()> {
        for _ in 0..self.inbox.len() {
            let Ok(command) = self.inbox.try_recv() else { break };
            self.obey(command)?;
        }
        ControlFlow::Continue(())
    }

    fn obey(&mut self, command: Command) -> ControlFlow<()> {
        // Whoever asked may have stopped waiting: an unread reply is not an error.
        match command {
            Command::Apply(plan) => {
                let now = clock::monotonic();
                if let Err(refused) = self.table.apply(plan, &mut self.driver, now) {
                    let (call, stream) = (refused.call, refused.stream);
                    tracing::error!(?call, ?stream, error = %refused.error, "no media socket");
                    self.tell(refused.into());
                }
            }
            Command::Close { call, reply } => {
                let _ = reply.send(self.table.close(call, &mut self.driver));
            }
            Command::Report { call, reply } => {
                let _ = reply.send(self.table.report(call));
            }
            Command::Snapshot(reply) => {
                let _ = reply.send(self.table.snapshot(self.identity));
            }
            Command::Secure { call, stream, epoch, keys } => {
                self.table.secure(call, stream, epoch, *keys);
            }
            Command::SwitchKey { call, stream, mki } => self.table.switch_key(call, stream, &mki),
            Command::Path { call, stream, generation, path } => {
                self.table.follow(call, stream, generation, path);
            }
            Command::Lend { call, stream, footing, reply } => {
                let _ = reply.try_send(self.table.lend(call, stream, &footing, &self.driver));
            }
            Command::Stop => return ControlFlow::Break(()),
        }
        ControlFlow::Continue(())
    }

    fn scan(&mut self, now: Instant) {
        self.next_scan = now + SCAN_INTERVAL;
        let events = &self.events;
        self.table.scan(SCAN_SHARE, self.idle_after, now, |event| tell(events, event));
    }

    fn tell(&self, event: WorkerEvent) {
        if tell(&self.events, event) == Told::QueueFull {
            tracing::warn!(worker = self.identity.worker, "control is behind: event lost");
        }
    }
}

fn tell(events: &mpsc::Sender<WorkerEvent>, event: WorkerEvent) -> Told {
    match events.try_send(event) {
        // Nobody listens any more: as good as told.
        Ok(()) | Err(TrySendError::Closed(_)) => Told::Yes,
        Err(TrySendError::Full(_)) => Told::QueueFull,
    }
}
