//! `loadgen`.

fn main() {}
