//! What an API server sees of a kubelet behind the gateway, good and bad, over every transport and
//! TLS version: status, body and end; what is recorded; and that nothing stays behind.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod body;
mod certificate;
mod deadline;
mod hostile;
mod keepalive;
mod leave;
mod upgrade;
mod warm;
