//! A scripted kubelet: a TLS server on loopback that does what a test's function says with each
//! connection, and remembers what it saw.

use crate::api_server::WEBSOCKET_ACCEPT;
use crate::conn::{Conn, Ending, Got};
use crate::http::{Body, Head, read_body, read_head};
use crate::pki::{Presented, pki};
use crate::tls;
use crate::variant::Variant;
use crate::wait::eventually;
use rustls::ServerConfig;
use std::fmt;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What a kubelet saw.
#[derive(Debug, Default)]
pub struct Log {
    heads: Mutex<Vec<Head>>,
    endings: Mutex<Vec<Ending>>,
    refused: Mutex<Vec<String>>,
    connections: Mutex<usize>,
}

impl Log {
    /// Remembers a request.
    pub fn request(&self, head: &Head) {
        self.heads.lock().unwrap().push(head.clone());
    }

    /// Remembers how a connection ended.
    pub fn ending(&self, ending: Ending) {
        self.endings.lock().unwrap().push(ending);
    }
}

type Script = dyn Fn(&mut Conn, &Log) + Send + Sync;

/// A running kubelet.
pub struct Kubelet {
    address: SocketAddr,
    log: Arc<Log>,
    stop: Arc<AtomicBool>,
    accepting: Option<JoinHandle<Vec<JoinHandle<()>>>>,
}

impl fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kubelet")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Kubelet {
    /// Starts one with a good certificate.
    pub fn start(
        variant: Variant,
        script: impl Fn(&mut Conn, &Log) + Send + Sync + 'static,
    ) -> Self {
        Self::presenting(variant, Presented::Good, script)
    }

    /// Starts one with a certificate of choice.
    pub fn presenting(
        variant: Variant,
        presented: Presented,
        script: impl Fn(&mut Conn, &Log) + Send + Sync + 'static,
    ) -> Self {
        let pki = pki();
        let config = tls::server(&presented.identity(pki), &pki.clients, variant.tls);
        Self::with(Some(config), script)
    }

    /// Starts one with TLS of choice; none: plain TCP, as a pod's port.
    pub fn with(
        config: Option<ServerConfig>,
        script: impl Fn(&mut Conn, &Log) + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let log = Arc::new(Log::default());
        let stop = Arc::new(AtomicBool::new(false));
        let server = Server {
            config: config.map(Arc::new),
            script: Box::new(script),
            log: Arc::clone(&log),
        };
        let (server, stopped) = (Arc::new(server), Arc::clone(&stop));
        let accepting = std::thread::spawn(move || accept(&listener, &server, &stopped));
        Self {
            address,
            log,
            stop,
            accepting: Some(accepting),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a CONNECT names to reach it.
    pub fn target(&self) -> String {
        self.address.to_string()
    }

    /// The heads of all requests that it saw.
    pub fn heads(&self) -> Vec<Head> {
        self.log.heads.lock().unwrap().clone()
    }

    /// How the next connection ended that the script told of.
    pub fn ending(&self) -> Ending {
        eventually(
            || self.log.endings.lock().unwrap().pop(),
            || "an end upstream".into(),
        )
    }

    /// Waits as [`Kubelet::finish`] does; returns how the last connection ended that a script told
    /// of.
    pub fn finish_seeing(mut self) -> Option<Ending> {
        self.end();
        self.log.endings.lock().unwrap().pop()
    }

    /// The words of the handshakes that failed, once one did: its peer may know before it is noted.
    pub fn refused(&self) -> Vec<String> {
        eventually(
            || Some(self.log.refused.lock().unwrap().clone()).filter(|words| !words.is_empty()),
            || "a refused handshake".into(),
        )
    }

    /// Connections that it accepted.
    pub fn connections(&self) -> usize {
        *self.log.connections.lock().unwrap()
    }

    /// Waits until all of its connections have ended.
    ///
    /// # Panics
    /// If one of its scripts did.
    pub fn finish(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(accepting) = self.accepting.take() else {
            return;
        };
        self.stop.store(true, SeqCst);
        // Wakes the accepting thread.
        drop(TcpStream::connect(self.address));
        for handler in accepting.join().unwrap() {
            if let Err(panic) = handler.join() {
                std::panic::resume_unwind(panic);
            }
        }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        // A test that fails must not wait for scripts that wait for the test.
        if !std::thread::panicking() {
            self.end();
        }
    }
}

struct Server {
    config: Option<Arc<ServerConfig>>,
    script: Box<Script>,
    log: Arc<Log>,
}

fn accept(listener: &TcpListener, server: &Arc<Server>, stop: &AtomicBool) -> Vec<JoinHandle<()>> {
    let mut handlers: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let (socket, _) = listener.accept().unwrap();
        if stop.load(SeqCst) {
            return handlers;
        }
        // What has ended well is joined now, so that a long run holds no stacks.
        let (ended, live) = handlers.into_iter().partition(JoinHandle::is_finished);
        handlers = live;
        for handler in ended {
            if let Err(panic) = handler.join() {
                std::panic::resume_unwind(panic);
            }
        }
        let server = Arc::clone(server);
        handlers.push(std::thread::spawn(move || {
            serve_connection(&server, socket);
        }));
    }
}

