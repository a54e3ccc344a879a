//! Control against workers that answer when the test says so, or not at all.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use ::srtp::Mki;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::*;
use crate::config::{Interface, Span};
use crate::observer::Overview;
use crate::relay::command::{CallReport, KeyLimit, KeyOwner, StreamIndex};
use crate::workers;

/// Control, its workers' inboxes and an SBC.
struct World {
    inboxes: Vec<mpsc::Receiver<Command>>,
    feeds: Feeds,
    events: Events,
    sbc: tokio::net::UdpSocket,
    cookies: u32,
}

static NEXT: AtomicU8 = AtomicU8::new(1);

impl World {
    async fn new(workers: usize) -> Self {
        let run = std::process::id() % 200;
        let own = NEXT.fetch_add(1, Ordering::Relaxed);
        let address = Ipv4Addr::new(127, 20 + run as u8, own, 2);
        let mut config =
            Config { interface: vec![Interface::unnamed(address.into())], ..Config::default() };
        config.relay.ports = "20000-20099".parse().unwrap();
        config.limits.report_timeout = Span(Duration::from_millis(50));
        let socket = NgSocket::bind(SocketAddr::from((address, 0))).unwrap();
        let ng = socket.local_address().unwrap();
        let (workers, outboxes, inboxes) = workers::idle(workers);
        let (feeds, inputs) = channels();
        let relays = Relays { workers, outboxes, agents: Agents::none() };
        let events = Events::new();
        let control = Control::new(config, socket, relays, events.clone(), &feeds);
        tokio::spawn(control.run(inputs));
        let sbc = UdpSocket::bind((address, 0)).unwrap();
        sbc.connect(ng).unwrap();
        sbc.set_nonblocking(true).unwrap();
        let sbc = tokio::net::UdpSocket::from_std(sbc).unwrap();
        Self { inboxes, feeds, events, sbc, cookies: 0 }
    }

    async fn send(&mut self, request: Value) -> String {
        self.cookies += 1;
        let cookie = format!("c{}", self.cookies);
        self.sbc.send(format!("{cookie} {request}").as_bytes()).await.unwrap();
        cookie
    }

    async fn reply(&self) -> (String, Value) {
        let mut buffer = vec![0; 65_536];
        let reply = tokio::time::timeout(Duration::from_secs(5), self.sbc.recv(&mut buffer));
        let length = reply.await.expect("no reply").unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let (cookie, body) = text.split_once(' ').unwrap();
        (cookie.to_owned(), serde_json::from_str(body).unwrap())
    }

    async fn ask(&mut self, request: Value) -> Value {
        let cookie = self.send(request).await;
        let (echoed, reply) = self.reply().await;
        assert_eq!(echoed, cookie);
        reply
    }

    async fn overview(&self) -> Overview {
        let (reply, answer) = oneshot::channel();
        let _ = self.feeds.inquiries.send(Inquiry::Overview(reply)).await;
        answer.await.unwrap()
    }
}

fn offer(id: &str) -> Value {
    let sdp = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
               m=audio 4000 RTP/AVP 0\r\n";
    json!({"command": "offer", "call-id": id, "from-tag": "a", "sdp": sdp})
}

fn delete(id: &str) -> Value {
    json!({"command": "delete", "call-id": id, "delete-delay": 0})
}

fn query(id: &str) -> Value {
    json!({"command": "query", "call-id": id})
}

/// A call from an SRTP caller that knows several keys of ours, answered by a plain callee.
async fn secure_call(world: &mut World) -> CallKey {
    let inline = |letter: &str, mki: u8| format!("inline:{}|{mki}:1", letter.repeat(40));
    let keys = [inline("A", 1), inline("B", 2)].join(";");
    let mut secure = offer("1");
    let body = secure["sdp"].as_str().unwrap().replace("RTP/AVP", "RTP/SAVP");
    secure["sdp"] = json!(format!("{body}a=crypto:1 AES_CM_128_HMAC_SHA1_80 {keys}\r\n"));
    secure["transport-protocol"] = json!("RTP/AVP");
    world.ask(secure).await;
    let mut answer = offer("1");
    answer["command"] = json!("answer");
    answer["to-tag"] = json!("b");
    let answered = world.ask(answer).await;
    assert!(answered["sdp"].as_str().unwrap().contains("|2:1"), "{answered}");
    expect_apply(world.inboxes[0].recv().await.unwrap());
    match world.inboxes[0].recv().await.unwrap() {
        Command::Apply(plan) => plan.call,
        other => panic!("not a plan: {other:?}"),
    }
}

fn expect_apply(command: Command) {
    assert!(matches!(command, Command::Apply(_)), "{command:?}");
}

fn reply_to(command: Command) -> oneshot::Sender<Option<CallReport>> {
    match command {
        Command::Report { reply, .. } | Command::Close { reply, .. } => reply,
        other => panic!("nothing to reply to: {other:?}"),
    }
}

#[tokio::test]
async fn the_plan_is_in_the_workers_inbox_before_the_reply_is_out() {
    let mut world = World::new(1).await;
    assert_eq!(world.ask(offer("1")).await["result"], "ok");
    expect_apply(world.inboxes[0].try_recv().unwrap());
}

#[tokio::test]
async fn calls_go_to_the_worker_with_the_fewest_and_stay_there() {
    let mut world = World::new(2).await;
    for id in ["1", "2", "1", "2"] {
        assert_eq!(world.ask(offer(id)).await["result"], "ok");
    }
    for inbox in &mut world.inboxes {
        let calls: Vec<CallKey> = std::iter::from_fn(|| inbox.try_recv().ok())
            .map(|command| match command {
                Command::Apply(plan) => plan.call,
                other => panic!("not a plan: {other:?}"),
            })
            .collect();
        assert_eq!(calls.len(), 2);
        assert_eq!(calls[0], calls[1]);
    }
}

