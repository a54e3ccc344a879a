//! The wiring, over the real admin API and a real relay.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use admin_client::{Client, ClientError};
use gateway_control::{
    ApiError, ErrorCode, Event, EventKind, TlsKeyUpdateReport, TlsKeyUpdateRequest,
    TlsListenerState, TlsMode, TlsReloadReport, TlsReloadRequest, TlsReloadResult, TlsStatus,
    TlsTicketsReport, TlsTicketsRequest, path,
};
use tokio::net::UnixListener;

use super::*;
use crate::admin;
use crate::admin::remote::tests::{Authority, Validity, observer};
use crate::config::Config as File;
use crate::observer::Observer;

/// Listeners behind the admin API, with files of an authority of their own.
struct Site {
    authority: Authority,
    tls: Tls,
    events: Events,
    client: Client,
    socket: PathBuf,
}

impl Site {
    /// With this `[tls]`, made from the authority's certificate of `sip.example`.
    async fn start(text: impl Fn(&Files) -> String) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let authority = Authority::new();
        let config = config(&text(&Files::of(&authority)));
        let events = Events::new();
        let tls = Tls::start(&config, &events).unwrap();
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("postern-tls-{}-{turn}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let observer = Observer { tls: tls.clone(), ..observer(&events) };
        tokio::spawn(admin::serve(listener, observer));
        Self { authority, tls, events, client: Client::unix(&socket), socket }
    }

    async fn status(&self) -> TlsStatus {
        self.client.get(path::TLS).await.unwrap()
    }

    async fn reload(&self, request: &TlsReloadRequest) -> TlsReloadReport {
        self.client.post(path::TLS_RELOAD, request).await.unwrap()
    }

    /// Goes by another `[tls]`.
    async fn apply(&self, text: impl Fn(&Files) -> String) -> TlsReloadReport {
        self.tls.apply(&config(&text(&Files::of(&self.authority)))).await.unwrap()
    }

