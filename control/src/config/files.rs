//! Lists every file that a configuration consists of.

use super::model::{Config, Identity, LeafSigner, ProxyTlsFiles, RuleAction, Via};
use eyesplice_identity::document::{FileRef, paths};
use eyesplice_identity::token::review::ReviewCredential;
use std::collections::BTreeSet;
use std::path::PathBuf;

impl Config {
    /// The configuration file and every file that it names and that is read: what a reload has to
    /// watch, whether it exists or not.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = Vec::new();
        for listener in &self.listeners {
            files.extend(listener.transport.presented().into_iter().flatten());
            files.extend(listener.transport.client_ca_file());
        }
        if let Some(api_servers) = &self.apiservers {
            files.push(&api_servers.ca_file);
        }
        if let Some(audit) = &self.front.audit {
            files.push(&audit.policy_file);
            files.extend(&audit.webhook);
        }
        if let Some(glass) = &self.front.break_glass {
            files.extend([&glass.client_ca_file, &glass.vantage.tls.ca_file]);
        }
        files.extend(self.client_certificates().flatten());
        for rule in &self.egress.rules {
            if let RuleAction::Originate(upstream) | RuleAction::TerminateOpaque(upstream) =
                &rule.action
            {
                files.extend(&upstream.ca_file);
            }
        }
        for tls in self.proxies() {
            files.push(&tls.ca_file);
            files.extend(tls.client.iter().flat_map(|(cert, key)| [cert, key]));
        }
        files.extend(self.tunnel.iter().flat_map(|tunnel| &tunnel.deny_file));
        files.extend(
            self.leases()
                .and_then(|leases| leases.kubeconfig_file.as_ref()),
        );
        if let Some(tls) = self.peers().and_then(|peers| peers.tls.as_ref()) {
            files.extend([&tls.ca_file, &tls.cert_file, &tls.key_file]);
        }
        let own = self.identity.as_ref().map(Identity::client_file);
        if let Some(identity) = &self.identity {
            files.push(&identity.ca_file);
            files.extend(own.iter().chain(&identity.issuer_ca_file));
        }
        match self.egress_ca.as_ref().map(|ca| &ca.signer) {
            Some(LeafSigner::Files {
                cert_file,
                key_file,
            }) => files.extend([cert_file, key_file]),
            Some(LeafSigner::Authority { ca_file }) => files.push(ca_file),
            None => {}
        }
        if let Some(kubelet) = &self.kubelet {
            files.extend([&kubelet.ca_file, &kubelet.apiserver_client_ca_file]);
            files.extend([&kubelet.client_cert_file, &kubelet.client_key_file]);
            files.extend(kubelet.inventory_file.iter().chain(&kubelet.pins_file));
        }
        let mut files = paths(files);
        files.insert(self.file.clone());
        files
    }

    /// Those of them that hold a key or a token.
    pub fn secrets(&self) -> BTreeSet<PathBuf> {
        let presented = self
            .listeners
            .iter()
            .filter_map(|listener| listener.transport.presented());
        let mut secrets: Vec<_> = presented.map(|[_, key]| key).collect();
        secrets.extend(self.client_certificates().map(|[_, key]| key));
        let api_servers = self.apiservers.as_ref();
        if let Some(ReviewCredential::Token(file)) =
            api_servers.and_then(|api_servers| api_servers.credential.as_ref())
        {
            secrets.push(file);
        }
        let short_way = self.front.short_way.as_ref();
        secrets.extend(short_way.and_then(|short_way| short_way.kubelet_token_file.as_ref()));
        let audit = self.front.audit.as_ref();
        secrets.extend(audit.and_then(|audit| audit.webhook.as_ref()));
        let own = self.identity.as_ref().map(Identity::client_file);
        secrets.extend(&own);
        secrets.extend(
            self.identity
                .iter()
                .filter_map(|identity| identity.token_file.as_ref()),
        );
        if let Some(LeafSigner::Files { key_file, .. }) =
            self.egress_ca.as_ref().map(|ca| &ca.signer)
        {
            secrets.push(key_file);
        }
        secrets.extend(
            self.proxies()
                .filter_map(|tls| Some(&tls.client.as_ref()?.1)),
        );
        secrets.extend(
            self.leases()
                .and_then(|leases| leases.kubeconfig_file.as_ref()),
        );
        let peers = self.peers().and_then(|peers| peers.tls.as_ref());
        secrets.extend(peers.map(|tls| &tls.key_file));
        secrets.extend(self.kubelet.iter().map(|kubelet| &kubelet.client_key_file));
        paths(secrets)
    }

    fn proxies(&self) -> impl Iterator<Item = &ProxyTlsFiles> {
        self.egress.rules.iter().filter_map(|rule| match &rule.via {
            Via::Proxy(proxy) => proxy.tls.as_ref(),
            Via::Direct | Via::Tunnel => None,
        })
    }

    /// Certificate and key of each that we present to API servers, and on the way to them.
    fn client_certificates(&self) -> impl Iterator<Item = [&FileRef; 2]> {
        let glass = self.front.break_glass.as_ref();
        let vantage = glass.and_then(|glass| glass.vantage.tls.client.as_ref());
        let vantage = vantage.map(|(cert, key)| [cert, key]);
        let proxy = self.front.proxy_client.as_ref();
        let credential = self
            .apiservers
            .as_ref()
            .and_then(|api_servers| api_servers.credential.as_ref());
        let own = match credential {
            Some(ReviewCredential::Certificate {
                cert_file,
                key_file,
            }) => Some([cert_file, key_file]),
            Some(ReviewCredential::Token(_)) | None => None,
        };
        let proxy = proxy.map(|(cert, key)| [cert, key]);
        proxy.into_iter().chain(own).chain(vantage)
    }
}
