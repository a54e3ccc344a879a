//! loadgen: load, tail latency and jitter.
