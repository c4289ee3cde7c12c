//! What a connection wants: it is accepted, its client proves who it is, it is admitted as a stream and
//! taken to its end.
//!
//! First of three rooms: `accept` uses `carry` and `reach`; nothing but the engine uses it.

pub(crate) mod admission;
pub(crate) mod agent;
pub(crate) mod api_server;
pub(crate) mod departure;
pub(crate) mod door;
pub(crate) mod egress;
pub(crate) mod established;
pub(crate) mod front;
pub(crate) mod gate;
pub(crate) mod link;
pub(crate) mod links;
pub(crate) mod listeners;
pub(crate) mod lobby;
pub(crate) mod placement;
pub(crate) mod run;
pub mod strangers;
pub(crate) mod stream;
pub(crate) mod tunnel;
pub(crate) mod worker;
