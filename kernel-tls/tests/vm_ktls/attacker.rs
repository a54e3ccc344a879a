//! A peer that has shaken hands properly and seals whatever it likes from then on.

use std::io::ErrorKind;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use kernel_tls::{Policy, Reading, Support};
use rustix::net::{RecvFlags, SendFlags};
use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, Iv, MessageDecrypter, MessageEncrypter, OutboundChunks,
    OutboundPlainMessage,
};
use rustls::kernel::KernelConnection;
use rustls::pki_types::ServerName;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{
    ClientConfig, ConnectionTrafficSecrets, ContentType, ProtocolVersion, ServerConfig,
    SupportedCipherSuite,
};

use crate::ground::{Deadline, configs, tcp_pair};
use crate::support::end::{End, Talk};
use crate::support::pki::NAME;

pub struct Attacker {
    pub socket: OwnedFd,
    suite: SupportedCipherSuite,
    schedule: Schedule,
    encrypter: Box<dyn MessageEncrypter>,
    sent: u64,
    decrypter: Box<dyn MessageDecrypter>,
    opened: u64,
    received: Vec<u8>,
}

enum Schedule {
    Client(Box<KernelConnection<ClientConnectionData>>),
    Server(Box<KernelConnection<ServerConnectionData>>),
}

impl Attacker {
    /// A victim that is a server, and its client.
    pub fn of_server(suite: SupportedCipherSuite, policy: &Policy) -> (Talk, Self) {
        let (server, client) = configs(suite);
        let (left, right) = tcp_pair();
        let victim = End::server(left, server, Reading::Exact);
        Self::shake(victim, policy, Raw::client(client), right)
    }

    /// A victim that is a client, and its server.
    pub fn of_client(suite: SupportedCipherSuite, policy: &Policy) -> (Talk, Self) {
        let (server, client) = configs(suite);
        let (left, right) = tcp_pair();
        let victim = End::client(left, client, Reading::Exact);
        Self::shake(victim, policy, Raw::server(server), right)
    }

    fn shake(mut victim: End, policy: &Policy, mut raw: Raw, socket: OwnedFd) -> (Talk, Self) {
        let (mut theirs, mut ours, mut incoming) = (false, false, Vec::new());
        let until = Deadline::new();
        while !theirs || !ours {
            theirs = theirs || victim.advance().expect("the victim's side");
            incoming.extend(receive(&socket));
            let mut out = Vec::new();
            ours = raw.advance(&mut incoming, &mut out);
            send(&socket, &out);
            until.check("the attacker's handshake");
        }
        // Session tickets.
        incoming.extend(receive(&socket));
        raw.advance(&mut incoming, &mut Vec::new());
        assert!(incoming.is_empty(), "nothing else is there");
        (Talk::new(victim, Support::shared(), policy), raw.into_attacker(socket))
    }

    /// Sends one record of any type.
    pub fn record(&mut self, kind: u8, content: &[u8]) {
        let sealed = self.seal(kind, content);
        send(&self.socket, &sealed);
    }

    pub fn seal(&mut self, kind: u8, content: &[u8]) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: ContentType::from(kind),
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(content),
        };
        let sealed = self.encrypter.encrypt(message, self.sent).expect("sealed");
        self.sent += 1;
        sealed.encode()
    }

    /// TLS 1.3: a record with that many bytes of padding.
    pub fn padded(&mut self, kind: u8, content: &[u8], padding: usize) {
        // The type that rustls appends becomes the last byte of the padding.
        let mut inner = content.to_vec();
        inner.push(kind);
        inner.resize(inner.len() + padding - 1, 0);
        self.record(0, &inner);
    }

    /// What the KeyUpdate that was just sent announced.
    pub fn renew_sending(&mut self) {
        let (_, secrets) = match &mut self.schedule {
            Schedule::Client(client) => client.update_tx_secret(),
            Schedule::Server(server) => server.update_tx_secret(),
        }
        .expect("new keys");
        self.encrypter = encrypter(self.suite, secrets);
        self.sent = 0;
    }

    /// The victim's next record: its type and content; `None` at the end of its data.
    pub fn next(&mut self) -> Option<(u8, Vec<u8>)> {
        let until = Deadline::new();
        loop {
            if let Some((header, rest)) = self.received.split_first_chunk::<5>() {
                let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
                if rest.len() >= length {
                    let record: Vec<u8> = self.received.drain(..5 + length).collect();
                    return Some(self.open(record));
                }
            }
            let mut buffer = [0; 16 << 10];
            match rustix::net::recv(&self.socket, &mut buffer, RecvFlags::DONTWAIT) {
                Ok((0, _)) => return None,
                Ok((read, _)) => self.received.extend_from_slice(&buffer[..read]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
            }
            until.check("the victim's record");
        }
    }

    fn open(&mut self, mut record: Vec<u8>) -> (u8, Vec<u8>) {
        let (header, payload) = record.split_at_mut(5);
        let kind = ContentType::from(header[0]);
        let message = InboundOpaqueMessage::new(kind, ProtocolVersion::TLSv1_2, payload);
        let plain = self.decrypter.decrypt(message, self.opened).expect("opened");
        self.opened += 1;
        let (kind, content) = (u8::from(plain.typ), plain.payload.to_vec());
        if kind == 22 && content.first() == Some(&24) {
            let (_, secrets) = match &mut self.schedule {
                Schedule::Client(client) => client.update_rx_secret(),
                Schedule::Server(server) => server.update_rx_secret(),
            }
            .expect("new keys");
            self.decrypter = decrypter(self.suite, secrets);
            self.opened = 0;
        }
        (kind, content)
    }
}

