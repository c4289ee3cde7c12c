//! Requests to the Kubernetes API through the whole gateway: whose they are to the API server,
//! and to which of several they go.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod identity;
mod reload;
mod servers;
