//! What the files of an agent hold: the certificate that it presents, and whom it trusts as a
//! gateway.

use super::loader::Loader;
use super::way_out::Made;
use super::{MaterialError, MaterialErrors};
use crate::config::{AgentConfig, AgentIdentity};
use crate::grants::is_agent;
use eyesplice_dataplane::seam::WayOut;
use eyesplice_identity::pem::{CertificateInfo, Role};
use eyesplice_proto::tls::{Groups, provider};
use eyesplice_proto::tunnel::ALPN;
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use std::time::SystemTime;

/// Sessions with gateways that can be resumed: a few for each that is held.
const SESSIONS: usize = 64;

/// The loaded files of an agent's configuration.
#[derive(Debug)]
pub struct AgentMaterial {
    /// Its user, as its certificate has it.
    pub user: Arc<str>,
    /// How it speaks to gateways.
    pub tls: Arc<ClientConfig>,
    made_of: Files,
    proxy: Option<Made>,
    /// Every certificate that was loaded; of a bundle the one that expires first.
    pub certificates: Vec<CertificateInfo>,
    /// What is allowed and probably not meant, in words.
    pub warnings: Vec<String>,
}

/// What the TLS towards gateways is made of, without the key, which the certificate stands for.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    presented: Vec<CertificateDer<'static>>,
    trusted: Vec<TrustAnchor<'static>>,
    groups: Groups,
}

impl AgentMaterial {
    /// Takes over the TLS and the proxy of what was in force, if nothing of them has changed. Where
    /// it has, gateways are connected to again.
    #[must_use]
    pub fn following(mut self, before: &Self) -> Self {
        if self.made_of == before.made_of {
            self.tls = Arc::clone(&before.tls);
        }
        if let (Some(proxy), Some(before)) = (&mut self.proxy, &before.proxy)
            && proxy.is_same(before)
        {
            proxy.way = Arc::clone(&before.way);
        }
        self
    }

    /// What stands between the agent and its gateways.
    pub fn proxy(&self) -> Option<&Arc<WayOut>> {
        self.proxy.as_ref().map(|made| &made.way)
    }

    /// Loads every file of an agent's configuration, after others were in force, as
    /// [`Material::load_after`](super::Material::load_after) does. Blocks.
    ///
    /// # Errors
    /// All that is wrong with any file.
    pub fn load_after(
        config: &AgentConfig,
        now: SystemTime,
        in_force: &[CertificateInfo],
    ) -> Result<Self, MaterialErrors> {
        let mut loader = Loader::new(now, in_force);
        let [certificate, key] = config.identity.files();
        let credential = loader.credential(&certificate, &key, Role::Client);
        let roots = loader.bundle(&config.gateways.ca_file);
        let parts = credential.zip(roots).and_then(|(credential, bundle)| {
            if !is_agent(&credential.leaf.subject) {
                loader.warn(format!(
                    "{}: {} is neither an agent's nor a node's, so gateways refuse it; `eyesplice \
                     pki issue DIR --agent NAME` makes an agent's",
                    credential.file, credential.leaf.subject
                ));
            }
            let user = credential
                .leaf
                .subject
                .common_name
                .clone()
                .unwrap_or_default();
            let groups = config.tls.groups;
            let made_of = Files {
                presented: credential.certified.cert.clone(),
                trusted: bundle.roots.roots.clone(),
                groups,
            };
            let tls = tls_client(Arc::clone(&credential.certified), bundle.roots, groups);
            let failed = |error| MaterialError::Tls(credential.file, error);
            Some((user, loader.keep(tls.map_err(failed))?, made_of))
        });
        let proxy = config.gateways.proxy.as_ref();
        let proxy = proxy.and_then(|proxy| loader.way_out(proxy, config.tls.groups));
        let (certificates, warnings) = loader.finish()?;
        let Some((user, tls, made_of)) = parts else {
            unreachable!("a part that is missing has reported why")
        };
        Ok(Self {
            user: user.into(),
            tls: Arc::new(tls),
            made_of,
            proxy,
            certificates,
            warnings,
        })
    }
}

/// Checks what is there before the first certificate has come: warnings, and every certificate.
///
/// # Errors
/// All that is wrong with any file.
pub fn before_enrolment(
    config: &AgentConfig,
    now: SystemTime,
) -> Result<(Vec<CertificateInfo>, Vec<String>), MaterialErrors> {
    let mut loader = Loader::new(now, &[]);
    loader.bundle(&config.gateways.ca_file);
    if let Some(proxy) = &config.gateways.proxy {
        loader.way_out(proxy, config.tls.groups);
    }
    if let AgentIdentity::Pod(pod) = &config.identity {
        for file in [&pod.ca_file].into_iter().chain(&pod.issuer_ca_file) {
            loader.bundle(file);
        }
        loader.warn(format!(
            "{}: is not there yet; the agent requests it",
            pod.pair()
        ));
    }
    loader.finish()
}

/// Builds the TLS client towards gateways. Secrets can be extracted for the engine.
fn tls_client(
    credential: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    groups: Groups,
) -> Result<ClientConfig, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(provider::allowing(groups))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credential)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::in_memory_sessions(SESSIONS);
    config.enable_secret_extraction = true;
    Ok(config)
}
