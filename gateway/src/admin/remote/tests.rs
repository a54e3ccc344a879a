use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use admin_client::{AdminUrl, Client, ClientError, TlsFiles};
use gateway_control::{ErrorCode, EventKind, EventList, path};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use tokio::io::AsyncReadExt as _;

use super::*;
use crate::observer::Observer;

/// An authority, and a directory for what it signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    directory: PathBuf,
}

#[derive(Clone, Copy)]
pub(crate) enum Validity {
    Now,
    Past,
}

impl Authority {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("postern-remote-{}-{turn}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        std::fs::write(directory.join("ca.pem"), certificate.pem()).unwrap();
        Self { issuer: Issuer::new(params, key), directory }
    }

    /// Files for `names`, which take this authority's word.
    pub(crate) fn files(&self, names: &[&str], validity: Validity) -> TlsFiles {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        if let Validity::Past = validity {
            params.not_before = date_time_ymd(2020, 1, 1);
            params.not_after = date_time_ymd(2020, 2, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let first = names.first().map_or("nobody", String::as_str);
        let file = |kind: &str| self.directory.join(format!("{first}.{kind}"));
        std::fs::write(file("pem"), certificate.pem()).unwrap();
        write_key(&file("key"), &key);
        TlsFiles {
            certificate: file("pem"),
            key: file("key"),
            authority: self.directory.join("ca.pem"),
        }
    }
}

fn write_key(path: &Path, key: &KeyPair) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::write(path, key.serialize_pem()).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A listener with an operator and a peer.
struct Gateway {
    authority: Authority,
    config: Config,
    url: AdminUrl,
    renewal: Renewal,
    events: Events,
}

impl Gateway {
    async fn start() -> Self {
        let authority = Authority::new();
        let files = authority.files(&["gw-a.example", "127.0.0.1"], Validity::Now);
        let mut config = Config::default();
        config.admin.tls = Some(AdminTls {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            certificate: files.certificate,
            key: files.key,
            client_ca: files.authority,
            operators: vec!["Ops.example".to_owned()],
        });
        let peer = "[[ipsec.peer]]\nname = \"b\"\nidentity = \"gw-b.example\"\n\
                    admin = \"https://192.0.2.2:9443\"\n";
        config.ipsec.peer = toml::from_str::<Config>(peer).unwrap().ipsec.peer;
        let (remote, renewal) = bind(&config).await.unwrap().unwrap();
        let url = format!("https://{}", remote.address).parse().unwrap();
        let events = Events::new();
        tokio::spawn(crate::admin::serve_remote(remote, observer(&events)));
        Self { authority, config, url, renewal, events }
    }

    fn client(&self, files: &TlsFiles) -> Client {
        Client::mtls(&self.url, files).unwrap()
    }

    async fn ask(&self, name: &str, path: &str) -> Result<EventList, ClientError> {
        self.client(&self.authority.files(&[name], Validity::Now)).get(path).await
    }

    fn refusals(&self) -> Vec<String> {
        let events = self.events.after(0).into_iter();
        let refusals = events.filter(|event| event.kind == EventKind::AdminRefused);
        refusals.map(|event| format!("{} {}", event.object, event.reason)).collect()
    }
}

pub(crate) fn observer(events: &Events) -> Observer {
    // Nobody answers for control: what needs it is `unavailable`, which no test here asks for.
    let (inquiries, _) = mpsc::channel(1);
    Observer {
        inquiries,
        workers: crate::workers::idle(1).0,
        events: events.clone(),
        started: Instant::now(),
        ng: SocketAddr::from(([127, 0, 0, 1], 2223)),
        http: None,
        patience: watch::channel(Duration::from_millis(10)).1,
        ipsec: crate::ipsec::Ipsec::none(),
        tls: crate::tls::Tls::none(),
        agents: crate::webrtc::Agents::none(),
    }
}

fn code(answer: Result<EventList, ClientError>) -> ErrorCode {
    match answer.unwrap_err() {
        ClientError::Refused(error) => error.code,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_operator_has_everything_a_peer_its_paths_and_a_stranger_nothing() {
    let gateway = Gateway::start().await;
    gateway.ask("ops.example", path::EVENTS).await.unwrap();
    assert_eq!(code(gateway.ask("ops.example", "/v1/nothing").await), ErrorCode::NotFound);
    assert_eq!(code(gateway.ask("gw-b.example", "/v1/peer/nothing").await), ErrorCode::NotFound);
    assert_eq!(gateway.refusals(), [""; 0]);
    for (name, path) in [
        ("gw-b.example", path::EVENTS),
        ("gw-b.example", path::STATUS),
        ("stranger.example", path::EVENTS),
        ("stranger.example", "/v1/peer/nothing"),
    ] {
        assert_eq!(code(gateway.ask(name, path).await), ErrorCode::Forbidden, "{name} {path}");
    }
    let refusals = gateway.refusals();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert!(refusals[0].starts_with("gw-b.example ") && refusals[0].contains(path::EVENTS));
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_of_the_past_is_refused_and_says_so() {
    let gateway = Gateway::start().await;
    let ours = &gateway.authority;
    let other = Authority::new();
    let mut foreign = other.files(&["ops.example"], Validity::Now);
    foreign.authority = ours.directory.join("ca.pem");
    let expired = ours.files(&["ops.example"], Validity::Past);
    for files in [foreign, expired] {
        let error = gateway.client(&files).get::<EventList>(path::EVENTS).await.unwrap_err();
        assert!(error.to_string().contains("refuses our certificate"), "{error}");
    }
    let refusals = gateway.refusals();
    assert!(refusals[0].contains("handshake: "), "{refusals:?}");
}

#[tokio::test]
async fn a_client_does_not_talk_to_a_gateway_of_another_authority_or_name() {
    let gateway = Gateway::start().await;
    let ours = gateway.authority.files(&["ops.example"], Validity::Now);
    let other = Authority::new();
    let distrusting = TlsFiles { authority: other.directory.join("ca.pem"), ..ours.clone() };
    let error = gateway.client(&distrusting).get::<EventList>(path::EVENTS).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");

    let peer = |identity| Client::peer(&gateway.url, identity, &ours).unwrap();
    peer("GW-A.example").get::<EventList>(path::EVENTS).await.unwrap();
    let error = peer("gw-c.example").get::<EventList>(path::EVENTS).await.unwrap_err();
    assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    let error = peer("spiffe://x/gw-a").get::<EventList>(path::EVENTS).await.unwrap_err();
    assert!(matches!(error, ClientError::Stranger { .. }), "{error}");
}

#[tokio::test]
async fn who_stalls_in_a_handshake_is_cut_off_and_stops_nobody_else() {
    let gateway = Gateway::start().await;
    let address = (gateway.url.host().to_owned(), gateway.url.port());
    let mut stalled = Vec::new();
    // One fewer than one address may have; the operator shares it here.
    for _ in 1..SEATS_OF_ONE {
        stalled.push(TcpStream::connect(address.clone()).await.unwrap());
    }
    gateway.ask("ops.example", path::EVENTS).await.unwrap();
    let begun = Instant::now();
    let mut byte = [0];
    let end = tokio::time::timeout(HANDSHAKE * 3, stalled[0].read(&mut byte)).await;
    assert!(matches!(end, Ok(Ok(0) | Err(_))), "{end:?}");
    assert!(begun.elapsed() > HANDSHAKE / 2);
}

#[test]
fn one_address_has_so_many_turns_and_gets_them_back() {
    let addresses = Addresses::default();
    let address = IpAddr::from([192, 0, 2, 1]);
    let mut turns: Vec<_> =
        (0..SEATS_OF_ONE).map(|_| Turn::take(&addresses, address).unwrap()).collect();
    assert!(Turn::take(&addresses, address).is_none());
    assert!(Turn::take(&addresses, "::ffff:192.0.2.1".parse().unwrap()).is_none());
    assert!(Turn::take(&addresses, IpAddr::from([192, 0, 2, 2])).is_some());
    turns.pop();
    assert!(Turn::take(&addresses, address).is_some());
    drop(turns);
    assert!(addresses.lock().unwrap().is_empty());
    assert_eq!(network("2001:db8::1:2:3:4".parse().unwrap()).to_string(), "2001:db8::");
}

#[tokio::test]
async fn new_certificates_and_names_are_taken_and_broken_ones_leave_the_old() {
    let mut gateway = Gateway::start().await;
    let other = Authority::new();
    let files = other.files(&["gw-a2.example", "127.0.0.1"], Validity::Now);
    let ours = gateway.config.admin.tls.clone().unwrap();

    // Struck off, while the new files are of no use: the name goes, the certificate stays.
    let broken = AdminTls { key: files.key.clone(), operators: Vec::new(), ..ours.clone() };
    gateway.config.admin.tls = Some(broken);
    let error = gateway.renewal.renew(&gateway.config).unwrap_err().to_string();
    assert!(error.contains("admin.tls") && error.contains("do not work together"), "{error}");
    assert_eq!(code(gateway.ask("ops.example", path::EVENTS).await), ErrorCode::Forbidden);

    gateway.config.admin.tls = Some(AdminTls {
        certificate: files.certificate,
        key: files.key,
        client_ca: files.authority,
        ..ours
    });
    gateway.renewal.renew(&gateway.config).unwrap();
    assert!(gateway.ask("ops.example", path::EVENTS).await.is_err());
    let operator = other.files(&["ops.example"], Validity::Now);
    gateway.client(&operator).get::<EventList>(path::EVENTS).await.unwrap();
}

#[tokio::test]
async fn a_thousand_requests_of_a_peer_share_few_handshakes() {
    let gateway = Gateway::start().await;
    let client = gateway.client(&gateway.authority.files(&["gw-b.example"], Validity::Now));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let client = client.clone();
        tasks.spawn(async move { code(client.get("/v1/peer/nothing").await) });
    }
    while let Some(done) = tasks.join_next().await {
        assert_eq!(done.unwrap(), ErrorCode::NotFound);
    }
    assert_eq!(gateway.refusals(), [""; 0]);
}
