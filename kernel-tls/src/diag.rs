//! Who really processes the records of one socket, asked of the kernel (`INET_DIAG_ULP_INFO`,
//! linux/inet_diag.h).
//!
//! That `TLS_TX` succeeded says nothing of where: a device may have taken the keys, or the kernel's
//! software. Before Linux 6.15 only CAP_NET_ADMIN is told; then the answer is [`NotTold`], and not
//! a guess. The netlink socket is opened once for each thread.
//!
//! [`NotTold`]: DiagnosisError::NotTold

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::netlink::SOCK_DIAG;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::crypto_info::{Cipher, Version};
use crate::path::RecordPath;

/// What the kernel says of one socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// Who seals what is sent.
    pub tx: RecordPath,
    /// Who opens what is received.
    pub rx: RecordPath,
    /// `None` before it has keys.
    pub version: Option<Version>,
    /// `None` before it has keys, and for ciphers that we do not use.
    pub cipher: Option<Cipher>,
    /// Whether `TLS_TX_ZEROCOPY_RO` is on and matters: it is told where a device sends.
    pub zerocopy: bool,
    /// Whether `TLS_RX_EXPECT_NO_PAD` is on.
    pub no_pad: bool,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DiagnosisError {
    /// The kernel tells of the socket, but not of its TLS.
    #[error("INET_DIAG does not tell of TLS: before Linux 6.15 it needs CAP_NET_ADMIN")]
    NotTold,
    /// It is no TCP socket with two ends.
    #[error("the socket has no addresses to ask for: {0}")]
    NoAddresses(io::Error),
    /// The kernel could not be asked, or refused.
    #[error("INET_DIAG: {0}")]
    Refused(io::Error),
    /// The answer is not what linux/inet_diag.h says.
    #[error("INET_DIAG's answer is malformed")]
    Malformed,
}

/// Asks about one connected socket.
///
/// # Errors
/// [`DiagnosisError`]; the socket is as it was.
pub fn diagnose(socket: impl AsFd) -> Result<Diagnosis, DiagnosisError> {
    let socket = socket.as_fd();
    let local = address(rustix::net::getsockname(socket))?;
    let peer = address(
        rustix::net::getpeername(socket).and_then(|peer| peer.ok_or(rustix::io::Errno::NOTCONN)),
    )?;
    let answer = ask(&request(local, peer)).map_err(DiagnosisError::Refused)?;
    read(&answer)
}

fn address(
    address: rustix::io::Result<rustix::net::SocketAddrAny>,
) -> Result<SocketAddr, DiagnosisError> {
    let address = address.map_err(|error| DiagnosisError::NoAddresses(error.into()))?;
    SocketAddr::try_from(address).map_err(|error| DiagnosisError::NoAddresses(error.into()))
}

/// A `nlmsghdr` and an `inet_diag_req_v2` that names the socket by its addresses.
fn request(local: SocketAddr, peer: SocketAddr) -> Vec<u8> {
    const EVERY_STATE: u32 = u32::MAX;
    /// `INET_DIAG_INFO`, without which the kernel leaves the ULP out too.
    const WITH_INFO: u8 = 1 << (2 - 1);
    const NO_INTERFACE: u32 = 0;
    const NO_COOKIE: [u8; 8] = [0xff; 8];
    let family = if local.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = Vec::with_capacity(REQUEST);
    bytes.extend((REQUEST as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend((libc::NLM_F_REQUEST as u16).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, WITH_INFO, 0]);
    bytes.extend(EVERY_STATE.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(peer.port().to_be_bytes());
    bytes.extend(sixteen(local.ip()));
    bytes.extend(sixteen(peer.ip()));
    bytes.extend(NO_INTERFACE.to_ne_bytes());
    bytes.extend(NO_COOKIE);
    bytes
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn ask(request: &[u8]) -> io::Result<Vec<u8>> {
    thread_local! {
        static SOCKET: std::cell::OnceCell<OwnedFd> = const { std::cell::OnceCell::new() };
    }
    SOCKET.with(|kept| {
        if kept.get().is_none() {
            // Nobody else can have set it: the cell is this thread's.
            let _kept = kept.set(open()?);
        }
        kept.get().map_or_else(
            || Err(io::ErrorKind::NotConnected.into()),
            |socket| exchange(socket.as_fd(), request),
        )
    })
}

/// The kernel answers within the call, so that the time limit is one that is never reached.
fn open() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket =
        rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(SOCK_DIAG))?;
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(1)))?;
    Ok(socket)
}

fn exchange(socket: BorrowedFd<'_>, request: &[u8]) -> io::Result<Vec<u8>> {
    rustix::net::send(socket, request, SendFlags::empty())?;
    let mut answer = vec![0; ANSWER];
    let (length, _) = rustix::net::recv(socket, &mut answer[..], RecvFlags::empty())?;
    answer.truncate(length);
    Ok(answer)
}

