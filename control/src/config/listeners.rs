//! Reads `listeners`.

use super::bounds;
use super::identity;
use super::model::{Identity, Listener, TcpTransport, Transport, UnixTransport};
use eyesplice_identity::document::{Node, Problem, Report, Section, Value, value};
use eyesplice_identity::inventory::HostAddress;
use std::path::Path;
use std::sync::Arc;

/// Longest path of a UNIX socket: `sun_path` of 108 bytes with its NUL.
const SOCKET_PATH_BYTES: usize = 107;

/// Reads every listener; those with errors are left out.
pub(super) fn read(
    root: &mut Section<'_>,
    base: &Path,
    who: Option<&Identity>,
    report: &mut Report,
) -> Vec<Listener> {
    let sections = root.sections("listeners", bounds::LISTENERS, report);
    if root.is_blank("listeners") {
        let problem = Problem::new(
            "has no listener",
            "add one, like `- {name: uds, unix: {path: /run/eyesplice/egress.sock}}`",
        );
        report.error(
            &root.path_of("listeners"),
            root.place_of("listeners"),
            problem,
        );
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for section in sections {
        let (path, at) = (section.path().to_owned(), section.at());
        let Some(listener) = listener(section, base, who, report) else {
            continue;
        };
        if listeners.iter().any(|other| other.name == listener.name) {
            let what = format!("another listener is named {:?} already", listener.name);
            report.error(
                &format!("{path}.name"),
                at,
                Problem::new(what, "choose another name"),
            );
        }
        if listeners
            .iter()
            .any(|other| same_place(&other.transport, &listener.transport))
        {
            let problem = Problem::new(
                "another listener is bound there already",
                "choose another place",
            );
            report.error(&path, at, problem);
        }
        listeners.push(listener);
    }
    listeners
}

/// Two listeners cannot share a path or a port; port 0 is a new one each time.
fn same_place(a: &Transport, b: &Transport) -> bool {
    match (a, b) {
        (Transport::Unix(a), Transport::Unix(b)) => a.path == b.path,
        (Transport::Tcp(a), Transport::Tcp(b)) => a.address == b.address && a.address.port() != 0,
        _ => false,
    }
}

fn listener(
    mut section: Section<'_>,
    base: &Path,
    who: Option<&Identity>,
    report: &mut Report,
) -> Option<Listener> {
    let name = section.required("name", "uds", value::name, report);
    let unix = section.section("unix", report);
    let tcp = section.section("tcp", report);
    let transport = match (unix, tcp) {
        (Some(unix), None) => read_unix(unix, base, report).map(Transport::Unix),
        (None, Some(tcp)) => {
            let place = Place {
                base,
                who,
                listener: name.as_deref().unwrap_or_default(),
            };
            read_tcp(tcp, &place, report).map(Transport::Tcp)
        }
        (Some(_), Some(_)) => {
            let problem = Problem::new(
                "has both `unix` and `tcp`",
                "keep one and make a second listener of the other",
            );
            report.error(section.path(), section.at(), problem);
            None
        }
        (None, None) => {
            if !section.has("unix") && !section.has("tcp") {
                let problem = Problem::new(
                    "has neither `unix` nor `tcp`",
                    "add `unix: {path: ..}` or `tcp: {address: .., ..}`",
                );
                report.error(section.path(), section.at(), problem);
            }
            None
        }
    };
    section.finish(report);
    Some(Listener {
        name: Arc::from(name?),
        transport: transport?,
    })
}

fn read_unix(mut section: Section<'_>, base: &Path, report: &mut Report) -> Option<UnixTransport> {
    let path = |node: &Node| socket_path(node, base);
    let path = section.required("path", "/run/eyesplice/egress.sock", path, report);
    let mode = section
        .optional("mode", value::mode, report)
        .unwrap_or(0o600);
    let uid = section.optional("owner", owner, report);
    let gid = section.optional("group", group, report);
    let uids = section.list(
        "allowedUIDs",
        bounds::LISTENER_ENTRIES,
        |node| value::integer::<u32>(node, &(0..=i128::from(u32::MAX - 1))),
        report,
    );
    if mode & 0o002 != 0 && uids.is_empty() {
        let problem = Problem::new(
            format!("{mode:04o} lets every process of this host connect"),
            "use \"0600\" or \"0660\", or list the API server's uid in allowedUIDs",
        );
        report.warn(&section.path_of("mode"), section.place_of("mode"), problem);
    }
    section.finish(report);
    Some(UnixTransport {
        path: path?,
        mode,
        uid,
        gid,
        allowed_uids: Arc::from(uids),
    })
}

/// What the files of a listener are found by.
struct Place<'a> {
    base: &'a Path,
    who: Option<&'a Identity>,
    listener: &'a str,
}