fn serve_connection(server: &Server, socket: TcpStream) {
    let mut conn = Conn::new(socket);
    if let Some(config) = &server.config
        && let Err(error) = conn.start_server(config)
    {
        server.log.refused.lock().unwrap().push(error.to_string());
        // A reset may overtake the end of the handshake.
        return server.log.ending(match conn.trouble() {
            Some(_) => Ending::Broken,
            None => Ending::Reset,
        });
    }
    *server.log.connections.lock().unwrap() += 1;
    (server.script)(&mut conn, &server.log);
}

/// Reads a request that must come, without its body.
pub fn request(conn: &mut Conn, log: &Log) -> Head {
    let head = read_head(conn).unwrap();
    log.request(&head);
    head
}

/// The head that grants an upgrade, as a kubelet writes it.
pub fn switching(request: &Head) -> String {
    let upgrade = request.get("upgrade").unwrap();
    let extra = if upgrade == "websocket" {
        format!("Sec-WebSocket-Accept: {WEBSOCKET_ACCEPT}\r\n")
    } else {
        "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n".into()
    };
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n{extra}\r\n"
    )
}

/// Reads an upgrade request and grants it.
pub fn grant(conn: &mut Conn, log: &Log) {
    let head = request(conn, log);
    conn.write_all(switching(&head).as_bytes()).unwrap();
}

/// Sends back all that comes, and ends as the other side did.
pub fn echo(conn: &mut Conn, log: &Log) {
    let mut buffer = [0; 16 * 1024];
    loop {
        match conn.read(&mut buffer) {
            Got::Data(n) => {
                if conn.write_all(&buffer[..n]).is_err() {
                    return log.ending(Ending::Reset);
                }
            }
            Got::End(ending) => {
                log.ending(ending);
                if ending == Ending::Clean {
                    // It may have gone meanwhile.
                    let _ = conn.shut();
                }
                return;
            }
            Got::Blocked => {}
        }
    }
}

/// A kubelet as it should be: grants upgrades and echoes, answers everything else, and keeps the
/// connection.
pub fn serve(conn: &mut Conn, log: &Log) {
    loop {
        let head = match read_head(conn) {
            Ok(head) => head,
            Err((_, ending)) => {
                log.ending(ending);
                // It may have gone meanwhile.
                let _ = conn.shut();
                return;
            }
        };
        log.request(&head);
        if head.get("upgrade").is_some() {
            conn.write_all(switching(&head).as_bytes()).unwrap();
            return echo(conn, log);
        }
        let body = match read_body(conn, &head, true) {
            Body::Whole(body) => body,
            other => {
                let (Body::Cut(_, ending) | Body::UntilEnd(_, ending)) = other else {
                    return;
                };
                return log.ending(ending);
            }
        };
        if conn.write_all(&answer(&head, &body)).is_err() {
            return log.ending(Ending::Reset);
        }
    }
}

/// What [`serve`] answers: a request with a body gets it back, logs come in chunks.
fn answer(head: &Head, body: &[u8]) -> Vec<u8> {
    if head.target().starts_with("/containerLogs/") {
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: text/plain\r\n\r\n\
                 9\r\nline one\n\r\n9\r\nline two\n\r\n0\r\n\r\n"
            .to_vec();
    }
    let body = if body.is_empty() { b"ok" } else { body };
    let mut reply =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    if !head.first().starts_with("HEAD ") {
        reply.extend_from_slice(body);
    }
    reply
}
