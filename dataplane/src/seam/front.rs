//! Requests that come to a front listener: what control is asked about each of them, and what it
//! may answer.
//!
//! One upstream connection at a time serves one downstream connection and no other, so no identity
//! ever meets another's bytes. Control judges each request, not each connection: it gives the head
//! as it goes on, and says over which connection.

use super::{ListenerName, Reason, StreamId, StreamLimits, Tallies, UpstreamTls, Way};
use eyesplice_proto::head::RequestHead;
use eyesplice_proto::headers::{HeaderName, HeaderValue};
use eyesplice_proto::route::Action;
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

/// The [`target`](super::StreamRequest::target) of a connection to a listener for API servers,
/// which asks for no other: the name is no host's, and is not resolved.
pub const API_SERVER: &str = "apiserver:443";

/// A request to an API server, of which nothing was sent on yet.
#[derive(Debug)]
pub struct ApiRequest {
    /// The connection that it came on.
    pub id: StreamId,
    /// Its number there, from 1.
    pub exchange: u32,
    /// The listener that accepted the connection.
    pub listener: ListenerName,
    /// Where it comes from.
    pub peer: SocketAddr,
    /// The chain that the client presented in its handshake, leaf first; it proved that it has the
    /// leaf's key. Nobody has validated the chain.
    pub chain: Option<Arc<[CertificateDer<'static>]>>,
    /// Its head without hop-by-hop headers. The framing and the upgrade, if it asks for one, are
    /// announced in it.
    pub head: RequestHead,
    /// It asks for an upgrade: `SPDY/3.1` or `websocket`.
    pub upgrade: Option<&'static str>,
    /// A body is announced.
    pub has_body: bool,
    /// The upstream connection that is open, if the request may go on over it.
    pub held: Option<Held>,
    /// It was asked about before, and sent to a kubelet, which did not do what it should: the
    /// stable label of that. The client has seen nothing of it.
    pub short_failed: Option<&'static str>,
    /// When its head was complete.
    pub received: SystemTime,
}

/// An upstream connection that served the request before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// For what control wanted it.
    pub key: ConnectionKey,
    /// What was dialled, if it was dialled.
    pub address: Option<SocketAddr>,
}

/// Control's own name for all connections that may stand for each other: of one configuration,
/// identity and kind of server. The engine only hands it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey(pub u64);

/// What becomes of a request.
#[derive(Debug)]
pub enum ApiVerdict {
    /// It goes on.
    Forward(Box<Forward>),
    /// The gateway answers.
    Answer(Box<ApiAnswer>),
}

/// How a request goes on.
#[derive(Debug)]
pub struct Forward {
    /// The configuration generation that decided.
    pub generation: u64,
    /// The head as it is sent: target, Host and identity are control's. The engine has taken off
    /// what concerns the client's connection alone, and announces framing and upgrade again as the
    /// client did.
    pub head: RequestHead,
    /// Over which connection.
    pub over: Over,
    /// Deadlines of this request; of the whole stream after an upgrade.
    pub limits: StreamLimits,
    /// When it ends, whatever moves then; `None`: nothing but its limits ends it.
    pub until: Option<SystemTime>,
    /// Headers that the reply gets in place of the server's.
    pub reply: Vec<(HeaderName, HeaderValue)>,
    /// What is known of it, for audit and metrics.
    pub labels: ApiLabels,
    /// Who hears what becomes of it.
    pub follower: Option<Arc<dyn Follower>>,
}

/// Hears what becomes of a request. When it is dropped, the request is over. Its methods are called
/// on a worker's thread, and return at once.
pub trait Follower: fmt::Debug + Send + Sync {
    /// The client is about to get the head of the last reply, with this status.
    fn answered(&self, status: u16);

    /// Nothing came of the request, and the client has seen nothing: control is about to be asked
    /// about it once more.
    fn judged_again(&self);

    /// That other verdict lets it go on, and all that follows concerns that one.
    fn superseded(&self);
}

/// The connection of a request.
#[derive(Debug)]
pub enum Over {
    /// The one that [`ApiRequest::held`] named.
    Held,
    /// A new one; what was open before is closed.
    New(Box<Fresh>),
}

/// A connection to be made.
#[derive(Debug)]
pub struct Fresh {
    /// How the server is reached.
    pub way: Way,
    /// TLS with it.
    pub tls: UpstreamTls,
    /// The server in errors and audit: `API server`, `kubelet of node worker-3`.
    pub server: Arc<str>,
    /// The node, if it is a kubelet.
    pub node: Option<Arc<str>>,
    /// Its name for the next request; `None`: it serves this one alone.
    pub key: Option<ConnectionKey>,
    /// Count it by the address that is dialled.
    pub tallies: Tallies,
}

/// What is known of a request to an API server. Never the query: it holds the command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiLabels {
    /// Whose it is; `None` where only the API server can know.
    pub user: Option<Arc<str>>,
    /// What it does to a pod, if it is one of the streams; `Other` for all else.
    pub action: Action,
    /// Namespace of the pod.
    pub namespace: Option<Arc<str>>,
    /// The pod.
    pub pod: Option<Arc<str>>,
    /// The container, where it is known.
    pub container: Option<Arc<str>>,
    /// How it goes.
    pub path: ApiPath,
}

/// Whether a request goes past the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ApiPath {
    /// To the kubelet. Of its replies to an upgrade only a 101 and errors are passed on.
    Short,
    /// The same while no API server can be asked, by what is remembered of their answers.
    BreakGlass,
    /// Through the API server, whose replies are passed on as they are: the stable label of the
    /// reason why, for streams; `None` for requests that have no other way.
    Through(Option<&'static str>),
    /// The gateway answered.
    Answered,
}

impl ApiPath {
    /// The label in metrics and audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::BreakGlass => "break_glass",
            Self::Through(_) => "through",
            Self::Answered => "answered",
        }
    }

    /// Why a stream goes through the API server.
    #[must_use]
    pub fn why(self) -> Option<&'static str> {
        match self {
            Self::Through(why) => why,
            Self::Short | Self::BreakGlass | Self::Answered => None,
        }
    }

    /// Whether it goes to the kubelet.
    #[must_use]
    pub fn is_past_api_servers(self) -> bool {
        matches!(self, Self::Short | Self::BreakGlass)
    }
}

/// An answer in place of the API server's.
#[derive(Debug)]
pub struct ApiAnswer {
    /// The configuration generation that decided.
    pub generation: u64,
    /// The status.
    pub status: u16,
    /// Why, for audit and metrics.
    pub reason: Reason,
    /// Why, in one line for audit and log.
    pub words: Arc<str>,
    /// Headers beside Content-Type, Content-Length and Connection.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// An object in JSON: a `Status`, unless it is what was asked for.
    pub body: String,
    /// What is known of the request.
    pub labels: ApiLabels,
}
