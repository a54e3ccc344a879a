//! The engine against kernels that have ESP: run in the test VM (`deploy/testvm/run`), where the
//! kernel has the modules and the machine is ours alone.
#![allow(clippy::expect_used, reason = "a test that cannot go on fails")]

mod carries;
mod ground;
mod limits;
mod offload;
mod others;
mod resume;
mod sys;
mod tunnel;
