//! strongSwan's daemon on a host, with one connection to the other one's, for pair 0's networks.

use std::{env, fs, process::Command};

use anyhow::{Result, ensure};

use crate::hosts::{Hosts, Side};

/// Ends with its SAs when dropped.
pub(crate) struct Daemon {
    own: String,
}

impl Daemon {
    pub(crate) fn start(hosts: &Hosts, side: Side) -> Result<Self> {
        let namespace = hosts.namespace(side);
        let connections = env::temp_dir().join(format!("{namespace}.conf"));
        fs::write(&connections, connection(side))?;
        let started = Command::new("swan").arg(&namespace).arg(&connections).output()?;
        let own = format!("/tmp/swan-{namespace}");
        let daemon = Self { own };
        ensure!(started.status.success(), "swan: {started:?}\n{}", daemon.log());
        Ok(daemon)
    }

    pub(crate) fn initiate(&self) -> Result<()> {
        self.swanctl(&["--initiate", "--child", "net", "--timeout", "30"])
    }

    pub(crate) fn terminate(&self) -> Result<()> {
        self.swanctl(&["--terminate", "--ike", "peers", "--timeout", "30"])
    }

    fn swanctl(&self, arguments: &[&str]) -> Result<()> {
        let uri = format!("unix://{}/charon.vici", self.own);
        let done = Command::new("swanctl")
            .env("STRONGSWAN_CONF", format!("{}/strongswan.conf", self.own))
            .args(arguments)
            .args(["--uri", &uri])
            .output()?;
        ensure!(done.status.success(), "swanctl {arguments:?}: {done:?}\n{}", self.log());
        Ok(())
    }

    fn log(&self) -> String {
        let files = ["output", "log"].map(|name| format!("{}/{name}", self.own));
        files.map(|file| fs::read_to_string(file).unwrap_or_default()).join("\n")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let end = format!("kill $(cat {}/charon.pid)", self.own);
        let _ = Command::new("sh").args(["-c", &end]).output();
    }
}

fn connection(side: Side) -> String {
    let other = side.other();
    format!(
        "connections {{
            peers {{
                version = 2
                local_addrs = {}
                remote_addrs = {}
                proposals = aes128gcm16-prfsha256-x25519
                local {{
                    auth = psk
                    id = {}
                }}
                remote {{
                    auth = psk
                    id = {}
                }}
                children {{
                    net {{
                        local_ts = {}
                        remote_ts = {}
                        esp_proposals = aes256gcm16
                    }}
                }}
            }}
        }}
        secrets {{
            ike-peers {{
                secret = known-to-both
            }}
        }}
        ",
        side.outer(),
        other.outer(),
        side.name(),
        other.name(),
        side.inner(0).0,
        other.inner(0).0
    )
}
