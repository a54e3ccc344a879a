//! The service manager's side of our life: sd_notify(3) datagrams and the watchdog interval.
//!
//! Without `$NOTIFY_SOCKET` everything here does nothing. Failing to notify is logged once and
//! never stops the relay.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::sys;

/// What to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Listening and relaying.
    Ready,
    /// Reading the configuration again; `Ready` follows.
    Reloading,
    /// On the way out.
    Stopping,
    /// Still alive.
    Watchdog,
}

/// The service manager, if there is one.
pub(crate) struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads `$NOTIFY_SOCKET` and `$WATCHDOG_USEC`.
    pub(crate) fn from_environment() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET");
        let socket = name.filter(|name| !name.is_empty()).and_then(|name| {
            open(&name)
                .inspect_err(|error| {
                    tracing::warn!(socket = ?name, %error, "cannot reach the service manager");
                })
                .ok()
        });
        let watchdog = std::env::var("WATCHDOG_USEC").ok().and_then(|text| watchdog(&text));
        Self { socket, watchdog }
    }

    /// How often [`State::Watchdog`] is due: half the manager's patience.
    pub(crate) fn watchdog(&self) -> Option<Duration> {
        self.socket.as_ref().and(self.watchdog)
    }

    /// Tells the manager.
    pub(crate) fn notify(&self, state: State) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(message(state).as_bytes(), address) {
            tracing::debug!(?state, %error, "cannot notify the service manager");
        }
    }
}

fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let bytes = name.as_bytes();
    let address = match bytes.strip_prefix(b"@") {
        Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    Ok((UnixDatagram::unbound()?, address))
}

fn watchdog(text: &str) -> Option<Duration> {
    let microseconds: u64 = text.parse().ok()?;
    (microseconds > 0).then(|| Duration::from_micros(microseconds) / 2)
}

fn message(state: State) -> String {
    match state {
        State::Ready => "READY=1\n".to_owned(),
        State::Reloading => {
            // Type=notify-reload waits for this stamp to tell this reload from an earlier one.
            let now = sys::monotonic_microseconds().unwrap_or(0);
            format!("RELOADING=1\nMONOTONIC_USEC={now}\n")
        }
        State::Stopping => "STOPPING=1\n".to_owned(),
        State::Watchdog => "WATCHDOG=1\n".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_reaches_a_path_and_an_abstract_socket() {
        let name = format!("postern-notify-test-{}", std::process::id());
        let path = std::env::temp_dir().join(&name);
        let listeners = [
            (path.clone().into_os_string(), UnixDatagram::bind(&path).unwrap()),
            (
                format!("@{name}").into(),
                UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap(),
            ),
        ];
        for (name, listener) in listeners {
            let notifier = Notifier { socket: open(&name).ok(), watchdog: None };
            notifier.notify(State::Ready);
            let mut buffer = [0; 64];
            let length = listener.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"READY=1\n");
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn reloading_carries_the_time_that_notify_reload_asks_for() {
        let text = message(State::Reloading);
        let time = text.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
        assert!(time.parse::<u64>().unwrap() > 0);
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_bites() {
        assert_eq!(watchdog("2000000"), Some(Duration::from_secs(1)));
        assert_eq!(watchdog("0"), None);
        assert_eq!(watchdog("soon"), None);
    }
}
