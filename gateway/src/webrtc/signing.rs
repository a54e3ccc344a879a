//! Signatures by keys that are elsewhere. A token takes its time, or hangs: each signature is made
//! on a thread that may block, so many at a time. Some more wait, and what is beyond is refused. So
//! a token that hangs costs handshakes, and not the process all of its threads.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, Sender, channel};

use tokio::runtime::Handle;

use super::leg::LegKey;
use super::plan::Epoch;
use crate::relay::uplink::Uplink;

/// Of one agents' thread; see the module's documentation.
pub(super) struct Signing {
    runtime: Handle,
    /// Whoever has signed calls.
    uplink: Uplink,
    made: (Sender<Signed>, Receiver<Signed>),
    at_work: usize,
    waiting: VecDeque<Order>,
}

/// A signature, or none, for a leg's association.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signed {
    pub(super) leg: LegKey,
    pub(super) epoch: Epoch,
    pub(super) signature: Option<Vec<u8>>,
}

/// Too many wait already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

struct Order {
    leg: LegKey,
    epoch: Epoch,
    work: Box<dyn FnOnce() -> Option<Vec<u8>> + Send>,
}

impl Signing {
    pub(super) fn new(runtime: Handle, uplink: Uplink) -> Self {
        Self { runtime, uplink, made: channel(), at_work: 0, waiting: VecDeque::new() }
    }

    /// Has `work`, which may block, done for this leg's association.
    pub(super) fn ask(
        &mut self,
        leg: LegKey,
        epoch: Epoch,
        work: impl FnOnce() -> Option<Vec<u8>> + Send + 'static,
    ) -> Result<(), TooMany> {
        let order = Order { leg, epoch, work: Box::new(work) };
        if self.at_work < AT_WORK {
            self.begin(order);
        } else if self.waiting.len() < WAITING {
            self.waiting.push_back(order);
        } else {
            return Err(TooMany);
        }
        Ok(())
    }

    /// One that is made, if any.
    pub(super) fn take(&mut self) -> Option<Signed> {
        let signed = self.made.1.try_recv().ok()?;
        self.at_work -= 1;
        if let Some(order) = self.waiting.pop_front() {
            self.begin(order);
        }
        Some(signed)
    }

    /// The leg has gone, and needs none of those that wait.
    pub(super) fn forget(&mut self, leg: LegKey) {
        self.waiting.retain(|order| order.leg != leg);
    }

    fn begin(&mut self, Order { leg, epoch, work }: Order) {
        self.at_work += 1;
        let (made, uplink) = (self.made.0.clone(), self.uplink.clone());
        self.runtime.spawn_blocking(move || {
            let signature = work();
            // The thread leaves only when the process does.
            let _ = made.send(Signed { leg, epoch, signature });
            uplink.call();
        });
    }
}

/// Of tokio's 512 threads that may block; more than tokens do at once.
const AT_WORK: usize = 16;

/// As many as handshakes are under way by default.
const WAITING: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::relay::command::{CallKey, StreamIndex};
    use crate::relay::uplink;

    fn leg(stream: usize) -> LegKey {
        LegKey::new(CallKey(1), StreamIndex(stream as u16))
    }

    #[test]
    fn a_token_that_hangs_has_so_many_at_work_and_waiting_and_then_refuses() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (uplink, _intake) = uplink::uplink();
        let mut signing = Signing::new(runtime.handle().clone(), uplink);
        let token = Arc::new(Mutex::new(()));
        let hangs = token.lock().unwrap();
        let work = || {
            let token = Arc::clone(&token);
            move || {
                drop(token.lock().unwrap());
                Some(vec![1])
            }
        };
        for stream in 0..AT_WORK + WAITING {
            assert_eq!(signing.ask(leg(stream), Epoch(1), work()), Ok(()));
        }
        assert_eq!(signing.ask(leg(9999), Epoch(1), work()), Err(TooMany));
        assert_eq!((signing.at_work, signing.waiting.len()), (AT_WORK, WAITING));
        assert_eq!(signing.take(), None);
        signing.forget(leg(AT_WORK));
        assert_eq!(signing.waiting.len(), WAITING - 1);

        drop(hangs);
        let (mut signed, end) = (Vec::new(), Instant::now() + Duration::from_secs(20));
        while signed.len() < AT_WORK + WAITING - 1 {
            assert!(Instant::now() < end, "{} signatures", signed.len());
            signed.extend(signing.take().map(|one| one.leg));
            std::thread::sleep(Duration::from_micros(100));
        }
        assert!(!signed.contains(&leg(AT_WORK)), "nobody wants that one");
        assert_eq!((signing.at_work, signing.waiting.len()), (0, 0));
    }
}
