//! Chromium, headless and driven by chromedriver, with a page that this serves. Each of its calls
//! is a [`Party`].

use std::fs;
use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::abroad::Abroad;
use crate::dialogue::Dialogue;
use crate::party::Party;
use crate::scene::{Scene, wait_for};
use crate::web;

/// What has to be installed.
pub(crate) const PROGRAMS: &[&str] = &["chromium", "chromedriver"];

/// A browser that shows the page; dropping it ends it.
pub(crate) struct Browser<'a> {
    abroad: &'a Abroad,
    driver: Arc<str>,
    session: String,
    _chromedriver: Dialogue,
}

/// One call of the page.
pub(crate) struct PageCall<'a> {
    browser: &'a Browser<'a>,
    name: &'static str,
}

impl<'a> Browser<'a> {
    /// Starts one abroad and opens the page.
    pub(crate) fn start(scene: &Scene, abroad: &'a Abroad) -> Result<Self> {
        abroad.run(serve_page)?;
        let mut command = Command::new("chromedriver");
        command.args([&format!("--port={DRIVER_PORT}"), "--log-level=WARNING"]);
        let own = scene.clone();
        let chromedriver =
            abroad.run(move || Dialogue::start(&own, "chromedriver", &mut command))?;
        let driver: Arc<str> = format!("127.0.0.1:{DRIVER_PORT}").into();
        let mut browser =
            Self { abroad, driver, session: String::new(), _chromedriver: chromedriver };
        wait_for("chromedriver", || Ok(browser.drive("GET", "/status", Value::Null).ok()))?;
        let profile = scene.path("chromium");
        fs::create_dir_all(&profile)?;
        let mut arguments: Vec<String> = ARGUMENTS.iter().map(ToString::to_string).collect();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let capabilities = json!({"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "timeouts": {"script": 20_000, "pageLoad": 20_000},
        }});
        let session = browser.drive("POST", "/session", json!({ "capabilities": capabilities }))?;
        let id = session["sessionId"].as_str().with_context(|| session.to_string())?;
        browser.session = format!("/session/{id}");
        browser.post("/url", json!({"url": format!("http://127.0.0.1:{PAGE_PORT}/")}))?;
        Ok(browser)
    }

    /// A call of the page by this name.
    pub(crate) fn call(&'a self, name: &'static str) -> PageCall<'a> {
        PageCall { browser: self, name }
    }

    fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.drive("POST", &format!("{}{path}", self.session), body)
    }

    fn drive(&self, method: &'static str, path: &str, body: Value) -> Result<Value> {
        let (driver, path) = (Arc::clone(&self.driver), path.to_owned());
        self.abroad.run(move || webdriver(&driver, method, &path, &body))
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            // Else chromedriver's end is not Chromium's.
            let _ = self.drive("DELETE", &self.session.clone(), Value::Null);
        }
    }
}

impl Party for PageCall<'_> {
    fn ask(&mut self, verb: &str, argument: Value) -> Result<Value> {
        let script =
            "const done = arguments[3]; ask(...[0, 1, 2].map((at) => arguments[at])).then(done)";
        let arguments = json!([verb, self.name, argument]);
        let body = json!({"script": script, "args": arguments});
        let answer = self.browser.post("/execute/async", body)?;
        ensure!(answer["error"].is_null(), "the page's {verb}: {}", answer["error"]);
        Ok(answer["ok"].clone())
    }
}

/// One WebDriver command; its value.
fn webdriver(driver: &str, method: &str, path: &str, body: &Value) -> Result<Value> {
    let value = web::exchange(driver, method, path, body)?["value"].clone();
    ensure!(value["error"].is_null(), "chromedriver's {path}: {value}");
    Ok(value)
}

/// Gives the page to whoever asks for anything: a page on localhost may use a microphone.
fn serve_page() -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", PAGE_PORT))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A browser that opens a connection in advance and says nothing must not hold it up.
            thread::spawn(move || give_page(stream));
        }
    });
    Ok(())
}

fn give_page(stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(web::PATIENCE))?;
    let mut reader = BufReader::new(stream);
    web::head(&mut reader)?;
    let page = include_str!("page.html");
    write!(
        reader.get_mut(),
        "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{page}",
        page.len()
    )?;
    Ok(())
}

/// No GPU, no service of its maker's, a microphone and a camera that need no person, and candidates
/// with addresses: the namespace has nobody who could resolve a `.local` name.
const ARGUMENTS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--disable-features=WebRtcHideLocalIpsWithMdns",
    "--disable-dev-shm-usage",
];
const DRIVER_PORT: u16 = 9515;
const PAGE_PORT: u16 = 8080;
