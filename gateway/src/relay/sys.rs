//! What a worker needs of the kernel and std has not: pinning its thread to a core, and waiting
//! on a descriptor within tokio.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Words of a CPU mask: 1024 processors, as glibc's `cpu_set_t`.
const WORDS: usize = 16;

/// Pins the calling thread to processor `core` (sched_setaffinity(2)).
pub(super) fn pin_current_thread(core: usize) -> io::Result<()> {
    let mut mask = [0_u64; WORDS];
    match mask.get_mut(core / 64) {
        Some(word) => *word = 1 << (core % 64),
        None => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
    // SAFETY: `mask` lives through the call and is `size_of_val(&mask)` readable bytes, which is
    // what the kernel reads; pid 0 is the calling thread.
    let result = unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Watches `descriptor` for readability on the current runtime, which must have a reactor.
pub(super) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, stays open until it is dropped, and always gives the same
    // descriptor; the `AsyncFd` owns it, and nobody exchanges it through `get_mut`.
    let watched = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    Ok(watched?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_processor_that_no_machine_has() {
        assert!(pin_current_thread(1_000_000).is_err());
        assert!(pin_current_thread(1023).is_err(), "a machine with 1024 processors");
    }

    #[test]
    fn pins_to_a_processor_that_exists() {
        std::thread::spawn(|| pin_current_thread(0)).join().unwrap().unwrap();
    }
}
