//! Tells when files may have changed: certificate directories, OCSP answers, revocation lists.
//!
//! One thread of its own for all listeners. inotify wakes it; since inotify sees neither other
//! machines' writes to a network file system nor a directory that comes into being later, it also
//! looks by itself every half minute. It waits until nothing more has happened for a moment, as
//! writers write several files. It reads no contents and judges nothing; whom it wakes decides.
//! Dropping it ends the thread, after a call that is under way.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::settings::{CertificateSource, IdentitySettings};

/// Why it is time to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// A file may have changed.
    Changed,
    /// No file has changed, and half a minute may have passed.
    Time,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Calls `look` on a thread of its own after anything in `directories` may have changed, and
    /// every half minute. Where there is no inotify for us, it only looks by itself.
    ///
    /// # Errors
    /// There is no descriptor or thread left.
    pub fn start(
        directories: BTreeSet<PathBuf>,
        look: impl FnMut(Sign) + Send + 'static,
    ) -> io::Result<Self> {
        Self::with_poll(directories, POLL, look)
    }

    fn with_poll(
        directories: BTreeSet<PathBuf>,
        poll_every: Duration,
        look: impl FnMut(Sign) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        let events = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let mut watcher = Watcher { directories, events, stop: Arc::clone(&stop), poll_every };
        watcher.attach();
        // Before the thread runs, so that nothing after this call is missed.
        let seen = watcher.stamp();
        let thread = std::thread::Builder::new()
            .name("tls-watch".to_owned())
            .spawn(move || watcher.run(seen, look))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // The counter of an eventfd takes one more unless it is full, and full wakes as well.
        let _woken = rustix::io::write(&*self.stop, &1u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

/// The directories that a listener's files are in, as far as they are taken without being asked:
/// certificate directories, OCSP answers and revocation lists.
pub fn watched(settings: &IdentitySettings) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    let parent = |path: &Path| key_files::location(path).parent().map(Path::to_owned);
    for source in &settings.certificates {
        match source {
            CertificateSource::Directory(directory) => {
                directories.insert(directory.clone());
            }
            CertificateSource::Files(files) => {
                directories.extend(files.ocsp.as_deref().and_then(parent));
            }
        }
    }
    directories.extend(settings.revocation_lists.iter().filter_map(|path| parent(path)));
    directories
}

/// What the thread has.
struct Watcher {
    directories: BTreeSet<PathBuf>,
    /// `None`: all that a user may have are taken.
    events: Option<OwnedFd>,
    stop: Arc<OwnedFd>,
    poll_every: Duration,
}

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Woken {
    Event,
    Time,
    Stop,
}

impl Watcher {
    fn run(&mut self, mut seen: u64, mut look: impl FnMut(Sign)) {
        loop {
            let woken = self.wait(self.poll_every);
            if woken == Woken::Stop || woken == Woken::Event && self.settle() == Woken::Stop {
                return;
            }
            // A directory may have been replaced by another one of its name.
            self.attach();
            let now = self.stamp();
            look(if now == seen { Sign::Time } else { Sign::Changed });
            seen = now;
        }
    }

    /// Waits until nothing has happened for a moment, but not for ever.
    fn settle(&self) -> Woken {
        for _ in 0..MOST_SETTLING {
            self.drain();
            match self.wait(SETTLING) {
                Woken::Event => {}
                woken => return woken,
            }
        }
        Woken::Time
    }

    fn wait(&self, at_most: Duration) -> Woken {
        let mut fds = vec![PollFd::new(&*self.stop, PollFlags::IN)];
        fds.extend(self.events.as_ref().map(|events| PollFd::new(events, PollFlags::IN)));
        let timeout = Timespec::try_from(at_most).ok();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) if !fds[0].revents().is_empty() => Woken::Stop,
            Ok(_) if fds[1..].iter().any(|fd| !fd.revents().is_empty()) => Woken::Event,
            // An interrupted wait is looked at like one that took its time.
            Ok(_) | Err(_) => Woken::Time,
        }
    }

    /// What happened is seen by looking, not by its event.
    fn drain(&self) {
        let Some(events) = &self.events else { return };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(events, &mut buffer);
        while reader.next().is_ok() {}
    }

    fn attach(&self) {
        let Some(events) = &self.events else { return };
        for directory in &self.directories {
            // One that is not there yet is found by looking, and attached to after that.
            let _later = inotify::add_watch(events, directory, INTERESTING);
        }
    }

    /// A number that is another one after a change: of names, sizes, times and inodes, those that
    /// links lead to.
    fn stamp(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for directory in &self.directories {
            let Ok(entries) = fs::read_dir(directory) else { continue };
            let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths {
                path.hash(&mut hasher);
                fs::metadata(&path).ok().map(|about| parts(&about)).hash(&mut hasher);
            }
        }
        hasher.finish()
    }
}

