//! The API servers of a configuration: which of them are well, and which one is next.
//!
//! How a server is outlives a reload: it is the same server as long as it is called the same.

mod ask;
mod health;
mod server;
mod sight;

pub(crate) use health::{PATH, is_well, watch};
pub(crate) use sight::{Need, Seen, Sight, Standing};

use crate::config::{ApiServers, Balance};
use ask::Asker;
use eyesplice_dataplane::seam::Tallies;
use eyesplice_identity::https::HttpsClient;
use eyesplice_process::resolve::{ResolveError, Resolver};
use eyesplice_proto::target::Host;
use rustls::ClientConfig;
use server::Server;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// All API servers.
#[derive(Debug)]
pub(crate) struct Servers {
    list: Vec<(Arc<Server>, Asker)>,
    balance: Balance,
    turn: AtomicUsize,
    interval: Duration,
    failures: u32,
}

/// Where a connection is made to.
#[derive(Debug)]
pub(super) struct Next {
    /// Of the server that is next, then of the others that are well: one that is found dead by a
    /// dial costs the next one's try. Never empty.
    pub(super) addresses: Vec<SocketAddr>,
    /// Counts the connection by the address that is dialled.
    pub(super) tallies: Tallies,
    /// What the first is called.
    pub(super) host: Host,
    /// Its port.
    pub(super) port: u16,
}

/// No API server has an address.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoServer {
    /// Their names are not known.
    #[error("no API server of apiservers.servers has an address")]
    Unresolved(#[source] ResolveError),
    /// There are none.
    #[error("apiservers.servers is empty")]
    None,
}

impl Servers {
    /// Takes the servers of a configuration, after others were in force, whom `own` and the token
    /// in a file are to ask.
    pub(super) fn new(
        settings: &ApiServers,
        own: &ClientConfig,
        token_file: Option<&Path>,
        before: Option<&Self>,
    ) -> Self {
        let known = |server: &Server| {
            let list = &before?.list;
            let same = list.iter().find(|(other, _)| other.is_same(server));
            same.map(|(other, _)| Arc::clone(other))
        };
        let list = settings.servers.iter().filter_map(|endpoint| {
            let server = Server::new(endpoint)?;
            let asker = Asker::new(endpoint, settings.server_name.as_ref(), own, token_file);
            let server = known(&server).unwrap_or_else(|| Arc::new(server));
            Some((server, asker))
        });
        Self {
            list: list.collect(),
            balance: settings.balance,
            turn: AtomicUsize::new(0),
            interval: settings.health_interval,
            failures: settings.health_failures,
        }
    }

    /// What the servers are called.
    pub(super) fn hosts(&self) -> Arc<[Host]> {
        self.list
            .iter()
            .map(|(server, _)| server.host().clone())
            .collect()
    }

    /// Whether a connection to this address may go on being used: its server is well, or none is.
    pub(super) fn serves(&self, address: SocketAddr) -> bool {
        let mut of_address = self.list.iter().filter(|(server, _)| server.is_at(address));
        of_address.any(|(server, _)| self.is_well(server)) || !self.any_well()
    }

    /// Says where the next connection is made to. Waits only for names of which none was ever
    /// found.
    ///
    /// # Errors
    /// No name has an address.
    pub(super) async fn next(
        &self,
        resolver: &Resolver,
        deadline: Duration,
    ) -> Result<Next, NoServer> {
        let candidates = self.candidates();
        let mut failed = None;
        if candidates.iter().all(|server| server.is_unknown()) {
            let share = u32::try_from(candidates.len()).unwrap_or(u32::MAX).max(1);
            for server in &candidates {
                failed = server
                    .find(resolver, deadline / share)
                    .await
                    .err()
                    .or(failed);
            }
        }
        let found = candidates.iter().find(|server| !server.is_unknown());
        let Some(first) = found else {
            return Err(failed.map_or(NoServer::None, NoServer::Unresolved));
        };
        let found = candidates.iter().flat_map(|server| {
            let of = |address| (address, Arc::clone(server.tally()));
            server.addresses().into_iter().map(of)
        });
        let tallies: Tallies = found.collect();
        Ok(Next {
            addresses: tallies.addresses().collect(),
            tallies,
            host: first.host().clone(),
            port: first.port(),
        })
    }

    /// Those that are well, or all where none is, in the order in which they are to be tried.
    fn candidates(&self) -> Vec<Arc<Server>> {
        let any_well = self.any_well();
        let fit = self
            .list
            .iter()
            .filter(|(server, _)| !any_well || self.is_well(server));
        let mut fit: Vec<Arc<Server>> = fit.map(|(server, _)| Arc::clone(server)).collect();
        // Behind each other in turn where they have the same number of connections, too.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if let Some(turn) = turn.checked_rem(fit.len()) {
            fit.rotate_left(turn);
        }
        if self.balance == Balance::LeastStreams {
            fit.sort_by_key(|server| server.tally().live());
        }
        fit
    }

    /// Clients of all of them for questions in our own name that may be asked twice.
    pub(super) fn clients(&self) -> Vec<HttpsClient> {
        self.list.iter().map(|(_, asker)| asker.client()).collect()
    }

    /// Which of those clients asks a server that is well: always the same one, so that what is
    /// remembered of one API server is not asked of another.
    pub(super) fn first_well(&self) -> usize {
        let mut list = self.list.iter();
        list.position(|(server, _)| self.is_well(server))
            .unwrap_or(0)
    }

    /// Between two looks at each of them.
    pub(super) fn interval(&self) -> Duration {
        self.interval
    }

    /// What each is called, and how it looked from here.
    pub(super) fn sights(&self) -> Vec<(&str, Sight)> {
        let list = self.list.iter();
        list.map(|(server, _)| (server.name(), server.sight()))
            .collect()
    }

    pub(super) fn any_well(&self) -> bool {
        self.list.iter().any(|(server, _)| self.is_well(server))
    }

    fn is_well(&self, server: &Server) -> bool {
        server.failed() < self.failures
    }
}

#[cfg(test)]
mod tests;
