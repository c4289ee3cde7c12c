//! Where attempts are made: directories that are reached and one that is not, listeners, and a
//! process that stands by.

use eyesplice_process::metrics::Metrics;
use eyesplice_process::sandbox::{Access, Ports, Reach, Sandbox, confine};
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Variables by which a child hears what to do.
pub(crate) const NAME: &str = "ESCAPE_NAME";
pub(crate) const CONFINED: &str = "ESCAPE_CONFINED";
const DIR: &str = "ESCAPE_DIR";
const ALLOWED: &str = "ESCAPE_ALLOWED_PORT";
const OTHER: &str = "ESCAPE_OTHER_PORT";
const BYSTANDER: &str = "ESCAPE_BYSTANDER";
const ABSTRACT: &str = "ESCAPE_ABSTRACT";

/// What a child knows.
pub(crate) struct Place {
    root: PathBuf,
    /// Where it may listen and connect, and where not.
    pub(crate) allowed: u16,
    pub(crate) other: u16,
    pub(crate) bystander: i32,
    pub(crate) abstract_name: String,
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap()
}

impl Place {
    pub(crate) fn from_environment() -> Self {
        Self {
            root: variable(DIR).into(),
            allowed: variable(ALLOWED).parse().unwrap(),
            other: variable(OTHER).parse().unwrap(),
            bystander: variable(BYSTANDER).parse().unwrap(),
            abstract_name: variable(ABSTRACT),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// An address of loopback that no other process of these tests has.
    pub(crate) fn own(&self, port: u16) -> SocketAddr {
        let [a, b, _, _] = std::process::id().to_le_bytes();
        SocketAddr::from((Ipv4Addr::new(127, 77, b, a), port))
    }

    /// Confines this process as a gateway would be; one that waits by epoll has no ring.
    pub(crate) fn confine(&self, name: &str) {
        let mut reach = Reach::default();
        reach.reads([self.path("config/file"), self.path("secret/tls.crt")]);
        reach.writes(&self.path("state/log"));
        reach.uses(&self.path("sockets"), Access::Listen);
        reach.listens_on(self.own(self.allowed));
        reach.connects_to(Ports::Only(BTreeSet::from([self.allowed])));
        if name != crate::attempts::RING {
            reach.uses_uring();
        }
        confine(Sandbox::On, &reach, &Metrics::new()).unwrap();
    }
}

/// What the parent has for its children.
pub(crate) struct Harness {
    dir: tempfile::TempDir,
    bystander: Child,
    allowed: TcpListener,
    other: TcpListener,
    _abstract: UnixListener,
}

impl Harness {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        lay_out(dir.path());
        let name = abstract_name();
        let address = UnixAddr::from_abstract_name(&name).unwrap();
        let any = (Ipv4Addr::LOCALHOST, 0);
        Self {
            bystander: Command::new("sleep")
                .arg("3600")
                .stdin(Stdio::null())
                .spawn()
                .unwrap(),
            allowed: TcpListener::bind(any).unwrap(),
            other: TcpListener::bind(any).unwrap(),
            _abstract: UnixListener::bind_addr(&address).unwrap(),
            dir,
        }
    }

    /// Runs a child until it ends.
    pub(crate) fn run(&self, name: &str, confined: bool) -> ExitStatus {
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port().to_string();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .env(NAME, name)
            .env(DIR, self.dir.path())
            .env(ALLOWED, port(&self.allowed))
            .env(OTHER, port(&self.other))
            .env(BYSTANDER, self.bystander.id().to_string())
            .env(ABSTRACT, abstract_name())
            .env_remove(CONFINED)
            .current_dir(self.dir.path().join("state"))
            .stdin(Stdio::null());
        if confined {
            command.env(CONFINED, "1");
        }
        command.status().unwrap()
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        // It waits for nothing else.
        let _ = self.bystander.kill();
        let _ = self.bystander.wait();
    }
}

/// Of this run alone, for abstract names are everybody's.
fn abstract_name() -> String {
    let parent = std::os::unix::process::parent_id();
    let own = std::process::id();
    let run = std::env::var_os(NAME).map_or(own, |_| parent);
    format!("eyesplice-escape-{run}")
}

/// A directory with a file, a mounted secret, places to write and to listen, and what is nobody's
/// business.
fn lay_out(root: &Path) {
    for name in [
        "config",
        "secret/..1",
        "secret/..2",
        "state",
        "sockets",
        "outside",
    ] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::write(root.join("config/file"), "1").unwrap();
    fs::write(root.join("secret/..1/tls.crt"), "1").unwrap();
    fs::write(root.join("secret/..2/tls.crt"), "2").unwrap();
    fs::write(root.join("outside/secret"), "secret").unwrap();
    fs::write(root.join("state/log"), "").unwrap();
    symlink("..1", root.join("secret/..data")).unwrap();
    symlink("..data/tls.crt", root.join("secret/tls.crt")).unwrap();
    symlink("../outside/secret", root.join("config/link")).unwrap();
}
