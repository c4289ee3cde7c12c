//! Lists every file that a configuration consists of.

use super::model::{Config, LeafSigner, RuleAction, Transport};
use std::collections::BTreeSet;
use std::path::PathBuf;

impl Config {
    /// The configuration file and every file that it names and that is read: what a reload has to
    /// watch, whether it exists or not.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::from([self.file.clone()]);
        for listener in &self.listeners {
            if let Transport::Tcp(tcp) = &listener.transport {
                files.extend([&tcp.tls_cert_file, &tcp.tls_private_key_file].map(Clone::clone));
                files.insert(tcp.client_ca_file.clone());
            }
        }
        for rule in &self.egress.rules {
            if let RuleAction::Originate(upstream) | RuleAction::TerminateOpaque(upstream) =
                &rule.action
            {
                files.extend(upstream.ca_file.clone());
            }
        }
        if let Some(identity) = &self.identity {
            files.extend([identity.client_file(), identity.ca_file.clone()]);
            files.extend(identity.issuer_ca_file.clone());
        }
        if let Some(ca) = &self.egress_ca {
            match &ca.signer {
                LeafSigner::Files {
                    cert_file,
                    key_file,
                } => files.extend([cert_file, key_file].map(Clone::clone)),
                LeafSigner::Authority { ca_file } => {
                    files.insert(ca_file.clone());
                }
            }
        }
        if let Some(kubelet) = &self.kubelet {
            files.extend([&kubelet.ca_file, &kubelet.client_cert_file].map(Clone::clone));
            let rest = [&kubelet.client_key_file, &kubelet.apiserver_client_ca_file];
            files.extend(rest.map(Clone::clone));
            files.extend(kubelet.inventory_file.clone());
            files.extend(kubelet.pins_file.clone());
        }
        files
    }

    /// Those of them that hold a key or a token.
    pub fn secrets(&self) -> BTreeSet<PathBuf> {
        let mut secrets = BTreeSet::new();
        for listener in &self.listeners {
            if let Transport::Tcp(tcp) = &listener.transport {
                secrets.insert(tcp.tls_private_key_file.clone());
            }
        }
        if let Some(identity) = &self.identity {
            secrets.insert(identity.client_file());
            secrets.extend(identity.token_file.clone());
        }
        if let Some(ca) = &self.egress_ca
            && let LeafSigner::Files { key_file, .. } = &ca.signer
        {
            secrets.insert(key_file.clone());
        }
        secrets.extend(
            self.kubelet
                .iter()
                .map(|kubelet| kubelet.client_key_file.clone()),
        );
        secrets
    }
}
