//! What this kernel's TLS can do, found out by doing it: on throwaway loopback sockets, for each
//! version, cipher and way, once for each process.
//!
//! Version numbers say little (distributions port things back, containers take them away), so
//! every answer is the outcome of a try, with the errno where it was refused. TLS 1.3 is handed
//! over only where keys can be renewed: a peer's KeyUpdate cannot be prevented, and without
//! renewal it would end the connection. What turned out not to work after all is switched off.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::OnceLock;

use crypto_offload::{Answer, Evidence};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::CipherSuite;

use crate::crypto_info::{Cipher, CryptoInfo, NONCE, Version, Way};
use crate::diag::{DiagnosisError, diagnose};
use crate::post_handshake::{HANDSHAKE, key_update_message};
use crate::stream::AskPeer;
use crate::sys::{self, TlsOption};

/// What the kernel takes, with the evidence.
#[derive(Debug, Default)]
pub struct Support {
    lines: Vec<Line>,
    switched_off: OnceLock<String>,
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What.
    pub feature: TlsFeature,
    /// Whether it works.
    pub answer: Answer,
    /// How we know.
    pub evidence: Evidence,
    /// What an operator can do about it, where something can be done.
    pub remedy: Option<&'static str>,
}

/// Something that the kernel's TLS may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFeature {
    /// `TCP_ULP "tls"`: it is there at all.
    Ulp,
    /// Records of this version and cipher, one way.
    Records(Version, Cipher, Way),
    /// New keys on a TLS 1.3 socket (Linux 6.14).
    Renewal,
    /// `TLS_TX_ZEROCOPY_RO` (Linux 5.19): matters for devices alone.
    Zerocopy,
    /// `TLS_RX_EXPECT_NO_PAD` (Linux 6.0), TLS 1.3.
    NoPad,
    /// `INET_DIAG` tells this process who processes a socket's records.
    Diagnosis,
}

