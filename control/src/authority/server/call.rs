//! What a handler is given: the server, the connection's part of a request, and whose it is.

use super::query::Query;
use crate::authn::Authenticator;
use crate::authority::creation::Rates;
use crate::authority::material::AuthorityMaterial;
use crate::authority::store::Store;
use crate::guests::Guest;
use crate::metrics::Metrics;
use crate::user::UserInfo;
use arc_swap::ArcSwap;
use hyper::header::HeaderMap;
use rustls::pki_types::CertificateDer;
use std::sync::Arc;
use tokio::sync::watch;

/// What every request needs.
#[derive(Debug)]
pub(in crate::authority) struct Server {
    pub(in crate::authority) store: Arc<Store>,
    pub(in crate::authority) material: Arc<ArcSwap<AuthorityMaterial>>,
    pub(in crate::authority) authenticator: Arc<Authenticator>,
    pub(in crate::authority) rates: Rates,
    pub(in crate::authority) metrics: Arc<Metrics>,
    /// Becomes true when the process stops: watches end.
    pub(in crate::authority) stopping: watch::Receiver<bool>,
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
