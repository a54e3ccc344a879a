//! ng over TCP: one task a connection cuts messages out of the stream and hands them to control;
//! replies go back in the order they are made, each under its cookie.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ng::wire::Frames;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

/// A message and where its reply goes.
#[derive(Debug)]
pub(crate) struct TcpRequest {
    pub(super) message: Bytes,
    pub(super) connection: Connection,
}

/// The way back to a client.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    replies: mpsc::Sender<Bytes>,
}

impl Connection {
    /// Queues a reply. A client that reads none of so many loses them.
    pub(super) fn reply(&self, bytes: Bytes) {
        if self.replies.try_send(bytes).is_err() {
            tracing::debug!(peer = %self.peer, "ng reply lost: the client is gone or reads nothing");
        }
    }
}

/// Accepts up to `limit` connections at a time, for as long as the process lives.
pub(crate) async fn serve(
    listener: TcpListener,
    limit: usize,
    requests: mpsc::Sender<TcpRequest>,
) -> io::Result<()> {
    let places = Arc::new(Semaphore::new(limit));
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, or a client that left at once: neither is the end.
                tracing::warn!(%error, "ng over TCP: cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, "ng over TCP: limits.ng_connections is reached");
            continue;
        };
        let requests = requests.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, peer, requests).await {
                tracing::info!(%peer, %error, "ng over TCP: connection closed");
            }
            drop(place);
        });
    }
}

async fn converse(
    mut stream: TcpStream,
    peer: SocketAddr,
    requests: mpsc::Sender<TcpRequest>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, writer) = stream.split();
    let (replies, queue) = mpsc::channel(REPLIES);
    let write = write(writer, queue);
    tokio::pin!(write);
    tokio::select! {
        // A client that has said all it wanted still gets what it asked for.
        ended = read(reader, Connection { peer, replies }, requests) => {
            ended?;
            write.await
        }
        ended = &mut write => ended,
    }
}

async fn read(
    mut reader: ReadHalf<'_>,
    connection: Connection,
    requests: mpsc::Sender<TcpRequest>,
) -> io::Result<()> {
    let mut frames = Frames::default();
    let mut buffer = vec![0; READ];
    loop {
        let length = reader.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        frames.push(&buffer[..length]);
        while let Some(message) = frames.next_frame().map_err(io::Error::other)? {
            let request = TcpRequest { message, connection: connection.clone() };
            if requests.send(request).await.is_err() {
                return Ok(());
            }
        }
    }
}

/// Until nobody can reply any more.
async fn write(mut writer: WriteHalf<'_>, mut queue: mpsc::Receiver<Bytes>) -> io::Result<()> {
    while let Some(reply) = queue.recv().await {
        writer.write_all(&reply).await?;
    }
    Ok(())
}

/// Bytes taken at once.
const READ: usize = 16 << 10;

/// Replies that wait for a client to read.
const REPLIES: usize = 256;

/// Long enough for a descriptor to come free, short enough that nobody notices.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
