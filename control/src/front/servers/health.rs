//! Looks at every API server by `/readyz`, for as long as the process runs.
//!
//! A server that answers is well: an API server that lets nobody ask without a credential says 401
//! or 403, and only it says so. 500 and above is what one says that starts, stops or has lost its
//! store.

use super::Servers;
use super::ask::Asker;
use super::server::{Change, Server};
use super::sight::Seen;
use eyesplice_process::metrics::{Row, Table};
use eyesplice_process::resolve::Resolver;
use eyesplice_proto::causes::chain;
use hyper::StatusCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// What is asked.
pub(crate) const PATH: &str = "/readyz";

/// The list of failed checks is not read.
const LIMIT: usize = 64 << 10;

/// How long one look may take, whatever is between two of them: a busy API server is slow and well.
const PATIENCE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(10);

/// Between two looks for a configuration that has API servers.
const ABSENT: Duration = Duration::from_secs(5);

/// Looks at the API servers of the configuration in force, and shows how they are.
pub(crate) async fn watch(
    current: impl Fn() -> Option<Arc<Servers>>,
    resolver: Arc<Resolver>,
    shown: Arc<Table>,
) {
    loop {
        let pause = match current() {
            Some(servers) => {
                look(&servers, &resolver).await;
                shown.replace(servers.rows());
                servers.interval
            }
            None => ABSENT,
        };
        sleep(pause).await;
    }
}

/// Looks at all of them at once.
async fn look(servers: &Servers, resolver: &Arc<Resolver>) {
    let patience = servers.interval.clamp(*PATIENCE.start(), *PATIENCE.end());
    let mut looks = JoinSet::new();
    for (server, asker) in &servers.list {
        let (server, asker) = (Arc::clone(server), asker.clone());
        let (resolver, failures) = (Arc::clone(resolver), servers.failures);
        looks.spawn(async move {
            // An address that was found before is as good as any.
            let _ = server.find(&resolver, patience).await;
            let found = match timeout(patience, ready(&asker)).await {
                Ok(found) => found,
                Err(_) => Err(format!("{PATH} was not answered within {patience:?}")),
            };
            note(&server, found, failures);
        });
    }
    while looks.join_next().await.is_some() {}
}

async fn ready(asker: &Asker) -> Result<(), String> {
    let reply = asker.get(PATH, LIMIT).await;
    let status = reply.map_err(|error| chain(&error))?.status;
    if !is_well(status) {
        return Err(format!("{PATH} was answered with {status}"));
    }
    Ok(())
}

/// Whether an API server that answers so is well.
pub(crate) fn is_well(status: StatusCode) -> bool {
    !status.is_server_error()
}

fn note(server: &Server, found: Result<(), String>, failures: u32) {
    let change = server.looked(found.is_ok(), failures);
    let seen = found.clone().map_or_else(Seen::Failed, |()| Seen::Well);
    server.saw(seen, Instant::now());
    let (server, error) = (server.name(), found.err());
    match change {
        Change::Left => tracing::warn!(
            server,
            error,
            "API server is left alone until it is well again; see apiservers"
        ),
        Change::Back => tracing::info!(server, "API server is well again"),
        Change::None => tracing::debug!(server, error, "looked at an API server"),
    }
}

impl Servers {
    /// Whether each is used, 1, or left alone, 0.
    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |server: &Arc<Server>| Row {
            labels: vec![("server", server.name().to_owned())],
            value: i64::from(self.is_well(server)),
        };
        self.list.iter().map(|(server, _)| row(server)).collect()
    }
}
