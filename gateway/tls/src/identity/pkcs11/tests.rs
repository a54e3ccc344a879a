//! Tokens of SoftHSM2, in a process of their own: its library reads its configuration from the
//! environment, and a process has it loaded once.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use rcgen::KeyPair;

use super::*;
use crate::identity::test_files::{Authority, Folder, Leaf, rsa_key};
use crate::identity::tests::handshake::{Client, TLS12, TLS13};
use crate::identity::tests::{common, files, listener, load, refusal};
use crate::identity::{Identity, KeyMaterial, Material, Signing};
use crate::settings::{CertificateSource, KeySource};

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "4711-secret";

/// A token with keys in it, and its folder.
struct SoftHsm {
    folder: Folder,
    authority: Authority,
}

impl SoftHsm {
    /// In the child process: the folder that the parent made.
    fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        folder.file("pin", format!("{PIN}\n"));
        Self { folder, authority: Authority::new("CA") }
    }

    fn make_token(&self, label: &str) {
        run(
            "softhsm2-util",
            &["--init-token", "--free", "--label", label, "--pin", PIN, "--so-pin", "1234"],
        );
    }

    /// A certificate for a key that is put into the token.
    fn import(&self, token: &str, label: &str, id: &str, key: KeyPair) -> Leaf {
        let leaf = self.authority.leaf_with(&[&format!("{label}.example")], key, |_| {});
        self.folder.file(&format!("{label}.pem"), leaf.pem());
        let file = self.folder.file("import.key", leaf.key_pem());
        let file = file.to_str().unwrap();
        run(
            "softhsm2-util",
            &["--import", file, "--token", token, "--label", label, "--id", id, "--pin", PIN],
        );
        leaf
    }

    fn uri(&self, what: &str) -> String {
        let pin = self.folder.path("pin");
        format!("pkcs11:{what}?module-path={MODULE}&pin-source=file:{}", pin.display())
    }

    fn source(&self, label: &str, uri: String) -> CertificateSource {
        let none = self.folder.path("none");
        let CertificateSource::Files(mut files) =
            files(self.folder.path(&format!("{label}.pem")), none)
        else {
            panic!("files");
        };
        files.key = KeySource::Pkcs11(uri);
        CertificateSource::Files(files)
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs one of the ignored tests below where SoftHSM's configuration is a folder of its own.
fn in_child(test: &str) {
    if !Path::new(MODULE).exists() {
        println!("SKIPPED {test}: {MODULE} is not there (package softhsm2)");
        return;
    }
    let folder = Folder::new("softhsm");
    std::fs::create_dir_all(folder.path("tokens")).unwrap();
    let tokens = folder.path("tokens");
    let configuration = folder.file(
        "softhsm2.conf",
        format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        ),
    );
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("identity::pkcs11::tests::{test}"), "--ignored", "--nocapture"])
        .env("SOFTHSM2_CONF", configuration)
        .env("SOFTHSM_TOKENS", &tokens)
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert!(!said.contains(PIN), "the PIN was shown");
}

#[test]
fn every_kind_of_key_signs_in_a_token() {
    in_child("child_signs");
}

#[test]
#[ignore = "started by every_kind_of_key_signs_in_a_token"]
fn child_signs() {
    let hsm = SoftHsm::new("signs");
    hsm.make_token("gateway");
    hsm.import("gateway", "p256", "01", KeyPair::generate().unwrap());
    hsm.import(
        "gateway",
        "p384",
        "02",
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
    );
    hsm.import("gateway", "rsa", "03", rsa_key());
    for label in ["p256", "p384", "rsa"] {
        let uri = hsm.uri(&format!("token=gateway;object={label}"));
        let identity = load(&listener(vec![hsm.source(label, uri)]));
        // TLS 1.2 and 1.3 sign what they sign differently, and with RSA in two ways.
        for allowed in [TLS12, TLS13] {
            let client = Client::with(&hsm.authority, allowed, None, |_| {});
            let connected = client.connect(&identity, &format!("{label}.example")).unwrap();
            assert_eq!(connected.signing, Signing::Blocking, "{label} {allowed:?}");
        }
    }
    every_scheme_of_rsa(&hsm);
    signs_for_others(&hsm);
    many_at_once(&hsm);
}

fn every_scheme_of_rsa(hsm: &SoftHsm) {
    let uri: TokenUri = hsm.uri("token=gateway;id=%03").parse().unwrap();
    let token = Arc::new(token::Token::open(uri).unwrap());
    let chain = key_files::certificates(&hsm.folder.path("rsa.pem")).unwrap();
    let key = key::TokenKey::new(token, &chain[0], crate::identity::KeyKind::Rsa(2048)).unwrap();
    let certificate = webpki::EndEntityCert::try_from(&chain[0]).unwrap();
    let mapping = crate::identity::provider::provider().signature_verification_algorithms.mapping;
    for (scheme, algorithms) in
        mapping.iter().filter(|(scheme, _)| format!("{scheme:?}").starts_with("RSA"))
    {
        let signature = key.choose_scheme(&[*scheme]).unwrap().sign(b"message").unwrap();
        let verified = algorithms.iter().any(|algorithm| {
            certificate.verify_signature(*algorithm, b"message", &signature).is_ok()
        });
        assert!(verified, "{scheme:?}");
    }
}