impl Support {
    /// What this process found out when it first asked.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Support> = OnceLock::new();
        SHARED.get_or_init(Self::probe)
    }

    /// Asks the kernel: some milliseconds, and a few sockets that are gone afterwards.
    pub fn probe() -> Self {
        let mut support = Self::default();
        support.note(TlsFeature::Ulp, Pair::attached().map(|_| ATTACH));
        for version in Version::ALL {
            for cipher in Cipher::ALL {
                support.probe_records(version, cipher);
            }
        }
        support.note(TlsFeature::Renewal, probe_renewal());
        support.note(TlsFeature::Zerocopy, probe_option(TlsOption::ZerocopyReadOnly));
        support.note(TlsFeature::NoPad, probe_option(TlsOption::ExpectNoPad));
        support.note(TlsFeature::Diagnosis, probe_diagnosis());
        support
    }

    /// As if the kernel had no TLS, for the reason that an operator gave.
    pub fn absent(reason: &str) -> Self {
        let support = Self::default();
        support.switch_off(reason);
        support
    }

    /// Everything that was tried, in the order in which it was.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Whether something works.
    pub fn has(&self, feature: TlsFeature) -> bool {
        self.line(feature).is_some_and(|line| line.answer == Answer::Yes)
    }

    /// Whether connections of this kind may be handed over.
    ///
    /// # Errors
    /// The reason why not, in words for people: the same for every such connection.
    pub fn takes(&self, version: Version, cipher: Cipher) -> Result<(), String> {
        if let Some(reason) = self.switched_off.get() {
            return Err(reason.clone());
        }
        self.needs(TlsFeature::Ulp)?;
        for way in [Way::Sending, Way::Receiving] {
            self.needs(TlsFeature::Records(version, cipher, way))?;
        }
        if version == Version::Tls13 {
            self.needs(TlsFeature::Renewal)?;
        }
        Ok(())
    }

    /// Whether any connection may be handed over: if none, a handshake need not be careful with
    /// what it reads.
    pub fn takes_any(&self) -> bool {
        Version::ALL
            .iter()
            .any(|&version| Cipher::ALL.iter().any(|&cipher| self.takes(version, cipher).is_ok()))
    }

    /// Hands nothing over any more: it did not work although it should have. The first reason
    /// stays.
    pub fn switch_off(&self, reason: &str) {
        // A reason that was there before is as good.
        let _earlier = self.switched_off.set(reason.to_owned());
    }

    fn needs(&self, feature: TlsFeature) -> Result<(), String> {
        match self.line(feature) {
            Some(line) if line.answer == Answer::Yes => Ok(()),
            Some(line) => Err(line.to_string()),
            None => Err(format!("{feature}: not tried")),
        }
    }

    fn line(&self, feature: TlsFeature) -> Option<&Line> {
        self.lines.iter().find(|line| line.feature == feature)
    }

    fn probe_records(&mut self, version: Version, cipher: Cipher) {
        let feature = |way| TlsFeature::Records(version, cipher, way);
        let pair = match Pair::attached() {
            Ok(pair) => pair,
            Err(failure) => {
                for way in [Way::Sending, Way::Receiving] {
                    self.note(feature(way), Err(failure.clone()));
                }
                return;
            }
        };
        let sending = pair.install(Way::Sending, version, cipher, 0);
        let receiving = pair.install(Way::Receiving, version, cipher, 0);
        // What one way alone does not show: that the bytes come out as they went in.
        let carried = match (&sending, &receiving) {
            (Ok(_), Ok(_)) => pair.carries(b"from the first key"),
            _ => Ok("installed"),
        };
        self.note(feature(Way::Sending), sending.and(carried.clone()));
        self.note(feature(Way::Receiving), receiving.and(carried));
    }

    fn note(&mut self, feature: TlsFeature, outcome: Result<&'static str, Failure>) {
        let (answer, evidence, remedy) = match outcome {
            Ok(what) => {
                let message = Some(what.to_owned());
                (Answer::Yes, Evidence::Probed { errno: None, message }, None)
            }
            Err(failure) => {
                let remedy = failure.remedy(feature);
                let message = Some(failure.tried.to_owned());
                (Answer::No, Evidence::Probed { errno: failure.errno, message }, remedy)
            }
        };
        self.lines.push(Line { feature, answer, evidence, remedy });
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = match self.answer {
            Answer::Yes => "yes",
            Answer::No => "no",
            Answer::Unknown => "unknown",
        };
        write!(f, "{}: {answer} ({})", self.feature, self.evidence)?;
        self.remedy.map_or(Ok(()), |remedy| write!(f, "; {remedy}"))
    }
}

impl fmt::Display for TlsFeature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ulp => f.write_str("kernel TLS"),
            Self::Records(version, cipher, way) => write!(f, "{version} {cipher} {way}"),
            Self::Renewal => f.write_str("new keys for TLS 1.3"),
            Self::Zerocopy => f.write_str("TLS_TX_ZEROCOPY_RO"),
            Self::NoPad => f.write_str("TLS_RX_EXPECT_NO_PAD"),
            Self::Diagnosis => f.write_str("INET_DIAG of TLS sockets"),
        }
    }
}

/// What the kernel calls a cipher suite's AEAD; `None` for one that it does not have.
pub(crate) fn cipher_of(suite: CipherSuite) -> Option<Cipher> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Some(Cipher::Aes128Gcm),
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(Cipher::Aes256Gcm),
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => {
            Some(Cipher::Chacha20Poly1305)
        }
        _ => None,
    }
}

/// Why a try failed.
#[derive(Clone, Debug)]
struct Failure {
    tried: &'static str,
    errno: Option<i32>,
}

impl Failure {
    fn at(tried: &'static str) -> impl Fn(io::Error) -> Self {
        move |error| Self { tried, errno: error.raw_os_error() }
    }

