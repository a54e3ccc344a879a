//! The gateway's DTLS key in a PKCS#11 token (SoftHSM2): it signs handshakes in both roles, and no
//! file has it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::abroad::Abroad;
use crate::browser::{Browser, PROGRAMS};
use crate::call::{Call, Dtls, Offerer};
use crate::far::Kind;
use crate::gateway::Gateway;
use crate::relay::{Relay, configuration, dropped};
use crate::scene::{Scene, demand};
use crate::secure_peer::Certificate;

#[test]
fn a_browser_calls_and_is_called_under_a_key_in_a_token() {
    demand("token", &[PROGRAMS, &["softhsm2-util"]].concat(), |scene| {
        let abroad = Abroad::new()?;
        let certificate = Certificate::new(scene, "token", 0)?;
        let uri = import(scene, &certificate)?;
        let chain = certificate.files[0].display();
        let webrtc = format!("certificate = {{ chain = \"{chain}\", key = \"{uri}\" }}\n");
        let gateway = Gateway::start_with(scene, &configuration(&webrtc), |command| {
            command.env("SOFTHSM2_CONF", scene.path("softhsm2.conf"));
        })?;
        let browser = Browser::start(scene, &abroad)?;
        for (name, offerer) in [("caller", Offerer::Party), ("callee", Offerer::Far)] {
            let (mut party, relay) = (browser.call(name), Relay::Ours);
            let audio = &[Kind::Audio];
            let call = Call::set_up(name, relay, &mut party, offerer, audio, Dtls::Default)?;
            thread::sleep(Duration::from_secs(1));
            call.demand_flawless().with_context(|| format!("{:?}", dropped(&gateway)))?;
        }
        for role in ["client", "server"] {
            let labels = ["result=\"secured\"", &format!("role=\"{role}\"")];
            let secured = gateway.metric("postern_dtls_handshakes_total", &labels)?;
            ensure!(secured == 1.0, "{secured} handshakes as {role}");
        }
        Ok(())
    });
}

/// Moves the certificate's key into a token of the scene; the key's URI.
fn import(scene: &Scene, certificate: &Certificate) -> Result<String> {
    let tokens = scene.path("tokens");
    fs::create_dir_all(&tokens)?;
    let settings = format!("directories.tokendir = {}\n", tokens.display());
    fs::write(scene.path("softhsm2.conf"), settings)?;
    fs::write(scene.path("pin"), PIN)?;
    fs::set_permissions(scene.path("pin"), fs::Permissions::from_mode(0o600))?;
    softhsm(scene, &["--init-token", "--free", "--label", "dtls", "--so-pin", "1234"])?;
    let file = certificate.files[1].display().to_string();
    softhsm(scene, &["--import", &file, "--token", "dtls", "--label", "own", "--id", "01"])?;
    fs::remove_file(&certificate.files[1])?;
    let pin = scene.text("pin");
    Ok(format!("pkcs11:token=dtls;object=own?module-path={MODULE}&pin-source=file:{pin}"))
}

fn softhsm(scene: &Scene, words: &[&str]) -> Result<()> {
    let mut command = Command::new("softhsm2-util");
    command.env("SOFTHSM2_CONF", scene.path("softhsm2.conf")).args(words).args(["--pin", PIN]);
    let output = command.output()?;
    ensure!(output.status.success(), "{words:?}: {output:?}");
    Ok(())
}

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
const PIN: &str = "4711-secret";
