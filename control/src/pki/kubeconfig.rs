//! Renders kubeconfigs with embedded certificate and key.

use super::issue::Issued;
use data_encoding::BASE64;
use zeroize::Zeroizing;

/// One kubeconfig of the layout.
#[derive(Clone, Debug)]
pub(super) struct Kubeconfig {
    /// File name.
    pub(super) file: String,
    /// Name of the user entry.
    pub(super) user: String,
    /// Which certificate it holds.
    pub(super) certificate: String,
}

impl Kubeconfig {
    /// Writes the kubeconfig (client-go `clientcmd/api/v1`). JSON strings are YAML strings, so
    /// `{:?}` would do for quoting, were the values not known to be plain already.
    pub(super) fn render(&self, server: &str, issued: &[Issued]) -> Zeroizing<String> {
        let find = |name: &str| issued.iter().find(|issued| issued.name == name);
        let encode = |pem: &str| Zeroizing::new(BASE64.encode(pem.as_bytes()));
        let ca = find("ca")
            .map(|ca| ca.certificate.pem())
            .unwrap_or_default();
        let (certificate, key) = find(&self.certificate)
            .map(|issued| (issued.certificate.pem(), issued.key_pem()))
            .unwrap_or_default();
        let Self { user, .. } = self;
        Zeroizing::new(format!(
            "apiVersion: v1\n\
             kind: Config\n\
             clusters:\n\
             - name: kubernetes\n\
             \x20 cluster:\n\
             \x20   server: \"{server}\"\n\
             \x20   certificate-authority-data: {ca}\n\
             users:\n\
             - name: \"{user}\"\n\
             \x20 user:\n\
             \x20   client-certificate-data: {certificate}\n\
             \x20   client-key-data: {key}\n\
             contexts:\n\
             - name: \"{user}@kubernetes\"\n\
             \x20 context:\n\
             \x20   cluster: kubernetes\n\
             \x20   user: \"{user}\"\n\
             current-context: \"{user}@kubernetes\"\n",
            ca = *encode(&ca),
            certificate = *encode(&certificate),
            key = *encode(&key),
        ))
    }
}
