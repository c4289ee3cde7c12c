//! Says what a request to a kubelet does, from its path (docs/wire.md, "Kubelet paths").
//!
//! Policy authorises by action (docs/wire.md, "Exec by GET"), so the danger is a path that a
//! kubelet's router reads as an exec and we do not. Go's routers decode, clean and trim paths, some
//! ignore case: whatever any of them could turn into one of the known paths is refused here, not
//! called `Other`. API servers write these paths in one spelling only.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::chars::hex;
use crate::head::RequestTarget;
use crate::limits;

/// Names what a request to a kubelet does. The names are part of policy files and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, derive_more::Display)]
#[display("{}", self.as_str())]
pub enum Action {
    /// Runs a command in a container and streams it.
    Exec,
    /// Streams the main process of a container.
    Attach,
    /// Forwards ports of a pod.
    PortForward,
    /// Reads logs: of a container (`/containerLogs/`) or of the node (`/logs/`), told apart by
    /// whether the route names a pod.
    Logs,
    /// Runs a command in a container and returns its output (`/run/`).
    Run,
    /// Writes a checkpoint of a container.
    Checkpoint,
    /// Reads numbers: `/metrics` and `/stats`, with all below.
    Metrics,
    /// Lists pods: `/pods`, `/runningpods/`.
    Pods,
    /// Anything else: `/healthz`, `/configz`, `/debug` and what later kubelets bring.
    Other,
}

impl Action {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Exec,
        Self::Attach,
        Self::PortForward,
        Self::Logs,
        Self::Run,
        Self::Checkpoint,
        Self::Metrics,
        Self::Pods,
        Self::Other,
    ];

    /// Gives the stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portForward",
            Self::Logs => "logs",
            Self::Run => "run",
            Self::Checkpoint => "checkpoint",
            Self::Metrics => "metrics",
            Self::Pods => "pods",
            Self::Other => "other",
        }
    }

    /// Says whether a kubelet turns connections of it into raw streams; on all others it reads over an
    /// `Upgrade` header, as RFC 9110 section 7.8 allows.
    #[must_use]
    pub const fn may_upgrade(self) -> bool {
        matches!(self, Self::Exec | Self::Attach | Self::PortForward)
    }

    /// Says whether requests of it may not have a body: kubelets read options of these also from a
    /// form in the body, past everything that looked at the query (docs/wire.md, "Kubelet query
    /// options" and "Request smuggling").
    #[must_use]
    pub const fn forbids_body(self) -> bool {
        matches!(self, Self::Exec | Self::Attach | Self::PortForward)
    }
}

/// The text names no action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "unknown action; use exec, attach, portForward, logs, run, checkpoint, metrics, pods or other"
)]
pub struct UnknownAction;

impl FromStr for Action {
    type Err = UnknownAction;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|action| action.as_str() == name)
            .ok_or(UnknownAction)
    }
}

/// Says what a request does, and to which pod. It never holds the query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Route {
    /// What it does.
    pub action: Action,
    /// To whom; always there for exec, attach, portForward, run and checkpoint.
    pub pod: Option<PodRef>,
}

/// Names a pod, and maybe a container of it. Every part is letters, digits, `-`, `_` and `.` only.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PodRef {
    /// Its namespace.
    pub namespace: Box<str>,
    /// Its name.
    pub name: Box<str>,
    /// Its uid, in the long forms only; API servers never use them.
    pub uid: Option<Box<str>>,
    /// The container; none for portForward.
    pub container: Option<Box<str>>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.action.as_str())?;
        let Some(pod) = &self.pod else { return Ok(()) };
        write!(f, " {}/{}", pod.namespace, pod.name)?;
        pod.container
            .as_ref()
            .map_or(Ok(()), |container| write!(f, "/{container}"))
    }
}

/// Why a path is not routed: refuse it (400), it may mean something else to the kubelet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RouteError {
    /// The target is not in origin form.
    #[error("request target does not begin with a slash")]
    NotOrigin,
    /// A segment is empty: routers clean such paths.
    #[error("path has an empty segment")]
    EmptySegment,
    /// A segment is `.` or `..`, encoded or not.
    #[error("path has a dot segment")]
    DotSegment,
    /// An encoding is broken, or hides a slash, backslash, semicolon, percent sign, a space at an end,
    /// or a byte that is not printable ASCII, or stands in the first segment.
    #[error("path has a percent-encoding that is not allowed there")]
    Encoding,
    /// A character is legal in a URI and yet splits segments for some routers: `;` and `\`.
    #[error("path has a character that is not allowed there")]
    Character,
    /// The first segment is a known one in another spelling.
    #[error("path begins with a known word in another spelling; case matters")]
    Spelling,
    /// A known path has too few or too many segments, or a slash at its end.
    #[error("path of an {0} request has the wrong number of segments")]
    Shape(Action),
    /// Namespace, pod, uid or container could not be a name.
    #[error("path of an {0} request has a malformed name")]
    Name(Action),
    /// A path through which old kubelets stream what another request has begun, by token.
    #[error("path of the container runtime's streaming server is not routed")]
    Runtime,
    /// There are more segments than the bound.
    #[error("path has more than {} segments", limits::PATH_SEGMENTS)]
    TooDeep,
}

