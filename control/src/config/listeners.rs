//! Reads `listeners`.

use super::apiservers;
use super::bounds;
use super::front;
use super::model::{Identity, Listener, TcpTransport, Transport, UnixTransport};
use super::serving;
use eyesplice_identity::document::{Node, Problem, Section, Value, value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest path of a UNIX socket: `sun_path` of 108 bytes with its NUL.
const SOCKET_PATH_BYTES: usize = 107;

/// Reads every listener, and whether `egress` matters to one; those with errors are left out.
pub(super) fn read(root: &mut Section<'_>, who: Option<&Identity>) -> (Vec<Listener>, bool) {
    let sections = root.sections("listeners", bounds::LISTENERS);
    if root.is_blank("listeners") {
        let fix = "add one, like `- {name: uds, unix: {path: /run/eyesplice/egress.sock}}`";
        root.error("listeners", "has no listener", fix);
    }
    let mut listeners: Vec<Listener> = Vec::new();
    // Where nothing can be read, nobody has said that it does not.
    let mut of_egress = sections.is_empty();
    for section in sections {
        let (path, at) = (section.path().to_owned(), section.at());
        let others = ["front", "apiserver"].iter().any(|each| section.has(each));
        of_egress |= !others || OF_EGRESS.iter().any(|each| section.has(each));
        let Some(listener) = listener(section, who) else {
            continue;
        };
        if listeners.iter().any(|other| other.name == listener.name) {
            let what = format!("another listener is named {:?} already", listener.name);
            let problem = Problem::new(what, "choose another name");
            root.report().error(&format!("{path}.name"), at, problem);
        }
        let same = |other: &Listener| same_place(&other.transport, &listener.transport);
        if listeners.iter().any(same) {
            let what = "another listener is bound there already";
            let problem = Problem::new(what, "choose another path or address");
            root.report().error(&path, at, problem);
        }
        listeners.push(listener);
    }
    (listeners, of_egress)
}

/// Two listeners cannot share a path or a port; port 0 is a new one each time.
fn same_place(a: &Transport, b: &Transport) -> bool {
    match (a, b) {
        (Transport::Unix(a), Transport::Unix(b)) => a.path == b.path,
        _ => match (a.address(), b.address()) {
            (Some(a), Some(b)) => a == b && a.port() != 0,
            _ => false,
        },
    }
}

/// The transports, of which a listener has one.
const TRANSPORTS: [&str; 5] = ["unix", "tcp", "tunnel", "front", "apiserver"];

/// Those whose clients ask for targets of `egress`, or carry them.
const OF_EGRESS: [&str; 3] = ["unix", "tcp", "tunnel"];

fn listener(mut section: Section<'_>, who: Option<&Identity>) -> Option<Listener> {
    let name = section.required("name", "uds", value::name);
    let sections = TRANSPORTS.map(|transport| section.section(transport));
    let kept = who.map(|who| who.serving_file(name.as_deref().unwrap_or_default()));
    let transport = match sections {
        [Some(unix), None, None, None, None] => read_unix(unix).map(Transport::Unix),
        [None, Some(tcp), None, None, None] => read_tcp(tcp, kept, true).map(Transport::Tcp),
        [None, None, Some(tunnel), None, None] => {
            read_tcp(tunnel, kept, false).map(Transport::Tunnel)
        }
        [None, None, None, Some(front), None] => {
            front::read_listener(front, kept).map(Transport::Front)
        }
        [None, None, None, None, Some(apiserver)] => {
            apiservers::read_listener(apiserver).map(Transport::ApiServer)
        }
        [None, None, None, None, None] => {
            if !TRANSPORTS.iter().any(|transport| section.has(transport)) {
                let fix = "add `unix: {path: ..}`, or `tcp`, `tunnel`, `front` or `apiserver` like \
                           `tcp: {address: .., ..}`";
                let what = "has none of `unix`, `tcp`, `tunnel`, `front` and `apiserver`";
                section.error("", what, fix);
            }
            None
        }
        several => {
            several.into_iter().flatten().for_each(Section::pass_over);
            let has = TRANSPORTS.iter().filter(|transport| section.has(transport));
            let has: Vec<String> = has.map(|transport| format!("`{transport}`")).collect();
            let fix = "keep one, and add another listener for each of the others";
            section.error("", format!("has both {}", has.join(" and ")), fix);
            None
        }
    };
    Some(Listener {
        name: Arc::from(name?),
        transport: transport?,
    })
}

fn read_unix(mut section: Section<'_>) -> Option<UnixTransport> {
    let base = section.base();
    let path = |node: &Node| socket_path(node, base);
    let path = section.required("path", "/run/eyesplice/egress.sock", path);
    let mode = section.optional("mode", value::mode).unwrap_or(0o600);
    let uid = section.optional("owner", owner);
    let gid = section.optional("group", group);
    let uids = section.list("allowedUIDs", bounds::LISTENER_ENTRIES, |node| {
        value::integer::<u32>(node, &(0..=i128::from(u32::MAX - 1)))
    });
    if mode & 0o002 != 0 && uids.is_empty() {
        let what = format!("{mode:04o} lets every process of this host connect");
        let fix = "use \"0600\" or \"0660\", or list the API server's uid in allowedUIDs";
        section.warn("mode", what, fix);
    }
    Some(UnixTransport {
        path: path?,
        mode,
        uid,
        gid,
        allowed_uids: Arc::from(uids),
    })
}

/// What a listener for API servers or agents reads like.
const EXAMPLE: [&str; 3] = [
    "\"10.0.0.1:8131\"",
    "egress-server.crt",
    "egress-server.key",
];

/// Reads TCP with mutual TLS; `kept` is where an identity keeps a certificate of the authority, and
/// `named` whether clients can be listed by name here.
fn read_tcp(mut section: Section<'_>, kept: Option<PathBuf>, named: bool) -> Option<TcpTransport> {
    let serving = serving::read(&mut section, kept, EXAMPLE);
    let client_ca = section.required_file("clientCAFile", "egress-client-ca.crt");
    let entries = bounds::LISTENER_ENTRIES;
    let names = if named {
        section.list("allowedNames", entries, value::text)
    } else {
        Vec::new()
    };
    Some(TcpTransport {
        address: serving.address?,
        tls_cert_file: serving.cert_file?,
        tls_private_key_file: serving.key_file?,
        tls_from_authority: serving.from_authority,
        client_ca_file: client_ca?,
        allowed_names: names,
    })
}

/// Reads the path of a UNIX socket.
pub(super) fn socket_path(node: &Node, base: &Path) -> Result<PathBuf, Problem> {
    let path = value::path(node, base)?;
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_BYTES {
        let what = format!("is {length} bytes long, more than a UNIX socket address holds");
        let fix = format!("use at most {SOCKET_PATH_BYTES} bytes");
        return Err(Problem::new(what, fix));
    }
    Ok(path)
}

/// A user, by number or by name in this host's user database.
fn owner(node: &Node) -> Result<u32, Problem> {
    account(node, "user", |name| {
        let found = nix::unistd::User::from_name(name).ok().flatten();
        found.map(|user| user.uid.as_raw())
    })
}

/// A group, by number or by name in this host's group database.
fn group(node: &Node) -> Result<u32, Problem> {
    account(node, "group", |name| {
        let found = nix::unistd::Group::from_name(name).ok().flatten();
        found.map(|group| group.gid.as_raw())
    })
}

fn account(node: &Node, kind: &str, find: impl Fn(&str) -> Option<u32>) -> Result<u32, Problem> {
    if matches!(node.value, Value::Integer(_)) {
        return value::integer(node, &(0..=i128::from(u32::MAX - 1)));
    }
    let name = value::text(node)?;
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    find(&name).ok_or_else(|| {
        let fix = format!("create it, or write the number of the {kind}");
        Problem::new(format!("this host has no {kind} {name:?}"), fix)
    })
}
