//! Events on their way to whoever asks the engine for them, with a descriptor to wait on.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crypto_offload::EngineEvent;
use packet_io::{Alarm, WaitSet};

/// The pushing end, shared by threads.
pub(super) struct EventQueue {
    waiting: Mutex<Vec<EngineEvent>>,
    alarm: Alarm,
}

/// The end that is waited on.
pub(super) struct EventSource(WaitSet);

impl EventQueue {
    pub(super) fn new(source: &EventSource) -> Self {
        Self { waiting: Mutex::new(Vec::new()), alarm: source.0.alarm() }
    }

    pub(super) fn push(&self, event: EngineEvent) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.alarm.raise();
    }

    /// What waits; the source is quiet until the next one.
    pub(super) fn drain(&self, source: &mut EventSource) -> io::Result<Vec<EngineEvent>> {
        // First, so that an event pushed meanwhile raises the alarm again.
        source.0.wait(Some(Duration::ZERO)).map(drop)?;
        Ok(std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl EventSource {
    pub(super) fn new() -> io::Result<Self> {
        WaitSet::new().map(Self)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use packet_io::wait_readable;

    use super::*;

    #[test]
    fn the_source_is_readable_while_an_event_waits() {
        let mut source = EventSource::new().expect("a wait set");
        let queue = EventQueue::new(&source);
        let is_readable = |source: &EventSource| wait_readable(source.fd(), Duration::ZERO);
        assert!(!is_readable(&source).expect("poll"));
        queue.push(EngineEvent::Resync);
        assert!(is_readable(&source).expect("poll"));
        assert_eq!(queue.drain(&mut source).expect("events"), [EngineEvent::Resync]);
        assert!(!is_readable(&source).expect("poll"));
    }
}
