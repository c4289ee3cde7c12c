//! Streams of pods through the whole gateway: which go straight to a kubelet, and which do not.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod bed;
mod break_glass;
mod events;
mod limits;
mod past;
mod through;
