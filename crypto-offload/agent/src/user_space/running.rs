//! The device with its threads: made for the first SA, gone when this is dropped.

use std::{
    fs, io,
    sync::{
        Arc,
        mpsc::{self, Sender, SyncSender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crypto_offload::{EngineError, ErrorClass};
use packet_io::{
    Alarm, Offload, WaitSet,
    tun::{InterfaceName, Link, Tun, TunError},
};

use super::{
    data_path::{self, Command, DataPath, Request},
    engine::Settings,
    event_queue::EventQueue,
    keeper::{Keeper, Notice, Notices},
    network::{Routes, Sockets},
    refusal,
    reservation::Reservations,
    statistics::Statistics,
};

/// See the module's documentation.
pub(super) struct Running {
    pub(super) link: Link,
    pub(super) sockets: Sockets,
    pub(super) routes: Routes,
    pub(super) judged: Judged,
    commands: Sender<Request>,
    alarm: Alarm,
    /// `None` only while this is dropped: the keeper ends when nobody can tell it anything.
    notices: Option<SyncSender<Notice>>,
    /// The data thread's first.
    threads: Vec<JoinHandle<()>>,
}

/// Why the kernel's policies look at the device's packets, where they do.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    /// At what comes out of it.
    pub(super) opened: Option<String>,
    /// At what goes into it.
    pub(super) outbound: Option<String>,
}

impl Running {
    pub(super) fn start(
        settings: &Settings,
        reservations: Arc<dyn Reservations>,
        statistics: Arc<Statistics>,
        events: Arc<EventQueue>,
    ) -> Result<Self, EngineError> {
        let Device { tun, link, keepers_link, judged } = Device::make(settings)?;
        let longest = usize::from(settings.longest_packet);
        let (commands, requests) = mpsc::channel();
        let (notices, noticed) = mpsc::sync_channel(NOTICES);
        let mut wait = WaitSet::new().map_err(cannot_start)?;
        wait.add(data_path::TUN, &tun).map_err(cannot_start)?;
        let alarm = wait.alarm();
        let to_keeper = Notices(notices.clone());
        let keeper = Keeper::new(noticed, reservations, events, keepers_link, settings);
        let data = move || {
            DataPath::new(tun, wait, requests, to_keeper, statistics, longest).run();
        };
        let threads = vec![spawn("esp-data", data)?, spawn("esp-keeper", || keeper.run())?];
        Ok(Self {
            link,
            sockets: Sockets::default(),
            routes: Routes::default(),
            judged,
            commands,
            alarm,
            notices: Some(notices),
            threads,
        })
    }

    /// Has the data thread do something, and waits until it is done.
    pub(super) fn ask(&self, command: Command) -> Result<(), EngineError> {
        let (answer, answered) = mpsc::sync_channel(1);
        let gone = || {
            let hint = Some("restart the agent");
            let reason = "its data thread has ended: the device was removed?";
            refusal(ErrorClass::Fatal, "ask", "user-space ESP", reason, hint)
        };
        self.commands.send(Request { command, answer }).map_err(|_| gone())?;
        self.alarm.raise();
        answered.recv_timeout(PATIENCE).map_err(|_| gone())?
    }

    /// The data thread has ended by itself: its device was deleted.
    pub(super) fn has_ended(&self) -> bool {
        self.threads.first().is_some_and(JoinHandle::is_finished)
    }

    /// Tells the keeper.
    pub(super) fn tell(&self, notice: Notice) {
        if let Some(notices) = &self.notices {
            // Fails only when the keeper has panicked; then there is nobody to tell.
            let _ = notices.send(notice);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let (answer, _) = mpsc::sync_channel(1);
        let _ = self.commands.send(Request { command: Command::Stop, answer });
        self.alarm.raise();
        self.notices = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// The device, up, with a hand on its settings for each thread that needs one.
struct Device {
    tun: Tun,
    link: Link,
    keepers_link: Link,
    /// Why the kernel judges our packets, too, if it does.
    judged: Judged,
}

impl Device {
    fn make(settings: &Settings) -> Result<Self, EngineError> {
        let name: InterfaceName = settings.device.parse().map_err(|error| {
            refusal(ErrorClass::Fatal, "make", "TUN device", error, Some("name another"))
        })?;
        let tun = open_tun(&name).map_err(|error| tun_refused(&error))?;
        if let Some(reason) = &tun.offload().reason {
            tracing::info!(%reason, "the TUN device has not every offload");
        }
        let configured =
            |error| refusal(ErrorClass::Fatal, "configure", &settings.device, error, None);
        let mut link = Link::open(&name).map_err(configured)?;
        let keepers_link = Link::open(&name).map_err(configured)?;
        // The least that IPv6 takes, until the keeper knows the paths.
        link.set_mtu(1280).map_err(configured)?;
        link.set_queue(QUEUE).map_err(configured)?;
        link.set_up().map_err(configured)?;
        let judged = leave_to_us(&settings.device);
        Ok(Self { tun, link, keepers_link, judged })
    }
}

/// The device of an agent that was killed goes a little later than its process.
fn open_tun(name: &InterfaceName) -> Result<Tun, TunError> {
    let deadline = Instant::now() + SUCCESSION;
    loop {
        match Tun::open(name, Offload::Auto) {
            Err(TunError::Taken(_)) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

/// What comes out of the device was judged here; were the kernel to judge it too, by XFRM policies
/// of the same selectors, it would miss the SA in the kernel and drop it. What goes into it is judged
/// here next, and blocked where it goes elsewhere. IPv6 knows no `disable_xfrm`.
fn leave_to_us(device: &str) -> Judged {
    let mut judged = Judged {
        opened: set(device, "ipv4", "disable_policy").err(),
        outbound: set(device, "ipv4", "disable_xfrm").err(),
    };
    // Without IPv6 in the kernel nothing of it comes out.
    if fs::exists("/proc/sys/net/ipv6").unwrap_or(true) {
        judged.opened = judged.opened.or(set(device, "ipv6", "disable_policy").err());
    }
    judged
}

fn set(device: &str, family: &str, setting: &str) -> Result<(), String> {
    let path = format!("/proc/sys/net/{family}/conf/{device}/{setting}");
    fs::write(&path, "1").map_err(|error| {
        tracing::warn!(%path, %error, "XFRM policies look at our packets");
        format!("{path}: {error}")
    })
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, EngineError> {
    thread::Builder::new().name(name.to_owned()).spawn(work).map_err(cannot_start)
}

fn cannot_start(error: io::Error) -> EngineError {
    refusal(ErrorClass::Fatal, "start", "user-space ESP", error, None)
}

fn tun_refused(error: &TunError) -> EngineError {
    let (class, hint) = match error {
        TunError::Driver(_) => (
            ErrorClass::Unsupported,
            Some("`modprobe tun`; without devtmpfs also `mknod /dev/net/tun c 10 200`"),
        ),
        TunError::Forbidden(_) => (ErrorClass::Fatal, Some("grant CAP_NET_ADMIN")),
        TunError::Taken(_) => (ErrorClass::Conflict, Some("give the agent another device name")),
        TunError::Setup { .. } => (ErrorClass::Fatal, None),
    };
    refusal(class, "make", "TUN device", error, hint)
}

/// How long a device may take to go.
const SUCCESSION: Duration = Duration::from_millis(300);
/// Notices that may wait for the keeper.
const NOTICES: usize = 1024;
/// How long the data thread may be busy: a turn is milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);
/// Packets that wait for the data thread: 40 ms of 100,000 a second, while it is kept from its CPU.
const QUEUE: u32 = 4096;
