//! What a handler is given: the server, the connection's part of a request, and whose it is.

use super::query::Query;
use crate::creation::Rates;
use crate::material::AuthorityMaterial;
use crate::store::Store;
use arc_swap::ArcSwap;
use eyesplice_identity::authn::Authenticator;
use eyesplice_identity::user::UserInfo;
use eyesplice_process::guests::Guest;
use eyesplice_process::metrics::Metrics;
use hyper::header::HeaderMap;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use tokio::sync::watch;

/// What every request needs.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) store: Arc<Store>,
    pub(crate) material: Arc<ArcSwap<AuthorityMaterial>>,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) rates: Rates,
    pub(crate) metrics: Arc<Metrics>,
    /// Becomes true when the process stops: watches end.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// A connection's part of a request.
pub(super) struct Call {
    pub(super) server: Arc<Server>,
    pub(super) chain: Option<Arc<[CertificateDer<'static>]>>,
    pub(super) peer: String,
    pub(super) guest: Arc<Guest>,
}

/// A request whose user is known.
pub(super) struct Asked {
    pub(super) server: Arc<Server>,
    pub(super) material: Arc<AuthorityMaterial>,
    pub(super) user: UserInfo,
    pub(super) headers: HeaderMap,
    pub(super) query: Query,
}

/// Waits until the process stops.
pub(super) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone says the same.
    let _ = stopping.wait_for(|stop| *stop).await;
}
