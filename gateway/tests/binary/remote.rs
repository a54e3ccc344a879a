//! The admin API over mutual TLS, from outside: SIGHUP, openssl and files of the wrong mode.

use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustix::process::Signal;

use crate::process::{Gateway, gateway, own_address};

/// An authority, its files and a configuration that names them.
struct Site {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    listen: SocketAddr,
}

impl Site {
    fn new(name: &str) -> Self {
        let directory =
            std::env::temp_dir().join(format!("postern-site-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(directory.join("ca.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        // Free a moment ago, and of an address that no other test uses.
        let listen = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap();
        let site = Self { directory, issuer: Issuer::new(params, key), listen };
        site.sign("gw-a.example");
        site.sign("ops.example");
        site.write_config("gw-a.example");
        site
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn sign(&self, name: &str) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.file(&format!("{name}.pem")), certificate.pem()).unwrap();
        let path = self.file(&format!("{name}.key"));
        fs::write(&path, key.serialize_pem()).unwrap();
        chmod(&path, 0o600);
    }

    /// With this certificate and gateway A's key.
    fn write_config(&self, name: &str) -> String {
        let text = format!(
            "[admin.tls]\nlisten = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n\
             client_ca = \"{}\"\noperators = [\"ops.example\"]\n",
            self.listen,
            self.file(&format!("{name}.pem")).display(),
            self.file("gw-a.example.key").display(),
            self.file("ca.pem").display(),
        );
        let path = self.file("gateway.toml");
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// What openssl's client says and hears when it asks for the events.
    fn openssl(&self, arguments: &[&str]) -> String {
        let mut client = Command::new("openssl")
            .args(["s_client", "-connect", &self.listen.to_string(), "-ign_eof"])
            .args(["-servername", "gw-a.example", "-CAfile"])
            .arg(self.file("ca.pem"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let request = b"GET /v1/events HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n";
        // A handshake that fails closes the pipe first.
        let _ = client.stdin.take().unwrap().write_all(request);
        let output = client.wait_with_output().unwrap();
        [output.stdout, output.stderr]
            .map(|text| String::from_utf8_lossy(&text).into_owned())
            .join("\n")
    }

    fn as_operator(&self) -> String {
        let [certificate, key] =
            ["pem", "key"].map(|kind| self.file(&format!("ops.example.{kind}")));
        self.openssl(&["-cert", certificate.to_str().unwrap(), "-key", key.to_str().unwrap()])
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn openssl_gets_in_with_a_certificate_and_by_tls_1_3_only() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: no openssl here (Debian package openssl)");
        return;
    }
    let site = Site::new("openssl");
    let config = site.write_config("gw-a.example");
    let gateway = Gateway::start(&["--config", &config]);
    let heard = site.as_operator();
    assert!(heard.contains("200 OK") && heard.contains("TLSv1.3"), "{heard}");
    let heard = site.openssl(&[]);
    assert!(!heard.contains("200 OK") && heard.contains("certificate required"), "{heard}");
    gateway.wait_for_log("admin.refused");
    let heard = site.openssl(&["-tls1_2"]);
    assert!(!heard.contains("200 OK") && heard.contains("alert"), "{heard}");
}

#[test]
fn sighup_takes_new_certificates_and_refuses_broken_ones() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("SKIPPED: no openssl here (Debian package openssl)");
        return;
    }
    let site = Site::new("sighup");
    let config = site.write_config("gw-a.example");
    let gateway = Gateway::start(&["--config", &config]);

    // Of another key than the one beside it.
    site.write_config("ops.example");
    gateway.signal(Signal::HUP);
    gateway.wait_for_log("config.refused");
    assert!(gateway.log().contains("do not work together"), "{}", gateway.log());
    let heard = site.as_operator();
    assert!(heard.contains("200 OK"), "{heard}");

    site.write_config("gw-a.example");
    site.sign("gw-a.example");
    gateway.signal(Signal::HUP);
    gateway.wait_for_log("config.reloaded");
    let heard_now = site.as_operator();
    assert!(heard_now.contains("200 OK"), "{heard_now}");
    let certificate = |heard: &str| {
        let begun = heard.find("BEGIN CERTIFICATE").unwrap();
        heard[begun..begun + heard[begun..].find("END CERTIFICATE").unwrap()].to_owned()
    };
    assert_ne!(certificate(&heard), certificate(&heard_now));
}

#[test]
fn a_key_that_others_can_read_is_refused_at_start_and_by_check() {
    let site = Site::new("mode");
    let config = site.write_config("gw-a.example");
    let key = site.file("gw-a.example.key");
    let said = gateway(&["check", "--config", &config]);
    assert!(String::from_utf8_lossy(&said.stdout).contains("admin API at"), "{said:?}");
    chmod(&key, 0o644);
    for verb in ["check", "run"] {
        let said = gateway(&[verb, "--config", &config, "--ng", "127.0.0.1:0", "--http", "none"]);
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(!said.status.success(), "{text}");
        assert!(text.contains(&format!("chmod 600 {}", key.display())), "{text}");
    }
}

#[test]
fn a_typo_names_the_key_that_was_meant_and_peers_need_tls() {
    let site = Site::new("typo");
    let config = site.file("gateway.toml");
    let peer = "[[ipsec.peer]]\nname = \"b\"\nidentity = \"gw-b.example\"\n";
    for (text, expected) in [
        ("[admin.tls]\noperator = []\n".to_owned(), "did you mean \"operators\"?"),
        (format!("{peer}admn = \"x\"\n"), "did you mean \"admin\"?"),
        (format!("{peer}admin = \"192.0.2.2\"\n"), "https://HOST:PORT"),
        (format!("{peer}admin = \"https://192.0.2.2:9443\"\n"), "set up [admin.tls]"),
    ] {
        fs::write(&config, text).unwrap();
        let said = gateway(&["check", "--config", config.to_str().unwrap()]);
        let text = String::from_utf8_lossy(&said.stderr);
        assert!(text.contains(expected), "{text}");
    }
}
