//! The SDP bodies we send and what we read from the relay's.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use ng::sdp::{CryptoAttribute, KeyPadding, MediaSection, Sdp};
use ring::rand::{SecureRandom, SystemRandom};
use srtp::{MasterKey, Profile, SessionParameters};
use zeroize::Zeroizing;

/// Where the relay listens for the answerer, and its key for the suite we want.
pub fn chosen(offered: &Bytes, profile: Profile) -> Result<(SocketAddr, CryptoAttribute)> {
    let (media, address) = audio(offered)?;
    let names: Vec<&str> = media.crypto.iter().map(|c| c.profile().name()).collect();
    let offered = format!("the relay offers {}", names.join(", "));
    let wanted = media.crypto.into_iter().find(|c| c.profile() == profile);
    let wanted = wanted.with_context(|| format!("no {profile} in its SDP: {offered}"))?;
    Ok((address, wanted))
}

/// A fresh key under the tag of the offered one it answers.
pub fn fresh_key(random: &SystemRandom, profile: Profile, tag: u32) -> Result<CryptoAttribute> {
    let mut bytes = Zeroizing::new([0; 64]);
    let bytes = &mut bytes[..profile.key_len() + profile.salt_len()];
    if random.fill(bytes).is_err() {
        bail!("the system's random source failed");
    }
    let key = MasterKey::from_concatenated(profile, bytes);
    let key = key.context("a key of the profile's own length")?;
    Ok(CryptoAttribute {
        tag,
        key: key.into(),
        further: Vec::new(),
        session: SessionParameters::default(),
        parameters: Vec::new(),
    })
}

/// The first media section and the address it receives at.
pub fn audio(body: &Bytes) -> Result<(MediaSection, SocketAddr)> {
    let sdp = Sdp::parse(body).context("the relay's SDP")?;
    let media = sdp.media.into_iter().next().context("the relay's SDP has no media section")?;
    match media.connection {
        Some(address) if media.port != 0 => {
            let address = SocketAddr::new(address, media.port);
            Ok((media, address))
        }
        _ => bail!("the relay rejected the media (port {})", media.port),
    }
}

/// A body with one plain G.711 stream received at `address`.
pub fn plain_sdp(address: SocketAddr) -> Bytes {
    sdp(address, "RTP/AVP", &[])
}

/// The same under SRTP with `key`.
pub fn secure_sdp(address: SocketAddr, key: &CryptoAttribute) -> Bytes {
    let mut line = BytesMut::new();
    key.print(KeyPadding::Omit, &mut line);
    line.extend_from_slice(b"\r\n");
    sdp(address, "RTP/SAVP", &line)
}

fn sdp(address: SocketAddr, protocol: &str, crypto: &[u8]) -> Bytes {
    let (ip, port) = (address.ip(), address.port());
    let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
    let mut body = format!(
        "v=0\r\no=loadgen 1 1 IN {family} {ip}\r\ns=loadgen\r\nc=IN {family} {ip}\r\nt=0 0\r\n\
         m=audio {port} {protocol} 0\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\na=sendrecv\r\n"
    )
    .into_bytes();
    body.extend_from_slice(crypto);
    body.into()
}
