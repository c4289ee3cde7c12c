mod asking;
mod cluster;
mod pod;
mod reviews;

use super::{Cluster, ClusterSettings, Section};
use crate::https::HttpsClient;
use std::sync::Arc;
use std::time::Duration;

fn settings(servers: Vec<HttpsClient>) -> ClusterSettings {
    ClusterSettings {
        section: Section::ApiServers,
        servers,
        token_file: None,
        timeout: Duration::from_secs(20),
        first: Arc::new(|| 0),
    }
}

fn cluster(servers: Vec<HttpsClient>) -> Arc<Cluster> {
    Arc::new(Cluster::new(settings(servers)))
}
