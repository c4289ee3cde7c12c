//! Reads the kubeconfig of a webhook, as API servers have it: where that is, whom to trust, and who
//! we are to it.
//!
//! What would run a program, trust anybody, or take another way than ours is refused.

use super::check::beside;
use super::model::{self, Cluster, Piece, User};
use super::yaml_of_go;
use crate::document::{self, ConfigErrors};
use crate::https::{Endpoint, HttpsClient, tls_client};
use crate::pem::{self, CaBundle, Credential, FileRef, PemError, Role};
use crate::token::BearerToken;
use eyesplice_proto::tls::provider;
use hyper::Uri;
use rustls::pki_types::ServerName;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A webhook.
#[derive(Debug)]
pub struct Webhook {
    /// Its server, with our certificate if we have one.
    pub https: HttpsClient,
    /// The path there, with its query.
    pub path: String,
    /// Our token, if that is who we are.
    pub token: Option<WebhookToken>,
}

/// Who we are to a webhook.
#[derive(Clone, Debug)]
pub enum WebhookToken {
    /// As it stands in the kubeconfig.
    Text(BearerToken),
    /// A file that is read for each request: mounted ones are replaced.
    File(PathBuf),
}

/// Why a kubeconfig leads to no webhook.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It is no kubeconfig.
    #[error("{}", one_line(.0))]
    Document(ConfigErrors),
    /// A certificate or a key of it cannot be used.
    #[error("{0}")]
    Piece(PemError),
    /// A field is missing, or is of no use here.
    #[error("{}: {field} {what}", file.display())]
    Field {
        /// The kubeconfig.
        file: PathBuf,
        /// The field.
        field: &'static str,
        /// What is wrong, and what to do.
        what: &'static str,
    },
    /// No TLS client can be made of it.
    #[error("{}: TLS cannot be spoken with it: {}; issue another certificate", .0.display(), .1)]
    Tls(PathBuf, rustls::Error),
}

fn one_line(errors: &ConfigErrors) -> String {
    let problems: Vec<_> = errors.errors.iter().map(ToString::to_string).collect();
    format!("{}: {}", errors.file.display(), problems.join("; "))
}

/// Reads the current context of a kubeconfig, and every file that it names. Blocks; dials nothing.
///
/// # Errors
/// It is none, or needs what is not done here.
pub fn webhook(file: &Path) -> Result<Webhook, WebhookError> {
    let text = document::read_file(file).map_err(WebhookError::Document)?;
    let text = Zeroizing::new(text);
    let (model, _) = model::parse(&text, file).map_err(WebhookError::Document)?;
    let wrong = |field, what| WebhookError::Field {
        file: file.to_owned(),
        field,
        what,
    };
    let missing = |field| {
        wrong(
            field,
            "names nothing that is there; name a context with both",
        )
    };
    let context = model
        .current_context()
        .ok_or_else(|| missing("current-context"))?;
    let of = |name: &Option<String>| name.clone().unwrap_or_default();
    let (cluster, user) = (of(&context.cluster), of(&context.user));
    let cluster = model.clusters.iter().find(|each| each.name == cluster);
    let cluster = cluster.ok_or_else(|| missing("context.cluster"))?;
    let (endpoint, path) = server(cluster, &wrong)?;
    let authority = load(&cluster.authority)?.ok_or_else(|| {
        let what = "is missing: nothing else is trusted here; add the CA of the webhook";
        wrong("certificate-authority", what)
    })?;
    let (authority_file, authority) = authority;
    let roots = certificates(&authority_file, &authority)?;
    let roots = CaBundle::new(authority_file, roots)
        .map_err(WebhookError::Piece)?
        .roots;
    let tls = |error| WebhookError::Tls(file.to_owned(), error);
    // Without a user it is asked by nobody in particular, as client-go does.
    let user = model.users.iter().find(|each| each.name == user);
    let token = match user {
        None => None,
        Some(user) => token(user, &wrong)?,
    };
    let own = user.map(certificate).transpose()?.flatten();
    let own = own.map(|own| own.certified);
    let tls = tls_client(provider::shared(), roots, own).map_err(tls)?;
    Ok(Webhook {
        https: HttpsClient::new(endpoint, tls),
        path,
        token,
    })
}

/// Says what is wrong with a field.
type Wrong<'a> = dyn Fn(&'static str, &'static str) -> WebhookError + 'a;

fn server(cluster: &Cluster, wrong: &Wrong<'_>) -> Result<(Endpoint, String), WebhookError> {
    if cluster.insecure {
        let what = "is not taken; add certificate-authority";
        return Err(wrong("insecure-skip-tls-verify", what));
    }
    if cluster.proxy.is_some() {
        return Err(wrong(
            "proxy-url",
            "is not taken; name the webhook's own address",
        ));
    }
    let no_url = || {
        wrong(
            "server",
            "is no https URL of a webhook; write https://HOST[:PORT]/PATH",
        )
    };
    let uri = cluster.server.as_deref().unwrap_or_default();
    let uri: Uri = uri.parse().map_err(|_| no_url())?;
    let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(no_url());
    };
    let endpoint: Result<Endpoint, _> = format!("https://{authority}").parse();
    let mut endpoint = endpoint.map_err(|_| no_url())?;
    if let Some(name) = &cluster.tls_server_name {
        let name = ServerName::try_from(name.clone());
        endpoint.server_name =
            name.map_err(|_| wrong("tls-server-name", "is no name that a certificate can have"))?;
    }
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok((endpoint, path.to_owned()))
}

