//! A host of its own: a thread with a network namespace and an engine, which does what it is
//! handed. Sockets made there stay there, whoever uses them.

use std::{
    fs,
    io::Read,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::Command,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use offload_agent::user_space::{
    Settings, UserSpaceEngine,
    reservation::{InMemory, Reservations},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::sys;

/// See the module's documentation.
pub(crate) struct Host {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    id: String,
}

type Job = Box<dyn FnOnce(&mut UserSpaceEngine) + Send>;

impl Host {
    /// A host with loopback, or why this machine gives none.
    pub(crate) fn new(
        settings: Settings,
        reservations: Arc<dyn Reservations>,
    ) -> Result<Self, std::io::Error> {
        let (jobs, work) = channel::<Job>();
        let (tell, told) = channel();
        let thread = thread::spawn(move || {
            let started = sys::unshare_network().map(|()| {
                ip("link set lo up");
                let link = fs::read_link("/proc/thread-self").unwrap();
                link.file_name().unwrap().to_str().unwrap().to_owned()
            });
            let is_up = started.is_ok();
            tell.send(started).unwrap();
            if is_up {
                let mut engine = UserSpaceEngine::new(settings, reservations).unwrap();
                work.into_iter().for_each(|job| job(&mut engine));
            }
        });
        let id = told.recv().unwrap()?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), id })
    }

    /// A host as any, or SKIPPED with the reason.
    pub(crate) fn plain(test: &str) -> Option<Self> {
        match Self::new(Settings::default(), Arc::new(InMemory::default())) {
            Ok(host) => Some(host),
            Err(error) => {
                println!("SKIPPED {test}: a network namespace needs root; unshare says: {error}");
                None
            }
        }
    }

    /// Has the host's thread do `work`, and waits for it.
    pub(crate) fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut UserSpaceEngine) -> R + Send + 'static,
    ) -> R {
        let (tell, told) = channel();
        let job: Job = Box::new(move |engine| tell.send(work(engine)).unwrap());
        self.jobs.as_ref().unwrap().send(job).unwrap();
        told.recv().unwrap()
    }

    pub(crate) fn ip(&self, arguments: &str) -> String {
        let arguments = arguments.to_owned();
        self.run(move |_| ip(&arguments))
    }

    pub(crate) fn udp(&self, address: &str) -> UdpSocket {
        let address: IpAddr = address.parse().unwrap();
        let socket = self.run(move |_| UdpSocket::bind(SocketAddr::new(address, 0)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket
    }

    pub(crate) fn listen(&self, address: &str) -> TcpListener {
        let address: IpAddr = address.parse().unwrap();
        self.run(move |_| TcpListener::bind(SocketAddr::new(address, 0)).unwrap())
    }

    /// Connects from `from` to `to`.
    pub(crate) fn connect(&self, from: &str, to: SocketAddr) -> TcpStream {
        let from: IpAddr = from.parse().unwrap();
        self.run(move |_| {
            let socket =
                Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP)).unwrap();
            socket.bind(&SocketAddr::new(from, 0).into()).unwrap();
            socket.connect_timeout(&to.into(), PATIENCE).unwrap();
            socket.into()
        })
    }

    /// A socket that sees every frame of every device of the host.
    pub(crate) fn tap(&self) -> Socket {
        let all = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
        self.run(move |_| {
            let tap = Socket::new(Domain::PACKET, Type::RAW, Some(all)).unwrap();
            rustix::net::sockopt::set_socket_recv_buffer_size_force(&tap, 8 << 20).unwrap();
            tap.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            tap
        })
    }

    /// One of the engine's counters.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        use crypto_offload::IpsecEngine;
        let all = self.run(|engine| engine.statistics().unwrap());
        all.iter().find(|(known, _)| known == name).unwrap().1
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.jobs = None;
        let ended = self.thread.take().map(JoinHandle::join);
        if let Some(Err(panic)) = ended
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Two hosts, joined by a veth pair with 192.0.2.1 and 2001:db8::1 on the left, .2 and ::2 on the
/// right; inner addresses 10.1.0.1 and fd01::1, 10.2.0.1 and fd02::1.
pub(crate) fn join(left: &Host, right: &Host) {
    let hardware = ["02:00:00:00:00:01", "02:00:00:00:00:02"];
    left.ip(&format!(
        "link add wire address {} type veth peer name wire address {} netns {}",
        hardware[0], hardware[1], right.id
    ));
    for (host, at) in [(left, 1), (right, 2)] {
        let other = 3 - at;
        host.ip(&format!("addr add 192.0.2.{at}/24 dev wire"));
        host.ip(&format!("addr add 2001:db8::{at}/64 dev wire nodad"));
        host.ip(&format!("addr add 10.{at}.0.1/32 dev lo"));
        host.ip(&format!("addr add fd0{at}::1/128 dev lo nodad"));
        host.ip("link set wire up");
        for address in [format!("192.0.2.{other}"), format!("2001:db8::{other}")] {
            let hardware = hardware[other - 1];
            host.ip(&format!("neigh replace {address} lladdr {hardware} dev wire nud permanent"));
        }
    }
    for host in [left, right] {
        wait_until("the wire", || {
            let link = host.ip("link show wire");
            let has_queue = link.contains("state UP") && !link.contains("qdisc noop ");
            has_queue && host.ip("-6 route show table local").contains("2001:db8::")
        });
    }
}

/// What the tap has seen since it was made, until nothing comes any more.
pub(crate) fn seen(mut tap: &Socket) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut buffer = [0; 65_536];
    while let Ok(length) = tap.read(&mut buffer) {
        frames.push(buffer[..length].to_vec());
    }
    frames
}

/// Waits for something that another thread or the kernel brings about.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Runs ip(8) in the calling thread's namespace.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
