//! Pairs and peers: those of the configuration, and those that the admin API adds. The agent keeps
//! both; the configuration is held against it at the start, when the agent returns, and at SIGHUP.

use std::collections::HashSet;
use std::sync::PoisonError;

use admin_client::Client;
use crypto_offload::{PairName, SaPair};
use gateway_control::agent::AgentErrorCode;
use gateway_control::{AddSa, ErrorCode, PairStatus};

use super::Ipsec;
use super::agent::AskError;
use super::by_hand::OnFailure;
use super::operations::Progress;
use super::peers::Peer;
use super::reply::Refusal;
use super::rotate::{Cause, Want};
use crate::admin::access;
use crate::config::Config;
use crate::config::ipsec::Sa;

/// What came of adding a pair.
pub(crate) enum Added {
    /// It gets its first keys.
    Started(Progress),
    /// It waits for them.
    Waiting(Box<PairStatus>),
}

impl Ipsec {
    /// Goes by `config` from now on: peers, pairs, and whether to rotate.
    pub(crate) fn reconfigure(&self, config: &Config) {
        self.peers().replace(peers(config));
        self.0.rotate.send_replace(config.ipsec.rotate);
        let new = config.ipsec.sa.clone();
        let old = {
            let mut configured = self.0.configured.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *configured, new.clone())
        };
        let ipsec = self.clone();
        tokio::spawn(async move {
            ipsec.undefine_missing(&old, &new).await;
            ipsec.define_configured().await;
        });
    }

    /// Has the agent define what the configuration has.
    pub(super) async fn define_configured(&self) {
        let configured =
            { self.0.configured.lock().unwrap_or_else(PoisonError::into_inner).clone() };
        for sa in configured {
            // Checked when the configuration was read.
            let Ok(pair) = sa.pair() else { continue };
            if let Err(error) = self.agent().define(pair).await {
                tracing::error!("ipsec.sa {}: {error}", sa.name);
            }
        }
    }

    async fn undefine_missing(&self, old: &[Sa], new: &[Sa]) {
        let kept: HashSet<&PairName> = new.iter().map(|sa| &sa.name).collect();
        for sa in old.iter().filter(|sa| !kept.contains(&sa.name)) {
            match self.agent().undefine(&sa.name).await {
                Ok(()) => tracing::warn!("ipsec.sa {}: no longer configured: removed", sa.name),
                Err(error) => tracing::error!("ipsec.sa {}: cannot be removed: {error}", sa.name),
            }
        }
    }

    /// Whether a pair makes sense here.
    ///
    /// # Errors
    /// What does not.
    pub(crate) fn check_pair(&self, pair: &SaPair) -> Result<(), Refusal> {
        let refuse = |said: String, hint: &str| {
            Err(Refusal::new(ErrorCode::Invalid, pair.name.as_str(), said, hint))
        };
        if let Err(error) = pair.check() {
            return refuse(error.to_string(), "mend that field of the pair");
        }
        match &pair.peer {
            Some(peer) if self.peers().named(peer).is_none() => refuse(
                format!("peer: no [[ipsec.peer]] is named \"{peer}\""),
                "add it to the configuration and send SIGHUP, or leave peer out",
            ),
            _ => Ok(()),
        }
    }

    /// Defines a pair, and with a peer or keys starts its first rotation.
    ///
    /// # Errors
    /// Then it is as it was.
    pub(crate) async fn add(&self, AddSa { pair, keys }: AddSa) -> Result<Added, Refusal> {
        self.check_pair(&pair)?;
        let (name, has_peer) = (pair.name.clone(), pair.peer.is_some());
        if keys.is_some() && has_peer {
            let said = "keys: a pair with a peer gets its keys from there";
            let hint = "leave keys out, or peer";
            return Err(Refusal::new(ErrorCode::Invalid, name.as_str(), said, hint));
        }
        if let Some(keys) = &keys {
            for (offer, field) in
                [(&keys.inbound, "keys.inbound"), (&keys.outbound, "keys.outbound")]
            {
                let hint = "key and salt as keymgr reads them from a file";
                if offer.aead != pair.aead {
                    let said =
                        format!("{field} is for {}, the pair uses {}", offer.aead, pair.aead);
                    let hint =
                        format!("define the pair with {} (--aead), or make other keys", offer.aead);
                    return Err(Refusal::new(ErrorCode::Invalid, name.as_str(), said, hint));
                }
                offer.keying().map_err(|error| {
                    let said = format!("{field}: {error}");
                    Refusal::new(ErrorCode::Invalid, name.as_str(), said, hint)
                })?;
            }
        }
        // Only a pair that surely was not there may be forgotten when its keys cannot be put in
        // place: one that was may be in use.
        let known = match self.agent().show(&name).await {
            Ok(_) => true,
            Err(AskError::Refused(error)) if error.code == AgentErrorCode::UnknownPair => false,
            Err(error) => return Err(error.into()),
        };
        let status = self.agent().define(pair).await?;
        let on_failure = if known { OnFailure::Keep } else { OnFailure::Forget };
        match keys {
            Some(keys) => self.start_manual(&status, keys, on_failure).map(Added::Started),
            None if has_peer && status.active.is_none() => {
                let cause = Cause { who: "operator".to_owned(), why: "added".to_owned() };
                Ok(Added::Started(self.start_rotations(vec![name], Want::NewKeys, &cause)))
            }
            None => Ok(Added::Waiting(Box::new(status))),
        }
    }

    /// Removes a pair with its SAs.
    ///
    /// # Errors
    /// When there is none, or something is being done to it.
    pub(crate) async fn remove(&self, name: &PairName) -> Result<(), Refusal> {
        self.agent().show(name).await?;
        if self.slots().is_busy(name) {
            let said = "it is being rotated now";
            let hint = "ask again when that is over";
            return Err(Refusal::new(ErrorCode::Conflict, name.as_str(), said, hint));
        }
        let configured = {
            let configured = self.0.configured.lock().unwrap_or_else(PoisonError::into_inner);
            configured.iter().any(|sa| sa.name == *name)
        };
        if configured {
            let said = "the configuration has it, and it would be back at the next SIGHUP";
            let hint = "take its [[ipsec.sa]] out of the file and send SIGHUP";
            return Err(Refusal::new(ErrorCode::Conflict, name.as_str(), said, hint));
        }
        Ok(self.agent().undefine(name).await?)
    }
}

