//! The client against a socket that answers what each test says.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up has failed")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use admin_client::{Client, ClientError};
use gateway_control::{API_VERSION, ErrorCode, EventList, VERSION_HEADER, path};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

/// Answers each request with the next of some texts, the last one for ever.
struct Server {
    socket: PathBuf,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    fn start(name: &str, answers: Vec<String>) -> Self {
        let name = format!("postern-admin-client-{name}-{}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let server = Self { socket, connections: Arc::default(), requests: Arc::default() };
        let (connections, requests) = (server.connections.clone(), server.requests.clone());
        tokio::spawn(async move {
            let answers = Arc::new(answers);
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, answers.clone(), requests.clone()));
            }
        });
        server
    }

    fn client(&self) -> Client {
        Client::unix(&self.socket)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

async fn serve(stream: UnixStream, answers: Arc<Vec<String>>, requests: Arc<AtomicUsize>) {
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length) = (String::new(), 0);
        while stream.read_line(&mut line).await.is_ok_and(|read| read > 2) {
            if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        if line.is_empty() {
            return;
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let turn = requests.fetch_add(1, Ordering::Relaxed);
        match &answers[turn.min(answers.len() - 1)] {
            closed if closed == CLOSE => return,
            silent if silent == SILENCE => std::future::pending().await,
            answer => stream.get_mut().write_all(answer.as_bytes()).await.unwrap(),
        }
    }
}

const CLOSE: &str = "close";
const SILENCE: &str = "silence";

fn answer(status: &str, version: u32, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\n{VERSION_HEADER}: {version}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn events() -> String {
    answer("200 OK", API_VERSION, r#"{"events":[]}"#)
}

#[tokio::test]
async fn requests_share_connections() {
    let server = Server::start("share", vec![events()]);
    let client = server.client();
    for _ in 0..20 {
        let list: EventList = client.get(path::EVENTS).await.unwrap();
        assert_eq!(list.events, []);
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
    assert_eq!(server.requests.load(Ordering::Relaxed), 20);
}

#[tokio::test]
async fn a_thousand_at_once_take_few_connections() {
    let server = Server::start("few", vec![events()]);
    let (client, mut tasks) = (server.client(), tokio::task::JoinSet::new());
    for _ in 0..1000 {
        let client = client.clone();
        tasks.spawn(async move { client.get::<EventList>(path::EVENTS).await.map(drop) });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap().unwrap();
    }
    assert!(server.connections.load(Ordering::Relaxed) <= 8);
}

#[tokio::test]
async fn another_version_is_told_apart_from_a_refusal() {
    let refusal = r#"{"code":"unknown_pair","message":"no pair","where":"x","hint":"list them"}"#;
    let answers = vec![
        answer("200 OK", API_VERSION + 1, r#"{"events":[]}"#),
        answer("404 Not Found", API_VERSION, refusal),
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_owned(),
    ];
    let server = Server::start("version", answers);
    let client = server.client();
    let error = client.get::<EventList>(path::EVENTS).await.unwrap_err();
    let theirs = format!("speaks version {}", API_VERSION + 1);
    assert!(error.to_string().contains(&theirs), "{error}");
    match client.delete::<()>("/v1/sas/x").await.unwrap_err() {
        ClientError::Refused(error) => assert_eq!(error.code, ErrorCode::UnknownPair),
        other => panic!("{other}"),
    }
    let error = client.get::<EventList>(path::EVENTS).await.unwrap_err();
    assert!(matches!(error, ClientError::Version { theirs: None, .. }), "{error}");
}

#[tokio::test]
async fn an_idle_connection_that_died_is_replaced_but_a_post_is_not_sent_twice() {
    let server = Server::start("died", vec![events(), CLOSE.to_owned(), events()]);
    let client = server.client();
    client.get::<EventList>(path::EVENTS).await.unwrap();
    client.get::<EventList>(path::EVENTS).await.unwrap();
    assert_eq!(server.requests.load(Ordering::Relaxed), 3);

    let server = Server::start("twice", vec![events(), CLOSE.to_owned(), events()]);
    let client = server.client();
    client.get::<EventList>(path::EVENTS).await.unwrap();
    let error = client.post::<_, EventList>("/v1/sas", &1).await.unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    assert_eq!(server.requests.load(Ordering::Relaxed), 2);

    let server = Server::start("keyed", vec![events(), CLOSE.to_owned(), events()]);
    let client = server.client();
    client.get::<EventList>(path::EVENTS).await.unwrap();
    client.post_once::<_, EventList>("/v1/sas", &1, "key-1").await.unwrap();
}

#[tokio::test]
async fn silence_ends_in_time_and_an_absent_gateway_is_named() {
    let server = Server::start("silence", vec![SILENCE.to_owned()]);
    let client = server.client().with_patience(Duration::from_millis(50));
    let error = client.get::<EventList>(path::EVENTS).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }) && error.is_passing(), "{error}");

    let error = Client::unix("/nowhere/gateway.sock").get::<EventList>("/").await.unwrap_err();
    assert!(error.to_string().contains("/nowhere/gateway.sock: "), "{error}");
    assert!(error.to_string().contains("--admin"), "{error}");
}
