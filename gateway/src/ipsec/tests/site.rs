//! A gateway's IPsec with its listener and its agent.

use std::net::SocketAddr;
use std::time::Duration;

use admin_client::Client;
use crypto_offload::{Epoch, PairName, SaPair};
use gateway_control::{
    Operation, OperationStarted, OperationState, PairSelection, PairStatus, RotationRequest, path,
};
use tokio::task::JoinHandle;

use crate::admin::remote::tests::{Authority, Validity, observer};
use crate::admin::remote::{self, Remote};
use crate::config::ipsec::{AgentSocket, Rotate};
use crate::config::{AdminTls, Config};
use crate::events::Events;
use crate::ipsec::Ipsec;
use crate::ipsec::agent::model::{Model, Run};
use crate::observer::Observer;

pub(super) struct Site {
    pub(super) model: Model,
    pub(super) run: Option<Run>,
    pub(super) ipsec: Ipsec,
    pub(super) events: Events,
    /// As an operator.
    pub(super) client: Client,
    pub(super) config: Config,
    listening: JoinHandle<()>,
    _authority: std::sync::Arc<Authority>,
}

/// A listener that is bound, so that the other site can be told where.
struct Bound {
    config: Config,
    remote: Remote,
    model: Model,
    run: Run,
    address: SocketAddr,
}

/// Two sites, each the other's peer: `gw-a.example` has the lower id.
pub(super) async fn pair_of_sites(name: &str) -> (Site, Site) {
    let authority = std::sync::Arc::new(Authority::new());
    let a = bind(&authority, name, "gw-a.example", "b", "gw-b.example").await;
    let b = bind(&authority, name, "gw-b.example", "a", "gw-a.example").await;
    let (at_a, at_b) = (a.address, b.address);
    (start(&authority, a, at_b), start(&authority, b, at_a))
}

async fn bind(authority: &Authority, name: &str, own: &str, peer: &str, identity: &str) -> Bound {
    let files = authority.files(&[own, "127.0.0.1"], Validity::Now);
    let model = Model::new(&format!("{name}-{peer}"));
    let mut config = Config::default();
    config.admin.tls = Some(AdminTls {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        certificate: files.certificate,
        key: files.key,
        client_ca: files.authority,
        operators: vec!["ops.example".to_owned()],
    });
    let peers = format!(
        "[[ipsec.peer]]\nname = \"{peer}\"\nidentity = \"{identity}\"\n\
         admin = \"https://127.0.0.1:1\"\n\
         [[ipsec.peer]]\nname = \"c\"\nidentity = \"gw-c.example\"\n\
         admin = \"https://127.0.0.1:1\"\n"
    );
    config.ipsec.peer = toml::from_str::<Config>(&peers).unwrap().ipsec.peer;
    config.ipsec.agent = AgentSocket::Path(model.path().to_owned());
    config.ipsec.rotate = Rotate::Off;
    let (remote, _renewal) = remote::bind(&config).await.unwrap().unwrap();
    let address = remote.address;
    let run = model.run();
    Bound { config, remote, model, run, address }
}

fn start(authority: &std::sync::Arc<Authority>, bound: Bound, peer: SocketAddr) -> Site {
    let Bound { mut config, remote, model, run, address } = bound;
    config.ipsec.peer[0].admin = format!("https://{peer}").parse().unwrap();
    let events = Events::new();
    let ipsec = Ipsec::start(&config, &events).unwrap();
    let observer = Observer { ipsec: ipsec.clone(), ..observer(&events) };
    let listening = tokio::spawn(async move {
        crate::admin::serve_remote(remote, observer).await.unwrap();
    });
    let operator = authority.files(&["ops.example"], Validity::Now);
    let url = format!("https://{address}").parse().unwrap();
    let client = Client::mtls(&url, &operator).unwrap();
    let _authority = std::sync::Arc::clone(authority);
    Site { model, run: Some(run), ipsec, events, client, config, listening, _authority }
}

impl Site {
    /// Nobody answers at its listener any more.
    pub(super) fn unplug(&self) {
        self.listening.abort();
    }

