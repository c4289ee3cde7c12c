//! An API server as far as an egress sees it: a CONNECT, TLS inside, HTTP/1.1 as Go writes it.

use crate::conn::Conn;
use crate::http::{Head, Reply, read_head, read_reply};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the gateway listens.
#[derive(Clone, Debug)]
pub enum Entry {
    /// A UNIX socket.
    Unix(PathBuf),
    /// TCP with mutual TLS.
    Tcp(SocketAddr, Arc<ClientConfig>),
    /// TCP without TLS; no API server does this.
    Bare(SocketAddr),
}

/// Servers whose tickets are kept.
const TICKETS: usize = 16;

/// An API server.
#[derive(Clone, Debug)]
pub struct ApiServer {
    entry: Entry,
    inner: Arc<ClientConfig>,
}

impl ApiServer {
    /// Uses a gateway; `inner` is its TLS towards kubelets.
    pub fn new(entry: Entry, inner: ClientConfig) -> Self {
        Self {
            entry,
            inner: Arc::new(inner),
        }
    }

    /// Changes its TLS towards kubelets.
    pub fn adjust(&mut self, adjust: impl FnOnce(&mut ClientConfig)) {
        adjust(Arc::make_mut(&mut self.inner));
    }

    /// Where it connects.
    pub fn entry(&self) -> &Entry {
        &self.entry
    }

    /// Its TLS towards kubelets.
    pub fn inner(&self) -> &Arc<ClientConfig> {
        &self.inner
    }

    /// Its TLS towards the gateway's listener, if that is TCP, and the address.
    pub fn outer(&self) -> Option<(&Arc<ClientConfig>, SocketAddr)> {
        match &self.entry {
            Entry::Tcp(address, outer) => Some((outer, *address)),
            Entry::Unix(_) | Entry::Bare(_) => None,
        }
    }

    /// Keeps the tickets that it gets, of the listener and of leaves, and resumes with them.
    #[must_use]
    pub fn resuming(mut self) -> Self {
        let keep = || Resumption::in_memory_sessions(TICKETS);
        Arc::make_mut(&mut self.inner).resumption = keep();
        if let Entry::Tcp(_, outer) = &mut self.entry {
            Arc::make_mut(outer).resumption = keep();
        }
        self
    }

    /// Connects to the gateway, and says nothing at all.
    pub fn knock(&self) -> Conn {
        match &self.entry {
            Entry::Unix(path) => Conn::new(UnixStream::connect(path).unwrap()),
            Entry::Bare(address) | Entry::Tcp(address, _) => {
                Conn::new(TcpStream::connect(address).unwrap())
            }
        }
    }

    /// Connects to the gateway, as far as its listener's own TLS.
    pub fn reach(&self) -> Conn {
        let mut conn = self.knock();
        if let Entry::Tcp(address, config) = &self.entry {
            let name = name_of(&address.to_string());
            conn.start_client(config, name).unwrap();
        }
        conn
    }

    /// Asks for a tunnel; returns the answer's head.
    pub fn connect(&self, target: &str) -> (Conn, Head) {
        let mut conn = self.reach();
        // Exactly what kube-apiserver 1.36.2 sends.
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        conn.write_all(request.as_bytes()).unwrap();
        let head = read_head(&mut conn).unwrap();
        (conn, head)
    }

    /// Opens a tunnel that must open.
    pub fn tunnel(&self, target: &str) -> Conn {
        let (conn, head) = self.connect(target);
        assert_eq!(head.raw, "HTTP/1.1 200 Connection established\r\n\r\n");
        conn
    }

    /// Opens a tunnel and speaks TLS in it.
    pub fn open(&self, target: &str) -> Conn {
        let mut conn = self.tunnel(target);
        conn.start_client(&self.inner, name_of(target)).unwrap();
        conn
    }

    /// The answer to a tunnel that must not open.
    pub fn refused(&self, target: &str) -> Head {
        let (_, head) = self.connect(target);
        assert_ne!(head.status(), 200);
        head
    }
}

/// The name that is verified: an address is one, and then there is no SNI.
pub fn name_of(target: &str) -> ServerName<'static> {
    let host = match target.parse::<SocketAddr>() {
        Ok(address) => return ServerName::IpAddress(IpAddr::into(address.ip())),
        Err(_) => target.rsplit_once(':').map_or(target, |(host, _)| host),
    };
    ServerName::try_from(host.to_owned()).unwrap()
}

/// A request in the making, in Go's order of headers.
#[derive(Clone, Debug)]
pub struct Request {
    method: &'static str,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without body.
    pub fn new(method: &'static str, target: &str) -> Self {
        Self {
            method,
            target: target.into(),
            headers: vec![
                ("Host".into(), "127.0.0.1:10250".into()),
                ("User-Agent".into(), "Go-http-client/1.1".into()),
            ],
            body: Vec::new(),
        }
    }

    /// `GET`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// What `kubectl exec` becomes with SPDY.
    pub fn exec_spdy() -> Self {
        Self::new("POST", EXEC)
            .header("Content-Length", "0")
            .header("Connection", "Upgrade")
            .header("Upgrade", "SPDY/3.1")
            .header("X-Stream-Protocol-Version", "v4.channel.k8s.io")
    }

    /// What `kubectl exec` becomes with WebSocket.
    pub fn exec_websocket() -> Self {
        Self::new("GET", EXEC)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", WEBSOCKET_KEY)
            .header("Sec-WebSocket-Protocol", "v5.channel.k8s.io")
    }

    /// What `kubectl logs -f` becomes.
    pub fn logs() -> Self {
        Self::get("/containerLogs/default/web/app?follow=true").header("Accept-Encoding", "gzip")
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Adds a body with its length.
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.header("Content-Length", &body.len().to_string())
    }

    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Sends it.
    pub fn send(&self, conn: &mut Conn) {
        conn.write_all(&self.bytes()).unwrap();
    }

    /// Sends it, and reads the reply.
    pub fn ask(&self, conn: &mut Conn) -> Reply {
        self.send(conn);
        read_reply(conn, self.method).unwrap()
    }
}

/// The path of an exec, with a command that must never show up in a record.
pub const EXEC: &str =
    "/exec/default/web/app?command=sh&command=-c&command=echo+hunter2&error=1&input=1&output=1";

/// The key of RFC 6455 section 1.3.
pub const WEBSOCKET_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The answer to that key.
pub const WEBSOCKET_ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Opens an exec that must be granted.
pub fn exec(api_server: &ApiServer, target: &str) -> Conn {
    let mut conn = api_server.open(target);
    let reply = Request::exec_spdy().ask(&mut conn);
    assert_eq!(reply.head.status(), 101, "{}", reply.head.raw);
    conn
}
