//! Data between a plain socket and a TLS socket whose records the kernel has, without a copy through
//! this process: through a pipe, by `splice`.
//!
//! A pipe is two descriptors and memory of the kernel's, so a connection has one only while bytes
//! are in it; in between, pipes wait in the thread's pool. Small messages are not spliced: reading
//! and writing 500 bytes costs less than moving their page twice. A direction starts to splice when
//! a read came back full, and stops when a splice moved little.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

/// Pipes that nobody uses, all empty.
#[derive(Debug, Default)]
pub(crate) struct Pipes(RefCell<Vec<Pipe>>);

/// A pipe, and how much is in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    filled: usize,
}

/// One direction's way through the kernel.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    pipe: Option<Pipe>,
    bulk: bool,
}

impl Lane {
    /// Whether to splice: there is much to move, or some of it is in the pipe.
    pub(crate) fn is_open(&self) -> bool {
        self.bulk || self.pipe.is_some()
    }

    /// A read brought `count` bytes.
    pub(crate) fn has_read(&mut self, count: usize) {
        self.bulk = count >= MUCH;
    }

    /// Whether bytes are in the pipe.
    pub(crate) fn is_filled(&self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| pipe.filled > 0)
    }

    /// The pipe, to move bytes out of; `None`: it is empty.
    pub(crate) fn filled(&mut self) -> Option<&mut Pipe> {
        self.pipe.as_mut().filter(|pipe| pipe.filled > 0)
    }

    /// Moves bytes into the pipe by `fill`, which is given its end and answers how many came; with
    /// `None` it found something else than data, or there is no pipe to be had: read instead.
    /// `WouldBlock`: there is nothing to move.
    pub(crate) fn fill(
        &mut self,
        pipes: &Pipes,
        fill: impl FnOnce(&OwnedFd, usize) -> io::Result<Option<usize>>,
    ) -> io::Result<Option<usize>> {
        let Some(mut pipe) = self.pipe.take().or_else(|| pipes.take()) else {
            self.bulk = false;
            return Ok(None);
        };
        let result = fill(&pipe.write, PIPE);
        match &result {
            Ok(Some(count)) if *count > 0 => {
                pipe.filled += count;
                self.bulk = *count >= LITTLE;
                self.pipe = Some(pipe);
            }
            Ok(_) => {
                self.bulk = false;
                pipes.put_back(pipe);
            }
            Err(error) => {
                self.bulk = false;
                // Only this one says that nothing was moved. After any other, bytes may be in the
                // pipe, and whoever had it next would take them for its own peer's.
                if error.kind() == io::ErrorKind::WouldBlock {
                    pipes.put_back(pipe);
                }
            }
        }
        result
    }

    /// Gives an empty pipe back.
    pub(crate) fn release(&mut self, pipes: &Pipes) {
        if let Some(pipe) = self.pipe.take_if(|pipe| pipe.filled == 0) {
            pipes.put_back(pipe);
        }
    }
}

impl Pipe {
    /// Moves bytes out by `drain`, which is given the pipe's end and how much is in it.
    pub(crate) fn drain(
        &mut self,
        drain: impl FnOnce(&OwnedFd, usize) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let moved = drain(&self.read, self.filled)?;
        self.filled = self.filled.saturating_sub(moved);
        Ok(moved)
    }
}

impl Pipes {
    /// `None`: out of descriptors, and a copy needs none.
    fn take(&self) -> Option<Pipe> {
        if let Some(pipe) = self.0.borrow_mut().pop() {
            return Some(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        Some(Pipe { read, write, filled: 0 })
    }

    fn put_back(&self, pipe: Pipe) {
        let mut pipes = self.0.borrow_mut();
        if pipe.filled == 0 && pipes.len() < MAX_POOLED {
            pipes.push(pipe);
        }
    }
}

/// Moves bytes between a plain socket and a pipe, without waiting.
pub(crate) fn move_plain(from: impl AsFd, to: impl AsFd, length: usize) -> io::Result<usize> {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    Ok(splice(from, None, to, None, length, flags)?)
}

/// A read of this much says that there is more: a full record's worth.
const MUCH: usize = 16 * 1024;

/// Below this a copy is cheaper than a page that changes hands twice.
const LITTLE: usize = 4 * 1024;

/// What a pipe takes that nobody has enlarged.
const PIPE: usize = 64 * 1024;

/// Connections that are in the middle of something at a time, on one thread.
const MAX_POOLED: usize = 32;

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pass(lane: &mut Lane, pipes: &Pipes, from: &UnixStream, to: &UnixStream) -> usize {
        let filled = lane.fill(pipes, |pipe, room| move_plain(from, pipe, room).map(Some));
        let Ok(Some(filled)) = filled else { return 0 };
        let mut moved = 0;
        while let Some(pipe) = lane.filled() {
            moved += pipe.drain(|pipe, length| move_plain(pipe, to, length)).unwrap();
        }
        lane.release(pipes);
        assert_eq!(moved, filled);
        moved
    }

    #[test]
    fn bytes_pass_in_order_and_pipes_go_back_to_the_pool() {
        let (pipes, mut lane) = (Pipes::default(), Lane::default());
        let ((mut source, from), (to, mut sink)) =
            (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
        from.set_nonblocking(true).unwrap();
        for size in [1, 5_000, 40_000] {
            let sent: Vec<u8> = (0..size).map(|number: usize| (number % 251) as u8).collect();
            source.write_all(&sent).unwrap();
            let (mut received, mut moved) = (vec![0; size], 0);
            while moved < size {
                let now = pass(&mut lane, &pipes, &from, &to);
                sink.read_exact(&mut received[moved..moved + now]).unwrap();
                moved += now;
            }
            assert_eq!(received, sent);
        }
        assert_eq!(pipes.0.borrow().len(), 1);
        assert!(lane.pipe.is_none());
    }

    #[test]
    fn a_lane_opens_with_much_and_closes_with_little() {
        let (pipes, mut lane) = (Pipes::default(), Lane::default());
        lane.has_read(500);
        assert!(!lane.is_open());
        lane.has_read(MUCH);
        assert!(lane.is_open());
        let nothing = lane.fill(&pipes, |_, _| Err(io::ErrorKind::WouldBlock.into()));
        assert!(nothing.is_err() && !lane.is_open());
    }

    #[test]
    fn a_pipe_that_still_holds_bytes_is_not_given_to_another_connection() {
        let (pipes, mut lane) = (Pipes::default(), Lane::default());
        let (mut source, from) = UnixStream::pair().unwrap();
        source.write_all(b"left behind").unwrap();
        lane.fill(&pipes, |pipe, room| move_plain(&from, pipe, room).map(Some)).unwrap();
        lane.release(&pipes);
        assert!(lane.filled().is_some());
        drop(lane);
        assert!(pipes.0.borrow().is_empty());
    }

    #[test]
    fn a_pipe_of_a_connection_that_failed_is_not_given_to_another_one() {
        let (pipes, mut lane) = (Pipes::default(), Lane::default());
        let (mut source, from) = UnixStream::pair().unwrap();
        source.write_all(b"one client's").unwrap();
        let failed = lane.fill(&pipes, |pipe, room| {
            move_plain(&from, pipe, room)?;
            Err(io::ErrorKind::InvalidData.into())
        });
        assert!(failed.is_err());
        assert!(pipes.0.borrow().is_empty(), "its bytes would be the next client's");
    }
}
