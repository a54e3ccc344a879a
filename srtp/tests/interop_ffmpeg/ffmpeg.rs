//! ffmpeg as a child: one that sends a tone, and one that listens and decodes.
//!
//! All over loopback; each child is stopped by its owner at the latest, and each wait has an end.

use std::{
    fs,
    io::Read,
    net::{Ipv4Addr, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use srtp::PacketKind;

/// Whether there is no ffmpeg here; says that `test` is skipped for it.
pub(crate) fn is_absent(test: &str) -> bool {
    let version = Command::new("ffmpeg").arg("-version").stdout(Stdio::null()).status();
    let absent = version.is_err();
    if absent {
        println!("SKIPPED {test}: no ffmpeg here");
    }
    absent
}

/// What ffmpeg sent, as it came from the network.
pub(crate) struct Sent {
    pub(crate) rtp: Vec<Vec<u8>>,
    pub(crate) rtcp: Vec<Vec<u8>>,
}

/// Has ffmpeg send two seconds of a tone as PCMU, in packets of some 160 bytes, as fast as it can:
/// that is a third of what a socket's receive buffer holds.
pub(crate) fn send_tone(suite: &str, inline_key: &str, first_sequence: u16, ssrc: u32) -> Sent {
    let (rtp, rtcp) = port_pair();
    let port = rtp.local_addr().expect("bound").port();
    let status = ffmpeg()
        .args(["-f", "lavfi", "-i", TONE, "-c:a", "pcm_mulaw", "-f", "rtp"])
        .args(["-seq", &first_sequence.to_string(), "-ssrc", &ssrc.to_string()])
        .args(["-rtpflags", "send_bye"])
        .args(["-srtp_out_suite", suite, "-srtp_out_params", inline_key])
        .arg(format!("srtp://127.0.0.1:{port}?pkt_size=188"))
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("runs").success(), "{suite}");
    Sent { rtp: drain(&rtp), rtcp: drain(&rtcp) }
}

/// The PCMU bytes of the tone.
pub(crate) fn encode_tone() -> Vec<u8> {
    let output = ffmpeg().args(["-f", "lavfi", "-i", TONE, "-f", "mulaw", "pipe:1"]).output();
    output.expect("runs").stdout
}

/// An ffmpeg that receives SRTP and writes samples.
pub(crate) struct Listener {
    child: Child,
    output: Receiver<Vec<u8>>,
    socket: UdpSocket,
    port: u16,
}

impl Listener {
    /// Starts it with an SDP that names suite and key, and waits until it listens. Its ports were
    /// free a moment ago: where another took one first, it gets others.
    pub(crate) fn start(suite: &str, inline_key: &str) -> Self {
        let listener = (0..ATTEMPTS).find_map(|_| Self::start_once(suite, inline_key));
        listener.unwrap_or_else(|| panic!("{suite}: ffmpeg does not listen"))
    }

    /// `None` if it ends instead of listening.
    fn start_once(suite: &str, inline_key: &str) -> Option<Self> {
        let (rtp, rtcp) = port_pair();
        let port = rtp.local_addr().expect("bound").port();
        drop((rtp, rtcp));
        let sdp = write_sdp(suite, inline_key, port);
        let mut child = ffmpeg()
            .args(["-protocol_whitelist", "file,udp,rtp,srtp"])
            .args(["-analyzeduration", "0", "-probesize", "32"])
            .arg("-i")
            .arg(sdp)
            .args(["-f", "s16le", "-flush_packets", "1", "pipe:1"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let output = read_all(child.stdout.take().expect("piped"));
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let mut listener = Self { child, output, socket, port };
        listener.listens().then_some(listener)
    }

    /// Waits until both ports are its own, not merely taken.
    fn listens(&mut self) -> bool {
        let start = Instant::now();
        while start.elapsed() < PATIENCE && self.child.try_wait().expect("a child").is_none() {
            let sockets = udp_sockets(self.child.id());
            if sockets.contains(&self.port) && sockets.contains(&(self.port + 1)) {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Sends it a packet, in no hurry: it has a receive buffer like anybody.
    pub(crate) fn send(&self, kind: PacketKind, packet: &[u8]) {
        let port = match kind {
            PacketKind::Rtp => self.port,
            PacketKind::Rtcp => self.port + 1,
        };
        self.socket.send_to(packet, (Ipv4Addr::LOCALHOST, port)).expect("sends");
        thread::sleep(Duration::from_micros(200));
    }

    /// The first `len` bytes that it writes, and what came with them.
    pub(crate) fn samples(&mut self, len: usize) -> Vec<u8> {
        let mut samples = Vec::new();
        while samples.len() < len {
            match self.output.recv_timeout(PATIENCE) {
                Ok(more) => samples.extend(more),
                Err(error) => panic!("{error} after {} of {len} bytes", samples.len()),
            }
        }
        samples
    }

    /// What it writes until it ends by itself, which it must do soon.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        loop {
            match self.output.recv_timeout(PATIENCE) {
                Ok(more) => rest.extend(more),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("ffmpeg goes on after the BYE"),
            }
        }
        assert!(self.child.wait().expect("ends").success(), "ffmpeg failed");
        rest
    }

    /// Ends it.
    pub(crate) fn stop(self) {}
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Both fail if it has ended already, which is as well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ffmpeg() -> Command {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-hide_banner", "-loglevel", "error"]);
    command
}

fn write_sdp(suite: &str, inline_key: &str, port: u16) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{suite}-{port}.sdp"));
    let sdp = format!(
        "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
         m=audio {port} RTP/SAVP 0\r\na=crypto:1 {suite} inline:{inline_key}\r\n"
    );
    fs::write(&path, sdp).expect("writes the SDP");
    path
}

/// Hands on what a child writes, until it closes its end.
fn read_all(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(len @ 1..) = pipe.read(&mut buffer) {
            if sender.send(buffer[..len].to_vec()).is_err() {
                break;
            }
        }
    });
    receiver
}

/// Sockets for RTP, on an even port, and RTCP, on the next.
fn port_pair() -> (UdpSocket, UdpSocket) {
    let bind = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port));
    loop {
        let rtp = bind(0).expect("a free port");
        let port = rtp.local_addr().expect("bound").port();
        if let (0, Ok(rtcp)) = (port % 2, bind(port | 1)) {
            return (rtp, rtcp);
        }
    }
}

/// The local ports of the process's UDP sockets, from proc(5).
fn udp_sockets(process: u32) -> Vec<u16> {
    let open = fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten();
    let open: Vec<_> = open.filter_map(|file| fs::read_link(file.path()).ok()).collect();
    let table = fs::read_to_string(format!("/proc/{process}/net/udp")).unwrap_or_default();
    let of_process = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (_, port) = fields.get(1)?.split_once(':')?;
        let socket = PathBuf::from(format!("socket:[{}]", fields.get(9)?));
        open.contains(&socket).then(|| u16::from_str_radix(port, 16).ok())?
    });
    of_process.collect()
}

/// What has arrived.
fn drain(socket: &UdpSocket) -> Vec<Vec<u8>> {
    socket.set_nonblocking(true).expect("a socket");
    let mut buffer = [0; 2048];
    let mut packets = Vec::new();
    while let Ok(len) = socket.recv(&mut buffer) {
        packets.push(buffer[..len].to_vec());
    }
    packets
}

const TONE: &str = "sine=frequency=440:sample_rate=8000:duration=2";
/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often another process may take a port first.
const ATTEMPTS: usize = 5;
