//! What somebody on the wire sees, and what he can do.

use std::{io::Read, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    engine::Engine,
    ground::{ip_says, name, wait_until},
    hosts::{Hosts, Side},
};

/// Sees every frame of the left host. What the kernel or a tunnel device hands up in clear passes
/// such a socket too: only frames that the wire's own address sends have been on the wire.
pub(crate) struct Tap {
    socket: Socket,
    sender: Vec<u8>,
}

impl Tap {
    pub(crate) fn new(hosts: &Hosts) -> Result<Self> {
        let link = ip_says(hosts, Side::Left, "-o link show wire")?;
        let address = link.split("link/ether ").nth(1).context("no address")?;
        let address = address.split(' ').next().context("no address")?;
        let octets = address.split(':').map(|octet| u8::from_str_radix(octet, 16));
        let sender = octets.collect::<Result<Vec<_>, _>>()?;
        let opened = hosts.spawn(Side::Left, || {
            let every = Protocol::from(i32::from(ETH_P_ALL.to_be()));
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(every))?;
            socket.set_recv_buffer_size(8 << 20)?;
            socket.set_read_timeout(Some(Duration::from_millis(300)))?;
            Ok(socket)
        })?;
        let socket = opened.join().map_err(|_| anyhow::anyhow!("panic"))??;
        Ok(Self { socket, sender })
    }

    /// IP packets that the left has put on the wire, until no more come.
    pub(crate) fn packets(&mut self) -> Vec<Vec<u8>> {
        let (mut packets, mut buffer) = (Vec::new(), vec![0; 65_536]);
        while let Ok(len) = self.socket.read(&mut buffer) {
            let frame = &buffer[..len];
            let is_ip = matches!(frame.get(12..14), Some([0x08, 0x00] | [0x86, 0xdd]));
            if is_ip && frame[6..12] == self.sender[..] {
                packets.push(frame[14..].to_vec());
            }
        }
        packets
    }
}

pub(crate) fn replays_and_forgeries_are_dropped_and_counted(engine: Engine) -> Result<()> {
    let (world, line) = engine.world_with_pair(&engine.terms_that_encrypt())?;
    line.echo(&[20])?;
    let mut tap = Tap::new(&world.hosts)?;
    line.echo(&[100])?;
    let packets = tap.packets();
    let packet = packets.iter().find(|packet| packet[9] == 50).context("no ESP was seen")?;
    let replayed = packet[20..].to_vec();
    // The next number, which the ICV does not cover: only its maker can do that (RFC 4303 2.8).
    let mut forged = replayed.clone();
    forged[7] += 1;
    inject(&world.hosts, vec![replayed, forged])?;
    let usage = || -> Result<_> {
        let status = world.right().show(&name(0)?)?;
        Ok(status.epochs[0].inbound.clone().context("inbound")?.usage)
    };
    wait_until("both to be counted", || {
        let usage = usage()?;
        Ok((usage.replayed, usage.forged) == (1, 1))
    })
    .with_context(|| format!("{:?}", usage()))?;
    ensure!(usage()?.packets == 2, "one was taken: {:?}", usage()?);
    line.demand_nothing_came()?;
    line.echo(&[100]).map(drop)
}

/// Sends ESP packets from the left to the right as its peer would.
fn inject(hosts: &Hosts, packets: Vec<Vec<u8>>) -> Result<()> {
    let sent = hosts.spawn(Side::Left, move || {
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(50)))?;
        let to: SocketAddr = format!("{}:0", Side::Right.outer()).parse()?;
        for packet in packets {
            socket.send_to(&packet, &to.into())?;
        }
        Ok(())
    })?;
    sent.join().map_err(|_| anyhow::anyhow!("panic"))?
}

/// linux/if_ether.h
const ETH_P_ALL: u16 = 3;
