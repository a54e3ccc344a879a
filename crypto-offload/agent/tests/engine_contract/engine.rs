//! The engines under test, each with a ground to stand on and terms that it must meet.

use std::fs;

use anyhow::{Context, Result, ensure};
use crypto_offload::{
    Aead, PairEncapsulation,
    Placement::{InlineCrypto, KernelSoftware, UserSpace},
    PlacementPolicy, SaPair, SequenceNumbers,
};

use crate::{ground::Terms, hosts::Side, simulated::Device, traffic::Line, world::World};

/// Which one is under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Engine {
    /// Our own ESP.
    UserSpace,
    /// The kernel's, in software.
    Kernel,
    /// The kernel's, asked for in netdevsim: that device takes some SAs, whose packets it would
    /// send out in clear, and refuses others, which are in software then.
    Device,
}

/// Those that are to be judged here; SKIPPED with the reason where one is not there.
pub(crate) fn engines(claim: &str) -> Vec<Engine> {
    if std::env::var_os("POSTERN_VM").is_some() {
        let device = Device::is_known("contract").then_some(Engine::Device);
        return [Engine::Kernel].into_iter().chain(device).collect();
    }
    let is_root = rustix::process::geteuid().is_root();
    if is_root && fs::metadata("/dev/net/tun").is_ok() {
        return vec![Engine::UserSpace];
    }
    println!("SKIPPED contract: {claim}: it needs root and /dev/net/tun");
    Vec::new()
}

impl Engine {
    /// The plainest of what it does.
    pub(crate) fn terms(self) -> Terms {
        let plain = |placement| Terms {
            aead: Aead::Aes128Gcm,
            ..Terms::placed(PlacementPolicy::Require(placement))
        };
        match self {
            Self::UserSpace => plain(UserSpace),
            Self::Kernel => plain(KernelSoftware),
            Self::Device => Terms {
                placement: PlacementPolicy::Prefer(vec![InlineCrypto, KernelSoftware]),
                sequence_numbers: SequenceNumbers::Short,
                device: Some("sim0"),
                ..plain(InlineCrypto)
            },
        }
    }

    /// As plain, of an SA whose packets can be judged: netdevsim refuses extended numbers.
    pub(crate) fn terms_that_encrypt(self) -> Terms {
        Terms { sequence_numbers: SequenceNumbers::Extended, ..self.terms() }
    }

    /// Two hosts with an agent each.
    pub(crate) fn world(self, pairs: usize) -> Result<World> {
        match self {
            Self::UserSpace => World::new("user-space", pairs),
            Self::Kernel => World::new("xfrm", pairs),
            Self::Device => World::with_device("contract", pairs)?.context("netdevsim is gone"),
        }
    }

    /// A world with pair 0 in use on these terms, and room for another.
    pub(crate) fn world_with_pair(self, terms: &Terms) -> Result<(World, Line)> {
        let world = self.world(2)?;
        let encrypts = self.bring_up(&world, 0, terms, |_| {})?;
        let line = Line::new(&world.hosts, encrypts, Side::BOTH.map(|side| side.inner(0).1))?;
        Ok((world, line))
    }

    /// Takes a pair into use, and sees that its SAs are where they belong.
    pub(crate) fn bring_up(
        self,
        world: &World,
        index: usize,
        terms: &Terms,
        changed: impl Fn(&mut SaPair),
    ) -> Result<Encrypts> {
        let (requested, effective) = match self {
            Self::UserSpace => (UserSpace, UserSpace),
            Self::Kernel => (KernelSoftware, KernelSoftware),
            Self::Device if is_for_netdevsim(terms) => (InlineCrypto, InlineCrypto),
            Self::Device => (InlineCrypto, KernelSoftware),
        };
        for at in world.bring_up_changed(index, terms, changed)? {
            ensure!((at.requested, at.effective) == (requested, effective), "{at:?}");
            ensure!(at.reason.is_some() == (requested != effective), "{at:?}");
        }
        Ok(if effective == InlineCrypto { Encrypts::Nothing } else { Encrypts::All })
    }
}

/// AES-GCM and short numbers.
fn is_for_netdevsim(terms: &Terms) -> bool {
    terms.aead != Aead::ChaCha20Poly1305 && terms.sequence_numbers == SequenceNumbers::Short
}

/// What becomes of a pair's packets at the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encrypts {
    /// They can be judged.
    All,
    /// They are not sent.
    Nothing,
}

pub(crate) const UDP: Option<PairEncapsulation> =
    Some(PairEncapsulation { local_port: 4500, remote_port: 4500 });
