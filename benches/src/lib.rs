//! Benches: see README.md.
