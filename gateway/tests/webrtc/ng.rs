//! The controller: asks the relay over ng as an SBC does, in JSON.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Where every relay of these tests listens.
pub(crate) const NG: &str = "127.0.0.1:2223";

/// One request; the reply must say `ok` or `pong`.
pub(crate) fn ask(request: &Value) -> Result<Value> {
    let reply = ask_anything(request)?;
    let result = reply["result"].as_str().unwrap_or_default();
    ensure!(["ok", "pong"].contains(&result), "{request} was answered {reply}");
    Ok(reply)
}

/// The same, whatever the reply says.
pub(crate) fn ask_anything(request: &Value) -> Result<Value> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(NG)?;
    // A repeated cookie would be answered from the relay's cache.
    let cookie = format!("webrtc{}", COOKIE.fetch_add(1, Ordering::Relaxed));
    socket.send(format!("{cookie} {request}").as_bytes())?;
    let mut buffer = vec![0; 65_536];
    let length = socket.recv(&mut buffer).context("no reply over ng")?;
    let reply = std::str::from_utf8(&buffer[..length])?;
    let (echoed, body) = reply.split_once(' ').context("a reply without a cookie")?;
    ensure!(echoed == cookie, "a reply to another request: {reply}");
    serde_json::from_str(body).with_context(|| reply.to_owned())
}

static COOKIE: AtomicU32 = AtomicU32::new(0);

/// A relay that is busy with a flood still answers its controller.
const PATIENCE: Duration = Duration::from_secs(5);
