//! A service manager restarts a gateway, and keeps its sockets meanwhile: nobody is refused.
//!
//! The manager here is a stand-in, which does what sd_notify(3) and systemd.service(5) say of the
//! store of descriptors. One test in a file of its own: what it passes on must not get into other
//! processes.
#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a step of a test that fails ends it")]

mod child;
mod load;

use child::{PATIENCE, Running, kernel_can};
use eyesplice_sys::socket;
use load::{Clients, Site, exchange, over_tcp, restarts};
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

/// Where passed descriptors wait until the shell moves them to 3 and on.
const ASIDE: i32 = 200;

/// A service manager that keeps descriptors.
struct Manager {
    path: PathBuf,
    socket: UnixDatagram,
    store: Vec<(String, OwnedFd)>,
}

impl Manager {
    fn new(site: &Site) -> Self {
        let path = site.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self {
            path,
            socket,
            store: Vec::new(),
        }
    }

    /// Reads what the service tells until a line comes.
    fn until(&mut self, line: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "no {line}");
            match self.hear() {
                Some(text) if text.lines().any(|each| each == line) => return,
                Some(_) => {}
                None => std::thread::yield_now(),
            }
        }
    }

    /// Reads one message, if there is one.
    fn hear(&mut self) -> Option<String> {
        let mut buffer = [0; 8192];
        let (length, fds) = socket::take(self.socket.as_fd(), &mut buffer).ok()?;
        let text = std::str::from_utf8(&buffer[..length]).unwrap().to_owned();
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME="));
        if text.contains("FDSTORE=1") {
            for fd in fds {
                self.keep(name.unwrap(), fd);
            }
        } else if text.contains("FDSTOREREMOVE=1") {
            self.store.retain(|(kept, _)| Some(kept.as_str()) != name);
        }
        Some(text)
    }

    /// One that is there already stays as it is.
    fn keep(&mut self, name: &str, fd: OwnedFd) {
        let new = inode(&fd);
        if self.store.iter().all(|(_, kept)| inode(kept) != new) {
            self.store.push((name.to_owned(), fd));
        }
    }

    /// Starts a gateway with what is kept.
    fn start(&mut self, site: &Site, config: &str) -> Running {
        // What the one before has told, of a reload too.
        while self.hear().is_some() {}
        let mut script = String::new();
        let mut passed = Vec::new();
        for (index, (_, fd)) in self.store.iter().enumerate() {
            // Not close-on-exec: the shell has it.
            let aside = fcntl(fd, FcntlArg::F_DUPFD(ASIDE)).unwrap();
            script.push_str(&format!("exec {}<&{aside} {aside}<&-\n", index + 3));
            passed.push(aside);
        }
        let names: Vec<_> = self.store.iter().map(|(name, _)| name.as_str()).collect();
        script.push_str("export LISTEN_PID=$$\nexec \"$@\"\n");
        let gateway = site.gateway(config);
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &script, "bash"])
            .arg(gateway.get_program())
            .args(gateway.get_args())
            .env("NOTIFY_SOCKET", &self.path)
            .env("LISTEN_FDS", self.store.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"));
        let running = Running::of(&mut shell);
        for aside in passed {
            nix::unistd::close(aside).unwrap();
        }
        running
    }
}

fn inode(fd: &OwnedFd) -> u64 {
    nix::sys::stat::fstat(fd).unwrap().st_ino
}

#[test]
fn nobody_is_refused_while_a_service_manager_restarts_the_gateway() {
    if !kernel_can() {
        return;
    }
    let site = Site::new();
    let mut manager = Manager::new(&site);
    let notify = manager.path.clone();
    let (mut current, addresses) = site.first(|command| {
        command.env("NOTIFY_SOCKET", notify);
    });
    manager.until("READY=1");
    // A UNIX socket, one for each worker, and the admin endpoint's.
    assert_eq!(manager.store.len(), 4, "{:?}", manager.store);
    let clients = Clients::start(&addresses, site.echo);
    for turn in 0..restarts() {
        clients.more();
        let tcp = addresses.tcp.to_string();
        site.configure("fixed.yaml", &tcp, &addresses.admin, 1 + turn % 3);
        current.signal(Signal::SIGTERM);
        assert!(current.wait().success());
        current = manager.start(&site, "fixed.yaml");
        manager.until("READY=1");
        assert_eq!(manager.store.len(), 4, "{:?}", manager.store);
    }
    clients.more();
    let served = clients.stop();
    current.signal(Signal::SIGTERM);
    assert!(current.wait().success());
    assert_eq!(site.ended_streams(), served);
    current = manager.start(&site, "fixed.yaml");
    manager.until("READY=1");

    // One that is killed leaves nothing behind that the next one does not have.
    current.signal(Signal::SIGKILL);
    current.wait();
    let mut early = over_tcp(addresses.tcp).unwrap();
    current = manager.start(&site, "fixed.yaml");
    exchange(&mut early, 1).unwrap();

    // What the configuration does not want any more, the manager does not keep.
    manager.until("READY=1");
    let admin = addresses.admin.clone();
    site.configure("fixed.yaml", "127.0.0.1:0", &admin, 2);
    let unix = fs::canonicalize(&addresses.unix).unwrap();
    current.signal(Signal::SIGTERM);
    drop(early);
    assert!(current.wait().success());
    let next = manager.start(&site, "fixed.yaml");
    next.event("inherited socket is closed: no listener of the configuration is there");
    manager.until("READY=1");
    assert!(over_tcp(addresses.tcp).is_err());
    let kept: Vec<_> = manager
        .store
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert!(
        kept.iter()
            .any(|name| name.contains(unix.to_str().unwrap())),
        "{kept:?}"
    );
}
