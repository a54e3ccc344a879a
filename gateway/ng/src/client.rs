//! The controller's side, sans-IO: what loadgen drives a relay with.
//!
//! 1. [`Client::send`] gives a datagram and a [`Ticket`] for it.
//! 2. [`Client::receive`] tells which ticket a datagram answers, and what it says.
//! 3. At [`Client::deadline`], [`Client::poll`] until it is empty: it gives datagrams to send
//!    again and tickets that nobody answered.
//!
//! Retransmission is Kamailio's: the same bytes, every second, up to five times.

mod reply;
mod request;

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::wire::{Dict, Encoding, Message, encode};

pub use reply::Reply;
pub use request::{ClientRequest, Options, Party};

/// One request under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(u64);

/// Requests under way to one relay.
#[derive(Debug)]
pub struct Client {
    /// Start of every cookie; must differ between clients of one relay.
    prefix: String,
    encoding: Encoding,
    next: u64,
    waiting: HashMap<Ticket, Waiting>,
    /// In time order, because every wait is equally long. Answered ones are skipped.
    due: VecDeque<(Instant, Ticket)>,
}

#[derive(Debug)]
struct Waiting {
    datagram: Bytes,
    sent: u32,
}

/// What [`Client::poll`] asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send this once more.
    Resend(Ticket, Bytes),
    /// No answer to any of the sends: given up.
    Unanswered(Ticket),
}

impl Client {
    /// A client whose cookies begin with `prefix`, which has no blank and differs between the
    /// clients of one relay, also over restarts: a relay remembers cookies for a minute.
    pub fn new(prefix: &str, encoding: Encoding) -> Self {
        Self {
            prefix: prefix.replace(' ', "_"),
            encoding,
            next: 0,
            waiting: HashMap::new(),
            due: VecDeque::new(),
        }
    }

    /// The datagram of a request, to be sent now.
    pub fn send(&mut self, request: &ClientRequest, now: Instant) -> (Ticket, Bytes) {
        self.send_dict(&request.dict(), now)
    }

    /// The same for a dictionary of the caller's making.
    pub fn send_dict(&mut self, dict: &Dict, now: Instant) -> (Ticket, Bytes) {
        let ticket = Ticket(self.next);
        self.next += 1;
        let cookie = format!("{}_{}", self.prefix, ticket.0);
        let datagram = encode(cookie.as_bytes(), self.encoding, dict);
        self.waiting.insert(ticket, Waiting { datagram: datagram.clone(), sent: 1 });
        self.due.push_back((now + RETRANSMIT, ticket));
        (ticket, datagram)
    }

    /// What a datagram answers; `None` where it is no reply to a request under way (a second
    /// reply to a retransmitted one, say).
    pub fn receive(&mut self, datagram: &Bytes) -> Option<(Ticket, Reply)> {
        let message = Message::decode(datagram).ok()?;
        let number = message.cookie.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b"_")?;
        let ticket = Ticket(std::str::from_utf8(number).ok()?.parse().ok()?);
        self.waiting.remove(&ticket)?;
        Some((ticket, Reply::of(message.dict)))
    }

    /// When to call [`Self::poll`] next.
    pub fn deadline(&mut self) -> Option<Instant> {
        while let Some(&(due, ticket)) = self.due.front() {
            if self.waiting.contains_key(&ticket) {
                return Some(due);
            }
            self.due.pop_front();
        }
        None
    }

    /// The next thing due at `now`.
    pub fn poll(&mut self, now: Instant) -> Option<Due> {
        if self.deadline()? > now {
            return None;
        }
        let (_, ticket) = self.due.pop_front()?;
        let waiting = self.waiting.get_mut(&ticket)?;
        if waiting.sent > RETRANSMISSIONS {
            self.waiting.remove(&ticket);
            return Some(Due::Unanswered(ticket));
        }
        waiting.sent += 1;
        self.due.push_back((now + RETRANSMIT, ticket));
        Some(Due::Resend(ticket, waiting.datagram.clone()))
    }

    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.waiting.len()
    }
}

/// How long Kamailio waits before it sends again.
pub const RETRANSMIT: Duration = Duration::from_millis(1000);

