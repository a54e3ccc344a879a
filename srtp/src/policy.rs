//! What a session may choose beside its keys: window and table size.
//!
//! Fixed when a direction is built. Out-of-range values are brought into range rather than
//! refused, because each has exactly one sensible nearest value.

/// How one direction of a session behaves. `Policy::default()` is right for most calls.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Replay window in packets (RFC 3711 section 3.3.2). Rounded up to a multiple of 64 and kept
    /// within 64 to 32,768: beyond half the sequence space an index cannot be estimated anyway.
    pub replay_window: usize,
    /// How many SSRCs a direction keeps a window for, at least one. For a further one the longest
    /// silent retires: it may come back, above its highest index. 1,024 retire; after that new
    /// ones are refused, because forgetting a stream would forget which indexes it has used.
    pub max_streams: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self { replay_window: 1024, max_streams: 16 }
    }
}

impl Policy {
    pub(crate) fn window_bits(&self) -> usize {
        self.replay_window.clamp(64, 32_768).next_multiple_of(64)
    }
}