fn read_tcp(
    mut section: Section<'_>,
    place: &Place<'_>,
    report: &mut Report,
) -> Option<TcpTransport> {
    let file = |node: &Node| value::path(node, place.base);
    let address = section.required(
        "address",
        "\"10.0.0.1:8131\"",
        value::socket_address,
        report,
    );
    let (cert, key, from_authority) = if section.has("tlsFromAuthority") {
        let names = read_from_authority(&mut section, place, report);
        let kept = place.who.map(|who| who.serving_file(place.listener));
        (kept.clone(), kept, Some(names))
    } else {
        let cert = section.required("tlsCertFile", "egress-server.crt", file, report);
        let key = section.required("tlsPrivateKeyFile", "egress-server.key", file, report);
        (cert, key, None)
    };
    let client_ca = section.required("clientCAFile", "egress-client-ca.crt", file, report);
    let names = section.list(
        "allowedNames",
        bounds::LISTENER_ENTRIES,
        value::text,
        report,
    );
    section.finish(report);
    Some(TcpTransport {
        address: address?,
        tls_cert_file: cert?,
        tls_private_key_file: key?,
        tls_from_authority: from_authority,
        client_ca_file: client_ca?,
        allowed_names: names,
    })
}

/// Reads the names that the authority shall sign for.
fn read_from_authority(
    section: &mut Section<'_>,
    place: &Place<'_>,
    report: &mut Report,
) -> Vec<HostAddress> {
    if place.who.is_none() {
        let at = section.place_of("tlsFromAuthority");
        identity::missing(&section.path_of("tlsFromAuthority"), at, report);
    }
    for field in ["tlsCertFile", "tlsPrivateKeyFile"] {
        if section.has(field) {
            let (path, at) = (section.path_of(field), section.place_of(field));
            let problem = Problem::new(
                "stands beside tlsFromAuthority",
                "keep the file or the authority",
            );
            report.error(&path, at, problem);
        }
    }
    let Some(mut section) = section.section("tlsFromAuthority", report) else {
        return Vec::new();
    };
    if section.is_blank("names") {
        section.missing("names", "[10.0.0.1, egress.example]", report);
    }
    let name = |node: &Node| value::host(node).map(|host| HostAddress::from(&host));
    let names = section.list("names", bounds::LISTENER_ENTRIES, name, report);
    section.finish(report);
    names
}

fn socket_path(node: &Node, base: &Path) -> Result<std::path::PathBuf, Problem> {
    let path = value::path(node, base)?;
    let length = path.as_os_str().len();
    if length > SOCKET_PATH_BYTES {
        let what = format!("is {length} bytes long, more than a UNIX socket address holds");
        return Err(Problem::new(
            what,
            format!("use at most {SOCKET_PATH_BYTES} bytes"),
        ));
    }
    Ok(path)
}

/// A user, by number or by name in this host's user database.
fn owner(node: &Node) -> Result<u32, Problem> {
    account(node, "user", |name| {
        nix::unistd::User::from_name(name)
            .ok()
            .flatten()
            .map(|user| user.uid.as_raw())
    })
}

/// A group, by number or by name in this host's group database.
fn group(node: &Node) -> Result<u32, Problem> {
    account(node, "group", |name| {
        nix::unistd::Group::from_name(name)
            .ok()
            .flatten()
            .map(|group| group.gid.as_raw())
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
        let what = format!("this host has no {kind} {name:?}");
        Problem::new(
            what,
            format!("create it, or write the number of the {kind}"),
        )
    })
}