    pub(super) async fn define(&self, pair: SaPair) {
        self.ipsec.agent().define(pair).await.unwrap();
    }

    pub(super) async fn rotate(&self, name: &str) -> Operation {
        let pairs = PairSelection::Name(PairName::new(name).unwrap());
        self.rotate_all(pairs).await
    }

    pub(super) async fn rotate_all(&self, pairs: PairSelection) -> Operation {
        let started = self.begin(pairs).await;
        self.end_of(&started).await
    }

    pub(super) async fn begin(&self, pairs: PairSelection) -> OperationStarted {
        let request =
            RotationRequest { pairs, dry_run: false, requested_by: Some("ann".to_owned()) };
        self.client.post(path::ROTATIONS, &request).await.unwrap()
    }

    pub(super) async fn end_of(&self, started: &OperationStarted) -> Operation {
        let mut revision = 0;
        loop {
            let wait = Duration::from_secs(30);
            let operation = self.client.operation(&started.operation, revision, wait).await;
            let operation = operation.unwrap();
            if operation.state != OperationState::Running {
                return operation;
            }
            assert!(operation.revision > revision, "nothing happens: {operation:?}");
            revision = operation.revision;
        }
    }

    pub(super) fn status(&self, name: &str) -> PairStatus {
        self.model.with(|state| state.pairs[&PairName::new(name).unwrap()].status())
    }

    /// Requests to the agent that changed something.
    pub(super) fn changes(&self) -> Vec<String> {
        let reads = ["hello", "show", "list", "plan", "statistics", "capabilities", "foreign"];
        let changes = |asked: &&String| !reads.contains(&asked.split(' ').next().unwrap());
        self.model.with(|state| state.asked.iter().filter(changes).cloned().collect())
    }

    /// Waits for something that comes by itself.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        // A machine that is busy with other tests takes its time.
        let began = std::time::Instant::now();
        while began.elapsed() < Duration::from_secs(60) {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("not {what}: {:?}", self.changes());
    }
}

/// The same pair at both sites, quick to rotate.
pub(super) fn ends(name: &str, octet: u8) -> (SaPair, SaPair) {
    let end = |peer: &str, local: u8, remote: u8| -> SaPair {
        let json = serde_json::json!({
            "name": name, "peer": peer, "group": "trunks",
            "local": format!("192.0.2.{local}"), "remote": format!("192.0.2.{remote}"),
            "local_net": format!("10.{octet}.{local}.0/24"),
            "remote_net": format!("10.{octet}.{remote}.0/24"),
            "rotation": { "overlap_ms": 50, "observe_ms": 40, "step_ms": 1500 },
        });
        serde_json::from_value(json).unwrap()
    };
    (end("b", 1, 2), end("a", 2, 1))
}

/// Both sites use this epoch and nothing else, and each opens what the other seals.
pub(super) fn assert_settled(a: &Site, b: &Site, name: &str, epoch: u64) {
    let (at_a, at_b) = (a.status(name), b.status(name));
    for status in [&at_a, &at_b] {
        assert_eq!(status.active, Some(Epoch(epoch)), "{status:?}");
        assert_eq!(status.epochs.len(), 1, "{status:?}");
    }
    let key = |sa: &Option<gateway_control::SaStatus>| sa.as_ref().map(|sa| sa.key.clone());
    assert_eq!(key(&at_a.epochs[0].inbound), key(&at_b.epochs[0].outbound));
    assert_eq!(key(&at_b.epochs[0].inbound), key(&at_a.epochs[0].outbound));
    assert!(key(&at_a.epochs[0].inbound).is_some());
}

/// Two sites with a pair that has its first keys.
pub(super) async fn keyed(name: &str) -> (Site, Site) {
    let (a, b) = pair_of_sites(name).await;
    let (at_a, at_b) = ends("trunk-1", 1);
    a.define(at_a).await;
    b.define(at_b).await;
    let first = a.rotate("trunk-1").await;
    assert_eq!(first.state, OperationState::Done, "{first:?}");
    b.until("settled", |b| b.status("trunk-1").epochs.len() == 1).await;
    (a, b)
}
