//! SAs and policies between the two hosts, made as the agents would make them.

use crypto_offload::{
    Aead, Direction, IpsecEngine, KeyingMaterial, Lifetimes, Limits, Mode, Placement,
    PolicyDirection, PolicySpec, Reqid, SaId, SaSpec, SecretKey, Selector, SequenceNumbers, Spi,
    UdpEncapsulation,
};

use crate::host::{Host, join};

/// How the hosts' tunnels are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) aead: Aead,
    pub(crate) sequence_numbers: SequenceNumbers,
    pub(crate) outer: Family,
    pub(crate) encapsulation: Option<UdpEncapsulation>,
    pub(crate) hard: Limits,
    pub(crate) soft: Limits,
    pub(crate) resume_after: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    Ipv4,
    Ipv6,
}

/// Which way, seen from the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToRight,
    ToLeft,
}

pub(crate) const UDP: Option<UdpEncapsulation> =
    Some(UdpEncapsulation { source_port: 4500, destination_port: 4500 });

impl Default for Terms {
    fn default() -> Self {
        Self {
            aead: Aead::Aes128Gcm,
            sequence_numbers: SequenceNumbers::Extended,
            outer: Family::Ipv4,
            encapsulation: UDP,
            hard: Limits::default(),
            soft: Limits::default(),
            resume_after: 0,
        }
    }
}

impl Terms {
    fn addresses(&self, way: Way) -> [&'static str; 2] {
        let [left, right] = match self.outer {
            Family::Ipv4 => ["192.0.2.1", "192.0.2.2"],
            Family::Ipv6 => ["2001:db8::1", "2001:db8::2"],
        };
        if way == Way::ToRight { [left, right] } else { [right, left] }
    }

    /// The SA of `epoch` that goes `way`; its SPI says so.
    pub(crate) fn id(&self, way: Way, epoch: u32) -> SaId {
        let spi = 0xc000_0000 + 2 * epoch + u32::from(way == Way::ToLeft);
        let [_, destination] = self.addresses(way);
        SaId { destination: destination.parse().unwrap(), spi: Spi::new(spi).unwrap() }
    }

    pub(crate) fn sa(&self, way: Way, epoch: u32, direction: Direction, inner: Family) -> SaSpec {
        let id = self.id(way, epoch);
        let spi = id.spi.value().to_be_bytes();
        let key: Vec<u8> = (0..self.aead.key_len() + Aead::SALT_LEN)
            .map(|at| at as u8 ^ spi[3] ^ spi[2])
            .collect();
        SaSpec {
            id,
            source: self.addresses(way)[0].parse().unwrap(),
            direction,
            mode: Mode::Tunnel,
            keying: KeyingMaterial::new(self.aead, SecretKey::copy_from(&key)).unwrap(),
            sequence_numbers: self.sequence_numbers,
            replay_window: 256,
            lifetimes: Lifetimes { soft: self.soft, hard: self.hard },
            encapsulation: self.encapsulation,
            reqid: Reqid(1.try_into().unwrap()),
            selector: selector(way, inner),
            device: None,
            resume_after: self.resume_after,
        }
    }

    pub(crate) fn policy(&self, way: Way, epoch: Option<u32>, inner: Family) -> PolicySpec {
        let id = self.id(way, epoch.unwrap_or(0));
        PolicySpec {
            direction: PolicyDirection::Out,
            selector: selector(way, inner),
            mode: Mode::Tunnel,
            source: self.addresses(way)[0].parse().unwrap(),
            destination: id.destination,
            reqid: Reqid(1.try_into().unwrap()),
            spi: epoch.map(|_| id.spi),
            device: None,
        }
    }
}

/// The inner traffic: 10.1.0.1 and fd01::1 on the left, 10.2.0.1 and fd02::1 on the right.
pub(crate) fn selector(way: Way, inner: Family) -> Selector {
    let [left, right] = match inner {
        Family::Ipv4 => ["10.1.0.1/32", "10.2.0.1/32"],
        Family::Ipv6 => ["fd01::1/128", "fd02::1/128"],
    };
    let to_right = Selector {
        source: left.parse().unwrap(),
        destination: right.parse().unwrap(),
        protocol: None,
        source_port: None,
        destination_port: None,
    };
    if way == Way::ToRight { to_right } else { to_right.reversed() }
}

/// The inner addresses of both sides.
pub(crate) const fn inner_hosts(inner: Family) -> [&'static str; 2] {
    match inner {
        Family::Ipv4 => ["10.1.0.1", "10.2.0.1"],
        Family::Ipv6 => ["fd01::1", "fd02::1"],
    }
}

/// The two hosts joined, with a tunnel of epoch 1 for `inner`.
pub(crate) fn tunnel(test: &str, terms: Terms, inner: Family) -> Option<[Host; 2]> {
    let (left, right) = (Host::plain(test)?, Host::plain(test)?);
    join(&left, &right);
    establish(&left, &right, terms, inner);
    Some([left, right])
}

/// SAs of epoch 1 and the policies, both ways.
pub(crate) fn establish(left: &Host, right: &Host, terms: Terms, inner: Family) {
    install(left, right, terms, 1, inner);
    switch(left, Way::ToRight, terms, 1, inner);
    switch(right, Way::ToLeft, terms, 1, inner);
}

/// The SAs of `epoch`, inbound ones first.
pub(crate) fn install(left: &Host, right: &Host, terms: Terms, epoch: u32, inner: Family) {
    for direction in [Direction::Inbound, Direction::Outbound] {
        for way in [Way::ToRight, Way::ToLeft] {
            let is_left = (way == Way::ToLeft) == (direction == Direction::Inbound);
            let host = if is_left { left } else { right };
            host.run(move |engine| {
                let sa = terms.sa(way, epoch, direction, inner);
                engine.install(&sa, Placement::UserSpace).unwrap();
            });
        }
    }
}

/// Sends `host`'s traffic to the SA of `epoch`.
pub(crate) fn switch(host: &Host, way: Way, terms: Terms, epoch: u32, inner: Family) {
    host.run(move |engine| {
        engine.set_policy(&terms.policy(way, Some(epoch), inner), Placement::UserSpace).unwrap();
    });
}
