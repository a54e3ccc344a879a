//! A TLS terminator as a child process, pinned to one core: our gateway, HAProxy or nginx.
//!
//! All of them get the same certificate, one thread, TLS 1.2 and 1.3, stateless tickets, no log
//! of connections, and pass plain TCP to the same upstream. What differs is what each program
//! needs to be at its best; the configurations stand in the results.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use serde::Serialize;

use super::identity::Folder;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Terminator {
    /// Our gateway.
    Postern,
    /// HAProxy in `mode tcp`.
    Haproxy,
    /// nginx with its stream module.
    Nginx,
}

impl Terminator {
    /// All that are compared.
    pub const ALL: [Self; 3] = [Self::Postern, Self::Haproxy, Self::Nginx];
    /// Those that we are held against.
    pub const PEERS: [Self; 2] = [Self::Haproxy, Self::Nginx];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postern => "gateway",
            Self::Haproxy => "HAProxy",
            Self::Nginx => "nginx",
        }
    }

    /// What the program says it is, and with which OpenSSL.
    pub fn version(self) -> Result<String> {
        let mut command = match self {
            Self::Postern => Command::new(gateway_binary()?),
            Self::Haproxy => Command::new("haproxy"),
            Self::Nginx => Command::new("nginx"),
        };
        let output = match self {
            Self::Postern => command.arg("--version").output(),
            Self::Haproxy => command.arg("-vv").output(),
            Self::Nginx => command.arg("-V").output(),
        };
        let output = output.with_context(|| format!("asking {} its version", self.name()))?;
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let facts = said.lines().filter(|line| {
            let facts = ["gateway ", "HAProxy version", "Running on OpenSSL", "nginx version"];
            line.contains("running with OpenSSL") || facts.iter().any(|fact| line.starts_with(fact))
        });
        Ok(facts.map(str::trim).collect::<Vec<_>>().join("; "))
    }

    /// The configuration: clients come to `port`, plaintext goes to `upstream`.
    pub fn configuration(self, folder: &Folder, port: u16, upstream: SocketAddr) -> String {
        let path = |name: &str| folder.file(name).display().to_string();
        match self {
            Self::Postern => format!(
                r#"[tls]
threads = 1

[[tls.listener]]
name = "bench"
mode = "terminate"
listen = "127.0.0.1:{port}"
upstream = ["{upstream}"]
certificate = [{{ names = ["{name}"], chain = "{chain}", key = "{key}" }}]
max_connections = {connections}
idle_timeout = "off"
"#,
                name = super::identity::NAME,
                chain = path("chain.pem"),
                key = path("key.pem"),
                connections = CONNECTIONS,
            ),
            Self::Haproxy => format!(
                r"global
    nbthread 1
    maxconn {CONNECTIONS}
    ssl-default-bind-options ssl-min-ver TLSv1.2
    ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384
    tune.ssl.cachesize 20000
    tune.ssl.keylog off

defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    option tcp-smart-connect

listen bench
    bind 127.0.0.1:{port} ssl crt {both} backlog 4096
    server upstream {upstream}
",
                both = path("both.pem"),
            ),
            Self::Nginx => format!(
                r"load_module {NGINX_STREAM};
daemon off;
master_process off;
worker_processes 1;
pid {pid};
error_log {log} error;
events {{
    worker_connections {descriptors};
    multi_accept on;
}}
stream {{
    server {{
        listen 127.0.0.1:{port} ssl backlog=4096;
        ssl_certificate {chain};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384;
        proxy_pass {upstream};
        proxy_timeout 1h;
    }}
}}
",
                pid = path("nginx.pid"),
                log = path("nginx.log"),
                chain = path("chain.pem"),
                key = path("key.pem"),
                descriptors = 2 * CONNECTIONS + 100,
            ),
        }
    }

    fn command(self, core: usize, configuration: &PathBuf) -> Result<Command> {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string()]);
        match self {
            Self::Postern => command
                .arg(gateway_binary()?)
                .args(["run", "--workers", "1", "--interface", "127.0.0.1", "--log", "warn"])
                .args(["--admin", "none", "--http", "none", "--ng", "127.0.0.1:22223"])
                .arg("--config")
                .arg(configuration),
            // In the foreground, one process.
            Self::Haproxy => command.args(["haproxy", "-db", "-f"]).arg(configuration),
            Self::Nginx => command.args(["nginx", "-c"]).arg(configuration),
        };
        Ok(command)
    }
}

/// The release build of `gateway` beside this binary.
fn gateway_binary() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("gateway");
    ensure!(
        path.exists(),
        "{} is missing: build it with `cargo build --release -p gateway`",
        path.display()
    );
    Ok(path)
}

/// A running terminator; killed when dropped.
pub struct Process {
    child: Child,
    address: SocketAddr,
    which: Terminator,
}

impl Process {
    /// Starts `which` on `core` in front of `upstream`, and waits until it takes connections.
    pub fn start(
        which: Terminator,
        folder: &Folder,
        core: usize,
        upstream: SocketAddr,
    ) -> Result<Self> {
        let address = fresh_address();
        let configuration = which.configuration(folder, address.port(), upstream);
        Self::launch(which, folder, core, address, &configuration)
    }

    /// Our gateway, with records where `kernel`, a value of the setting of that name, wants them.
    pub fn start_gateway(
        folder: &Folder,
        core: usize,
        upstream: SocketAddr,
        kernel: &str,
    ) -> Result<Self> {
        let (which, address) = (Terminator::Postern, fresh_address());
        let configuration = which.configuration(folder, address.port(), upstream);
        let configuration =
            configuration.replacen("[tls]", &format!("[tls]\nkernel = \"{kernel}\""), 1);
        Self::launch(which, folder, core, address, &configuration)
    }

    fn launch(
        which: Terminator,
        folder: &Folder,
        core: usize,
        address: SocketAddr,
        configuration: &str,
    ) -> Result<Self> {
        let configuration = folder.write(&format!("{}.conf", which.name()), configuration)?;
        let log = File::create(folder.file(&format!("{}.log", which.name())))?;
        let child = which
            .command(core, &configuration)?
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", which.name()))?;
        let mut process = Self { child, address, which };
        process.wait_until_it_listens(folder)?;
        Ok(process)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it takes TLS.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn wait_until_it_listens(&mut self, folder: &Folder) -> Result<()> {
        let name = self.which.name();
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let log = folder.file(&format!("{name}.log"));
                let said = std::fs::read_to_string(log).unwrap_or_default();
                bail!("{name} ended with {status}: {said}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("{name} does not listen on {} within {START:?}", self.address)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is as good as killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of its own for each process: no connection of an earlier one lingers there.
fn fresh_address() -> SocketAddr {
    let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// More than any figure opens.
const CONNECTIONS: usize = 8_000;
/// Half a second on a machine; the test VM is a tenth as fast.
const START: Duration = Duration::from_secs(30);
const NGINX_STREAM: &str = "/usr/lib/nginx/modules/ngx_stream_module.so";
/// Below the ports that connections are made from.
static NEXT_PORT: AtomicU16 = AtomicU16::new(24_000);
