//! What the files for requests to the Kubernetes API hold: who API servers must be, who we are to
//! them, and who their users may be.

use super::MaterialError;
use super::listener::{Purpose, tls_server};
use super::loader::Loader;
use crate::config::{ApiServers, Config, FrontTransport};
use crate::events::{EventsMaterial, Policy};
use eyesplice_dataplane::seam::DownstreamTls;
use eyesplice_identity::https::tls_client;
use eyesplice_identity::kubeconfig::webhook;
use eyesplice_identity::pem::Role;
use eyesplice_identity::token::review::ReviewCredential;
use eyesplice_identity::verify::{Trust, client_verifier, judged_later, taken_by_nobody};
use eyesplice_proto::tls::provider;
use rustls::pki_types::TrustAnchor;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore};
use std::path::PathBuf;
use std::sync::Arc;

/// Who API servers must be, and who we are to them.
#[derive(Debug)]
pub struct ApiServersMaterial {
    /// Whom to trust as API server.
    pub trust: Arc<Trust>,
    /// What API servers believe users of, if we have it.
    pub proxy_client: Option<Arc<CertifiedKey>>,
    /// How we speak to them in our own name.
    pub own: ClientConfig,
    /// The file of our own bearer token, read for each question: mounted ones are replaced.
    pub token_file: Option<PathBuf>,
}

/// TLS of a listener for users, and how their certificates are validated, if they may have some.
pub(super) type FrontTls = (DownstreamTls, Option<Arc<dyn ClientCertVerifier>>);

impl Loader<'_> {
    /// TLS of a listener for users. A certificate is asked for and judged with each request: one
    /// that ends in the life of a connection, or that is wrong beside a good token, must be told
    /// apart.
    pub(super) fn front(&mut self, field: &str, front: &FrontTransport) -> Option<FrontTls> {
        let (certificate, key) = (&front.tls_cert_file, &front.tls_private_key_file);
        let credential = self.credential(certificate, key, Role::Server);
        let (users, asked) = match &front.client_ca_file {
            // Who has a certificate where none is taken hears so, and is nobody else.
            None => (None, taken_by_nobody()),
            Some(file) => {
                let roots = self.bundle(file)?.roots;
                self.is_not_for_break_glass(&roots, field)?;
                let failed = |error| MaterialError::Trust(field.to_owned(), error);
                let asked = client_verifier(self.asked_for(&roots), &[]).map_err(failed);
                let users = client_verifier(roots, &[]).map_err(failed);
                let asked = judged_later(self.keep(asked)?);
                (Some(self.keep(users)?), asked)
            }
        };
        let credential = credential?;
        let how = (&self.tickets, self.groups);
        let tls = tls_server(&credential, asked, Purpose::Front, how);
        let tls = self.keep(tls.map_err(|error| MaterialError::Tls(credential.file, error)))?;
        Some((tls, users))
    }

    /// Whose certificates a client is asked for: some clients send no others.
    fn asked_for(&self, users: &Arc<RootCertStore>) -> Arc<RootCertStore> {
        match &self.break_glass {
            None => Arc::clone(users),
            Some(more) => Arc::new(RootCertStore {
                roots: [users.roots.as_slice(), more.roots.as_slice()].concat(),
            }),
        }
    }

    /// Whether these CAs are others than those for break-glass, whatever files they are in.
    fn is_not_for_break_glass(&mut self, roots: &RootCertStore, field: &str) -> Option<()> {
        let same = |one: &TrustAnchor<'_>| {
            let other = self.break_glass.iter().flat_map(|store| &store.roots);
            let mut keys = other.map(|other| &other.subject_public_key_info);
            keys.any(|key| *key == one.subject_public_key_info)
        };
        let shared = roots.roots.iter().any(same);
        let found = match shared {
            false => Ok(()),
            true => Err(MaterialError::NotItsOwn(field.to_owned())),
        };
        self.keep(found)
    }

    /// Who API servers must be, and who we are to them, if some are configured.
    pub(super) fn apiservers(&mut self, config: &Config) -> Option<ApiServersMaterial> {
        let api_servers = config.apiservers.as_ref()?;
        let roots = self.bundle(&api_servers.ca_file);
        let proxy_client = config.front.proxy_client.as_ref();
        let proxy_client = proxy_client.map(|(cert, key)| self.credential(cert, key, Role::Client));
        let own = self.own(api_servers);
        let roots = roots?.roots;
        self.is_not_for_break_glass(&roots, "apiservers.caFile")?;
        let failed = |error| MaterialError::Trust("apiservers".to_owned(), error);
        let trust = Trust::api_servers(Arc::clone(&roots));
        let trust = trust.and_then(|trust| trust.allowing(self.groups));
        let trust = self.keep(trust.map_err(failed))?;
        let tls = tls_client(provider::allowing(self.groups), roots, own?);
        let ca_file = api_servers.ca_file.clone();
        let own = self.keep(tls.map_err(|error| MaterialError::Tls(ca_file, error)))?;
        let proxy_client = match proxy_client {
            None => None,
            Some(credential) => Some(credential?.certified),
        };
        Some(ApiServersMaterial {
            trust: Arc::new(trust),
            proxy_client,
            own,
            token_file: match &api_servers.credential {
                Some(ReviewCredential::Token(file)) => Some(file.path.clone()),
                Some(ReviewCredential::Certificate { .. }) | None => None,
            },
        })
    }

    /// How streams that pass API servers are recorded, if they are.
    pub(super) fn events(&mut self, config: &Config) -> Option<EventsMaterial> {
        let audit = config.front.audit.as_ref()?;
        let file = &audit.policy_file;
        let policy = Policy::load(&file.path);
        let policy =
            self.keep(policy.map_err(|error| MaterialError::Policy(file.field.clone(), error)));
        let webhook = audit.webhook.as_ref().map(|file| {
            let read = webhook(&file.path);
            self.keep(read.map_err(|error| MaterialError::Webhook(file.field.clone(), error)))
        });
        Some(EventsMaterial {
            policy: Arc::new(policy?),
            webhook: match webhook {
                None => None,
                Some(webhook) => Some(Arc::new(webhook?)),
            },
        })
    }

    /// Our own certificate; nothing inside: we have none. Nothing at all: it cannot be used.
    fn own(&mut self, api_servers: &ApiServers) -> Option<Option<Arc<CertifiedKey>>> {
        match &api_servers.credential {
            Some(ReviewCredential::Certificate {
                cert_file,
                key_file,
            }) => {
                let credential = self.credential(cert_file, key_file, Role::Client)?;
                Some(Some(credential.certified))
            }
            Some(ReviewCredential::Token(_)) | None => Some(None),
        }
    }
}
