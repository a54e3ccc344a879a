//! What an agents' thread needs of the kernel and std has not: to be less urgent than others.
#![allow(unsafe_code)]

use std::io;

/// Makes the calling thread yield to others: `nice` from 0 to 19 (setpriority(2)). Needs no
/// privilege. On Linux the process that the call names is a thread (nptl(7)).
pub(super) fn yield_to_others(nice: u8) -> io::Result<()> {
    let nice = libc::c_int::from(nice.min(19));
    // SAFETY: setpriority takes integers and touches no memory of ours; with PRIO_PROCESS, 0 is the
    // calling thread.
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_becomes_nicer_and_no_other_does() {
        /// The 19th field (proc_pid_stat(5)), 17 after the name.
        fn nice() -> String {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            let (_, after_name) = stat.rsplit_once(") ").unwrap();
            after_name.split(' ').nth(16).unwrap().to_owned()
        }
        let before = nice();
        let inside = std::thread::spawn(|| {
            yield_to_others(17).unwrap();
            nice()
        });
        assert_eq!(inside.join().unwrap(), "17");
        assert_eq!(nice(), before);
    }
}
