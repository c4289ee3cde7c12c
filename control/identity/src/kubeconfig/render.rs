//! Writes a kubeconfig with one cluster, one user and one context.

use data_encoding::BASE64;
use std::path::PathBuf;
use zeroize::Zeroizing;

/// Where a piece of a kubeconfig is.
#[derive(Clone)]
pub enum Source {
    /// In the kubeconfig itself: PEM, or a token.
    Data(Zeroizing<String>),
    /// In a file that it names.
    File(PathBuf),
}

/// What the user shows.
#[derive(Clone)]
pub enum Credential {
    /// A client certificate with its key.
    Certificate {
        /// The chain.
        certificate: Source,
        /// The key.
        key: Source,
    },
    /// A bearer token.
    Token(Source),
}

/// A kubeconfig.
#[derive(Clone)]
pub struct Kubeconfig {
    /// Name of the cluster entry.
    pub cluster: String,
    /// URL of the API server.
    pub server: String,
    /// The name that its certificate is verified by, if it is not the URL's host.
    pub tls_server_name: Option<String>,
    /// Where commands without a namespace go.
    pub namespace: Option<String>,
    /// Name of the user entry.
    pub user: String,
    /// Whom to trust for the API server; absent: what the system trusts.
    pub authority: Option<Source>,
    /// Who the user is.
    pub credential: Credential,
}

impl Kubeconfig {
    /// Writes it. JSON strings are YAML strings, so nothing that stands in a field can leave it.
    pub fn render(&self) -> Zeroizing<String> {
        let context = format!("{}@{}", self.user, self.cluster);
        let mut out = Writer::new(self.size());
        out.line("apiVersion: v1");
        out.line("kind: Config");
        out.line("clusters:");
        out.text("- name", &self.cluster);
        out.line("  cluster:");
        out.text("    server", &self.server);
        if let Some(name) = &self.tls_server_name {
            out.text("    tls-server-name", name);
        }
        if let Some(authority) = &self.authority {
            out.pem("    certificate-authority", authority);
        }
        out.line("users:");
        out.text("- name", &self.user);
        out.line("  user:");
        match &self.credential {
            Credential::Certificate { certificate, key } => {
                out.pem("    client-certificate", certificate);
                out.pem("    client-key", key);
            }
            Credential::Token(Source::Data(token)) => out.text("    token", token),
            Credential::Token(Source::File(file)) => {
                out.text("    tokenFile", &file.to_string_lossy());
            }
        }
        out.line("contexts:");
        out.text("- name", &context);
        out.line("  context:");
        out.text("    cluster", &self.cluster);
        out.text("    user", &self.user);
        if let Some(namespace) = &self.namespace {
            out.text("    namespace", namespace);
        }
        out.text("current-context", &context);
        out.0
    }

    /// More than the text needs: a buffer that grows would leave copies of the key behind.
    pub(super) fn size(&self) -> usize {
        /// The fixed words, with room.
        const FIXED: usize = 1024;
        let of = |source: &Source| match source {
            // Base64 and JSON's escapes at most double a PEM text.
            Source::Data(text) => 2 * text.len(),
            Source::File(file) => 6 * file.as_os_str().len(),
        };
        let credential = match &self.credential {
            Credential::Certificate { certificate, key } => of(certificate) + of(key),
            Credential::Token(token) => 6 * of(token),
        };
        let names = [&self.cluster, &self.server, &self.user];
        let names: usize = names.iter().map(|name| 24 * name.len()).sum();
        let options = [&self.tls_server_name, &self.namespace];
        let options: usize = options
            .into_iter()
            .flatten()
            .map(|name| 6 * name.len())
            .sum();
        FIXED + names + options + credential + self.authority.as_ref().map_or(0, of)
    }
}

struct Writer(Zeroizing<String>);

impl Writer {
    fn new(size: usize) -> Self {
        Self(Zeroizing::new(String::with_capacity(size)))
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn text(&mut self, field: &str, text: &str) {
        self.0.push_str(field);
        self.0.push_str(": ");
        let quoted = serde_json::Value::String(text.to_owned());
        let quoted = Zeroizing::new(quoted.to_string());
        self.0.push_str(&quoted);
        self.0.push('\n');
    }

    fn pem(&mut self, field: &str, source: &Source) {
        match source {
            Source::File(file) => self.text(field, &file.to_string_lossy()),
            Source::Data(pem) => {
                self.0.push_str(field);
                self.0.push_str("-data: ");
                let encoded = Zeroizing::new(BASE64.encode(pem.as_bytes()));
                self.0.push_str(&encoded);
                self.0.push('\n');
            }
        }
    }
}
