//! What a session may choose beside its keys: window, table size, what it puts up with, who can
//! read its header extensions.
//!
//! Fixed when a direction is built. Sizes out of range are brought into range rather than
//! refused, because each has exactly one sensible nearest value.

use crate::{Backend, HeaderExtensions, Profile, SessionParameters, Unsuitable, Weaknesses};

/// How one direction of a session behaves. `Policy::default()` is right for most calls.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Replay window in packets (RFC 3711 section 3.3.2). Rounded up to a multiple of 64 and kept
    /// within 64 to 32,768: beyond half the sequence space an index cannot be estimated anyway.
    pub replay_window: usize,
    /// How many SSRCs a direction keeps a window for, 1 to 65,536. For a further one the longest
    /// silent retires: it may come back, above its highest index. 1,024 retire; after that new
    /// ones are refused, because forgetting a stream would forget which indexes it has used.
    pub max_streams: usize,
    /// What this direction may lack. Anything else that has a [`Weakness`](crate::Weakness) is refused when the
    /// direction is built; none by default.
    pub accepted: Weaknesses,
    /// What the peers have agreed to leave out (RFC 4568 section 6.3): nothing by default.
    pub parameters: SessionParameters,
    /// What computes: the fastest that this CPU has, by default.
    pub backend: Backend,
    /// Who can read RTP header extensions: by default everyone. Both sides must agree.
    pub header_extensions: HeaderExtensions,
}

/// What holds for every key of a direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) parameters: SessionParameters,
    pub(crate) header_extensions: HeaderExtensions,
    pub(crate) backend: Backend,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            replay_window: 1024,
            max_streams: 16,
            accepted: Weaknesses::NONE,
            parameters: SessionParameters::default(),
            backend: Backend::detect(),
            header_extensions: HeaderExtensions::Clear,
        }
    }
}

impl Policy {
    /// Whether what `profile` and the session parameters lack is accepted, and they fit together.
    pub(crate) fn check(&self, profile: Profile) -> Result<(), Unsuitable> {
        self.parameters.check(profile)?;
        let lacking = profile.weakness().into_iter().chain(self.parameters.weaknesses());
        match lacking.into_iter().find(|weakness| !self.accepted.contains(*weakness)) {
            Some(weakness) => Err(Unsuitable::NotAccepted(weakness)),
            None => Ok(()),
        }
    }

    pub(crate) fn terms(&self) -> Terms {
        let &Self { parameters, header_extensions, backend, .. } = self;
        Terms { parameters, header_extensions, backend }
    }

    pub(crate) fn window_bits(&self) -> usize {
        self.replay_window.clamp(64, 32_768).next_multiple_of(64)
    }
}
