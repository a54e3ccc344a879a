//! A TLS server that sends back what it is sent, with a thread for each connection.
//!
//! `cargo run -p kernel-tls --example echo -- 127.0.0.1:4433`, then
//! `openssl s_client -connect 127.0.0.1:4433`. Type `R` or `K` there to renew keys. The certificate
//! is made at start and signed by itself.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;

use kernel_tls::{
    Handshake, HandshakeError, Hello, HelloReader, Policy, Progress, Reading, Received, Scratch,
    Stream, Support,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4433".to_owned());
    let config = Arc::new(configuration()?);
    let support = Support::shared();
    for line in support.lines() {
        println!("{line}");
    }
    let listener = TcpListener::bind(&address)?;
    println!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let (socket, config) = (socket?, Arc::clone(&config));
        std::thread::spawn(move || {
            if let Err(error) = serve(&socket, &config, support) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

fn configuration() -> Result<ServerConfig, Failure> {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], own.signing_key.into())?;
    // Without this the records stay in user space.
    config.enable_secret_extraction = true;
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(config)
}

fn serve(socket: &TcpStream, config: &Arc<ServerConfig>, support: &Support) -> Result<(), Failure> {
    socket.set_nonblocking(true)?;
    let handshake = shake_hands(socket, config).inspect_err(|failure| {
        if let Some(error) = failure.downcast_ref::<HandshakeError>() {
            // The peer may be gone already; it is owed no more than the attempt.
            let _told = (&*socket).write_all(error.alert_bytes());
        }
    })?;
    let mut stream = Stream::establish(handshake, socket, support, &Policy::default())?;
    println!("{stream:?}");
    echo(socket, &mut stream, &mut Scratch::new())?;
    Ok(())
}

/// Reads no byte beyond the handshake, so that the kernel may take over.
fn shake_hands(socket: &TcpStream, config: &Arc<ServerConfig>) -> Result<Handshake, Failure> {
    let hello = gather(socket)?;
    println!("a hello for {:?}", hello.server_name());
    let mut handshake = Handshake::server(Arc::clone(config), hello)?;
    let mut out = Vec::new();
    loop {
        let progress = handshake.step(&mut out);
        send_all(socket, &out)?;
        out.clear();
        match progress? {
            Progress::Complete => return Ok(handshake),
            Progress::NeedsBytes => {
                handshake.received(&receive(socket, handshake.wanted(Reading::Exact))?);
            }
        }
    }
}

fn gather(socket: &TcpStream) -> Result<Hello, Failure> {
    let mut reader = HelloReader::new();
    loop {
        if let Some(hello) = reader.received(&receive(socket, reader.wanted())?)? {
            return Ok(hello);
        }
    }
}

fn echo(socket: &TcpStream, stream: &mut Stream, scratch: &mut Scratch) -> io::Result<()> {
    loop {
        let data = match stream.read(socket, scratch) {
            Ok(Received::Data(data)) => data.to_vec(),
            Ok(Received::Nothing) => continue,
            Ok(Received::CloseNotify) => break,
            Ok(Received::Alert(alert)) => return Err(io::Error::other(format!("{alert:?}"))),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                wait(socket, PollFlags::IN)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let mut rest = data.as_slice();
        while !rest.is_empty() {
            match stream.write(socket, rest, scratch) {
                Ok(taken) => rest = rest.get(taken..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    wait(socket, PollFlags::OUT)?
                }
                Err(error) => return Err(error),
            }
        }
        flush(socket, stream)?;
    }
    stream.close_write(socket)?;
    flush(socket, stream)?;
    socket.shutdown(Shutdown::Write)
}

fn flush(socket: &TcpStream, stream: &mut Stream) -> io::Result<()> {
    while stream.wants_flush() {
        match stream.flush(socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, PollFlags::OUT)?,
            result => result?,
        }
    }
    Ok(())
}

fn receive(mut socket: &TcpStream, wanted: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; wanted];
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                buffer.truncate(read);
                return Ok(buffer);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, PollFlags::IN)?,
            Err(error) => return Err(error),
        }
    }
}

fn send_all(mut socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait(socket, PollFlags::OUT)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait(socket: impl AsFd, until: PollFlags) -> io::Result<()> {
    poll(&mut [PollFd::new(&socket, until)], None)?;
    Ok(())
}
