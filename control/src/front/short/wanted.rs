//! What can be said of a request without asking anybody.

use super::place::Pod;
use super::{Question, Why};
use eyesplice_proto::api::{self, Options, PodStream, Protocols, Subresource};
use eyesplice_proto::head::Method;
use eyesplice_proto::hop::Identity;

/// The upgrade of browsers, and of kubectl from 1.31 on.
pub(super) const WEBSOCKET: &str = "websocket";

/// A request that has one meaning.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(super) options: Options,
    pub(super) protocols: Protocols,
    verbs: &'static [&'static str],
}

impl Wanted {
    /// Reads a request; `Err`: only an API server knows what it means.
    pub(crate) fn read(asked: &Question<'_>) -> Result<Self, Why> {
        let subresource = asked.stream.subresource;
        let headers = &asked.head.headers;
        let impersonates = |name: &str| Identity::of(name) == Some(Identity::Impersonate);
        if headers.iter().any(|(name, _)| impersonates(name.as_str())) {
            return Err(Why::Impersonation);
        }
        match asked.head.method {
            Method::GET => {}
            Method::POST if subresource.upgrades() => {}
            _ => return Err(Why::Method),
        }
        if asked.upgrade.is_some() != subresource.upgrades() {
            return Err(Why::Upgrade);
        }
        if asked.has_body {
            return Err(Why::Body);
        }
        let options = api::options(subresource, asked.head.target.query());
        let options = options.map_err(|_| Why::Query)?;
        let protocols = match asked.upgrade {
            Some(WEBSOCKET) => api::protocols(subresource, headers),
            _ => Protocols::Runtime,
        };
        if protocols == Protocols::Unclear {
            return Err(Why::Protocol);
        }
        Ok(Self {
            options,
            protocols,
            verbs: match asked.upgrade {
                _ if asked.head.method == Method::POST => &["create"],
                None => &["get"],
                Some(_) => &["get", "create"],
            },
        })
    }

    /// What API servers ask about the user: by the verb of the method, and for an upgrade by GET
    /// `create` as well.
    pub(crate) fn verbs(&self) -> &'static [&'static str] {
        self.verbs
    }

    /// The container that the API server would choose, and whose log there is; none for ports.
    pub(super) fn container<'a>(
        &self,
        stream: &PodStream,
        pod: &'a Pod,
    ) -> Result<Option<&'a str>, Why> {
        if stream.subresource == Subresource::PortForward {
            return Ok(None);
        }
        let container = pod.container(self.options.container())?;
        let has_log = || pod.has_log(container, self.options.previous());
        if stream.subresource == Subresource::Log && !has_log() {
            return Err(Why::ContainerState);
        }
        Ok(Some(container))
    }
}
