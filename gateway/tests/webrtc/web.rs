//! JSON over HTTP, as chromedriver and Janus speak it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One request, and the JSON that answers it.
pub(crate) fn exchange(address: &str, method: &str, path: &str, body: &Value) -> Result<Value> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let body = if body.is_null() { String::new() } else { body.to_string() };
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut reader = BufReader::new(stream);
    let length = head(&mut reader).with_context(|| format!("{method} {path}"))?;
    let mut answer = Vec::new();
    // Without a length it comes in chunks, and ends with the connection. They are lines too, and
    // JSON has no line of hexadecimal digits alone.
    reader.take(length.unwrap_or(u64::MAX)).read_to_end(&mut answer)?;
    let mut text = String::from_utf8(answer)?;
    if length.is_none() {
        let is_size = |line: &str| u32::from_str_radix(line.trim_end(), 16).is_ok();
        text = text.split_inclusive("\r\n").filter(|line| !is_size(line)).collect();
    }
    serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
}

/// Reads to the end of a head; the length of what follows it, where that is said.
pub(crate) fn head(reader: &mut impl BufRead) -> Result<Option<u64>> {
    let mut length = None;
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "the connection ended within a head");
        if line.trim_end().is_empty() {
            return Ok(length);
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, ""));
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse()?);
        }
    }
}

/// A browser that starts on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