/// DTLS takes the key without a listener around it.
fn signs_for_others(hsm: &SoftHsm) {
    let source = KeySource::Pkcs11(hsm.uri("token=gateway;object=p256"));
    let material = Material::load(&hsm.folder.path("p256.pem"), &source).unwrap();
    let KeyMaterial::Token(key) = material.key else { panic!("the key is in the token") };
    let scheme = rustls::SignatureScheme::ECDSA_NISTP256_SHA256;
    assert!(key.choose_scheme(&[scheme]).unwrap().sign(b"message").is_ok());
}

fn many_at_once(hsm: &SoftHsm) {
    let identity = load(&listener(vec![hsm.source("p256", hsm.uri("object=p256"))]));
    std::thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let client = Client::new(&hsm.authority).never_resuming();
                for _ in 0..5 {
                    client.connect(&identity, "p256.example").unwrap();
                }
            });
        }
    });
}

#[test]
fn what_is_wrong_with_a_token_is_told() {
    in_child("child_bad_input");
}

#[test]
#[ignore = "started by what_is_wrong_with_a_token_is_told"]
fn child_bad_input() {
    let hsm = SoftHsm::new("bad");
    hsm.make_token("gateway");
    hsm.import("gateway", "sip", "01", KeyPair::generate().unwrap());
    hsm.import("gateway", "other", "02", KeyPair::generate().unwrap());
    hsm.import("gateway", "other", "03", KeyPair::generate().unwrap());
    let says = |uri: String, part: &str| {
        let error = refusal(&listener(vec![hsm.source("sip", uri)]));
        assert!(error.contains(part), "{part:?} is missing in: {error}");
        assert!(!error.contains(PIN) && !error.contains("wrong-pin"), "{error}");
    };
    says(hsm.uri("token=none;object=sip"), "shows no such token");
    says(hsm.uri("object=none"), "no such private key");
    says(hsm.uri("object=other"), "there are 2 such private keys; say which with `id`");
    says(hsm.uri("id=%02"), "is not that of the certificate");
    says(hsm.uri("object=sip").replace(MODULE, "/none.so"), "/none.so: the PKCS#11 library");
    says(hsm.uri("object=sip").replace(MODULE, "/usr/bin/env"), "cannot be used");
    says(hsm.uri("object=sip") + "&pin-value=wrong-pin", "pin-source=file:");
    hsm.folder.file("pin", "\n");
    says(hsm.uri("object=sip"), "holds no PIN");
    hsm.folder.file_with_mode("pin", PIN, 0o644);
    says(hsm.uri("object=sip"), "others can read");
    std::fs::remove_file(hsm.folder.path("pin")).unwrap();
    says(hsm.uri("object=sip"), "cannot read");
}

#[test]
fn a_wrong_pin_is_tried_once() {
    in_child("child_wrong_pin");
}

#[test]
#[ignore = "started by a_wrong_pin_is_tried_once"]
fn child_wrong_pin() {
    let hsm = SoftHsm::new("pin");
    hsm.make_token("gateway");
    hsm.import("gateway", "sip", "01", KeyPair::generate().unwrap());
    hsm.folder.file("pin", "wrong-pin");
    let listener = listener(vec![hsm.source("sip", hsm.uri("object=sip"))]);
    let error = refusal(&listener);
    assert!(error.contains("takes no login") && error.contains("pin-source"), "{error}");
    assert!(!error.contains("wrong-pin"), "{error}");
    hsm.folder.file("pin", PIN);
    let identity = load(&listener);
    // The token forgets its login, and the file holds another PIN by now.
    hsm.folder.file("pin", "wrong-pin");
    library_restarts();
    let client = Client::new(&hsm.authority).never_resuming();
    let failing = || client.connect(&identity, "sip.example").unwrap_err();
    assert!(!failing().contains("not tried again"));
    hsm.folder.file("pin", PIN);
    assert!(failing().contains("not tried again before a reload"), "{}", failing());
    let reloaded = identity.reload(&listener, &common()).unwrap();
    assert!(client.connect(&reloaded, "sip.example").is_ok());
}

#[test]
fn a_token_that_went_away_is_told_and_opened_again_when_it_is_back() {
    in_child("child_goes_away");
}

#[test]
#[ignore = "started by a_token_that_went_away_is_told_and_opened_again_when_it_is_back"]
fn child_goes_away() {
    let hsm = SoftHsm::new("away");
    hsm.make_token("gateway");
    hsm.import("gateway", "sip", "01", KeyPair::generate().unwrap());
    let identity: Identity =
        load(&listener(vec![hsm.source("sip", hsm.uri("token=gateway;object=sip"))]));
    let client = Client::new(&hsm.authority).never_resuming();
    let connect = || client.connect(&identity, "sip.example").map(|_| ());
    assert_eq!(connect(), Ok(()));
    library_restarts();
    assert_eq!(connect(), Ok(()), "all sessions are new");
    let tokens = std::path::PathBuf::from(std::env::var_os("SOFTHSM_TOKENS").unwrap());
    let away = hsm.folder.path("away");
    std::fs::rename(&tokens, &away).unwrap();
    std::fs::create_dir(&tokens).unwrap();
    library_restarts();
    let error = connect().unwrap_err();
    assert!(error.contains("shows no such token; is it plugged in"), "{error}");
    std::fs::remove_dir(&tokens).unwrap();
    std::fs::rename(&away, &tokens).unwrap();
    library_restarts();
    assert_eq!(connect(), Ok(()), "it is back");
}

/// Everything that was open in this process is gone, as after a token was pulled out.
fn library_restarts() {
    cryptoki::context::Pkcs11::new(MODULE).unwrap().finalize().unwrap();
}
