//! What the files of `front.breakGlass` hold: who issues its certificates, and how the second path
//! to API servers is taken.

use super::MaterialError;
use super::loader::Loader;
use crate::config::Config;
use eyesplice_identity::https::ConnectProxy;
use eyesplice_identity::verify::client_verifier;
use rustls::server::danger::ClientCertVerifier;
use std::sync::Arc;

/// Who may do something while no API server can be asked, and how that is found out.
#[derive(Debug)]
pub struct BreakGlassMaterial {
    /// Validates its certificates.
    pub clients: Arc<dyn ClientCertVerifier>,
    /// Through what API servers are looked at a second time.
    pub vantage: ConnectProxy,
}

impl Loader<'_> {
    /// Loads them, if there are any. Listeners that are loaded later ask for its certificates too.
    pub(super) fn break_glass(&mut self, config: &Config) -> Option<BreakGlassMaterial> {
        let glass = config.front.break_glass.as_ref()?;
        let roots = self.bundle(&glass.client_ca_file)?.roots;
        let field = glass.client_ca_file.field.clone();
        let clients = client_verifier(Arc::clone(&roots), &[]);
        let clients = self.keep(clients.map_err(|error| MaterialError::Trust(field, error)));
        self.break_glass = Some(roots);
        let at = glass.vantage.address;
        let tls = self.tls_of_proxy(at.ip().into(), &glass.vantage.tls, config.tls.groups)?;
        Some(BreakGlassMaterial {
            clients: clients?,
            vantage: ConnectProxy {
                address: at,
                tls: tls.config,
                server_name: tls.server_name,
            },
        })
    }
}
