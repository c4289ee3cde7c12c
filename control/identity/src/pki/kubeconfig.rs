//! Puts a kubeconfig together from a tree of `pki init`, from files, or from both.

use crate::file::{self, FileFault, Mode};
use crate::kubeconfig::{Credential, Kubeconfig, Source};
use crate::pem::{self, CaBundle, FileRef, PemError, Role};
use crate::pki::{PkiError, Tree};
use clap::Args;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Longest token file; tokens of service accounts have some 1 KiB, those with many claims 8.
const MAX_TOKEN: u64 = 64 << 10;

/// What a kubeconfig shall hold, as the command line says it.
#[derive(Clone, Debug, Args)]
pub struct Request {
    /// The certificate or user that the kubeconfig is for
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Directory that `pki init` filled
    #[arg(long, value_name = "DIR", required_unless_present = "server")]
    pub pki: Option<PathBuf>,
    /// URL of the API server
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// Name for which the API server's certificate is validated, if not the URL's host
    #[arg(long, value_name = "NAME")]
    pub tls_server_name: Option<String>,
    /// CA of the API server
    #[arg(long, value_name = "FILE", required_unless_present = "pki")]
    pub ca_file: Option<PathBuf>,
    /// Client certificate
    #[arg(
        long,
        value_name = "FILE",
        requires = "client_key_file",
        conflicts_with = "token_file"
    )]
    pub client_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", requires = "client_cert_file")]
    pub client_key_file: Option<PathBuf>,
    /// File that holds a bearer token
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Name of the cluster entry
    #[arg(long, value_name = "NAME", default_value = "kubernetes")]
    pub cluster: String,
    /// Namespace of commands that name none
    #[arg(long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Reference the files instead of embedding their content
    #[arg(long)]
    pub references: bool,
}

/// Why no kubeconfig was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The tree cannot be used.
    #[error(transparent)]
    Tree(#[from] PkiError),
    /// A file cannot be used.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A token file cannot be read, or the kubeconfig not be written.
    #[error(transparent)]
    File(#[from] FileFault),
    /// The kubeconfig is there already.
    #[error("{} exists already; choose another name, or overwrite with --force", .0.display())]
    Exists(PathBuf),
    /// The URL is none.
    #[error("--server {0:?} is no URL; write https://HOST[:PORT]")]
    Server(String),
    /// Nothing says who the user is.
    #[error("nothing says who {0} is; give --pki, --client-cert-file or --token-file")]
    NoCredential(String),
    /// The certificate of the tree is a server's.
    #[error("{0} of the tree is no client's certificate; see pki show")]
    NoClient(String),
    /// The token is empty, or cannot stand in a header.
    #[error("{} holds no token: it must be one line of visible characters", .0.display())]
    Token(PathBuf),
    /// A relative path has no meaning without a current directory.
    #[error("cannot make the path {} absolute", .0.display())]
    Path(PathBuf, #[source] io::Error),
}

/// Makes a kubeconfig; certificate, key and CA are checked before they are embedded or named.
///
/// # Errors
/// A file or the tree cannot be used, or something is missing.
pub fn create(request: &Request) -> Result<Kubeconfig, CreateError> {
    let tree = match &request.pki {
        Some(dir) => Some(Tree::open(dir, None)?),
        None => None,
    };
    let server = match (&request.server, &tree) {
        (Some(server), _) if is_url(server) => server.clone(),
        (Some(server), _) => return Err(CreateError::Server(server.clone())),
        (None, Some(tree)) => tree.server(),
        (None, None) => return Err(CreateError::Server(String::new())),
    };
    let tree_ca = || tree.as_ref().map(Tree::cluster_authority);
    let authority = request.ca_file.clone().or_else(tree_ca);
    let authority = match authority {
        None => None,
        Some(path) => {
            let file = FileRef::new("CA", &path);
            CaBundle::load(file.clone())?;
            Some(source(&file, request.references)?)
        }
    };
    let mut user = request.name.clone();
    let credential = if let Some(path) = &request.token_file {
        Credential::Token(token(path, request.references)?)
    } else {
        let client = request.client_cert_file.clone();
        let pair = match (client.zip(request.client_key_file.clone()), &tree) {
            (Some(pair), _) => pair,
            (None, Some(tree)) => {
                let client = tree.client(&request.name)?;
                let client = client.ok_or_else(|| CreateError::NoClient(request.name.clone()))?;
                user = client.user;
                (client.certificate, client.key)
            }
            (None, None) => return Err(CreateError::NoCredential(request.name.clone())),
        };
        let certificate = FileRef::new("client certificate", &pair.0);
        let key = FileRef::new("client key", &pair.1);
        pem::Credential::load(certificate.clone(), &key, Role::Client)?;
        Credential::Certificate {
            certificate: source(&certificate, request.references)?,
            key: source(&key, request.references)?,
        }
    };
    Ok(Kubeconfig {
        cluster: request.cluster.clone(),
        server,
        tls_server_name: request.tls_server_name.clone(),
        namespace: request.namespace.clone(),
        user,
        authority,
        credential,
    })
}

fn is_url(server: &str) -> bool {
    let uri = server.parse::<hyper::Uri>().ok();
    uri.is_some_and(|uri| uri.scheme_str() == Some("https") && uri.host().is_some())
}

fn source(file: &FileRef, reference: bool) -> Result<Source, CreateError> {
    if reference {
        return absolute(&file.path).map(Source::File);
    }
    Ok(Source::Data(pem::text(file)?))
}

fn absolute(path: &Path) -> Result<PathBuf, CreateError> {
    std::path::absolute(path).map_err(|source| CreateError::Path(path.to_owned(), source))
}

fn token(path: &Path, reference: bool) -> Result<Source, CreateError> {
    let text = file::read(path, MAX_TOKEN)?;
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(CreateError::Token(path.to_owned()));
    }
    if reference {
        return absolute(path).map(Source::File);
    }
    Ok(Source::Data(Zeroizing::new(token.to_owned())))
}

/// Writes a kubeconfig for its owner only, whole or not at all.
///
/// # Errors
/// It is there already, unless `force`, or cannot be written.
pub fn write(path: &Path, text: &str, force: bool) -> Result<(), CreateError> {
    if force {
        return Ok(file::replace(path, text.as_bytes(), Mode::Secret)?);
    }
    match file::create_new(path, text.as_bytes(), Mode::Secret) {
        Err(fault) if fault.is_existing() => Err(CreateError::Exists(path.to_owned())),
        result => Ok(result?),
    }
}
