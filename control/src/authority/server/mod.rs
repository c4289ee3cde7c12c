//! HTTPS for kubelets and kubectl: connections in, requests to their handlers, answers out.

mod access;
mod body;
mod collection;
mod connection;
mod discovery;
mod negotiate;
mod object;
mod openapi;
mod page;
mod query;
mod respond;
mod route;
mod selector;
mod table;
mod watch;

pub(super) use connection::{Server, serve};

#[cfg(test)]
mod tests;