/// Reads a `nlmsghdr` with an `inet_diag_msg` and its attributes.
fn read(answer: &[u8]) -> Result<Diagnosis, DiagnosisError> {
    let kind = number(answer.get(4..6)).ok_or(DiagnosisError::Malformed)?;
    let body = answer.get(NETLINK_HEADER..).ok_or(DiagnosisError::Malformed)?;
    if i32::from(kind) == libc::NLMSG_ERROR {
        let errno = body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes).wrapping_neg());
        let errno = errno.ok_or(DiagnosisError::Malformed)?;
        return Err(DiagnosisError::Refused(io::Error::from_raw_os_error(errno)));
    }
    if kind != SOCK_DIAG_BY_FAMILY {
        return Err(DiagnosisError::Malformed);
    }
    let body = body.get(INET_DIAG_MESSAGE..).ok_or(DiagnosisError::Malformed)?;
    let ulp = attribute(body, INET_DIAG_ULP_INFO).ok_or(DiagnosisError::NotTold)?;
    let Some(tls) = attribute(ulp, INET_ULP_INFO_TLS) else {
        return Err(DiagnosisError::NotTold);
    };
    Ok(Diagnosis {
        tx: path(number(attribute(tls, TLS_INFO_TXCONF))),
        rx: path(number(attribute(tls, TLS_INFO_RXCONF))),
        version: match number(attribute(tls, TLS_INFO_VERSION)) {
            Some(number) => Version::ALL.into_iter().find(|version| version.number() == number),
            None => None,
        },
        cipher: number(attribute(tls, TLS_INFO_CIPHER)).and_then(Cipher::numbered),
        zerocopy: attribute(tls, TLS_INFO_ZC_RO_TX).is_some(),
        no_pad: attribute(tls, TLS_INFO_RX_NO_PAD).is_some(),
    })
}

/// The payload of the first attribute of that type in a row of `nlattr`s.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let (Some(length), Some(kind)) = (number(bytes.get(..2)), number(bytes.get(2..4))) {
        let length = usize::from(length);
        let payload = bytes.get(4..length)?;
        if kind & TYPE_MASK == wanted {
            return Some(payload);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn number(bytes: Option<&[u8]>) -> Option<u16> {
    bytes?.try_into().ok().map(u16::from_ne_bytes)
}

fn path(conf: Option<u16>) -> RecordPath {
    match conf {
        Some(2) => RecordPath::Software,
        // `TLS_CONF_HW`, and `TLS_CONF_HW_RECORD`, which kernels before 6.18 may have.
        Some(3 | 4) => RecordPath::Device,
        _ => RecordPath::Base,
    }
}

/// `SOCK_DIAG_BY_FAMILY` (linux/sock_diag.h).
const SOCK_DIAG_BY_FAMILY: u16 = 20;
/// `INET_DIAG_ULP_INFO` (linux/inet_diag.h).
const INET_DIAG_ULP_INFO: u16 = 19;
/// `INET_ULP_INFO_TLS` (linux/inet_diag.h).
const INET_ULP_INFO_TLS: u16 = 2;
/// `TLS_INFO_*` (linux/tls.h).
const TLS_INFO_VERSION: u16 = 1;
const TLS_INFO_CIPHER: u16 = 2;
const TLS_INFO_TXCONF: u16 = 3;
const TLS_INFO_RXCONF: u16 = 4;
const TLS_INFO_ZC_RO_TX: u16 = 5;
const TLS_INFO_RX_NO_PAD: u16 = 6;

/// `NLA_TYPE_MASK` (linux/netlink.h).
const TYPE_MASK: u16 = 0x3fff;

/// `struct nlmsghdr`.
const NETLINK_HEADER: usize = 16;
/// `struct inet_diag_msg`.
const INET_DIAG_MESSAGE: usize = 72;
/// A `nlmsghdr` and a `struct inet_diag_req_v2`.
const REQUEST: usize = NETLINK_HEADER + 56;
/// Several times what one socket's answer takes.
const ANSWER: usize = 8192;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_request_has_the_size_that_its_header_says() {
        let bytes = request("127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap());
        assert_eq!(bytes.len(), REQUEST);
        assert_eq!(bytes[..4], (REQUEST as u32).to_ne_bytes());
    }

    fn nest(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend((payload.len() as u16 + 4).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn answer(attributes: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; NETLINK_HEADER + INET_DIAG_MESSAGE];
        bytes[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn both_ways_are_read_apart() {
        let tls = [
            nest(TLS_INFO_VERSION, &0x0303_u16.to_ne_bytes()),
            nest(TLS_INFO_CIPHER, &52_u16.to_ne_bytes()),
            nest(TLS_INFO_TXCONF, &3_u16.to_ne_bytes()),
            nest(TLS_INFO_RXCONF, &2_u16.to_ne_bytes()),
            nest(TLS_INFO_ZC_RO_TX, &[]),
        ]
        .concat();
        let ulp = [nest(1, b"tls\0"), nest(INET_ULP_INFO_TLS | 0x8000, &tls)].concat();
        let diagnosis = read(&answer(&[nest(8, &[0]), nest(INET_DIAG_ULP_INFO, &ulp)].concat()));
        assert_eq!(
            diagnosis.unwrap(),
            Diagnosis {
                tx: RecordPath::Device,
                rx: RecordPath::Software,
                version: Some(Version::Tls12),
                cipher: Some(Cipher::Aes256Gcm),
                zerocopy: true,
                no_pad: false,
            }
        );
    }

    #[test]
    fn an_answer_without_tls_is_not_taken_for_user_space() {
        assert!(matches!(read(&answer(&nest(8, &[0]))), Err(DiagnosisError::NotTold)));
    }

    #[test]
    fn a_refusal_carries_its_errno() {
        let mut bytes = vec![0; NETLINK_HEADER];
        bytes[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        bytes.extend((-libc::ENOENT).to_ne_bytes());
        let Err(DiagnosisError::Refused(error)) = read(&bytes) else { panic!("no refusal") };
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn a_socket_without_tls_is_found_and_has_none() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let told = diagnose(&socket);
        assert!(
            matches!(&told, Err(DiagnosisError::NotTold | DiagnosisError::Refused(_))),
            "{told:?}"
        );
        assert!(matches!(diagnose(&listener), Err(DiagnosisError::NoAddresses(_))));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic_or_spin(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
            let _ = attribute(&bytes, 1);
        }
    }
}