fn parts(about: &Metadata) -> impl std::hash::Hash + use<> {
    (about.dev(), about.ino(), about.size(), about.mtime(), about.mtime_nsec(), about.mode())
}

/// What makes a file whole, another one, or readable.
const INTERESTING: WatchFlags = WatchFlags::CLOSE_WRITE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF);

/// Where inotify sees nothing, a change is taken after this long at the latest.
const POLL: Duration = Duration::from_secs(30);

/// Writers of several files pause for less.
const SETTLING: Duration = Duration::from_millis(200);

/// A directory that never rests is looked at every two seconds.
const MOST_SETTLING: usize = 10;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

    use super::*;
    use crate::identity::test_files::Folder;

    const NEVER: Duration = Duration::from_secs(3600);

    fn watch(directory: PathBuf, poll_every: Duration) -> (Watch, Receiver<()>) {
        let (told, heard) = channel();
        let changed = move |sign| {
            if sign == Sign::Changed {
                told.send(()).unwrap();
            }
        };
        (Watch::with_poll(BTreeSet::from([directory]), poll_every, changed).unwrap(), heard)
    }

    fn is_told(heard: &Receiver<()>) {
        heard.recv_timeout(Duration::from_secs(20)).unwrap();
    }

    #[test]
    fn several_files_written_at_once_are_told_once_and_soon() {
        let folder = Folder::new("watch");
        let (_watch, heard) = watch(folder.path(""), NEVER);
        for name in ["a.pem", "a.key", "a.ocsp"] {
            folder.file(name, name);
        }
        is_told(&heard);
        assert_eq!(heard.recv_timeout(SETTLING * 3), Err(RecvTimeoutError::Timeout));
        folder.file("a.pem", "another text");
        is_told(&heard);
    }

    #[test]
    fn a_swapped_link_is_told() {
        let folder = Folder::new("watch-link");
        folder.file("..1/tls.crt", "1");
        folder.file("..2/tls.crt", "2");
        symlink("..1", folder.path("..data")).unwrap();
        symlink("..data/tls.crt", folder.path("tls.crt")).unwrap();
        let (_watch, heard) = watch(folder.path(""), NEVER);
        symlink("..2", folder.path("..data_tmp")).unwrap();
        fs::rename(folder.path("..data_tmp"), folder.path("..data")).unwrap();
        is_told(&heard);
    }

    #[test]
    fn a_directory_that_comes_later_is_found_by_looking_and_watched_from_then_on() {
        let folder = Folder::new("watch-later");
        let (watch, heard) = watch(folder.path("later"), Duration::from_millis(50));
        folder.file("later/a.pem", "1");
        is_told(&heard);
        drop(watch);
    }

    #[test]
    fn nothing_is_told_when_nothing_changed_and_nothing_after_the_end() {
        let folder = Folder::new("watch-end");
        folder.file("a.pem", "1");
        let (watch, heard) = watch(folder.path(""), Duration::from_millis(20));
        assert_eq!(heard.recv_timeout(Duration::from_millis(200)), Err(RecvTimeoutError::Timeout));
        drop(watch);
        folder.file("b.pem", "1");
        assert_eq!(heard.recv_timeout(SETTLING), Err(RecvTimeoutError::Disconnected));
    }
}
