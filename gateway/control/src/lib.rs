//! The admin API's types: what `gateway` answers and `keymgr` and `loadgen` ask. No I/O.

/// Checked by both sides; raised when a change would break the other one.
pub const API_VERSION: u32 = 1;