    fn remedy(&self, feature: TlsFeature) -> Option<&'static str> {
        match (self.tried, self.errno) {
            (ATTACH, Some(libc::ENOENT)) => {
                Some("load the kernel module `tls` on the host (modprobe tls), where it was built")
            }
            (ATTACH, Some(libc::EPERM | libc::EACCES)) => Some("a security policy forbids it"),
            (_, Some(libc::EBUSY)) if feature == TlsFeature::Renewal => {
                Some("Linux 6.14 or newer; until then TLS 1.3 stays in user space")
            }
            (_, errno) if feature == TlsFeature::Diagnosis => Some(match errno {
                Some(libc::ENOENT) => "load the kernel module `tcp_diag`, to know of devices",
                _ => "Linux 6.15 or newer, or CAP_NET_ADMIN, to know of devices",
            }),
            (_, Some(libc::ENOENT)) => Some("load the kernel's module of this cipher"),
            _ => None,
        }
    }
}

/// Two ends of one TCP connection over loopback.
struct Pair {
    sender: TcpStream,
    receiver: TcpStream,
}

impl Pair {
    fn attached() -> Result<Self, Failure> {
        let pair = Self::connected().map_err(Failure::at("a TCP connection over loopback"))?;
        for socket in [&pair.sender, &pair.receiver] {
            sys::attach(socket.as_fd()).map_err(Failure::at(ATTACH))?;
        }
        Ok(pair)
    }

    fn connected() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let sender = TcpStream::connect(listener.local_addr()?)?;
        let (receiver, peer) = listener.accept()?;
        // Anybody on this host may have connected first.
        if peer != sender.local_addr()? {
            return Err(ErrorKind::ConnectionRefused.into());
        }
        Ok(Self { sender, receiver })
    }

    /// The keys are known to all, and protect nothing.
    fn install(
        &self,
        way: Way,
        version: Version,
        cipher: Cipher,
        generation: u8,
    ) -> Result<&'static str, Failure> {
        let (socket, tried) = match way {
            Way::Sending => (&self.sender, "TLS_TX"),
            Way::Receiving => (&self.receiver, "TLS_RX"),
        };
        let key = [generation; 32];
        let key = key.get(..cipher.key_length()).unwrap_or_default();
        CryptoInfo::from_parts(version, cipher, 0, key, [generation; NONCE])
            .ok_or(io::Error::from(ErrorKind::InvalidInput))
            .and_then(|keys| keys.install(socket.as_fd(), way))
            .map_err(Failure::at(tried))?;
        Ok(tried)
    }

    fn carries(&self, data: &[u8]) -> Result<&'static str, Failure> {
        let failed = Failure::at("data between two loopback sockets");
        rustix::net::send(&self.sender, data, rustix::net::SendFlags::NOSIGNAL)
            .map_err(|errno| failed(errno.into()))?;
        let (kind, content) = self.receive().map_err(&failed)?;
        if kind != Some(APPLICATION_DATA) || content != data {
            return Err(Failure {
                tried: "data came out different from what went in",
                errno: None,
            });
        }
        Ok("data went between two loopback sockets")
    }

    fn receive(&self) -> io::Result<(Option<u8>, Vec<u8>)> {
        wait_readable(self.receiver.as_fd())?;
        let mut buffer = vec![0; 1 << 14];
        let record = sys::receive_record(self.receiver.as_fd(), &mut buffer)?;
        buffer.truncate(record.length);
        Ok((record.content_type, buffer))
    }
}

/// A KeyUpdate as it really happens: the record, new keys at both ends, and data under them.
fn probe_renewal() -> Result<&'static str, Failure> {
    const VERSION: Version = Version::Tls13;
    const CIPHER: Cipher = Cipher::Aes128Gcm;
    let pair = Pair::attached()?;
    for way in [Way::Sending, Way::Receiving] {
        pair.install(way, VERSION, CIPHER, 0)?;
    }
    let update = key_update_message(AskPeer::Nothing);
    sys::send_record(pair.sender.as_fd(), HANDSHAKE, &update).map_err(Failure::at("KeyUpdate"))?;
    pair.receive().map_err(Failure::at("KeyUpdate"))?;
    for (way, tried) in
        [(Way::Sending, "TLS_TX a second time"), (Way::Receiving, "TLS_RX a second time")]
    {
        let failed = |failure: Failure| Failure { tried, ..failure };
        pair.install(way, VERSION, CIPHER, 1).map_err(failed)?;
    }
    pair.carries(b"from the second key")?;
    Ok("data after a KeyUpdate between two loopback sockets")
}