fn token(user: &User, wrong: &Wrong<'_>) -> Result<Option<WebhookToken>, WebhookError> {
    let other = user.exec.is_some() || user.provider.is_some() || user.impersonates;
    if other || user.username || user.password {
        let what = "is not taken for a webhook; use a certificate, a token or a tokenFile";
        return Err(wrong("exec, auth-provider, as or username", what));
    }
    if let Some(named) = &user.token_file {
        return Ok(Some(WebhookToken::File(beside(&user.origin, named))));
    }
    let Some(text) = &user.token else {
        return Ok(None);
    };
    let token = BearerToken::new(text);
    let token = token.map_err(|_| wrong("token", "is no bearer token; write it again"))?;
    Ok(Some(WebhookToken::Text(token)))
}

fn certificate(user: &User) -> Result<Option<Credential>, WebhookError> {
    let (Some((certificate, chain)), Some((key, private))) =
        (load(&user.certificate)?, load(&user.key)?)
    else {
        return Ok(None);
    };
    let chain = certificates(&certificate, &chain)?;
    let private = pem::key_of(&private);
    let private = private.map_err(|fault| WebhookError::Piece(PemError::new(&key, fault)))?;
    let own = Credential::new(chain, &private, certificate, &key, Role::Client);
    own.map(Some).map_err(WebhookError::Piece)
}

fn certificates(
    file: &FileRef,
    bytes: &[u8],
) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, WebhookError> {
    let found = pem::certificates_of(bytes);
    found.map_err(|fault| WebhookError::Piece(PemError::new(file, fault)))
}

/// What a piece holds, with the file that it is called by in errors.
type Loaded = Option<(FileRef, Zeroizing<Vec<u8>>)>;

/// Reads a piece from where it is; of both, the data counts.
fn load(piece: &Piece) -> Result<Loaded, WebhookError> {
    if let Some(data) = &piece.data {
        let file = FileRef::new(format!("{}-data", piece.name()), &piece.origin);
        return Ok(yaml_of_go::decode(data).map(|bytes| (file, bytes)));
    }
    let Some(named) = &piece.file else {
        return Ok(None);
    };
    let file = FileRef::new(piece.name(), beside(&piece.origin, named));
    let text = pem::text(&file).map_err(WebhookError::Piece)?;
    Ok(Some((file, Zeroizing::new(text.as_bytes().to_vec()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::testing::authority;

    fn read(cluster: &str, user: &str) -> Result<Webhook, String> {
        let dir = tempfile::tempdir().unwrap();
        let ca = authority("ca").self_signed();
        let authorities = pem::encode(&[ca.der()]);
        std::fs::write(dir.path().join("ca.crt"), authorities).unwrap();
        std::fs::write(dir.path().join("token"), "t").unwrap();
        let file = dir.path().join("webhook.yaml");
        let text = format!(
            "apiVersion: v1\nkind: Config\nclusters: [{{name: c, cluster: {{{cluster}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
        );
        std::fs::write(&file, text).unwrap();
        webhook(&file).map_err(|error| error.to_string())
    }

    const SERVER: &str = "server: 'https://audit.example:8443/k8s?a=b'";

    #[test]
    fn webhook_is_the_current_contexts_server_with_its_path_and_token() {
        let cluster = format!("{SERVER}, certificate-authority: ca.crt");
        let read_one = read(&cluster, "token: hunter2").unwrap();
        assert_eq!(read_one.https.server(), "audit.example:8443");
        assert_eq!(read_one.path, "/k8s?a=b");
        assert!(matches!(read_one.token, Some(WebhookToken::Text(_))));
        assert!(!format!("{read_one:?}").contains("hunter2"));
        let file = read(&cluster, "tokenFile: token").unwrap().token;
        assert!(matches!(file, Some(WebhookToken::File(path)) if path.ends_with("token")));
        assert!(read(&cluster, "").unwrap().token.is_none());
    }

    #[test]
    fn kubeconfig_that_needs_more_than_is_done_here_is_refused_by_field() {
        let good = format!("{SERVER}, certificate-authority: ca.crt");
        for (cluster, user, words) in [
            (SERVER.to_owned(), "", "certificate-authority is missing"),
            (
                "server: 'http://a', certificate-authority: ca.crt".to_owned(),
                "",
                "server is no https URL",
            ),
            (
                format!("{SERVER}, insecure-skip-tls-verify: true"),
                "",
                "insecure-skip-tls-verify is not taken",
            ),
            (
                format!("{good}, proxy-url: 'http://p'"),
                "",
                "proxy-url is not taken",
            ),
            (
                good.clone(),
                "exec: {apiVersion: a, command: b}",
                "exec, auth-provider, as or username is not taken",
            ),
            (good.clone(), "token: 'a b'", "token is no bearer token"),
            (
                format!("{SERVER}, certificate-authority: gone"),
                "",
                "does not exist",
            ),
        ] {
            let error = read(&cluster, user).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(
                error.contains("webhook.yaml") || error.contains("gone"),
                "{error}"
            );
        }
    }
}
