//! A client, or a server, that finishes a real handshake and then sends whatever records it likes,
//! properly sealed: types, contents and sizes that no honest implementation sends.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use kernel_tls::{Policy, Reading, Support};
use rustls::crypto::cipher::{
    InboundOpaqueMessage, MessageDecrypter, MessageEncrypter, OutboundChunks, OutboundPlainMessage,
};
use rustls::pki_types::ServerName;
use rustls::{
    AlertDescription, ClientConfig, ClientConnection, Connection, ConnectionTrafficSecrets,
    ContentType, ProtocolVersion, ServerConfig, ServerConnection, SupportedCipherSuite,
};

use super::end::{End, Talk};
use super::pki::NAME;

/// The attacker's end, after the handshake.
pub struct Attacker {
    pub socket: UnixStream,
    seal: Box<dyn MessageEncrypter>,
    open: Box<dyn MessageDecrypter>,
    sent: u64,
    received: u64,
    unread: Vec<u8>,
}

impl Attacker {
    /// Shakes hands with a server of ours; answers both ends.
    pub fn meet(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        policy: &Policy,
    ) -> (Self, Talk) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let victim = End::server(ours.into(), Arc::clone(server), Reading::Exact);
        let name = ServerName::try_from(NAME).expect("a name");
        let client = ClientConnection::new(Arc::clone(client), name).expect("a client");
        Self::shake(victim, client.into(), theirs, policy)
    }

    /// Shakes hands with a client of ours.
    pub fn lure(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        policy: &Policy,
    ) -> (Self, Talk) {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let victim = End::client(ours.into(), Arc::clone(client), Reading::Exact);
        let server = ServerConnection::new(Arc::clone(server)).expect("a server");
        Self::shake(victim, server.into(), theirs, policy)
    }

    fn shake(
        mut victim: End,
        mut ours: Connection,
        socket: UnixStream,
        policy: &Policy,
    ) -> (Self, Talk) {
        socket.set_nonblocking(true).expect("non-blocking");
        let mut over = false;
        for _ in 0..20 {
            while ours.wants_write() {
                ours.write_tls(&mut &socket).expect("sent");
            }
            over = over || victim.advance().expect("the victim's side");
            if ours.read_tls(&mut &socket).is_ok() {
                ours.process_new_packets().expect("the attacker's side");
            }
        }
        assert!(over && !ours.is_handshaking(), "the handshake is over");
        let suite = ours.negotiated_cipher_suite().expect("a suite");
        let secrets = ours.dangerous_extract_secrets().expect("secrets");
        let attacker = Self {
            socket,
            seal: encrypter(suite, secrets.tx.1),
            open: decrypter(suite, secrets.rx.1),
            sent: secrets.tx.0,
            received: secrets.rx.0,
            unread: Vec::new(),
        };
        (attacker, Talk::new(victim, &Support::absent("a test"), policy))
    }

    /// One sealed record.
    pub fn record(&mut self, content_type: ContentType, content: &[u8]) -> Vec<u8> {
        let plain = OutboundPlainMessage {
            typ: content_type,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(content),
        };
        let record = self.seal.encrypt(plain, self.sent).expect("sealed");
        self.sent += 1;
        record.encode()
    }

    /// Seals and sends one.
    pub fn send(&mut self, content_type: ContentType, content: &[u8]) {
        let record = self.record(content_type, content);
        self.socket.write_all(&record).expect("sent");
    }

    /// The next record of the victim: its type and content.
    pub fn receive(&mut self) -> Option<(ContentType, Vec<u8>)> {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = self.socket.read(&mut buffer) {
            self.unread.extend_from_slice(&buffer[..read]);
        }
        let (header, body) = self.unread.split_first_chunk::<5>()?;
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        let (content_type, mut body) = (ContentType::from(header[0]), body.get(..length)?.to_vec());
        self.unread.drain(..5 + length);
        let record = InboundOpaqueMessage::new(content_type, ProtocolVersion::TLSv1_2, &mut body);
        let opened = self.open.decrypt(record, self.received).expect("opened");
        self.received += 1;
        Some((opened.typ, opened.payload.to_vec()))
    }

    /// The alert that the victim has sent behind whatever else.
    pub fn alert(&mut self) -> Option<AlertDescription> {
        loop {
            match self.receive()? {
                (ContentType::Alert, alert) => return Some(AlertDescription::from(alert[1])),
                _other => {}
            }
        }
    }
}

fn encrypter(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Box<dyn MessageEncrypter> {
    let (key, iv) = parts(secrets);
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.encrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
            let (salt, explicit) = iv.as_ref().split_at(fixed);
            suite.aead_alg.encrypter(key, salt, explicit)
        }
    }
}

fn decrypter(
    suite: SupportedCipherSuite,
    secrets: ConnectionTrafficSecrets,
) -> Box<dyn MessageDecrypter> {
    let (key, iv) = parts(secrets);
    match suite {
        SupportedCipherSuite::Tls13(suite) => suite.aead_alg.decrypter(key, iv),
        SupportedCipherSuite::Tls12(suite) => {
            let fixed = suite.aead_alg.key_block_shape().fixed_iv_len;
            suite.aead_alg.decrypter(key, &iv.as_ref()[..fixed])
        }
    }
}

fn parts(
    secrets: ConnectionTrafficSecrets,
) -> (rustls::crypto::cipher::AeadKey, rustls::crypto::cipher::Iv) {
    match secrets {
        ConnectionTrafficSecrets::Aes128Gcm { key, iv }
        | ConnectionTrafficSecrets::Aes256Gcm { key, iv }
        | ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (key, iv),
        _ => panic!("a cipher that this does not know"),
    }
}
