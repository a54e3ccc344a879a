//! The kernel calls of a daemon that no crate of ours wraps: umask and signalfd.
#![allow(unsafe_code)]

use std::{
    io,
    mem::{MaybeUninit, size_of},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

/// Makes every file and socket created from now on our user's alone (umask(2)).
pub(crate) fn restrict_new_files() {
    // SAFETY: umask takes any mode, touches no memory of ours and cannot fail.
    unsafe { libc::umask(0o077) };
}

/// Signals that come as numbers to read, in this thread and those that it starts.
pub(crate) struct Signals(OwnedFd);

impl Signals {
    /// Blocks `signals` and opens their queue (sigprocmask(2), signalfd(2)).
    pub(crate) fn catch(signals: &[i32]) -> io::Result<Self> {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: `set` is writable memory for one sigset_t, which sigemptyset fills whole.
        check(unsafe { libc::sigemptyset(set.as_mut_ptr()) })?;
        // SAFETY: sigemptyset succeeded, so `set` is initialised.
        let mut set = unsafe { set.assume_init() };
        for signal in signals {
            // SAFETY: `set` is an initialised sigset_t; a number that is no signal is refused.
            check(unsafe { libc::sigaddset(&raw mut set, *signal) })?;
        }
        // SAFETY: `set` is initialised and only read; no old set is asked for (null is allowed).
        let error =
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut()) };
        if error != 0 {
            return Err(io::Error::from_raw_os_error(error));
        }
        // SAFETY: -1 asks for a new descriptor; `set` is initialised and only read.
        let fd = check(unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC) })?;
        // SAFETY: signalfd returned `fd` just now: it is open, and nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Waits for the next one.
    pub(crate) fn next(&self) -> io::Result<i32> {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
        let length = size_of::<libc::signalfd_siginfo>();
        // SAFETY: `info` is writable memory of `length` bytes, and the descriptor is open while
        // `self` lives.
        let read = unsafe { libc::read(self.0.as_raw_fd(), info.as_mut_ptr().cast(), length) };
        if usize::try_from(read).is_ok_and(|read| read == length) {
            // SAFETY: read filled all `length` bytes, and every bit pattern is a signalfd_siginfo.
            let info = unsafe { info.assume_init() };
            return Ok(info.ssi_signo.cast_signed());
        }
        Err(if read < 0 { io::Error::last_os_error() } else { io::ErrorKind::UnexpectedEof.into() })
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
