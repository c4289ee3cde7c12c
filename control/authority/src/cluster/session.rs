//! One client of the API server and all that lives on it: watches, election, controller.

use super::controller::Controller;
use super::lease::{ApiLease, Elector};
use super::material::ClusterMaterial;
use super::nodes::addresses;
use super::object::{ApiCsr, trimmed};
use super::watched::{Seen, State, Watched};
use arc_swap::ArcSwap;
use eyesplice_identity::random::jitter;
use eyesplice_process::admin::Readiness;
use eyesplice_process::metrics::Metrics;
use eyesplice_process::resolve::Lookup;
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};
use std::sync::Arc;
use tokio::task::JoinSet;

/// What a session works with.
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) material: Arc<ArcSwap<ClusterMaterial>>,
    pub(super) insecure_group: Option<String>,
    pub(super) identity: String,
    pub(super) metrics: Arc<Metrics>,
    pub(super) readiness: Arc<Readiness>,
    /// Where names come from.
    pub(super) lookup: Arc<dyn Lookup>,
}

impl Session {
    /// Works until `stop` completes, then ends its work, and last gives up the Lease.
    pub(super) async fn run(self, stop: impl Future<Output = ()>) {
        let material = self.material.load_full();
        let seen = Seen {
            csrs: Watched::new("certificatesigningrequests"),
            nodes: Watched::new("nodes"),
        };
        // Dropped at the end of this function, and with it every task in it.
        let mut tasks = JoinSet::new();
        let cluster = &self.metrics.cluster;
        let keep = |object: ApiCsr| Arc::new(trimmed(object));
        let api: Api<ApiCsr> = Api::all(self.client.clone());
        tasks.spawn(Arc::clone(&seen.csrs).run(api, keep, Arc::clone(cluster)));
        if material.asks_nodes() {
            let api: Api<Node> = Api::all(self.client.clone());
            tasks.spawn(Arc::clone(&seen.nodes).run(api, addresses, Arc::clone(cluster)));
        }
        tasks.spawn(show_watches(
            material.asks_nodes(),
            seen.clone(),
            Arc::clone(&self.readiness),
        ));

        let election = &material.config.election;
        let lease = ApiLease::new(&self.client, &election.namespace, &election.name);
        let mut elector = Elector::new(lease, self.identity.clone(), election.timing, jitter);
        let mut leadership = elector.leadership();
        let mut controller = Controller::new(
            self.client.clone(),
            Arc::clone(&self.material),
            seen,
            leadership.clone(),
            self.insecure_group.clone(),
            Arc::clone(&self.metrics),
            Arc::clone(&self.lookup),
        );
        let (metrics, readiness) = (Arc::clone(&self.metrics), Arc::clone(&self.readiness));
        let name = format!("{}/{}", election.namespace, election.name);
        let show = move |leads: bool| {
            metrics.cluster.leads(&name, leads);
            readiness.leads(leads);
        };
        show(false);
        let identity = self.identity.as_str();
        let work = async {
            loop {
                leadership.gained().await;
                show(true);
                tracing::info!(identity, "this replica leads");
                controller.run().await;
                show(false);
                tracing::warn!(identity, "this replica leads no more");
            }
        };
        tokio::select! {
            // In one task: work is never polled between the loss of the Lease and its end.
            () = work => {}
            () = elector.run() => {}
            () = stop => {}
        }
        show(false);
        elector.release().await;
    }
}

async fn show_watches(asks_nodes: bool, seen: Seen, readiness: Arc<Readiness>) {
    let Seen { csrs, nodes } = seen;
    let (mut first, mut second) = (csrs.subscribe(), nodes.subscribe());
    loop {
        let good = |state: State| state.listed && state.healthy;
        readiness.watches(good(csrs.state()) && (!asks_nodes || good(nodes.state())));
        let changed = tokio::select! {
            changed = first.changed() => changed,
            changed = second.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}
