//! `[webrtc]`: DTLS-SRTP and ICE towards browsers and their like.
//!
//! What a file may say, and what of it cannot work. No key is ever in the file: `certificate` names
//! a file or a token, and whether that is any good is for `gateway check` and the start.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::SettingError;
use super::{Share, Span, text};

/// `[webrtc]`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WebRtc {
    /// Whether there are agents for DTLS and ICE at all.
    pub enabled: bool,
    /// Threads that the agents run on, beside the workers.
    pub threads: usize,
    /// How long a generated certificate is shown to new legs.
    #[serde(with = "text")]
    pub renew_after: Span,
    /// What we are towards a party that uses ICE, unless signalling says `ICE-lite`.
    pub ice: IceMode,
    /// Whether fingerprints under SHA-1 count.
    pub accept_sha1: bool,
    /// Most bytes of DTLS in a datagram.
    pub mtu: usize,
    /// Most handshakes at a time, on all threads together.
    pub max_handshakes: usize,
    /// The share of the agents' threads that handshakes may take.
    pub handshake_cpu: Share,
    /// How long a handshake may take as a whole.
    #[serde(with = "text")]
    pub handshake_timeout: Span,
    /// What the gateway shows of itself; left out: a self-signed one of its own (ECDSA P-256).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<WebRtcCertificate>,
}

/// `[webrtc].certificate`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebRtcCertificate {
    /// The certificate, and what leads to its authority: a PEM file.
    pub chain: PathBuf,
    /// Its key: a PEM file, a name given by `LoadCredential=`, or a `pkcs11:` URI.
    pub key: String,
}

/// What an ICE agent does (RFC 8445 section 2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IceMode {
    /// Checks, and answers checks.
    Full,
    /// Only answers them: for a gateway with a public address.
    Lite,
}

impl Default for WebRtc {
    fn default() -> Self {
        Self {
            enabled: true,
            threads: 1,
            renew_after: Span::seconds(30 * 86_400),
            ice: IceMode::Full,
            accept_sha1: false,
            mtu: 1200,
            max_handshakes: 256,
            handshake_cpu: Share::thousandths(800),
            handshake_timeout: Span::seconds(30),
            certificate: None,
        }
    }
}

impl WebRtcCertificate {
    /// Every key, for what a file may contain.
    pub(super) fn example() -> Self {
        Self { chain: PathBuf::from("dtls.pem"), key: "dtls.key".to_owned() }
    }
}

impl WebRtc {
    /// Refuses what cannot work.
    pub(super) fn check(&self) -> Result<(), SettingError> {
        within("webrtc.threads", self.threads, 1..=64, "1 to 64")?;
        within("webrtc.mtu", self.mtu, MTUS, "576 to 1452 bytes, what a packet has room for")?;
        within("webrtc.max_handshakes", self.max_handshakes, 1..=65_536, "1 to 65536")?;
        if self.handshake_cpu < LEAST_CPU {
            let reason = "no handshake would ever end: write 0.01 to 1.0";
            return refuse("webrtc.handshake_cpu", self.handshake_cpu, reason);
        }
        if !HANDSHAKE_TIMEOUTS.contains(&self.handshake_timeout.0) {
            let reason = "write \"2s\" to \"5m\": a lost message is sent again after a second \
                          (RFC 6347 section 4.2.4.1)";
            return refuse("webrtc.handshake_timeout", self.handshake_timeout, reason);
        }
        if !RENEWALS.contains(&self.renew_after.0) {
            let reason = "write \"1h\" to \"365d\"";
            return refuse("webrtc.renew_after", self.renew_after, reason);
        }
        match &self.certificate {
            Some(certificate) => certificate.check(),
            None => Ok(()),
        }
    }
}

impl WebRtcCertificate {
    fn check(&self) -> Result<(), SettingError> {
        let setting = "webrtc.certificate";
        if self.chain.as_os_str().is_empty() || self.key.is_empty() {
            let value = format!("{{ chain = {:?}, key = … }}", self.chain);
            return refuse(setting, value, "needs both chain and key; neither may be empty");
        }
        if self.key.contains("-----BEGIN") {
            // In the file it would be printed by --print-config and read by whoever reads the file.
            return refuse(
                setting,
                "{ key = [redacted] }",
                "the key itself: name its file instead",
            );
        }
        Ok(())
    }
}

fn within(
    setting: &'static str,
    value: usize,
    range: RangeInclusive<usize>,
    allowed: &'static str,
) -> Result<(), SettingError> {
    match range.contains(&value) {
        true => Ok(()),
        false => refuse(setting, value, format!("write {allowed}")),
    }
}

fn refuse(
    setting: &'static str,
    value: impl Display,
    reason: impl Into<String>,
) -> Result<(), SettingError> {
    Err(SettingError { setting, value: value.to_string(), reason: reason.into().into() })
}

/// Below, no certificate's messages would fit their fragments' headers well; above, a packet over
/// IPv6 and Ethernet would be fragmented.
const MTUS: RangeInclusive<usize> = 576..=1452;

const LEAST_CPU: Share = Share::thousandths(10);
const HANDSHAKE_TIMEOUTS: RangeInclusive<Duration> =
    Duration::from_secs(2)..=Duration::from_secs(300);
const RENEWALS: RangeInclusive<Duration> =
    Duration::from_secs(3600)..=Duration::from_secs(365 * 86_400);

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut WebRtc)) -> String {
        let mut webrtc = WebRtc::default();
        change(&mut webrtc);
        webrtc.check().unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_can_work() {
        assert_eq!(WebRtc::default().check(), Ok(()));
    }

    #[test]
    fn what_cannot_work_names_its_setting_and_what_would() {
        let error = refused(|webrtc| webrtc.threads = 0);
        assert_eq!(error, "webrtc.threads = 0: write 1 to 64");
        let error = refused(|webrtc| webrtc.mtu = 1500);
        assert!(error.starts_with("webrtc.mtu = 1500: write 576 to 1452"), "{error}");
        let error = refused(|webrtc| webrtc.max_handshakes = 0);
        assert!(error.starts_with("webrtc.max_handshakes = 0: "), "{error}");
        let error = refused(|webrtc| webrtc.handshake_cpu = Share::thousandths(0));
        assert!(error.starts_with("webrtc.handshake_cpu = 0: "), "{error}");
        let error = refused(|webrtc| webrtc.handshake_timeout = Span::seconds(1));
        assert!(error.starts_with("webrtc.handshake_timeout = 1s: "), "{error}");
        let error = refused(|webrtc| webrtc.renew_after = Span::seconds(60));
        assert!(error.starts_with("webrtc.renew_after = 1m: "), "{error}");
    }

    #[test]
    fn a_key_in_the_file_is_refused_and_not_repeated() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIG".to_owned();
        let error = refused(|webrtc| {
            webrtc.certificate = Some(WebRtcCertificate { key, ..WebRtcCertificate::example() });
        });
        assert!(error.contains("name its file") && !error.contains("MIG"), "{error}");
        let error = refused(|webrtc| {
            let certificate =
                WebRtcCertificate { key: String::new(), ..WebRtcCertificate::example() };
            webrtc.certificate = Some(certificate);
        });
        assert!(error.contains("needs both"), "{error}");
    }
}
