//! The text of an exchange file: a header that people can read, and base64 between two lines.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use crypto_offload::{Epoch, PairName};

use super::{FileError, KEY_LEN};

/// What the file is about; authenticated with its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) pair: PairName,
    pub(super) epoch: Epoch,
    /// Public keys, as they are shown.
    pub(super) sender: String,
    pub(super) recipient: String,
}

/// A file in its parts.
pub(super) struct Armored {
    pub(super) header: Header,
    /// The encapsulated key, then what is sealed.
    pub(super) body: Vec<u8>,
}

impl Header {
    pub(super) fn text(&self) -> String {
        let Self { pair, epoch, sender, recipient } = self;
        format!("pair: {pair}\nepoch: {epoch}\nsender: {sender}\nrecipient: {recipient}\n")
    }
}

impl Armored {
    pub(super) fn text(&self) -> String {
        let encoded = STANDARD.encode(&self.body);
        let mut text = format!("{BEGIN}\n{}\n", self.header.text());
        let mut rest = encoded.as_str();
        while !rest.is_empty() {
            let (line, behind) = rest.split_at(rest.len().min(LINE));
            text.push_str(line);
            text.push('\n');
            rest = behind;
        }
        text.push_str(END);
        text.push('\n');
        text
    }

    /// Takes what mail programs do to text: other line ends, spaces at ends of lines, words
    /// before and after.
    pub(super) fn parse(text: &str) -> Result<Self, FileError> {
        let mut lines = text.lines().map(str::trim).skip_while(|line| *line != BEGIN).skip(1);
        let mut field = |name: &'static str| {
            let line = lines.next().ok_or(FileError::Form("its first line is missing"))?;
            let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix(": "));
            value.map(str::to_owned).ok_or(FileError::Form("its header is damaged"))
        };
        let damaged = FileError::Form("its header is damaged");
        let header = Header {
            pair: PairName::new(field("pair")?).map_err(|_| damaged.clone())?,
            epoch: Epoch(field("epoch")?.parse().map_err(|_| damaged)?),
            sender: field("sender")?,
            recipient: field("recipient")?,
        };
        let mut encoded = String::new();
        let mut lines = lines.skip_while(|line| line.is_empty());
        loop {
            match lines.next() {
                Some(END) => break,
                Some(line) => encoded.push_str(line),
                None => return Err(FileError::Form("its last line is missing")),
            }
        }
        let body = STANDARD.decode(encoded).map_err(|_| FileError::Form("not base64"))?;
        Ok(Self { header, body })
    }
}

/// A public key as people pass it on.
pub(super) fn key_text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The same, read.
pub(super) fn key_bytes(text: &str) -> Option<[u8; KEY_LEN]> {
    STANDARD.decode(text.trim()).ok()?.try_into().ok()
}

const BEGIN: &str = "-----BEGIN POSTERN SA EXCHANGE-----";
const END: &str = "-----END POSTERN SA EXCHANGE-----";

/// As in PEM (RFC 7468 section 2).
const LINE: usize = 64;