    /// The first event of this kind, once there is one: the relay tells them from its own threads.
    async fn event(&self, kind: EventKind) -> Event {
        let mut follower = self.events.follow();
        let known = self.events.after(0).into_iter().find(|event| event.kind == kind);
        if let Some(event) = known {
            return event;
        }
        loop {
            let next = tokio::time::timeout(std::time::Duration::from_secs(10), follower.recv());
            let event = next.await.expect("an event within ten seconds").unwrap();
            if event.kind == kind {
                return event;
            }
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        self.tls.stop();
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// A certificate and its key.
struct Files {
    chain: PathBuf,
    key: PathBuf,
}

impl Files {
    fn of(authority: &Authority) -> Self {
        let files = authority.files(&["sip.example"], Validity::Now);
        Self { chain: files.certificate, key: files.key }
    }

    /// A listener with it, on a port that is free.
    fn listener(&self, name: &str) -> String {
        listener(name, SocketAddr::from(([127, 0, 0, 1], 0)), &self.chain, &self.key)
    }
}

fn listener(name: &str, listen: SocketAddr, chain: &Path, key: &Path) -> String {
    let (chain, key) = (chain.display(), key.display());
    format!(
        "[[tls.listener]]\nname = \"{name}\"\nmode = \"terminate\"\nlisten = \"{listen}\"\n\
         upstream = [\"127.0.0.1:1\"]\ncertificate = [{{ chain = \"{chain}\", key = \"{key}\" }}]\n"
    )
}

fn config(text: &str) -> Config {
    toml::from_str::<File>(text).unwrap().tls
}

fn refused<T: std::fmt::Debug>(answer: Result<T, ClientError>) -> ApiError {
    match answer.unwrap_err() {
        ClientError::Refused(error) => error,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn without_listeners_there_is_no_thread_and_every_path_answers() {
    let site = Site::start(|_| String::new()).await;
    assert_eq!(site.status().await, TlsStatus::default());
    assert!(site.reload(&TlsReloadRequest::default()).await.listeners.is_empty());
    let tickets = TlsTicketsRequest::default();
    let tickets: TlsTicketsReport = site.client.post(path::TLS_TICKETS, &tickets).await.unwrap();
    assert!(tickets.listeners.is_empty());
    assert!(site.tls.figures().await.is_none());
    assert!(site.tls.problems().await.is_empty());
}

#[tokio::test]
async fn a_listener_is_shown_as_it_serves() {
    let site = Site::start(|files| files.listener("sip")).await;
    let status = site.status().await;
    let [listener] = status.listeners.as_slice() else { panic!("{status:?}") };
    assert_eq!((listener.name.as_str(), listener.mode), ("sip", TlsMode::Terminate));
    assert_eq!((listener.state, &listener.problem), (TlsListenerState::Serving, &None));
    assert_ne!(listener.listen.port(), 0, "where it really listens");
    assert!(status.threads > 0);
    TcpStream::connect(listener.listen).unwrap();
}

#[tokio::test]
async fn a_broken_listener_is_told_of_and_the_one_beside_it_serves() {
    let nowhere = Path::new("/nowhere/sip.pem");
    let site = Site::start(|files| {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let broken = listener("broken", listen, nowhere, &files.key);
        format!("{}{broken}", files.listener("sip"))
    })
    .await;
    let status = site.status().await;
    let states: Vec<_> = status.listeners.iter().map(|listener| listener.state).collect();
    assert_eq!(states, [TlsListenerState::Serving, TlsListenerState::Failed]);
    TcpStream::connect(status.listeners[0].listen).unwrap();
    let problems = site.tls.problems().await;
    assert_eq!(problems.len(), 1);
    assert!(problems[0].starts_with("TLS listener broken does not serve: "), "{problems:?}");
    assert!(problems[0].contains("/nowhere/sip.pem"), "{problems:?}");
    let event = site.event(EventKind::TlsReloadFailed).await;
    assert!(event.object.contains("broken") && event.reason.contains("sip.pem"), "{event:?}");
}

#[tokio::test]
async fn a_port_that_somebody_has_breaks_its_listener_alone() {
    let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = somebody.local_addr().unwrap();
    let site = Site::start(|files| {
        let second = listener("taken", taken, &files.chain, &files.key);
        format!("{}{second}", files.listener("sip"))
    })
    .await;
    let problems = site.tls.problems().await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].contains(&taken.to_string()), "{problems:?}");
    assert!(problems[0].contains("another port"), "a remedy: {problems:?}");
}

#[tokio::test]
async fn a_broken_certificate_is_refused_by_a_reload_and_the_old_one_stays() {
    let site = Site::start(|files| files.listener("sip")).await;
    let chain = Files::of(&site.authority).chain;
    let good = std::fs::read(&chain).unwrap();
    std::fs::write(&chain, &good[..good.len() / 2]).unwrap();
    let dry = TlsReloadRequest { listener: Some("sip".to_owned()), dry_run: true };
    let report = site.reload(&dry).await;
    assert_eq!(report.listeners[0].result, TlsReloadResult::Refused);
    assert!(site.tls.problems().await.is_empty(), "a dry run changes nothing");

    let report = site.reload(&TlsReloadRequest::default()).await;
    assert_eq!(report.listeners[0].result, TlsReloadResult::Refused);
    let name = chain.file_name().unwrap().to_str().unwrap();
    assert!(report.listeners[0].reason.contains(name), "{report:?}");
    assert_eq!(super::refused(&report), ["sip"]);
    let status = site.status().await;
    assert_eq!(status.listeners[0].state, TlsListenerState::Serving);
    TcpStream::connect(status.listeners[0].listen).unwrap();
    let problems = site.tls.problems().await;
    assert!(problems[0].starts_with("TLS listener sip goes on as it was: "), "{problems:?}");
    let page = crate::metrics::tests::page_of(site.tls.figures().await);
    assert!(page.contains("postern_tls_listener_up{listener=\"sip\"} 1"), "{page}");
    assert!(page.contains("postern_tls_listener_outdated{listener=\"sip\"} 1"), "{page}");
    crate::metrics::tests::assert_declared(&page);

    let good = Files::of(&site.authority);
    assert_eq!(good.chain, chain);
    let report = site.reload(&TlsReloadRequest::default()).await;
    assert_eq!(report.listeners[0].result, TlsReloadResult::Reloaded);
    assert!(site.tls.problems().await.is_empty());
}

#[tokio::test]
async fn a_new_configuration_brings_listeners_and_takes_them_away() {
    let site = Site::start(|_| String::new()).await;
    site.apply(|files| files.listener("first")).await;
    let first = site.status().await.listeners[0].listen;
    TcpStream::connect(first).unwrap();
    let report = site
        .apply(|files| format!("{}{}", files.listener("first"), files.listener("second")))
        .await;
    let results: Vec<_> = report.listeners.iter().map(|one| one.result).collect();
    assert_eq!(results, [TlsReloadResult::Reloaded, TlsReloadResult::Started], "{report:?}");
    assert_eq!(site.status().await.listeners[0].listen, first, "it keeps its socket");
    let report = site.apply(|files| files.listener("second")).await;
    assert_eq!(report.listeners[0].result, TlsReloadResult::Stopped, "{report:?}");
    assert_eq!(site.status().await.listeners.len(), 1);
    assert!(!site.tls.has_listener("first"));
}

#[tokio::test]
async fn what_is_not_there_is_refused_by_name_and_a_slip_in_a_request_too() {
    let site = Site::start(|files| files.listener("sip")).await;
    let unknown = TlsReloadRequest { listener: Some("spi".to_owned()), dry_run: false };
    let error = refused(site.client.post::<_, TlsReloadReport>(path::TLS_RELOAD, &unknown).await);
    assert_eq!((error.code, error.place.as_str()), (ErrorCode::UnknownListener, "spi"));
    let unknown = TlsKeyUpdateRequest { connection: Some(7), ..TlsKeyUpdateRequest::default() };
    let answer = site.client.post::<_, TlsKeyUpdateReport>(path::TLS_KEYUPDATE, &unknown).await;
    let error = refused(answer);
    assert_eq!((error.code, error.place.as_str()), (ErrorCode::UnknownConnection, "7"));
    let slip = serde_json::json!({ "listner": "sip" });
    let error = refused(site.client.post::<_, TlsReloadReport>(path::TLS_RELOAD, &slip).await);
    assert_eq!(error.code, ErrorCode::BadParameter);
    for query in ["?listener=spi", "?connections=true&listener=spi"] {
        let query = format!("{}{query}", path::TLS);
        assert_eq!(
            refused(site.client.get::<TlsStatus>(&query).await).code,
            ErrorCode::UnknownListener
        );
    }
    let query = format!("{}?conections=true", path::TLS);
    let error = refused(site.client.get::<TlsStatus>(&query).await);
    assert_eq!(error.code, ErrorCode::BadParameter);
}

#[tokio::test]
async fn ticket_keys_are_rotated_once_for_one_idempotency_key() {
    let site = Site::start(|files| files.listener("sip")).await;
    let request = TlsTicketsRequest::default();
    let mut reports = Vec::new();
    for _ in 0..2 {
        let report: TlsTicketsReport =
            site.client.post_once(path::TLS_TICKETS, &request, "one-key").await.unwrap();
        reports.push(report);
    }
    assert_eq!(reports[0], reports[1]);
    assert_eq!(reports[0].listeners, ["sip"]);
    assert_eq!(reports[0].old_opens_for, 6 * 3600);
    site.event(EventKind::TlsTicketsRotated).await;
    let dry = TlsTicketsRequest { dry_run: true };
    let _: TlsTicketsReport = site.client.post(path::TLS_TICKETS, &dry).await.unwrap();
    // Told in order: whatever the second request and the dry run had told would be before this.
    let _renewed = Files::of(&site.authority);
    site.reload(&TlsReloadRequest::default()).await;
    let reloaded = |event: &&Event| event.kind == EventKind::TlsReloaded;
    while site.events.after(0).iter().filter(reloaded).count() < 2 {
        tokio::task::yield_now().await;
    }
    let rotated = |event: &&Event| event.kind == EventKind::TlsTicketsRotated;
    assert_eq!(site.events.after(0).iter().filter(rotated).count(), 1);
}

#[tokio::test]
async fn a_drain_closes_the_door_and_is_no_problem() {
    let site = Site::start(|files| files.listener("sip")).await;
    let listen = site.status().await.listeners[0].listen;
    site.tls.drain();
    while site.status().await.listeners[0].state != TlsListenerState::Draining {
        tokio::task::yield_now().await;
    }
    assert!(site.tls.problems().await.is_empty());
    while TcpStream::connect(listen).is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}
