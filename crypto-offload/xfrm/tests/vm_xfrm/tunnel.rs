//! SAs and policies between the two ends, and traffic through them.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    num::NonZeroU32,
    time::Duration,
};

use crypto_offload::{
    Aead, Direction, Effective, IpsecEngine, KeyingMaterial, Lifetimes, Mode, Placement,
    PolicyDirection, PolicySpec, Reqid, SaId, SaSpec, SecretKey, Selector, SequenceNumbers, Spi,
    UdpEncapsulation,
};

use crate::ground::{End, Family, Ground, inner, outer};

/// What the SAs of a tunnel have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tunnel {
    pub(crate) aead: Aead,
    pub(crate) mode: Mode,
    pub(crate) outer: Family,
    pub(crate) inner: Family,
    pub(crate) encapsulation: Option<UdpEncapsulation>,
    pub(crate) sequence_numbers: SequenceNumbers,
    pub(crate) lifetimes: Lifetimes,
    pub(crate) resume_after: u64,
}

impl Default for Tunnel {
    fn default() -> Self {
        Self {
            aead: Aead::Aes128Gcm,
            mode: Mode::Tunnel,
            outer: Family::V4,
            inner: Family::V4,
            encapsulation: None,
            sequence_numbers: SequenceNumbers::Extended,
            lifetimes: Lifetimes::default(),
            resume_after: 0,
        }
    }
}

/// From left to right, and back.
pub(crate) const THERE: u32 = 0xc000_0001;
pub(crate) const BACK: u32 = 0xc000_0002;

impl Tunnel {
    /// One SA towards `host`, as the end that seals or opens has it. The SPI makes the key.
    pub(crate) fn sa(&self, spi: u32, host: u8, direction: Direction) -> SaSpec {
        let length = self.aead.key_len() + Aead::SALT_LEN;
        let key: Vec<u8> = (0..length).map(|at| (spi as usize + 7 * at) as u8).collect();
        let keying = KeyingMaterial::new(self.aead, SecretKey::copy_from(&key));
        SaSpec {
            id: self.id(spi, host),
            source: outer(self.outer, 3 - host),
            direction,
            mode: self.mode,
            keying: keying.expect("the right length"),
            sequence_numbers: self.sequence_numbers,
            replay_window: 128,
            lifetimes: self.lifetimes,
            encapsulation: self.encapsulation,
            reqid: reqid(),
            selector: self.selector(host),
            device: None,
            resume_after: self.resume_after,
        }
    }

    pub(crate) fn id(&self, spi: u32, host: u8) -> SaId {
        SaId { destination: outer(self.outer, host), spi: Spi::new(spi).expect("free to use") }
    }

    /// The policy for what goes to `host`.
    pub(crate) fn policy(
        &self,
        host: u8,
        direction: PolicyDirection,
        spi: Option<u32>,
    ) -> PolicySpec {
        PolicySpec {
            direction,
            selector: self.selector(host),
            mode: self.mode,
            source: outer(self.outer, 3 - host),
            destination: outer(self.outer, host),
            reqid: reqid(),
            spi: spi.map(|spi| Spi::new(spi).expect("free to use")),
            device: None,
        }
    }

    /// Installs both SAs and the policies at both ends.
    pub(crate) fn set_up(&self, ground: &mut Ground) {
        let ends = [(&mut ground.left, 1, BACK, 2, THERE), (&mut ground.right, 2, THERE, 1, BACK)];
        for (end, own, in_spi, other, out_spi) in ends {
            let incoming = self.sa(in_spi, own, Direction::Inbound);
            self.install(end, &incoming);
            self.install(end, &self.sa(out_spi, other, Direction::Outbound));
            self.set(end, &self.policy(own, PolicyDirection::In, None));
            self.set(end, &self.policy(other, PolicyDirection::Out, Some(out_spi)));
        }
    }

    /// Removes all that [`set_up`](Self::set_up) made, and sees that nothing is left.
    pub(crate) fn take_down(&self, ground: &mut Ground) {
        for (end, own) in [(&mut ground.left, 1), (&mut ground.right, 2)] {
            let policies = [(own, PolicyDirection::In), (3 - own, PolicyDirection::Out)];
            for (host, direction) in policies {
                let selector = self.selector(host);
                end.engine.remove_policy(direction, &selector).expect("removed");
            }
            for id in [self.id(THERE, 2), self.id(BACK, 1)] {
                end.engine.remove(id).expect("removed");
            }
            assert_eq!(end.engine.list(), Ok(Vec::new()));
            assert_eq!(end.ip("xfrm policy"), "");
        }
    }

    /// In software, as it must come out.
    pub(crate) fn install(&self, end: &mut End, sa: &SaSpec) {
        let software = Placement::KernelSoftware;
        let wanted = Effective { requested: software, effective: software, reason: None };
        end.with(|engine| {
            if sa.direction == Direction::Inbound {
                engine.reserve(sa.id, sa.source, sa.reqid).expect("a free SPI");
            }
            assert_eq!(engine.install(sa, software), Ok(wanted), "{self:?}");
        });
    }

    pub(crate) fn set(&self, end: &mut End, policy: &PolicySpec) {
        end.engine.set_policy(policy, Placement::KernelSoftware).expect("a policy");
    }

    /// Sends datagrams of these sizes to the right and back, and says how many came back.
    pub(crate) fn echo(&self, ground: &Ground, sizes: &[usize]) -> usize {
        let (here, there) = (self.end(1), self.end(2));
        let server = ground.right.inside(|| UdpSocket::bind((there, PORT)).expect("a socket"));
        let client = ground.left.inside(|| UdpSocket::bind((here, 0)).expect("a socket"));
        for socket in [&server, &client] {
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        }
        let to = SocketAddr::new(there, PORT);
        sizes.iter().filter(|size| echo_one(&client, &server, to, **size)).count()
    }

    /// Where the traffic begins and ends: the gateways themselves in transport mode.
    fn end(&self, host: u8) -> IpAddr {
        match self.mode {
            Mode::Tunnel => inner(self.inner, host),
            Mode::Transport => outer(self.outer, host),
        }
    }

    /// The echo's datagrams towards `host`. Neighbour discovery, which the outer addresses need,
    /// is none of them.
    fn selector(&self, host: u8) -> Selector {
        let ports = if host == 2 { (None, Some(PORT)) } else { (Some(PORT), None) };
        Selector {
            source: self.end(3 - host).into(),
            destination: self.end(host).into(),
            protocol: Some(17),
            source_port: ports.0,
            destination_port: ports.1,
        }
    }
}

/// Of the one pair that there is.
pub(crate) fn reqid() -> Reqid {
    Reqid(NonZeroU32::new(7).expect("not 0"))
}

/// False when the datagram, or its way back, is lost.
fn echo_one(client: &UdpSocket, server: &UdpSocket, to: SocketAddr, size: usize) -> bool {
    let sent = vec![0x5a; size];
    let mut buffer = [0; 2048];
    // A hard limit or a policy without its SA is an error of sending here.
    if client.send_to(&sent, to).is_err() {
        return false;
    }
    let Ok((length, from)) = server.recv_from(&mut buffer) else { return false };
    assert_eq!(buffer[..length], sent);
    if server.send_to(&buffer[..length], from).is_err() {
        return false;
    }
    let Ok(length) = client.recv(&mut buffer) else { return false };
    assert_eq!(buffer[..length], sent);
    true
}

const PORT: u16 = 7000;
/// Long for a namespace, short for a test of what is lost.
const PATIENCE: Duration = Duration::from_millis(700);