/// The gateways of `[[ipsec.peer]]`.
pub(super) fn peers(config: &Config) -> Vec<Peer> {
    let files = config.admin.tls.as_ref().map(crate::config::AdminTls::files);
    let peer = |peer: &crate::config::Peer| {
        let client = match &files {
            Some(files) => {
                Client::peer(&peer.admin, &peer.identity, files).map_err(|error| error.to_string())
            }
            None => Err("peers are asked over mutual TLS: set up [admin.tls]".to_owned()),
        };
        if let Err(error) = &client {
            tracing::error!("ipsec.peer {}: {error}", peer.name);
        }
        Peer { name: peer.name.clone(), identity: access::normal(&peer.identity), client }
    };
    config.ipsec.peer.iter().map(peer).collect()
}

/// What peers know us by.
pub(super) fn gateway_id(config: &Config) -> String {
    let host = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    config
        .ipsec
        .gateway_id
        .clone()
        .or_else(|| certificate_name(config))
        .or_else(|| host().map(|name| name.trim().to_owned()))
        .unwrap_or_else(|| "gateway".to_owned())
}

fn certificate_name(config: &Config) -> Option<String> {
    let files = config.admin.tls.as_ref()?.files();
    // What is wrong with them is told where the listener is bound.
    let material = files.load().ok()?;
    admin_client::identity_of(material.chain.first()?)
}
