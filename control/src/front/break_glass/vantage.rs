//! Looks at API servers from a second place: through an HTTP CONNECT proxy.
//!
//! The proxy need not be trusted with more than its own word. An API server that answers through it
//! proves by its certificate that it does. One that does not counts as failed only if the proxy
//! says so, over TLS that nobody on the way can forge, or if the API server itself does. All else,
//! a proxy that cannot be reached above all, says nothing: who cuts this gateway off gains nothing.

use crate::front::servers::{PATH, Seen, Servers, Sight, is_well};
use eyesplice_identity::https::{ConnectProxy, HttpsClient, Question, ThroughError};
use eyesplice_proto::causes::chain;
use hyper::Method;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long one look may take: proxies give up a dial of theirs after five or ten seconds, and must
/// have the time to say so.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// The list of failed checks is not read.
const LIMIT: usize = 64 << 10;

/// The second place.
#[derive(Debug)]
pub(super) struct Vantage {
    proxy: ConnectProxy,
    /// In the order of the servers.
    servers: Vec<(HttpsClient, Arc<Mutex<Sight>>)>,
}

impl Vantage {
    pub(super) fn new(proxy: ConnectProxy, servers: &Servers) -> Self {
        let clients = servers.clients().into_iter();
        Self {
            proxy,
            servers: clients.map(|client| (client, Arc::default())).collect(),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.proxy.address
    }

    /// Looks at all of them at once.
    pub(super) async fn look(&self) {
        let mut looks = JoinSet::new();
        for (client, sight) in &self.servers {
            let (client, sight) = (client.clone(), Arc::clone(sight));
            let proxy = self.proxy.clone();
            looks.spawn(async move {
                let seen = look_at(&client, &proxy).await;
                let mut sight = sight.lock().unwrap_or_else(PoisonError::into_inner);
                sight.see(seen, Instant::now());
            });
        }
        while looks.join_next().await.is_some() {}
    }

    /// How each looked.
    pub(super) fn sights(&self) -> Vec<Sight> {
        let sight = |(_, sight): &(HttpsClient, Arc<Mutex<Sight>>)| {
            let sight = sight.lock().unwrap_or_else(PoisonError::into_inner);
            sight.clone()
        };
        self.servers.iter().map(sight).collect()
    }
}

async fn look_at(client: &HttpsClient, proxy: &ConnectProxy) -> Seen {
    let question = Question {
        method: Method::GET,
        path: PATH,
        body: Vec::new(),
        bearer: None,
        limit: LIMIT,
    };
    match timeout(PATIENCE, client.ask_through(proxy, question)).await {
        Ok(Ok(reply)) if is_well(reply.status) => Seen::Well,
        Ok(Ok(reply)) => Seen::Failed(format!("{PATH} was answered with {}", reply.status)),
        Ok(Err(error @ ThroughError::Unreached(..))) => Seen::Failed(error.to_string()),
        Ok(Err(error)) => Seen::Unclear(chain(&error)),
        Err(_) => Seen::Unclear(format!(
            "the proxy at {} gave no answer within {PATIENCE:?}",
            proxy.address
        )),
    }
}