enum Raw {
    Client(Box<UnbufferedClientConnection>),
    Server(Box<UnbufferedServerConnection>),
}

impl Raw {
    fn client(config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(NAME).expect("a name");
        Self::Client(Box::new(UnbufferedClientConnection::new(config, name).expect("a client")))
    }

    fn server(config: Arc<ServerConfig>) -> Self {
        Self::Server(Box::new(UnbufferedServerConnection::new(config).expect("a server")))
    }

    /// True when the handshake is over.
    fn advance(&mut self, incoming: &mut Vec<u8>, out: &mut Vec<u8>) -> bool {
        loop {
            let (discard, step) = match self {
                Self::Client(client) => step(client.process_tls_records(incoming), out),
                Self::Server(server) => step(server.process_tls_records(incoming), out),
            };
            incoming.drain(..discard);
            match step {
                Step::Again => {}
                Step::Blocked => return false,
                Step::Over => return true,
            }
        }
    }

    fn into_attacker(self, socket: OwnedFd) -> Attacker {
        let (secrets, suite, schedule) = match self {
            Self::Client(client) => {
                let (secrets, rest) = client.dangerous_into_kernel_connection().expect("secrets");
                (secrets, rest.negotiated_cipher_suite(), Schedule::Client(Box::new(rest)))
            }
            Self::Server(server) => {
                let (secrets, rest) = server.dangerous_into_kernel_connection().expect("secrets");
                (secrets, rest.negotiated_cipher_suite(), Schedule::Server(Box::new(rest)))
            }
        };
        Attacker {
            socket,
            suite,
            schedule,
            encrypter: encrypter(suite, secrets.tx.1),
            sent: secrets.tx.0,
            decrypter: decrypter(suite, secrets.rx.1),
            opened: secrets.rx.0,
            received: Vec::new(),
        }
    }
}

enum Step {
    Again,
    Blocked,
    Over,
}

fn step<Data>(status: UnbufferedStatus<'_, '_, Data>, out: &mut Vec<u8>) -> (usize, Step) {
    let step = match status.state.expect("the attacker's handshake") {
        ConnectionState::EncodeTlsData(mut data) => {
            let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut []) else {
                panic!("an empty message")
            };
            let start = out.len();
            out.resize(start + size.required_size, 0);
            data.encode(&mut out[start..]).expect("encoded");
            Step::Again
        }
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Step::Again
        }
        ConnectionState::BlockedHandshake => Step::Blocked,
        ConnectionState::WriteTraffic(_) => Step::Over,
        _ => panic!("nothing of this kind is expected"),
    };
    (status.discard, step)
}

fn parts(secrets: ConnectionTrafficSecrets) -> (AeadKey, Iv) {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("an unknown cipher"),
    }
}

/// The same suite of a provider that does not insist on beginning with the first record.
fn ring(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let same = |ring: &&SupportedCipherSuite| ring.suite() == suite.suite();
    *rustls::crypto::ring::ALL_CIPHER_SUITES.iter().find(same).expect("ring has it")
}

fn encrypter(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Box<dyn MessageEncrypter> {
    let (key, iv) = parts(secrets);
    match ring(suite) {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
            let (fixed, explicit) = iv.as_ref().split_at(fixed);
            suite.aead_alg.encrypter(key, fixed, explicit)
        }
    }
}

fn decrypter(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Box<dyn MessageDecrypter> {
    let (key, iv) = parts(secrets);
    match ring(suite) {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
            suite.aead_alg.decrypter(key, &iv.as_ref()[..fixed])
        }
    }
}

pub fn send(socket: &OwnedFd, mut bytes: &[u8]) {
    let until = Deadline::new();
    while !bytes.is_empty() {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        match rustix::net::send(socket, bytes, flags) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
        }
        until.check("sending");
    }
}

fn receive(socket: &OwnedFd) -> Vec<u8> {
    let mut buffer = vec![0; 64 << 10];
    let read = rustix::net::recv(socket, &mut buffer[..], RecvFlags::DONTWAIT);
    buffer.truncate(read.map_or(0, |(read, _)| read));
    buffer
}
