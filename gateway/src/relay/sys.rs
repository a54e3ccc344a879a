//! What a worker needs of the kernel and std has not: pinning its thread to a core, asking to be
//! scheduled promptly, and waiting on a descriptor within tokio.
#![allow(unsafe_code)]

use std::io;
use std::mem::zeroed;
use std::os::fd::OwnedFd;
use std::time::Duration;

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

/// Asks the scheduler to run the calling thread in short slices (sched_setattr(2), EEVDF's
/// `sched_runtime`, Linux 6.12): what runs little at a time goes before what runs long when it
/// wakes. Needs no privilege and takes no share from anybody; older kernels ignore it. Only for
/// the time-sharing policy: a thread that is real-time already keeps what it has.
pub(super) fn request_short_slice(slice: Duration) -> io::Result<()> {
    let size = size_of::<libc::sched_attr>() as u32;
    // SAFETY: `sched_attr` is integers only, for which all-zero is a value.
    let mut attributes: libc::sched_attr = unsafe { zeroed() };
    // SAFETY: the kernel writes at most `size` bytes, which `attributes` has; pid 0 is the
    // calling thread, and there are no flags.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, size, 0) };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    if attributes.sched_policy != libc::SCHED_OTHER as u32 {
        return Ok(());
    }
    attributes.size = size;
    attributes.sched_runtime = slice.as_nanos() as u64;
    // SAFETY: the kernel reads `attributes.size` bytes, which is the structure's own size, while
    // it is borrowed here; pid 0 is the calling thread, and there are no flags.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
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
    fn a_short_slice_needs_no_privilege() {
        std::thread::spawn(|| request_short_slice(Duration::from_micros(100)))
            .join()
            .unwrap()
            .unwrap();
    }

    #[test]
    fn pins_to_a_processor_that_exists() {
        std::thread::spawn(|| pin_current_thread(0)).join().unwrap().unwrap();
    }
}