fn probe_option(option: TlsOption) -> Result<&'static str, Failure> {
    let (way, tried) = match option {
        TlsOption::ExpectNoPad => (Way::Receiving, "TLS_RX_EXPECT_NO_PAD on TLS 1.3"),
        _ => (Way::Sending, "TLS_TX_ZEROCOPY_RO on TLS 1.3"),
    };
    let pair = Pair::attached()?;
    pair.install(way, Version::Tls13, Cipher::Aes128Gcm, 0)?;
    let socket = if way == Way::Sending { &pair.sender } else { &pair.receiver };
    sys::switch_on(socket.as_fd(), option).map_err(Failure::at(tried))?;
    Ok(tried)
}

fn probe_diagnosis() -> Result<&'static str, Failure> {
    let pair = Pair::attached()?;
    pair.install(Way::Sending, Version::Tls12, Cipher::Aes128Gcm, 0)?;
    const TRIED: &str = "INET_DIAG_ULP_INFO of a loopback socket";
    match diagnose(&pair.sender) {
        Ok(_) => Ok(TRIED),
        Err(DiagnosisError::Refused(error) | DiagnosisError::NoAddresses(error)) => {
            Err(Failure::at(TRIED)(error))
        }
        Err(DiagnosisError::NotTold | DiagnosisError::Malformed) => {
            Err(Failure { tried: "INET_DIAG tells nothing of a TLS socket", errno: None })
        }
    }
}

fn wait_readable(socket: BorrowedFd<'_>) -> io::Result<()> {
    let second = Timespec { tv_sec: 1, tv_nsec: 0 };
    match poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&second))? {
        0 => Err(ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

const ATTACH: &str = "TCP_ULP \"tls\"";

/// `ContentType.application_data`.
const APPLICATION_DATA: u8 = 23;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_has_evidence_and_a_kernel_without_tls_a_remedy() {
        let support = Support::shared();
        assert_eq!(support.lines().len(), 1 + 2 * 3 * 2 + 4);
        for line in support.lines() {
            assert!(matches!(&line.evidence, Evidence::Probed { message: Some(_), .. }), "{line}");
        }
        let ulp = &support.lines()[0];
        if ulp.answer == Answer::No {
            assert!(!support.takes_any());
            let reason = support.takes(Version::Tls12, Cipher::Aes128Gcm).unwrap_err();
            assert!(reason.contains("TCP_ULP"), "{reason}");
            for line in support.lines() {
                assert_eq!(line.evidence, ulp.evidence, "{line}");
                assert_eq!(line.remedy, ulp.remedy, "{line}");
            }
        } else {
            assert!(support.takes_any());
        }
    }

    #[test]
    fn what_is_switched_off_keeps_its_first_reason() {
        let support = Support::absent("kernel = \"off\"");
        support.switch_off("another");
        let refusal = support.takes(Version::Tls13, Cipher::Aes256Gcm);
        assert_eq!(refusal, Err("kernel = \"off\"".to_owned()));
        assert!(!support.takes_any());
    }

    #[test]
    fn tls13_needs_renewal_and_tls12_does_not() {
        let mut support = Support::default();
        support.note(TlsFeature::Ulp, Ok("test"));
        for version in Version::ALL {
            for way in [Way::Sending, Way::Receiving] {
                let feature = TlsFeature::Records(version, Cipher::Aes128Gcm, way);
                support.note(feature, Ok("test"));
            }
        }
        let busy = Failure { tried: "TLS_TX a second time", errno: Some(libc::EBUSY) };
        support.note(TlsFeature::Renewal, Err(busy));
        assert_eq!(support.takes(Version::Tls12, Cipher::Aes128Gcm), Ok(()));
        let reason = support.takes(Version::Tls13, Cipher::Aes128Gcm).unwrap_err();
        assert!(reason.contains("os error 16") && reason.contains("6.14"), "{reason}");
        assert!(support.takes(Version::Tls12, Cipher::Aes256Gcm).is_err());
    }
}
