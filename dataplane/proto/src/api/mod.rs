//! Says which requests to an API server are streams of a pod, and how it asks the kubelet for them.
//!
//! Only what has one meaning is read: the path in the spelling of clients, each parameter once. All
//! else has no stream or no options here, and is the API server's to judge (docs/wire.md, "From the
//! API to the kubelet").

mod form;
mod options;
mod protocols;

pub use options::{Options, Unclear, options};
pub use protocols::{Bearer, Protocols, bearer, protocols, take_bearer};

use crate::head::RequestTarget;
use crate::limits;
use crate::route::Action;

/// Names the streams of a pod that an API server carries from a kubelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subresource {
    /// Runs a command in a container.
    Exec,
    /// Joins the main process of a container.
    Attach,
    /// Forwards ports.
    PortForward,
    /// Reads the log of a container.
    Log,
}

impl Subresource {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Exec, Self::Attach, Self::PortForward, Self::Log];

    /// Gives the name that paths and roles have.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portforward",
            Self::Log => "log",
        }
    }

    /// Says what it is to a kubelet.
    #[must_use]
    pub const fn action(self) -> Action {
        match self {
            Self::Exec => Action::Exec,
            Self::Attach => Action::Attach,
            Self::PortForward => Action::PortForward,
            Self::Log => Action::Logs,
        }
    }

    /// Says whether it is an upgrade; a log is an ordinary reply.
    #[must_use]
    pub const fn upgrades(self) -> bool {
        !matches!(self, Self::Log)
    }

    /// The first segment of the kubelet's path.
    const fn kubelet_path(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portForward",
            Self::Log => "containerLogs",
        }
    }
}

/// Names a stream of a pod. It never holds the query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodStream {
    /// Which stream.
    pub subresource: Subresource,
    /// The pod's namespace: a DNS label.
    pub namespace: Box<str>,
    /// The pod: a DNS subdomain.
    pub pod: Box<str>,
}

/// Finds the stream that a request to an API server asks for.
///
/// `None` means that it is no stream or is spelled in another way than clients do; then only the
/// API server knows what it is.
#[must_use]
pub fn pod_stream(target: &RequestTarget) -> Option<PodStream> {
    let path = target.path().strip_prefix("/api/v1/namespaces/")?;
    let mut segments = path.split('/');
    let (namespace, pods) = (segments.next()?, segments.next()?);
    let (pod, subresource, end) = (segments.next()?, segments.next()?, segments.next());
    if pods != "pods" || end.is_some() || !is_label(namespace) || !is_subdomain(pod) {
        return None;
    }
    let known = |it: &&Subresource| it.as_str() == subresource;
    Some(PodStream {
        subresource: *Subresource::ALL.iter().find(known)?,
        namespace: namespace.into(),
        pod: pod.into(),
    })
}

/// Says to which part of a pod a kubelet's path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'a> {
    /// A container.
    Container(&'a str),
    /// The pod itself; with its UID, which a kubelet compares, unless it is a mirror pod, whose UID
    /// a kubelet does not know.
    Whole(Option<&'a str>),
}

/// Writes the target of the request that an API server makes to the kubelet for a stream.
///
/// # Errors
/// `Unclear::Name`: a part is no name, or is not what the stream leads to.
pub fn kubelet_target(
    stream: &PodStream,
    part: Part<'_>,
    options: &Options,
) -> Result<RequestTarget, Unclear> {
    let PodStream {
        subresource,
        namespace,
        pod,
    } = stream;
    let mut path = format!("/{}/{namespace}/{pod}", subresource.kubelet_path());
    let below = match (part, subresource) {
        (Part::Whole(uid), Subresource::PortForward) => uid,
        (
            Part::Container(container),
            Subresource::Exec | Subresource::Attach | Subresource::Log,
        ) => Some(container),
        (Part::Container(_) | Part::Whole(_), _) => return Err(Unclear::Name),
    };
    if let Some(below) = below {
        if !is_label(below) {
            return Err(Unclear::Name);
        }
        path.push('/');
        path.push_str(below);
    }
    options.write_query(&mut path);
    RequestTarget::new(path).map_err(|_| Unclear::Name)
}

/// Says whether text is a DNS label, as namespaces, containers and UIDs are.
fn is_label(text: &str) -> bool {
    text.len() <= limits::LABEL_BYTES && is_word(text)
}

/// Says whether text is a DNS subdomain, as pods' names are.
fn is_subdomain(text: &str) -> bool {
    text.len() <= limits::NAME_BYTES && text.split('.').all(is_word)
}

/// Lower-case letters and digits, with hyphens between them.
fn is_word(text: &str) -> bool {
    let edge = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.first().is_some_and(|byte| edge(*byte))
        && bytes.last().is_some_and(|byte| edge(*byte))
        && bytes.iter().all(|byte| edge(*byte) || *byte == b'-')
}

#[cfg(test)]
mod tests;
