//! Choosing a driver at run time, with the reason told, and calling it without `dyn`.

use std::io;
use std::net::UdpSocket;
use std::os::fd::BorrowedFd;

use crate::config::{Config, TaskRun};
use crate::driver::{Driver, Received, Token, Turn, Verdict};
use crate::epoll::Epoll;
use crate::uring::Uring;

/// Which driver to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// io_uring or an error.
    Uring,
    /// epoll.
    Epoll,
    /// io_uring where the kernel has all it needs, else epoll.
    #[default]
    Auto,
}

/// Why there is no driver.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// io_uring was asked for and cannot be had.
    #[error(
        "io_uring was asked for but {reason}; allow it (kernel.io_uring_disabled, the container's \
         seccomp profile, Linux 6.0 or later) or choose epoll or auto"
    )]
    Uring {
        /// What failed and the errno.
        reason: String,
    },
    /// epoll cannot be had, which takes running out of descriptors.
    #[error("cannot open an epoll instance: {0}")]
    Epoll(#[source] io::Error),
}

/// A driver and why it is this one.
pub struct Opened {
    /// The driver, for the calling thread.
    pub driver: AnyDriver,
    /// One sentence for the operator.
    pub reason: String,
    /// It is not the driver that the choice would rather have had: say so loudly.
    pub fallback: bool,
}

/// Opens a driver for the calling thread, which must be the one that takes its turns.
///
/// # Errors
/// [`OpenError`] when the choice leaves no driver.
pub fn open(choice: Choice, config: &Config) -> Result<Opened, OpenError> {
    if choice == Choice::Epoll {
        return epoll(config, "epoll was asked for".to_owned());
    }
    match (uring(config), choice) {
        (Ok((driver, reason)), _) => {
            Ok(Opened { driver: AnyDriver::Uring(driver), reason, fallback: false })
        }
        (Err(reason), Choice::Uring) => Err(OpenError::Uring { reason }),
        (Err(reason), _) => {
            let opened = epoll(config, format!("io_uring cannot be had: {reason}"))?;
            Ok(Opened { fallback: true, ..opened })
        }
    }
}

/// io_uring as configured, or with what Linux 6.0 already has.
fn uring(config: &Config) -> Result<(Uring, String), String> {
    let error = match Uring::new(config) {
        Ok(driver) => return Ok((driver, format!("io_uring with {} works here", config.task_run))),
        Err(error) => error,
    };
    let second = Config { task_run: TaskRun::Cooperative, ..*config };
    match Uring::new(&second) {
        Ok(driver) => Ok((driver, format!("io_uring works here, if not its best mode: {error}"))),
        Err(_) => Err(error.to_string()),
    }
}

fn epoll(config: &Config, reason: String) -> Result<Opened, OpenError> {
    let driver = Epoll::new(config).map_err(OpenError::Epoll)?;
    Ok(Opened { driver: AnyDriver::Epoll(driver), reason, fallback: false })
}

/// Any of the drivers; the match is once per turn, not per packet.
#[expect(clippy::large_enum_variant, reason = "there is one per worker and it never moves")]
pub enum AnyDriver {
    /// io_uring.
    Uring(Uring),
    /// epoll.
    Epoll(Epoll),
}

impl AnyDriver {
    /// `io_uring` or `epoll`, as metrics and `query` name it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Uring(_) => "io_uring",
            Self::Epoll(_) => "epoll",
        }
    }
}

impl Driver for AnyDriver {
    fn add(&mut self, token: Token, socket: UdpSocket) -> io::Result<()> {
        match self {
            Self::Uring(driver) => driver.add(token, socket),
            Self::Epoll(driver) => driver.add(token, socket),
        }
    }

    fn remove(&mut self, token: Token) {
        match self {
            Self::Uring(driver) => driver.remove(token),
            Self::Epoll(driver) => driver.remove(token),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Uring(driver) => driver.flush(),
            Self::Epoll(driver) => driver.flush(),
        }
    }

    fn turn<F>(&mut self, budget: usize, relay: F) -> io::Result<Turn>
    where
        F: FnMut(Received<'_>) -> Verdict,
    {
        match self {
            Self::Uring(driver) => driver.turn(budget, relay),
            Self::Epoll(driver) => driver.turn(budget, relay),
        }
    }

    fn readiness(&self) -> BorrowedFd<'_> {
        match self {
            Self::Uring(driver) => driver.readiness(),
            Self::Epoll(driver) => driver.readiness(),
        }
    }

    fn socket(&self, token: Token) -> Option<&UdpSocket> {
        match self {
            Self::Uring(driver) => driver.socket(token),
            Self::Epoll(driver) => driver.socket(token),
        }
    }

    fn last_send_error(&self) -> Option<io::Error> {
        match self {
            Self::Uring(driver) => driver.last_send_error(),
            Self::Epoll(driver) => driver.last_send_error(),
        }
    }
}
