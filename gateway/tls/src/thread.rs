//! TLS threads: each runs a runtime of its own, and its connections live and die on it.
//!
//! A thread owns its buffers, its registry and its side of the counters; from outside it is reached
//! through [`Order`]s alone. It ends when the relay drops its end of that channel, and its
//! connections with it.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc as answers;
use std::thread::JoinHandle;

use gateway_control::{TlsConnection, TlsKeyUpdateReport, TlsKeyUpdateRequest};
use kernel_tls::{Scratch, Support};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

use crate::accept;
use crate::counters::Tally;
use crate::listener::{Accepting, Listener};
use crate::notice::Teller;
use crate::registry::{Placed, Registry};
use crate::splice::Pipes;

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Common {
    pub(crate) support: Support,
    pub(crate) teller: Teller,
    /// The last connection's number.
    pub(crate) last_id: AtomicU64,
}

/// What belongs to one thread.
pub(crate) struct Local {
    pub(crate) common: Arc<Common>,
    /// Which of the threads, from 0: the place of its counters.
    pub(crate) index: usize,
    pub(crate) registry: Rc<Registry>,
    /// Borrowed within one poll, never across a wait.
    pub(crate) buffers: RefCell<Buffers>,
    pub(crate) pipes: Pipes,
    placed: RefCell<Vec<Rc<Placed>>>,
}

/// What its connections read into and write from.
pub(crate) struct Buffers {
    pub(crate) tls: Scratch,
    pub(crate) plain: Box<[u8]>,
}

/// What a thread is told.
pub(crate) enum Order {
    /// Take connections from this socket, until it is stopped.
    Accept(Arc<Listener>, Accepting),
    /// Which connections are up, above a number and so many at most.
    List { after: u64, limit: usize, answer: answers::Sender<Vec<TlsConnection>> },
    /// New keys.
    UpdateKeys { request: TlsKeyUpdateRequest, answer: answers::Sender<TlsKeyUpdateReport> },
}

/// A thread that runs; dropping it ends the thread and its connections.
#[derive(Debug)]
pub(crate) struct Thread {
    orders: Option<mpsc::UnboundedSender<Order>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    /// Starts the thread of this number.
    pub(crate) fn start(index: usize, common: &Arc<Common>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_BLOCKING)
            .thread_name(format!("tls-{index}-sign"))
            .build()?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let common = Arc::clone(common);
        let handle = std::thread::Builder::new().name(format!("tls-{index}")).spawn(move || {
            LocalSet::new().block_on(&runtime, Local::new(common, index).run(inbox));
            // Not dropped: that would wait for a token that does not answer.
            runtime.shutdown_background();
        })?;
        Ok(Self { orders: Some(orders), handle: Some(handle) })
    }

    /// Tells it; nothing happens where it has ended.
    pub(crate) fn order(&self, order: Order) {
        if let Some(orders) = &self.orders {
            let _ended = orders.send(order);
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(handle) = self.handle.take() {
            let _panicked = handle.join();
        }
    }
}

impl Local {
    fn new(common: Arc<Common>, index: usize) -> Rc<Self> {
        let buffers = Buffers { tls: Scratch::new(), plain: vec![0; PLAIN].into() };
        Rc::new(Self {
            common,
            index,
            registry: Rc::default(),
            buffers: RefCell::new(buffers),
            pipes: Pipes::default(),
            placed: RefCell::default(),
        })
    }

    async fn run(self: Rc<Self>, mut inbox: mpsc::UnboundedReceiver<Order>) {
        let registry = Rc::clone(&self.registry);
        tokio::task::spawn_local(async move { registry.keep_time().await });
        while let Some(order) = inbox.recv().await {
            match order {
                Order::Accept(listener, accepting) => {
                    tokio::task::spawn_local(accept::run(Rc::clone(&self), listener, accepting));
                }
                Order::List { after, limit, answer } => {
                    let _gone = answer.send(self.registry.list(after, limit));
                }
                Order::UpdateKeys { request, answer } => {
                    let _gone = answer.send(self.registry.update_keys(&request));
                }
            }
        }
    }

    /// The numbers that this thread writes.
    pub(crate) fn tally<'a>(&self, listener: &'a Listener) -> &'a Tally {
        listener.tally(self.index)
    }

    /// The shared copy of this placement: connections differ in few ways.
    pub(crate) fn share(&self, placed: Placed) -> Rc<Placed> {
        let mut known = self.placed.borrow_mut();
        if let Some(same) = known.iter().find(|known| ***known == placed) {
            return Rc::clone(same);
        }
        let placed = Rc::new(placed);
        if known.len() < MAX_SHARED {
            known.push(Rc::clone(&placed));
        }
        placed
    }
}

/// One read of a plain socket, and what `Stream::write` seals at once.
const PLAIN: usize = 64 * 1024;

/// Signatures at a time by tokens, on one thread's account.
const MAX_BLOCKING: usize = 16;

/// Reasons are few; should they not be, each connection has its own copy.
const MAX_SHARED: usize = 32;
