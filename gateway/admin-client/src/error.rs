//! What goes wrong when asking, with who was asked and where.

use std::error::Error;
use std::io;
use std::time::Duration;

use gateway_control::{API_VERSION, ApiError};

use crate::place::BadUrl;
use key_files::FileError;

/// Why there is no answer, or not the one asked for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// What we were given to connect with is of no use.
    #[error(transparent)]
    Url(#[from] BadUrl),
    /// As [`ClientError::Url`], the files.
    #[error(transparent)]
    Files(#[from] FileError),
    /// Nobody is there, or we are not let in. Nothing was asked.
    #[error("cannot reach the gateway's admin API at {place}: {source}{}", connect_hint(source))]
    Connect {
        /// Where.
        place: String,
        /// Why.
        source: io::Error,
    },
    /// It is somebody else. Nothing was asked.
    #[error(
        "{place} is {}, not \"{expected}\"; mend `identity` or `admin` of that peer",
        found.as_deref().map_or_else(|| "nobody".to_owned(), |name| format!("\"{name}\""))
    )]
    Stranger {
        /// Where.
        place: String,
        /// Whom its certificate names.
        found: Option<String>,
        /// Whom we wanted.
        expected: String,
    },
    /// No answer in time. It may have been done.
    #[error("the gateway at {place} did not answer within {} s", after.as_secs_f64())]
    Timeout {
        /// Where.
        place: String,
        /// How long we waited.
        after: Duration,
    },
    /// The connection ended before the answer. It may have been done.
    #[error(
        "the connection to the gateway at {place} broke: {}{}",
        chain(source.as_ref()), alert_hint(source.as_ref())
    )]
    Broken {
        /// Where.
        place: String,
        /// Why.
        source: Box<dyn Error + Send + Sync + 'static>,
    },
    /// It speaks another version of the API, or is not a gateway.
    #[error(
        "{place} speaks {} of the admin API, this program version {API_VERSION}: use programs of \
         one release",
        theirs.as_deref().map_or_else(|| "no version".to_owned(), |v| format!("version {v}"))
    )]
    Version {
        /// Where.
        place: String,
        /// What it said.
        theirs: Option<String>,
    },
    /// The gateway says no.
    #[error("{}: {}; {}", .0.place, .0.message, .0.hint)]
    Refused(ApiError),
    /// The answer is not what this version of the API says.
    #[error("cannot read the answer of {place} to {path}: {reason}")]
    Unreadable {
        /// Where.
        place: String,
        /// What was asked for.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same request may succeed later: nobody answered, or the gateway was busy.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Timeout { .. } | Self::Broken { .. } => true,
            Self::Refused(error) => error.code == gateway_control::ErrorCode::Unavailable,
            _ => false,
        }
    }
}

fn connect_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => "; is the gateway running? name its socket with --admin",
        io::ErrorKind::ConnectionRefused => {
            "; is the gateway running and is this its admin.listen?"
        }
        io::ErrorKind::PermissionDenied => "; run as the gateway's user",
        io::ErrorKind::TimedOut => "; is it up, and does a firewall let us through?",
        _ => tls_hint(error).unwrap_or(""),
    }
}

/// In TLS 1.3 a server refuses a client's certificate after the client has finished, so it is the
/// first request that fails (RFC 8446, 4.4.2.4 and appendix E.1.2).
fn alert_hint(error: &(dyn Error + 'static)) -> &'static str {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(hint) = error.downcast_ref::<io::Error>().and_then(tls_hint) {
            return hint;
        }
        cause = error.source();
    }
    ""
}

fn tls_hint(error: &io::Error) -> Option<&'static str> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::InvalidCertificate(_) => {
            Some("; its certificate is not for this address, or not of our --ca (client_ca)")
        }
        rustls::Error::AlertReceived(_) => {
            Some("; it refuses our certificate: is it valid, and of an authority in its client_ca?")
        }
        _ => None,
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
