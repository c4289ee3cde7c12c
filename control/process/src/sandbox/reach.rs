//! What a process reaches once its configuration is read: named while it is read, and again at each
//! reload.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The first port that anybody may listen on, unless a sysctl says otherwise.
const FIRST_FREE: u16 = 1024;

/// What is done in a directory; each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// Files are read, and the directory is listed.
    Read,
    /// Files are made, written, replaced and removed.
    Write,
    /// And sockets.
    Listen,
}

/// Some TCP ports, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ports {
    /// All of them.
    Any,
    /// No others than these.
    Only(BTreeSet<u16>),
}

impl Default for Ports {
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Ports {
    fn join(&mut self, other: Self) {
        match (&mut *self, other) {
            (Self::Only(mine), Self::Only(theirs)) => mine.extend(theirs),
            _ => *self = Self::Any,
        }
    }
}

/// What a process reaches. Files are replaced by others of the same name, or by swaps of a symbolic
/// link: so it is their directories that are reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    pub(super) files: BTreeSet<(PathBuf, Access)>,
    pub(super) directories: BTreeSet<(PathBuf, Access)>,
    pub(super) listens: Ports,
    pub(super) connects: Ports,
    pub(super) gives_sockets_away: bool,
    pub(super) uring: bool,
    pub(super) trust_store: bool,
    pub(super) programs: Vec<String>,
}

impl Reach {
    /// Reads these files.
    pub fn reads(&mut self, files: impl IntoIterator<Item = PathBuf>) {
        let files = files.into_iter().map(|file| (file, Access::Read));
        self.files.extend(files);
    }

    /// Makes a file, writes it, and opens it again after somebody moved it away.
    pub fn writes(&mut self, file: &Path) {
        self.files.insert((file.to_owned(), Access::Write));
    }

    /// Uses a directory.
    pub fn uses(&mut self, directory: &Path, access: Access) {
        self.directories.insert((directory.to_owned(), access));
    }

    /// Listens on a UNIX socket; `given`: its file belongs to another user or group then.
    pub fn listens_at(&mut self, socket: &Path, given: bool) {
        self.files.insert((socket.to_owned(), Access::Listen));
        self.gives_sockets_away |= given;
    }

    /// Listens on a TCP address. Port 0 may become any port.
    pub fn listens_on(&mut self, address: SocketAddr) {
        self.listens.join(match address.port() {
            0 => Ports::Any,
            port => Ports::Only(BTreeSet::from([port])),
        });
    }

    /// Connects to TCP ports, on whatever host.
    pub fn connects_to(&mut self, ports: Ports) {
        self.connects.join(ports);
    }

    /// The TCP ports that it connects to.
    pub fn connects(&self) -> &Ports {
        &self.connects
    }

    /// Waits by io_uring.
    pub fn uses_uring(&mut self) {
        self.uring = true;
    }

    /// Validates servers by the CAs that the system trusts.
    pub fn reads_trust_store(&mut self) {
        self.trust_store = true;
    }

    /// Would start a program, which a sandbox never does: what and why, in words.
    pub fn starts(&mut self, what: String) {
        self.programs.push(what);
    }

    /// Reaches what another part of the process does.
    pub fn join(&mut self, other: Self) {
        self.files.extend(other.files);
        self.directories.extend(other.directories);
        self.listens.join(other.listens);
        self.connects.join(other.connects);
        self.gives_sockets_away |= other.gives_sockets_away;
        self.uring |= other.uring;
        self.trust_store |= other.trust_store;
        self.programs.extend(other.programs);
    }

    /// Whether one of the ports is for privileged processes.
    pub(super) fn has_low_port(&self) -> bool {
        match &self.listens {
            Ports::Any => false,
            Ports::Only(ports) => ports.iter().any(|port| *port < FIRST_FREE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_two_parts_are_those_of_both_and_any_wins() {
        let mut reach = Reach::default();
        reach.listens_on("10.0.0.1:443".parse().unwrap());
        reach.connects_to(Ports::Only(BTreeSet::from([53])));
        assert!(reach.has_low_port());
        let mut other = Reach::default();
        other.listens_on("10.0.0.1:8443".parse().unwrap());
        other.connects_to(Ports::Any);
        reach.join(other);
        assert_eq!(reach.listens, Ports::Only(BTreeSet::from([443, 8443])));
        assert_eq!(reach.connects, Ports::Any);
        reach.listens_on("10.0.0.1:0".parse().unwrap());
        assert_eq!(reach.listens, Ports::Any);
        assert!(!reach.has_low_port());
    }
}
