//! A gateway that answers as the admin API does, with what a test wants it to say.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use gateway_control::{API_VERSION, VERSION_HEADER};
use serde_json::Value;

/// Answers requests, and says what it was asked.
pub(crate) struct StandIn {
    socket: PathBuf,
    asked: mpsc::Receiver<(String, String)>,
}

impl StandIn {
    /// With this status and body for whatever comes.
    pub(crate) fn new(status: u16, answer: &Value) -> Self {
        Self::with_pages(status, std::slice::from_ref(answer))
    }

    /// With these bodies one after the other; what comes after the last gets that again.
    pub(crate) fn with_pages(status: u16, answers: &[Value]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("postern-keymgr-{}-{turn}.sock", std::process::id());
        let socket = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&socket).unwrap();
        let (tell, asked) = mpsc::channel();
        let answers: Vec<String> = answers.iter().map(Value::to_string).collect();
        std::thread::spawn(move || {
            for (turn, stream) in listener.incoming().flatten().enumerate() {
                let answer = &answers[turn.min(answers.len() - 1)];
                // Before it is answered: keymgr has ended, and the test asks, soon after that.
                let _ = tell.send(request(&stream));
                reply(&stream, status, answer);
            }
        });
        Self { socket, asked }
    }

    /// Exit code, standard output, standard error.
    pub(crate) fn keymgr(&self, arguments: &[&str]) -> (i32, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keymgr"));
        let output = command.arg("--admin").arg(&self.socket).args(arguments).output();
        let output = output.expect("it runs");
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// What was asked last: method and path, and the body.
    pub(crate) fn asked(&self) -> (String, Value) {
        self.all_asked().pop().expect("something was asked")
    }

    /// What was asked since the last time.
    pub(crate) fn all_asked(&self) -> Vec<(String, Value)> {
        let read = |body: String| serde_json::from_str(&body).unwrap_or_default();
        self.asked.try_iter().map(|(line, body)| (line, read(body))).collect()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

fn request(stream: &UnixStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request = first.rsplit_once(' ').unwrap().0.to_owned();
    (request, String::from_utf8(body).unwrap())
}

fn reply(mut stream: &UnixStream, status: u16, answer: &str) {
    let head = format!(
        "HTTP/1.1 {status} X\r\n{VERSION_HEADER}: {API_VERSION}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
        answer.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
}
