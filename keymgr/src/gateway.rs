//! The gateway that is asked, and how to show what it says.

use std::{env, path::PathBuf, time::Duration};

use admin_client::{Client, ClientError, Place, TlsFiles};
use gateway_control::{EventList, Operation};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Serialize, de::DeserializeOwned};

use crate::{Failure, cli};

/// A client, and whether programs read what is printed.
pub(crate) struct Gateway {
    client: Client,
    json: bool,
}

impl Gateway {
    pub(crate) fn new(options: &cli::Gateway) -> Result<Self, Failure> {
        let place = match &options.admin {
            Some(place) => place.parse().map_err(|error| failure(&ClientError::Url(error)))?,
            None => Place::Unix(local_socket()),
        };
        let files = match (&options.certificate, &options.key, &options.ca) {
            (Some(certificate), Some(key), Some(ca)) => Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                authority: ca.clone(),
            }),
            (None, None, None) => None,
            _ => {
                return Err(Failure::usage("--certificate, --key and --ca go together"));
            }
        };
        if matches!(place, Place::Tls(_)) && files.is_none() {
            return Err(Failure::usage("https needs --certificate, --key and --ca"));
        }
        let client = Client::at(&place, files.as_ref()).map_err(|error| failure(&error))?;
        Ok(Self { client: client.with_patience(PATIENCE), json: options.json })
    }

    /// Whether programs read what is printed.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.client.get(path).await.map_err(|error| failure(&error))
    }

    /// Asks a question that changes nothing, or does something once: a connection that breaks is
    /// made again, and the gateway knows the request by its key.
    pub(crate) async fn post<T, B>(&self, path: &str, body: &B) -> Result<T, Failure>
    where
        T: DeserializeOwned,
        B: Serialize + Sync,
    {
        let mut key = [0; 16];
        let random = SystemRandom::new().fill(&mut key);
        random.map_err(|_| Failure::other("the kernel gives no random numbers"))?;
        let key: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
        self.client.post_once(path, body, &key).await.map_err(|error| failure(&error))
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.client.delete(path).await.map_err(|error| failure(&error))
    }

    /// Waits for something to tell of an operation.
    pub(crate) async fn operation(&self, id: &str, after: u64) -> Result<Operation, Failure> {
        self.client.operation(id, after, LONG_POLL).await.map_err(|error| failure(&error))
    }

    /// Waits for events.
    pub(crate) async fn events(&self, after: u64, wait: Duration) -> Result<EventList, Failure> {
        self.client.events(after, wait.min(LONG_POLL)).await.map_err(|error| failure(&error))
    }
}

/// Where a gateway listens unless told otherwise: the first that there is.
fn local_socket() -> PathBuf {
    let runtime = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let folders = [Some(PathBuf::from("/run/postern")), runtime];
    let mut sockets = folders.into_iter().flatten().map(|folder| folder.join("gateway.sock"));
    sockets.find(|socket| socket.exists()).unwrap_or_else(|| "/run/postern/gateway.sock".into())
}

fn failure(error: &ClientError) -> Failure {
    let message = error.to_string();
    match error {
        ClientError::Url(_) | ClientError::Files(_) => Failure::usage(message),
        ClientError::Refused(_) => Failure::refused(message),
        ClientError::Connect { .. } | ClientError::Stranger { .. } => Failure::unreachable(message),
        _ => Failure::other(message),
    }
}

/// A gateway may have to ask its agent and a peer.
const PATIENCE: Duration = Duration::from_secs(30);
/// The gateway's own limit is 60 s.
const LONG_POLL: Duration = Duration::from_secs(50);
