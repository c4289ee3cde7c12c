//! The fakes and the harness of eyesplice's integration tests: an API server, a scripted kubelet, a
//! certificate maker, and a gateway between them.
//!
//! Everything runs in the test's process on loopback and on UNIX sockets in a directory of its own.
//! Fakes are blocking threads over real sockets, and they speak HTTP and TLS by other code than the
//! gateway, so that both cannot be wrong in the same way.
#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "a fake that cannot go on fails its test by a panic"
)]

pub mod api_server;
pub mod cable;
pub mod closed;
pub mod cluster;
pub mod conn;
pub mod duplex;
pub mod front;
pub mod front_stack;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod gateway;
pub mod held;
pub mod http;
pub mod kubelet;
pub mod pki;
pub mod rng;
pub mod scripted;
pub mod skip;
pub mod stack;
pub mod tls;
pub mod tunnel;
pub mod vantage;
pub mod variant;
pub mod wait;
pub mod way_out;
pub mod world;
