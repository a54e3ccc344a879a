//! `gateway check` and `gateway probe` of DTLS and ICE: what would be shown of us, tried here.

use std::time::{Duration, SystemTime};

use ng::sdp::HashFunction;
use webrtc::identity::Identity;

use super::certificates::{CertificateError, Shown};
use super::plan::CertificateSerial;
use crate::config::{IceMode, WebRtc as Config};

/// What would run. Reads the certificate and its key, and has a token sign.
pub(crate) fn check(config: &Config) -> Result<String, CertificateError> {
    if !config.enabled {
        return Ok("DTLS and ICE: webrtc.enabled is false: neither is offered nor taken".to_owned());
    }
    let shown = Shown::load(config, CertificateSerial::default())?;
    let ice = match config.ice {
        IceMode::Full => "full",
        IceMode::Lite => "lite",
    };
    let of = match &config.certificate {
        Some(named) => {
            let sha256 = shown.fingerprint(HashFunction::Sha256);
            format!("{} and its key work, {sha256}", named.chain.display())
        }
        None => format!(
            "a certificate made at the start (ECDSA P-256), another one every {}",
            config.renew_after
        ),
    };
    let threads = config.threads;
    Ok(format!("DTLS and ICE ({ice}) on {threads} thread(s): {of}"))
}

/// Whether DTLS works here, and how that is known.
pub(crate) fn probe() -> (bool, String) {
    match Identity::generate(SystemTime::now(), Duration::from_secs(3600)) {
        Ok(_) => {
            (true, "AWS-LC's libssl took a certificate (ECDSA P-256) that was made".to_owned())
        }
        Err(error) => (false, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::WebRtcCertificate;

    #[test]
    fn what_would_be_shown_is_tried_and_told() {
        let told = check(&Config::default()).unwrap();
        assert!(told.contains("ICE (full) on 1 thread") && told.contains("every 30d"), "{told}");
        let off = Config { enabled: false, ..Config::default() };
        assert!(check(&off).unwrap().contains("neither is offered"));
        assert!(probe().0);
    }

    #[test]
    fn a_certificate_that_is_not_there_names_its_file_and_setting() {
        let certificate = Some(WebRtcCertificate {
            chain: PathBuf::from("/nowhere/dtls.pem"),
            key: "/nowhere/dtls.key".to_owned(),
        });
        let error = check(&Config { certificate, ..Config::default() }).unwrap_err().to_string();
        let expected = "webrtc.certificate: cannot read /nowhere/dtls.pem";
        assert!(error.starts_with(expected), "{error}");
    }
}
