//! What a client of the Kubernetes API sees of API servers behind the front, good and bad: status,
//! body and end; what control is asked; what is recorded; and that nothing stays behind.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod answer;
mod identity;
mod leave;
mod nodes;
mod requests;
mod server;
mod stranger;
mod upgrade;
