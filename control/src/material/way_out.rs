//! The proxy between an agent and its gateways: how it is asked, and what it is shown.

use super::error::{LoginFileError, MaterialError};
use super::loader::Loader;
use super::proxy::extractable;
use crate::config::{ProxyOut, ProxyScheme};
use arc_swap::ArcSwap;
use eyesplice_dataplane::seam::{ProxyProtocol, ProxyTls, WayOut};
use eyesplice_identity::pem::FileRef;
use eyesplice_proto::limits::LOGIN_BYTES;
use eyesplice_proto::login::Login;
use eyesplice_proto::target::Host;
use eyesplice_proto::tls::Groups;
use ring::digest::{SHA256, digest};
use rustls::pki_types::{ServerName, TrustAnchor};
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Most bytes of a file with a user and a password that are read: with a line end, one more than
/// the longest has.
const LOGIN_FILE_BYTES: u64 = (2 * LOGIN_BYTES + 4) as u64;

/// A proxy with what it was made of.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) way: Arc<WayOut>,
    of: Parts,
}

/// What tells a proxy from another one.
#[derive(Debug, PartialEq, Eq)]
struct Parts {
    proxy: ProxyOut,
    /// Of the file with user and password.
    digest: Option<Vec<u8>>,
    trusted: Vec<TrustAnchor<'static>>,
    groups: Groups,
}

impl Made {
    /// Whether the other one is asked in the same way, and shown the same.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.of == other.of
    }
}

impl Loader<'_> {
    /// Loads the files of a proxy.
    pub(super) fn way_out(&mut self, proxy: &ProxyOut, groups: Groups) -> Option<Made> {
        let login = proxy.credentials_file.as_ref();
        let login = login.map(|file| self.login(file));
        let tls = proxy.ca_file.as_ref();
        let tls = tls.map(|file| self.proxy_tls(file, &proxy.target.host, groups));
        let (login, digest) = match login {
            None => (None, None),
            Some(loaded) => loaded.map(|(login, digest)| (Some(login), Some(digest)))?,
        };
        let (tls, trusted) = match tls {
            None => (None, Vec::new()),
            Some(loaded) => loaded.map(|(tls, trusted)| (Some(tls), trusted))?,
        };
        let at = match proxy.target.host {
            Host::Ip(ip) => vec![SocketAddr::new(ip, proxy.target.port)],
            Host::Name(_) => Vec::new(),
        };
        let way = WayOut {
            name: proxy.to_string().into(),
            at: ArcSwap::from_pointee(at),
            protocol: match proxy.scheme {
                ProxyScheme::Http | ProxyScheme::Https => ProxyProtocol::Http(tls),
                ProxyScheme::Socks5 => ProxyProtocol::Socks5,
            },
            login,
        };
        Some(Made {
            way: Arc::new(way),
            of: Parts {
                proxy: proxy.clone(),
                digest,
                trusted,
                groups,
            },
        })
    }

    fn login(&mut self, file: &FileRef) -> Option<(Login, Vec<u8>)> {
        self.guard(file);
        let loaded = read(&file.path);
        self.keep(loaded.map_err(|error| MaterialError::Login(file.clone(), error)))
    }

    fn proxy_tls(
        &mut self,
        ca_file: &FileRef,
        host: &Host,
        groups: Groups,
    ) -> Option<(ProxyTls, Vec<TrustAnchor<'static>>)> {
        let roots = self.bundle(ca_file)?.roots;
        let trusted = roots.roots.clone();
        let tls = extractable(None, roots, groups);
        let config = self.keep(tls.map_err(|error| MaterialError::Tls(ca_file.clone(), error)))?;
        let server_name = match host {
            Host::Ip(ip) => ServerName::from(*ip),
            Host::Name(name) => ServerName::try_from(name.as_str().to_owned()).ok()?,
        };
        let tls = ProxyTls {
            config: Arc::new(config),
            server_name,
        };
        Some((tls, trusted))
    }
}

fn read(path: &Path) -> Result<(Login, Vec<u8>), LoginFileError> {
    let mut text = Zeroizing::new(String::new());
    let file = File::open(path).map_err(LoginFileError::Read)?;
    let mut bounded = file.take(LOGIN_FILE_BYTES);
    let read = bounded.read_to_string(&mut text);
    read.map_err(LoginFileError::Read)?;
    let login = Login::parse(&text).map_err(LoginFileError::Text)?;
    Ok((login, digest(&SHA256, text.as_bytes()).as_ref().to_vec()))
}
