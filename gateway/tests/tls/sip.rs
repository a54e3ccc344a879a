//! A SIP phone of the simplest kind: it writes messages, finds whole ones in what it gets, and
//! reads their headers. Over TLS its transport is `openssl s_client`; inside it is a UDP socket.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::dialogue::Dialogue;
use crate::scene::{Scene, wait_for};
use crate::upstream::ANSWER;

/// One request or response.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) text: String,
}

/// A phone behind the TLS listener: one connection for all that it does.
pub(crate) struct TlsPhone {
    client: Dialogue,
    /// How much of what it said was taken as messages.
    taken: usize,
}

/// A phone of the inner network.
pub(crate) struct UdpPhone {
    socket: UdpSocket,
    proxy: SocketAddr,
}

impl Message {
    /// The words of the first line.
    pub(crate) fn start(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// The values of a header, in order; several in one line count as several.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let head = self.text.split("\r\n\r\n").next().unwrap_or_default();
        let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let values = lines.filter(|(key, _)| key.trim().eq_ignore_ascii_case(name));
        values.flat_map(|(_, value)| value.split(',')).map(str::trim).collect()
    }

    pub(crate) fn header(&self, name: &str) -> Result<&str> {
        self.all(name).first().copied().with_context(|| format!("no {name} in\n{}", self.text))
    }

    /// The response to this request: what RFC 3261 section 8.2.6.2 says to copy, and more lines.
    pub(crate) fn response(&self, status: &str, tag: &str, more: &str) -> String {
        let mut text = format!("SIP/2.0 {status}\r\n");
        for name in ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"] {
            for value in self.all(name) {
                let tagged = name == "To" && !value.contains(";tag=");
                let tag = if tagged { format!(";tag={tag}") } else { String::new() };
                text += &format!("{name}: {value}{tag}\r\n");
            }
        }
        text + more + "Content-Length: 0\r\n\r\n"
    }

    /// The URI between angle brackets of a header's value.
    pub(crate) fn uri(&self, name: &str) -> Result<&str> {
        let value = self.header(name)?;
        let (_, rest) = value.split_once('<').with_context(|| value.to_owned())?;
        Ok(rest.split_once('>').with_context(|| value.to_owned())?.0)
    }
}

impl TlsPhone {
    /// Connects from `source` with more arguments for s_client.
    pub(crate) fn connect(
        scene: &Scene,
        name: &str,
        source: &str,
        arguments: &str,
    ) -> Result<Self> {
        let mut command = Command::new("openssl");
        command.args(["s_client", "-quiet", "-connect", "127.0.0.1:5061", "-bind", source]);
        command.args(["-CAfile", "authority.pem", "-verify_return_error", "-servername", SERVER]);
        command.args(["-verify_hostname", SERVER]).args(arguments.split_whitespace());
        Ok(Self { client: Dialogue::start(scene, name, &mut command)?, taken: 0 })
    }

    pub(crate) fn send(&mut self, text: &str) -> Result<()> {
        self.client.say(text)
    }

    /// A keep-alive and its answer (RFC 5626 section 3.5.1), between two messages.
    pub(crate) fn keep_alive(&mut self) -> Result<()> {
        self.client.say("\r\n\r\n")?;
        wait_for("answer to a keep-alive", || {
            Ok((self.client.said().get(self.taken..) == Some("\r\n")).then_some(()))
        })?;
        self.taken += 2;
        Ok(())
    }

    /// The next message.
    pub(crate) fn receive(&mut self) -> Result<Message> {
        let taken = self.taken;
        let (message, end) =
            wait_for("message over TLS", || Ok(next_message(&self.client.said(), taken)))
                .with_context(|| self.client.said())?;
        self.taken = end;
        Ok(message)
    }
}

impl UdpPhone {
    pub(crate) fn new(address: &str, proxy: &str) -> Result<Self> {
        let socket = UdpSocket::bind(address)?;
        Ok(Self { socket, proxy: proxy.parse()? })
    }

    pub(crate) fn send(&self, text: &str) -> Result<()> {
        self.socket.send_to(text.as_bytes(), self.proxy)?;
        Ok(())
    }

    /// The next message that is no repetition of 100 Trying.
    pub(crate) fn receive(&self) -> Result<Message> {
        self.receive_within(ANSWER)?.context("no message over UDP")
    }

    /// The same, or `None` where none came in this time.
    pub(crate) fn receive_within(&self, patience: Duration) -> Result<Option<Message>> {
        self.socket.set_read_timeout(Some(patience))?;
        let mut buffer = vec![0; 65_536];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            let message = Message { text: String::from_utf8(buffer[..length].to_vec())? };
            if !message.start().contains(" 100 ") {
                return Ok(Some(message));
            }
        }
    }
}

/// The first whole message after `from`, and where it ends. What openssl says of certificates is
/// passed over, and 100 Trying too.
fn next_message(text: &str, from: usize) -> Option<(Message, usize)> {
    let rest = &text[from..];
    let line = rest.split_inclusive("\r\n").next()?;
    if !line.ends_with("\r\n") {
        return None;
    }
    // s_client's own lines end with a plain newline: the message begins after the last of those.
    let begin = from + line.trim_end_matches("\r\n").rfind('\n').map_or(0, |at| at + 1);
    let head_end = begin + text[begin..].find("\r\n\r\n")? + 4;
    let message = Message { text: text[begin..head_end].to_owned() };
    let length: usize = message.header("Content-Length").ok()?.parse().ok()?;
    let end = head_end + length;
    let message = Message { text: text.get(begin..end)?.to_owned() };
    if message.start().contains(" 100 ") { next_message(text, end) } else { Some((message, end)) }
}

/// Says where a message is not what it has to be.
pub(crate) fn expect(message: &Message, start: &str) -> Result<()> {
    ensure!(message.start().starts_with(start), "not \"{start}\":\n{}", message.text);
    Ok(())
}

/// The name that clients know the SBC by.
pub(crate) const SERVER: &str = "sip.example.com";
