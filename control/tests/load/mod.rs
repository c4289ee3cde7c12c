//! Clients that connect without a pause, to a gateway over a UNIX socket and over TCP, and count
//! what was not served.
#![allow(dead_code, reason = "each test file uses its part")]

use super::child::{EYESPLICE, PATIENCE, Running};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;
use tempfile::TempDir;

/// Restarts of a kind in a test.
pub(crate) fn restarts() -> usize {
    if std::env::var_os("EYESPLICE_TEST_LONG").is_some() {
        100
    } else {
        20
    }
}

/// A directory with configurations, and an echo server that they lead to.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) echo: SocketAddr,
}

impl Site {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new(EYESPLICE)
            .args(["pki", "init"])
            .arg(dir.path().join("pki"))
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success());
        Self { dir, echo: echo() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a configuration with these addresses of the listener and the admin endpoint.
    pub(crate) fn configure(&self, name: &str, tcp: &str, admin: &str, workers: usize) {
        let echo = self.echo;
        let text = format!(
            "\
apiVersion: eyesplice.dev/v1alpha1
kind: GatewayConfig
listeners:
- name: uds
  unix: {{path: egress.sock, mode: '0600'}}
- name: nodes
  apiserver: {{address: '{tcp}'}}
apiservers:
  servers: ['https://{echo}']
  caFile: pki/ca.crt
  healthFailures: 100
  healthInterval: 60s
egress:
  insecureAllowTargets: [127.0.0.0/8]
  rules:
  - {{name: echo, cidrs: [127.0.0.0/8], action: splice}}
timeouts: {{drain: 120s}}
engine: {{workers: {workers}}}
admin: {{address: '{admin}'}}
audit: {{path: audit.log}}
"
        );
        fs::write(self.path(name), text).unwrap();
    }

    /// The command that starts a gateway of a configuration.
    pub(crate) fn gateway(&self, config: &str) -> Command {
        let mut gateway = Command::new(EYESPLICE);
        gateway
            .args(["gateway", "--log-format", "json", "--config"])
            .arg(self.path(config));
        gateway
    }

    /// Starts the first gateway of a test, on free ports, and writes `fixed.yaml` with these.
    pub(crate) fn first(&self, adjust: impl FnOnce(&mut Command)) -> (Running, Addresses) {
        self.configure("free.yaml", "127.0.0.1:0", "127.0.0.1:0", 2);
        let mut command = self.gateway("free.yaml");
        adjust(&mut command);
        let first = Running::of(&mut command);
        let admin = first.address("admin endpoint listens");
        let tcp = first.address("listens for API servers");
        first.event("engine runs");
        self.configure("fixed.yaml", &tcp, &admin, 2);
        let addresses = Addresses {
            unix: self.path("egress.sock"),
            tcp: tcp.parse().unwrap(),
            admin,
        };
        (first, addresses)
    }

    /// Lines of the audit log that tell of the end of a stream, all of which are whole.
    pub(crate) fn ended_streams(&self) -> u64 {
        let audit = fs::read_to_string(self.path("audit.log")).unwrap();
        let ends = audit.lines().filter(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["kind"] == "end"
        });
        ends.count() as u64
    }
}

/// Where a gateway listens.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    pub(crate) unix: PathBuf,
    pub(crate) tcp: SocketAddr,
    pub(crate) admin: String,
}

/// A server that gives back what it gets.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut back = stream.try_clone().unwrap();
                let mut stream = stream;
                // Its end is the client's business.
                let _ = io::copy(&mut stream, &mut back);
                let _ = back.shutdown(std::net::Shutdown::Write);
            });
        }
    });
    address
}

/// A stream through a gateway.
pub(crate) trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// Opens a stream to the echo server over the UNIX socket.
pub(crate) fn over_unix(path: &Path, echo: SocketAddr) -> io::Result<UnixStream> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(stream, "CONNECT {echo} HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    if !head.starts_with(b"HTTP/1.1 200 ") {
        return Err(io::Error::other(
            String::from_utf8_lossy(&head).into_owned(),
        ));
    }
    Ok(stream)
}

/// The same over TCP.
pub(crate) fn over_tcp(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Sends bytes that depend on `seed` and compares what comes back.
pub(crate) fn exchange(stream: &mut impl Stream, seed: u64) -> io::Result<()> {
    let sent = seed.to_le_bytes();
    stream.write_all(&sent)?;
    let mut back = [0; 8];
    stream.read_exact(&mut back)?;
    if back == sent {
        Ok(())
    } else {
        Err(io::Error::other("other bytes came back"))
    }
}

/// Clients that connect, exchange a word and leave, without a pause.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    failures: Arc<Mutex<Vec<String>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    pub(crate) fn start(addresses: &Addresses, echo: SocketAddr) -> Self {
        let mut clients = Self {
            stop: Arc::default(),
            served: Arc::default(),
            failures: Arc::default(),
            threads: Vec::new(),
        };
        for index in 0..4 {
            let Addresses { unix, tcp, .. } = addresses.clone();
            let (stop, served) = (Arc::clone(&clients.stop), Arc::clone(&clients.served));
            let failures = Arc::clone(&clients.failures);
            clients.threads.push(std::thread::spawn(move || {
                while !stop.load(Relaxed) {
                    let seed = served.load(Relaxed);
                    let done = if index % 2 == 0 {
                        over_unix(&unix, echo).and_then(|mut stream| exchange(&mut stream, seed))
                    } else {
                        over_tcp(tcp).and_then(|mut stream| exchange(&mut stream, seed))
                    };
                    match done {
                        Ok(()) => {
                            served.fetch_add(1, Relaxed);
                        }
                        Err(error) => failures.lock().unwrap().push(format!("{index}: {error}")),
                    }
                }
            }));
        }
        clients
    }

    /// Waits until as many more were served as there are clients, and a few more.
    pub(crate) fn more(&self) {
        let from = self.served.load(Relaxed);
        let end = Instant::now() + PATIENCE;
        while self.served.load(Relaxed) < from + 8 {
            let failures = self.failures.lock().unwrap().len();
            assert!(
                Instant::now() < end,
                "nobody is served; {failures} failures"
            );
            std::thread::yield_now();
        }
    }

    /// Ends, and says how many were served; all were.
    pub(crate) fn stop(self) -> u64 {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let failures = self.failures.lock().unwrap();
        assert!(
            failures.is_empty(),
            "{} failed: {:?}",
            failures.len(),
            &failures[..failures.len().min(5)]
        );
        self.served.load(Relaxed)
    }
}
