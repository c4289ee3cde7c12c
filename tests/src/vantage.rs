//! Two ways to API servers that a test cuts: a wire, and a second place to look from, which is an
//! HTTP CONNECT proxy over TLS.

use crate::conn::{Conn, Got};
use crate::http::read_head;
use crate::kubelet::{Kubelet, Log};
use crate::pki::{Authority, Leaf};
use crate::tls;
use crate::wait::LOOK;
use rustls::version::TLS13;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// What it does with a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Leads to what is asked for.
    Open,
    /// Leads elsewhere: to an API server that only this place reaches.
    To(SocketAddr),
    /// Answers with this status, and with this `Proxy-Status`.
    Says(u16, Option<&'static str>),
    /// Says that it leads to what is asked for, and nothing comes of that.
    Silent,
    /// Hangs up before any answer.
    Gone,
}

/// A running one.
#[derive(Debug)]
pub struct Vantage {
    server: Kubelet,
    way: Arc<Mutex<Way>>,
    /// Signed its certificate.
    pub authority: Authority,
}

impl Vantage {
    /// Starts one.
    pub fn start(way: Way) -> Self {
        let authority = Authority::new("vantage-ca");
        let identity = authority.issue(&Leaf::server(&["127.0.0.1"]));
        let config = tls::open_server(&identity, &authority, &TLS13);
        let way = Arc::new(Mutex::new(way));
        let current = Arc::clone(&way);
        let server = Kubelet::with(Some(config), move |conn, log| {
            let way = *current.lock().unwrap();
            serve(conn, log, way);
        });
        Self {
            server,
            way,
            authority,
        }
    }

    /// Where.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What it does from now on.
    pub fn set(&self, way: Way) {
        *self.way.lock().unwrap() = way;
    }
}

fn serve(conn: &mut Conn, log: &Log, way: Way) {
    if way == Way::Gone {
        return;
    }
    let Ok(head) = read_head(conn) else {
        return;
    };
    log.request(&head);
    let target = match way {
        Way::To(address) => address,
        _ => head.target().parse().unwrap(),
    };
    let refusal = match way {
        Way::Says(status, proxy_status) => Some((status, proxy_status)),
        Way::Silent => None,
        _ => match TcpStream::connect(target) {
            Ok(upstream) => {
                if conn.write_all(b"HTTP/1.1 200 OK\r\n\r\n").is_ok() {
                    lead(conn, upstream, &AtomicBool::new(false));
                }
                return;
            }
            Err(_) => Some((502, Some("proxy; error=connection_refused"))),
        },
    };
    let reply = match refusal {
        Some((status, Some(line))) => {
            format!("HTTP/1.1 {status} No\r\nProxy-Status: {line}\r\nContent-Length: 0\r\n\r\n")
        }
        Some((status, None)) => format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"),
        None => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
    };
    // It may have gone meanwhile.
    let _ = conn.write_all(reply.as_bytes());
    conn.read_to_end();
}

/// A wire to a server.
#[derive(Debug)]
pub struct Wire {
    near: Kubelet,
    cut: Arc<AtomicBool>,
}

impl Wire {
    /// Lays one.
    pub fn to(far: SocketAddr) -> Self {
        let cut = Arc::new(AtomicBool::new(false));
        let is_cut = Arc::clone(&cut);
        let near = Kubelet::with(None, move |conn, _| {
            // The server may have gone meanwhile.
            if let (false, Ok(upstream)) = (is_cut.load(SeqCst), TcpStream::connect(far)) {
                lead(conn, upstream, &is_cut);
            }
        });
        Self { near, cut }
    }

    /// As `apiservers.servers` names it.
    pub fn url(&self) -> String {
        format!("https://{}", self.near.target())
    }

    /// Cuts it for good: what is on it ends, and what comes is closed.
    pub fn cut(&self) {
        self.cut.store(true, SeqCst);
    }
}

/// Passes bytes both ways until one side ends, or all is cut.
fn lead(conn: &mut Conn, upstream: TcpStream, cut: &AtomicBool) {
    let mut upstream = Conn::new(upstream);
    let mut buffer = [0; 16 * 1024];
    while !cut.load(SeqCst) {
        let mut still = true;
        for down in [true, false] {
            let (from, to) = match down {
                true => (&mut upstream, &mut *conn),
                false => (&mut *conn, &mut upstream),
            };
            match from.try_read(&mut buffer) {
                Got::Data(len) if to.write_all(&buffer[..len]).is_ok() => still = false,
                Got::Blocked => {}
                Got::Data(_) | Got::End(_) => return,
            }
        }
        if still {
            std::thread::park_timeout(LOOK);
        }
    }
}
