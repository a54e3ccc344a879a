//! dimpl as the peer, in memory and in virtual time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::{Config, Dtls, DtlsCertificate};
use ng::sdp::HashFunction;
use srtp::Profile;
use webrtc::dtls::{Association, DtlsSettings, Output, Role, SrtpKeys};

use crate::PeerIs;
use crate::certificate::{Certificate, Kind};

/// Which of its constructors.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Version {
    Dtls12,
    /// Offers 1.3 and takes 1.2.
    Auto,
}

/// dimpl has no RSA itself, so `ours` is what differs. Both sides' keys, or why there are none.
pub(crate) fn call(
    ours: &Certificate,
    peer: PeerIs,
    version: Version,
    profile: Profile,
) -> Result<(SrtpKeys, Vec<u8>), String> {
    let theirs = Certificate::new(Kind::Ecdsa);
    let mut now = Instant::now();
    let certificate = DtlsCertificate {
        certificate: theirs.certificate.der().to_vec(),
        private_key: theirs.key.serialize_der(),
    };
    let config = Arc::new(Config::default());
    let mut dimpl = match version {
        Version::Dtls12 => Dtls::new_12(config, certificate, now),
        Version::Auto => Dtls::new_auto(config, certificate, now),
    };
    dimpl.set_active(peer == PeerIs::Client);
    let role = match peer {
        PeerIs::Client => Role::Server,
        PeerIs::Server => Role::Client,
    };
    let (identity, settings) = (ours.identity(), DtlsSettings::default());
    let fingerprints = [theirs.identity().fingerprint(HashFunction::Sha256)];
    let mut us =
        Association::new(&identity, &settings, role, &fingerprints, &[profile], now).unwrap();
    us.address_proven();
    let (mut keys, mut exported) = (None, None);
    let end = now + Duration::from_secs(30);
    while now < end {
        dimpl.handle_timeout(now).map_err(|error| error.to_string())?;
        for datagram in poll_dimpl(&mut dimpl, &mut exported) {
            us.receive(&datagram, now);
        }
        us.handle_timeout(now);
        for datagram in poll_us(&mut us, &mut keys)? {
            dimpl.handle_packet(&datagram).map_err(|error| error.to_string())?;
        }
        if let (Some(_), Some(exported)) = (&keys, &exported) {
            let exported: &Vec<u8> = exported;
            return Ok((keys.take().unwrap(), exported.clone()));
        }
        now += Duration::from_millis(20);
    }
    Err("no end".to_owned())
}

fn poll_dimpl(dimpl: &mut Dtls, exported: &mut Option<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut datagrams = Vec::new();
    let mut room = [0; 4096];
    loop {
        match dimpl.poll_output(&mut room) {
            dimpl::Output::Packet(datagram) => datagrams.push(datagram.to_vec()),
            dimpl::Output::KeyingMaterial(material, _) => *exported = Some(material.to_vec()),
            dimpl::Output::Timeout(_) => return datagrams,
            _ => {}
        }
    }
}

fn poll_us(us: &mut Association, keys: &mut Option<SrtpKeys>) -> Result<Vec<Vec<u8>>, String> {
    let mut datagrams = Vec::new();
    loop {
        match us.poll() {
            Output::Transmit(datagram) => datagrams.push(datagram.to_vec()),
            Output::Secured { keys: ours, .. } => *keys = Some(ours),
            Output::Failed(failure) => return Err(failure.to_string()),
            Output::Closed => return Err("closed".to_owned()),
            Output::Sign(request) => panic!("{request:?}: the key is here"),
            Output::Timeout(_) => return Ok(datagrams),
        }
    }
}