/// The shape of a known path.
#[derive(Clone, Copy)]
enum Shape {
    /// namespace, pod, container, or namespace, pod, uid, container.
    Container,
    /// namespace, pod, container.
    ContainerOnly,
    /// namespace, pod, or namespace, pod, uid.
    Pod,
    /// Alone, or with one slash at the end.
    Alone,
    /// Anything below it.
    Tree,
}

/// The known first segments.
const KNOWN: &[(&str, Action, Shape)] = &[
    ("exec", Action::Exec, Shape::Container),
    ("attach", Action::Attach, Shape::Container),
    ("portForward", Action::PortForward, Shape::Pod),
    ("run", Action::Run, Shape::Container),
    ("containerLogs", Action::Logs, Shape::ContainerOnly),
    ("checkpoint", Action::Checkpoint, Shape::ContainerOnly),
    ("logs", Action::Logs, Shape::Tree),
    ("metrics", Action::Metrics, Shape::Tree),
    ("stats", Action::Metrics, Shape::Tree),
    ("pods", Action::Pods, Shape::Alone),
    ("runningpods", Action::Pods, Shape::Alone),
];

/// The prefix under which kubelets before 1.21 serve the runtime's streams.
const RUNTIME: &str = "cri";

/// Routes a request to a kubelet.
///
/// # Errors
/// `RouteError`: answer 400, do not dial.
pub fn route(target: &RequestTarget) -> Result<Route, RouteError> {
    let path = target
        .path()
        .strip_prefix('/')
        .ok_or(RouteError::NotOrigin)?;
    if path.bytes().filter(|byte| *byte == b'/').count() >= limits::PATH_SEGMENTS {
        return Err(RouteError::TooDeep);
    }
    let (path, slash) = path
        .strip_suffix('/')
        .map_or((path, false), |path| (path, true));
    let mut raw = path.split('/');
    let first = raw.next().unwrap_or_default();
    if path.is_empty() {
        let root = Route {
            action: Action::Other,
            pod: None,
        };
        return if slash {
            Err(RouteError::EmptySegment)
        } else {
            Ok(root)
        };
    }
    if first.contains('%') {
        return Err(RouteError::Encoding);
    }
    decode(first)?;
    let segments = raw.map(decode).collect::<Result<Vec<_>, _>>()?;
    if first.eq_ignore_ascii_case(RUNTIME) {
        return Err(RouteError::Runtime);
    }
    let Some((word, action, shape)) = KNOWN.iter().find(|it| it.0.eq_ignore_ascii_case(first))
    else {
        return Ok(Route {
            action: Action::Other,
            pod: None,
        });
    };
    if *word != first {
        return Err(RouteError::Spelling);
    }
    let pod = pod(*action, *shape, &segments, slash)?;
    Ok(Route {
        action: *action,
        pod,
    })
}

/// Reads the segments after the first by the shape of their path.
fn pod(
    action: Action,
    shape: Shape,
    segments: &[String],
    slash: bool,
) -> Result<Option<PodRef>, RouteError> {
    let (namespace, name, uid, container) = match (shape, segments, slash) {
        (Shape::Tree, _, _) | (Shape::Alone, [], _) => return Ok(None),
        (Shape::Container | Shape::ContainerOnly, [ns, pod, container], false) => {
            (ns, pod, None, Some(container))
        }
        (Shape::Container, [ns, pod, uid, container], false) => {
            (ns, pod, Some(uid), Some(container))
        }
        (Shape::Pod, [ns, pod], false) => (ns, pod, None, None),
        (Shape::Pod, [ns, pod, uid], false) => (ns, pod, Some(uid), None),
        _ => return Err(RouteError::Shape(action)),
    };
    let name_of = |segment: &String| {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if segment.len() <= limits::SEGMENT_BYTES && segment.bytes().all(legal) {
            Ok(Box::from(segment.as_str()))
        } else {
            Err(RouteError::Name(action))
        }
    };
    Ok(Some(PodRef {
        namespace: name_of(namespace)?,
        name: name_of(name)?,
        uid: uid.map(name_of).transpose()?,
        container: container.map(name_of).transpose()?,
    }))
}

/// Decodes a segment once, and refuses what a second decoding or a cleaning would change.
fn decode(segment: &str) -> Result<String, RouteError> {
    let mut decoded = String::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let literal = if byte == b'%' {
            let (high, low) = (bytes.next().and_then(hex), bytes.next().and_then(hex));
            let (Some(high), Some(low)) = (high, low) else {
                return Err(RouteError::Encoding);
            };
            let hidden = high << 4 | low;
            if matches!(hidden, b'/' | b'\\' | b'%' | b';') || !matches!(hidden, b' '..=b'~') {
                return Err(RouteError::Encoding);
            }
            hidden
        } else if matches!(byte, b';' | b'\\') {
            return Err(RouteError::Character);
        } else {
            byte
        };
        decoded.push(char::from(literal));
    }
    match decoded.as_str() {
        "" => Err(RouteError::EmptySegment),
        "." | ".." => Err(RouteError::DotSegment),
        // Trimmed it could be a dot segment.
        edge if edge.starts_with(' ') || edge.ends_with(' ') => Err(RouteError::Encoding),
        _ => Ok(decoded),
    }
}

#[cfg(test)]
mod tests;