/// How often it does.
pub const RETRANSMISSIONS: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply;
    use crate::request::Request;

    fn client() -> (Client, Instant) {
        (Client::new("lg_1", Encoding::Bencode), Instant::now())
    }

    fn answer(datagram: &Bytes, dict: &Dict) -> Bytes {
        let message = Message::decode(datagram).unwrap();
        encode(&message.cookie, message.encoding, dict)
    }

    fn offer() -> ClientRequest {
        ClientRequest::Offer {
            party: Party { call_id: "c1".into(), from_tag: "f1".into(), ..Party::default() },
            sdp: Bytes::from("v=0\r\n"),
            options: Options {
                transport: Some("RTP/SAVP".into()),
                flags: vec!["trust-address".into()],
                replace: vec!["origin".into()],
                sdes: vec!["only-AEAD_AES_128_GCM".into()],
                direction: Some(("a".into(), "b".into())),
                received_from: "192.0.2.1".parse().ok(),
                ..Options::default()
            },
        }
    }

    #[test]
    fn the_servers_side_understands_what_it_writes() {
        for encoding in [Encoding::Bencode, Encoding::Json] {
            let mut client = Client::new("x y", encoding);
            let (_, datagram) = client.send(&offer(), Instant::now());
            let message = Message::decode(&datagram).unwrap();
            let (request, unknown) = Request::parse(&message.dict);
            let Ok(Request::Offer(signal)) = request else { panic!("{request:?}") };
            assert!(unknown.is_empty(), "{unknown:?}");
            assert_eq!(signal.sdes.only, [srtp::Profile::AeadAes128Gcm]);
            assert_eq!(signal.received_from, "192.0.2.1".parse().ok());
            assert!(signal.replace.origin && signal.flags.trust_address);
        }
    }

    #[test]
    fn replies_find_their_requests_in_any_order() {
        let (mut client, now) = client();
        let (first, first_datagram) = client.send(&ClientRequest::Ping, now);
        let (second, second_datagram) = client.send(&offer(), now);
        let reply = answer(&second_datagram, &reply::error("Ran out of ports"));
        assert_eq!(
            client.receive(&reply),
            Some((second, Reply::Error(Bytes::from("Ran out of ports"))))
        );
        assert_eq!(client.receive(&reply), None, "a second reply says nothing new");
        let reply = answer(&first_datagram, &reply::pong());
        assert_eq!(client.receive(&reply), Some((first, Reply::Pong)));
        assert_eq!(client.in_flight(), 0);
        assert_eq!(client.deadline(), None);
    }

    #[test]
    fn replies_to_others_are_none_of_ours() {
        let (mut client, now) = client();
        client.send(&ClientRequest::Ping, now);
        for other in ["lg_2_0 d6:result4:ponge", "lg_1_7 d6:result4:ponge", "lg_1_0", "garbage"] {
            assert_eq!(client.receive(&Bytes::from(other)), None, "{other}");
        }
        assert_eq!(client.in_flight(), 1);
    }

    #[test]
    fn sends_the_same_bytes_five_times_more_then_gives_up() {
        let (mut client, start) = client();
        let (ticket, datagram) = client.send(&ClientRequest::Ping, start);
        assert_eq!(client.poll(start + RETRANSMIT / 2), None);
        for n in 1..=RETRANSMISSIONS {
            let now = start + RETRANSMIT * n;
            assert_eq!(client.deadline(), Some(now));
            assert_eq!(client.poll(now), Some(Due::Resend(ticket, datagram.clone())));
            assert_eq!(client.poll(now), None);
        }
        let end = start + RETRANSMIT * (RETRANSMISSIONS + 1);
        assert_eq!(client.poll(end), Some(Due::Unanswered(ticket)));
        assert_eq!(client.in_flight(), 0);
        assert_eq!(client.poll(end), None);
    }

    #[test]
    fn results_are_told_apart() {
        let body = reply::sdp(Bytes::from("v=0\r\n"));
        let Reply::Ok { sdp, .. } = Reply::of(body) else { panic!("not ok") };
        assert_eq!(sdp.unwrap(), "v=0\r\n");
        assert_eq!(Reply::of(reply::load_limit("full")), Reply::LoadLimit(Bytes::from("full")));
        assert!(matches!(Reply::of(Dict::default()), Reply::Unknown(_)));
    }
}
