//! OpenSSL's `s_client` and `s_server` as the peer, over UDP on loopback.

use std::fs;
use std::io::Read as _;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ng::sdp::HashFunction;
use srtp::Profile;
use webrtc::dtls::{Association, DtlsSettings, Failure, Output, Role, SrtpKeys};
use webrtc::identity::Identity;

use crate::PeerIs;
use crate::certificate::Certificate;

pub(crate) fn is_here() -> bool {
    Command::new("openssl").arg("version").output().is_ok_and(|run| run.status.success())
}

/// What a call came to on our side, and what OpenSSL said of it.
pub(crate) struct Call {
    pub(crate) secured: Option<(Profile, SrtpKeys)>,
    pub(crate) failed: Option<Failure>,
    /// Keying material that OpenSSL printed.
    pub(crate) exported: Vec<Vec<u8>>,
    pub(crate) printed: String,
}

/// A handshake with OpenSSL, which has `theirs` and is given one profile.
pub(crate) fn call(
    ours: &Certificate,
    theirs: &Certificate,
    peer: PeerIs,
    profile: Profile,
) -> Call {
    call_expecting(ours, theirs, &theirs.identity(), peer, profile)
}

/// As [`call`], but we expect the certificate of `expected`.
pub(crate) fn call_expecting(
    ours: &Certificate,
    theirs: &Certificate,
    expected: &Identity,
    peer: PeerIs,
    profile: Profile,
) -> Call {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = match peer {
        PeerIs::Client => socket.local_addr().unwrap().port(),
        PeerIs::Server => free_port(),
    };
    let files = Files::write(theirs);
    let mut child = start(&files, peer, profile, port);
    if peer == PeerIs::Server {
        socket.connect(("127.0.0.1", port)).unwrap();
    }
    let role = match peer {
        PeerIs::Client => Role::Server,
        PeerIs::Server => Role::Client,
    };
    let fingerprints = [expected.fingerprint(HashFunction::Sha256)];
    let settings = DtlsSettings { mtu: 600, ..DtlsSettings::default() };
    let identity = ours.identity();
    let now = Instant::now();
    let association =
        Association::new(&identity, &settings, role, &fingerprints, &[profile], now).unwrap();
    let (secured, failed) = drive(association, &socket);
    // It prints what it exported once it is done, too.
    std::thread::sleep(Duration::from_millis(100));
    drop(child.stdin.take());
    let _ = child.kill();
    let mut printed = String::new();
    child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
    child.wait().unwrap();
    Call { secured, failed, exported: keying_material(&printed), printed }
}

/// Until the handshake is done and what follows it was sent and answered.
fn drive(
    mut association: Association,
    socket: &UdpSocket,
) -> (Option<(Profile, SrtpKeys)>, Option<Failure>) {
    let (mut secured, mut failed) = (None, None);
    let mut end = Instant::now() + Duration::from_secs(20);
    let mut peer = socket.peer_addr().ok();
    while Instant::now() < end {
        let wake = loop {
            match association.poll() {
                Output::Transmit(datagram) => {
                    // Refused while OpenSSL is not up yet: as lost.
                    let _ = match socket.peer_addr() {
                        Ok(_) => socket.send(datagram),
                        Err(_) => socket.send_to(datagram, peer.unwrap()),
                    };
                }
                Output::Secured { profile, keys } => {
                    secured = Some((profile, keys));
                    end = Instant::now() + Duration::from_millis(300);
                }
                Output::Failed(failure) => failed = Some(failure),
                Output::Closed => {}
                Output::Sign(request) => panic!("{request:?}: the key is here"),
                Output::Timeout(at) => break at,
            }
        };
        if failed.is_some() {
            break;
        }
        let soon = Instant::now() + Duration::from_millis(50);
        let wait = wake.map_or(soon, |at| at.min(soon)) - Instant::now();
        socket.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
        let mut room = [0; 2048];
        if let Ok((length, from)) = socket.recv_from(&mut room) {
            peer = Some(from);
            association.receive(&room[..length], Instant::now());
        }
        association.handle_timeout(Instant::now());
    }
    (secured, failed)
}

fn start(files: &Files, peer: PeerIs, profile: Profile, port: u16) -> Child {
    let length = 2 * (profile.key_len() + profile.salt_len());
    let mut command = Command::new("openssl");
    match peer {
        PeerIs::Client => command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]),
        // -Verify: it asks for our certificate, and minds neither who signed it nor that we have one
        // that nobody knows.
        PeerIs::Server => command
            .args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-Verify", "1"])
            .args(["-naccept", "1"]),
    };
    command
        .args(["-dtls1_2", "-mtu", "600", "-use_srtp", name(profile)])
        .args(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", &length.to_string()])
        .arg("-cert")
        .arg(&files.certificate)
        .arg("-key")
        .arg(&files.key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn name(profile: Profile) -> &'static str {
    match profile {
        Profile::AeadAes256Gcm => "SRTP_AEAD_AES_256_GCM",
        Profile::AeadAes128Gcm => "SRTP_AEAD_AES_128_GCM",
        Profile::AesCm128HmacSha1_32 => "SRTP_AES128_CM_SHA1_32",
        _ => "SRTP_AES128_CM_SHA1_80",
    }
}

/// `    Keying material: 0123…`
fn keying_material(printed: &str) -> Vec<Vec<u8>> {
    let hex = printed.lines().filter_map(|line| line.trim().strip_prefix("Keying material: "));
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.map(|hex| hex.as_bytes().chunks(2).map(byte).collect()).collect()
}

fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A certificate and its key as OpenSSL's programs want them; gone when dropped.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

impl Files {
    fn write(certificate: &Certificate) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let path = |what: &str| folder.join(format!("dtls-{}-{count}.{what}", std::process::id()));
        let files = Self { certificate: path("pem"), key: path("key") };
        fs::write(&files.certificate, certificate.certificate.pem()).unwrap();
        fs::write(&files.key, certificate.key.serialize_pem()).unwrap();
        files
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.certificate);
        let _ = fs::remove_file(&self.key);
    }
}
