//! Sleeping until a TUN device, a socket or another thread has something: level-triggered epoll.
//!
//! Level-triggered, so that a loop may read as little of each as it likes and comes back to the
//! rest. An [`Alarm`] is how another thread wakes the sleeper, for a control message, say; it
//! carries nothing itself. A wait allocates nothing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::driver::Token;
use crate::sys;

/// See the module's documentation.
pub struct WaitSet {
    epoll: OwnedFd,
    alarm: Arc<File>,
    events: Box<[libc::epoll_event]>,
}

/// Wakes the thread that sleeps, or will next sleep, in a [`WaitSet::wait`]. Cloned freely.
#[derive(Clone)]
pub struct Alarm(Arc<File>);

/// What has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which, as it was added.
    pub token: Token,
    /// It can be read.
    pub readable: bool,
    /// Errors wait: an ESP socket's [`take_path_events`](crate::esp::EspSocket::take_path_events)
    /// empties its queue, without which every wait returns at once. On a TUN device: it is gone.
    pub error: bool,
}

impl WaitSet {
    /// A set with nothing in it but its alarm.
    pub fn new() -> io::Result<Self> {
        let (epoll, alarm) = (sys::epoll_create()?, sys::event_create()?);
        sys::epoll_watch(epoll.as_fd(), alarm.as_fd(), ALARM)?;
        let event = libc::epoll_event { events: 0, u64: 0 };
        let events = vec![event; EVENTS].into_boxed_slice();
        Ok(Self { epoll, alarm: Arc::new(File::from(alarm)), events })
    }

    /// Watches `source` under `token`, until it is removed or closed.
    ///
    /// # Errors
    /// EEXIST when it is watched already.
    pub fn add(&mut self, token: Token, source: impl AsFd) -> io::Result<()> {
        sys::epoll_watch(self.epoll.as_fd(), source.as_fd(), u64::from(token.0))
    }

    /// Watches `source` no longer.
    ///
    /// # Errors
    /// ENOENT when it was not watched.
    pub fn remove(&mut self, source: impl AsFd) -> io::Result<()> {
        sys::epoll_delete(self.epoll.as_fd(), source.as_fd())
    }

    /// What wakes this set's sleeper.
    pub fn alarm(&self) -> Alarm {
        Alarm(Arc::clone(&self.alarm))
    }

    /// Sleeps until something is ready, the alarm is raised, `patience` is over (in milliseconds,
    /// rounded up; `None`: no limit) or a signal came: what is ready, up to 64, which may be
    /// nothing. Alarms raised before it returns are over with it: look for messages afterwards.
    ///
    /// # Errors
    /// What epoll_wait(2) says, which is never the network's or a peer's doing.
    pub fn wait(
        &mut self,
        patience: Option<Duration>,
    ) -> io::Result<impl Iterator<Item = Ready> + '_> {
        let milliseconds = patience.map_or(-1, |patience| {
            patience.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(i32::MAX)
        });
        let count = match sys::epoll_wait(self.epoll.as_fd(), &mut self.events, milliseconds) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            result => result?,
        };
        let events = &self.events[..count];
        if events.iter().any(|event| event.u64 == ALARM) {
            // Takes the count away; nothing else reads it, so it is there.
            let _ = (&*self.alarm).read(&mut [0; 8]);
        }
        Ok(events.iter().filter(|event| event.u64 != ALARM).map(|event| Ready {
            token: Token(event.u64 as u32),
            readable: event.events & libc::EPOLLIN as u32 != 0,
            error: event.events & (libc::EPOLLERR | libc::EPOLLHUP) as u32 != 0,
        }))
    }
}

impl AsFd for WaitSet {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl Alarm {
    /// Wakes the sleeper; raised twice before it wakes, it wakes once.
    pub fn raise(&self) {
        // Fails only when the counter is full: then it is raised already.
        let _ = (&*self.0).write(&1_u64.to_ne_bytes());
    }
}

/// No token: those have 32 bits.
const ALARM: u64 = u64::MAX;
/// Readiness events taken from the kernel at once.
const EVENTS: usize = 64;

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::thread;
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn tells_what_is_readable_as_long_as_it_is() {
        let mut set = WaitSet::new().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        set.add(Token(7), &socket).unwrap();
        assert_eq!(set.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
        let ready = Ready { token: Token(7), readable: true, error: false };
        for _ in 0..2 {
            assert!(set.wait(Some(PATIENCE)).unwrap().eq([ready]));
        }
        socket.recv(&mut [0]).unwrap();
        assert_eq!(set.wait(Some(Duration::ZERO)).unwrap().count(), 0);
        set.remove(&socket).unwrap();
        assert_eq!(set.remove(&socket).unwrap_err().raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn an_alarm_wakes_once_from_another_thread_and_before_the_wait() {
        let mut set = WaitSet::new().unwrap();
        let alarm = set.alarm();
        thread::spawn(move || alarm.raise());
        let start = Instant::now();
        assert_eq!(set.wait(Some(PATIENCE)).unwrap().count(), 0);
        assert!(start.elapsed() < PATIENCE);
        for _ in 0..3 {
            set.alarm().raise();
        }
        assert_eq!(set.wait(None).unwrap().count(), 0);
        let start = Instant::now();
        assert_eq!(set.wait(Some(Duration::from_millis(20))).unwrap().count(), 0);
        assert!(start.elapsed() >= Duration::from_millis(20));
    }
}