#[tokio::test]
async fn a_duplicate_in_progress_waits_and_gets_the_same_reply() {
    let mut world = World::new(1).await;
    world.ask(offer("1")).await;
    expect_apply(world.inboxes[0].recv().await.unwrap());
    for _ in 0..3 {
        world.cookies = 100;
        world.send(query("1")).await;
    }
    let command = world.inboxes[0].recv().await.unwrap();
    // Everything before this has been read once this is answered.
    let cookie = world.send(json!({"command": "ping"})).await;
    assert_eq!(world.reply().await.0, cookie);
    let _ = reply_to(command).send(Some(CallReport { streams: Vec::new() }));
    let first = world.reply().await;
    assert_eq!(first.0, "c101");
    assert_eq!(world.reply().await, first);
    assert_eq!(world.reply().await, first);
    assert!(world.inboxes[0].try_recv().is_err(), "the worker is asked once");
}

#[tokio::test]
async fn other_requests_go_on_while_one_waits_for_a_worker() {
    let mut world = World::new(1).await;
    world.ask(offer("1")).await;
    let waiting = world.send(query("1")).await;
    let ping = world.send(json!({"command": "ping"})).await;
    assert_eq!(world.reply().await.0, ping);
    let (cookie, reply) = world.reply().await;
    assert_eq!(cookie, waiting);
    assert_eq!(reply["result"], "ok");
    assert_eq!(reply["totals"]["RTP"]["packets"], 0, "the worker never told");
}

#[tokio::test]
async fn ports_stay_taken_until_the_worker_has_closed_them() {
    let mut world = World::new(1).await;
    world.ask(offer("1")).await;
    expect_apply(world.inboxes[0].recv().await.unwrap());
    let used = world.overview().await.ports[0].used;
    assert!(used > 0);
    assert_eq!(world.ask(delete("1")).await["result"], "ok", "answered though the worker is late");
    let overview = world.overview().await;
    assert_eq!((overview.calls, overview.ports[0].used), (0, used));
    let close = reply_to(world.inboxes[0].recv().await.unwrap());
    close.send(Some(CallReport { streams: Vec::new() })).unwrap();
    while world.overview().await.ports[0].used > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_worker_that_is_behind_gets_no_new_calls_and_loses_nothing() {
    let mut world = World::new(2).await;
    // Two fit an inbox; the third plan of the first call waits outside.
    for _ in 0..3 {
        world.ask(offer("1")).await;
    }
    for id in ["2", "3"] {
        assert_eq!(world.ask(offer(id)).await["result"], "ok");
    }
    let calls =
        |inbox: &mut mpsc::Receiver<Command>| std::iter::from_fn(|| inbox.try_recv().ok()).count();
    assert_eq!(calls(&mut world.inboxes[1]), 2);
    assert_eq!(calls(&mut world.inboxes[0]), 2);
    let late = tokio::time::timeout(OUTBOX_RETRY * 1000, world.inboxes[0].recv()).await;
    assert!(matches!(late, Ok(Some(_))), "what did not fit comes later");
    tokio::time::sleep(OUTBOX_RETRY * 4).await;
    assert_eq!(calls(&mut world.inboxes[0]), 0, "and once");
}

#[tokio::test]
async fn a_refused_offer_takes_neither_a_port_nor_a_worker() {
    let mut world = World::new(1).await;
    let mut bad = offer("1");
    bad["sdp"] = json!("v=0\r\n");
    assert_eq!(world.ask(bad).await["result"], "error");
    let overview = world.overview().await;
    assert_eq!((overview.calls, overview.ports[0].used, overview.ledger.calls), (0, 0, 0));
    assert!(world.inboxes[0].try_recv().is_err());
}

#[tokio::test]
async fn our_key_near_its_limit_gives_way_to_the_next_and_after_the_last_the_leg_is_marked() {
    let mut world = World::new(1).await;
    let call = secure_call(&mut world).await;
    let stream = StreamIndex(0);
    // A key of the party's is the party's to change.
    let ours = |mki| (KeyOwner::Ours, Mki::new(&[mki]).unwrap());
    let party = (KeyOwner::Party, Mki::none());
    // What is told of the first once the second is in use is no news.
    for ((owner, mki), told) in [(ours(1), 1), (ours(1), 1), (party, 2), (ours(2), 3)] {
        let met = WorkerEvent::KeyLimit { call, stream, owner, mki, limit: KeyLimit::Soft };
        world.feeds.workers.send((0, met)).await.unwrap();
        while world.events.after(0).len() < told {
            tokio::task::yield_now().await;
        }
    }
    let Ok(Command::SwitchKey { call: of, stream: at, mki }) = world.inboxes[0].try_recv() else {
        panic!("the worker is not told");
    };
    assert_eq!((of, at, mki.as_bytes()), (call, stream, &[2][..]));
    assert!(world.inboxes[0].try_recv().is_err(), "and no more than that");
    let events = world.events.after(0);
    let told: Vec<_> =
        events.iter().map(|event| (event.kind, event.to.as_str(), event.owner.as_str())).collect();
    let expected = [
        (EventKind::SrtpRekeyed, "mki 2", "gateway"),
        (EventKind::SrtpRekeyDue, "", "signalling"),
        (EventKind::SrtpRekeyDue, "", "gateway"),
    ];
    assert_eq!(told, expected);
    assert_eq!(world.overview().await.ledger.key_switches, 1);
}
