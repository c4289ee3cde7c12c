//! Proxies on the way out of an agent: a CONNECT and a SOCKS5 proxy that carry, and others that do
//! as the test says.

use crate::tunnel::client;
use eyesplice_dataplane::seam::{GatewayPeer, GatewayWay, ProxyProtocol, WayOut};
use eyesplice_proto::login::Login;
use eyesplice_proto::target::{Host, Target};
use rustls::pki_types::ServerName;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The name of the gateway, which nobody but these proxies resolves.
pub const GATEWAY: &str = "gateway.invalid";

/// What a proxy does with each connection.
#[derive(Clone, Copy, Debug)]
pub enum Does {
    /// Serves CONNECT, to whoever has the login: `user:password`.
    Connect(Option<&'static str>),
    /// Serves SOCKS5, to whoever has the login.
    Socks5(Option<&'static str>),
    /// Answers whatever comes first with these bytes, and waits for an end.
    Says(&'static [u8]),
    /// Takes a method, and answers the request of a client with these bytes.
    Replies(&'static [u8]),
    /// Closes behind whatever comes first.
    Leaves,
}

/// A proxy that runs for as long as its test.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one.
    pub fn start(does: Does) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let log = Arc::clone(&asked);
        thread::spawn(move || {
            for conn in listener.incoming() {
                let (Ok(conn), log) = (conn, Arc::clone(&log)) else {
                    return;
                };
                // A client that leaves is no failure of the proxy.
                thread::spawn(move || drop(serve(does, conn, &log)));
            }
        });
        Self { address, asked }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked for and connected to.
    pub fn asked(&self) -> Vec<String> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.clone()
    }
}

/// How an agent asks a proxy at this address.
pub fn way_out(at: SocketAddr, protocol: ProxyProtocol, login: Option<&str>) -> Arc<WayOut> {
    let scheme = match protocol {
        ProxyProtocol::Http(None) => "http",
        ProxyProtocol::Http(Some(_)) => "https",
        ProxyProtocol::Socks5 => "socks5",
    };
    Arc::new(WayOut {
        name: format!("{scheme}://{at}").into(),
        at: Arc::new(vec![at]).into(),
        protocol,
        login: login.map(|login| Login::parse(login).unwrap()),
    })
}

/// A gateway that is asked for through a proxy.
pub fn behind(way: Arc<WayOut>, target: &str, agent: &str) -> Arc<GatewayPeer> {
    Arc::new(GatewayPeer {
        name: target.into(),
        way: GatewayWay::Proxy(way, target.parse().unwrap()),
        server_name: ServerName::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST).into()),
        tls: client(agent),
    })
}

fn serve(does: Does, mut conn: TcpStream, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let target = match does {
        Does::Connect(login) => connect(&mut conn, login)?,
        Does::Socks5(login) => socks(&mut conn, login)?,
        Does::Says(answer) => {
            let mut first = [0; 1024];
            let _ = conn.read(&mut first)?;
            conn.write_all(answer)?;
            return conn.read_to_end(&mut Vec::new()).map(drop);
        }
        Does::Replies(answer) => {
            method(&mut conn, &[0])?;
            request(&mut conn)?;
            conn.write_all(answer)?;
            return conn.read_to_end(&mut Vec::new()).map(drop);
        }
        Does::Leaves => {
            let mut first = [0; 1024];
            return conn.read(&mut first).map(drop);
        }
    };
    let Some(target) = target else {
        return Ok(());
    };
    let at = match &target.host {
        Host::Ip(ip) => *ip,
        Host::Name(name) => {
            assert_eq!(name.as_str(), GATEWAY);
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        }
    };
    let far = TcpStream::connect((at, target.port))?;
    let log = || asked.lock().unwrap_or_else(PoisonError::into_inner);
    log().push(target.to_string());
    match does {
        Does::Connect(_) => conn.write_all(b"HTTP/1.1 200 OK\r\nVia: 1.1 test\r\n\r\n")?,
        _ => conn.write_all(b"\x05\x00\x00\x03\x04test\x00\x00")?,
    }
    carry(&conn, &far)
}

/// Passes bytes and ends both ways.
fn carry(near: &TcpStream, far: &TcpStream) -> io::Result<()> {
    let pass = |mut from: TcpStream, mut to: TcpStream| {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    };
    let (from, to) = (near.try_clone()?, far.try_clone()?);
    let up = thread::spawn(move || pass(from, to));
    pass(far.try_clone()?, near.try_clone()?);
    let _ = up.join();
    Ok(())
}

fn connect(conn: &mut TcpStream, login: Option<&str>) -> io::Result<Option<Target>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        conn.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    // Of the two that tests use, by hand: they are to be right on the wire, whatever encodes them.
    let shown = match login {
        None => !head.contains("Proxy-Authorization"),
        Some("edge:secret") => head.contains("\r\nProxy-Authorization: Basic ZWRnZTpzZWNyZXQ=\r\n"),
        Some(other) => panic!("no test has the login {other}"),
    };
    if !shown {
        conn.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")?;
        return Ok(None);
    }
    let line = head.lines().next().unwrap();
    let asked = line.strip_prefix("CONNECT ").unwrap();
    let asked = asked.strip_suffix(" HTTP/1.1").unwrap();
    assert!(head.contains(&format!("\r\nHost: {asked}\r\n")), "{head}");
    Ok(Some(asked.parse().unwrap()))
}

fn socks(conn: &mut TcpStream, login: Option<&str>) -> io::Result<Option<Target>> {
    const NO_METHOD: u8 = 0xff;
    let wanted = if login.is_some() { 2 } else { 0 };
    if !method(conn, &[wanted])? {
        conn.write_all(&[5, NO_METHOD])?;
        return Ok(None);
    }
    if let Some(login) = login {
        let mut version = [0];
        conn.read_exact(&mut version)?;
        let (user, password) = (counted(conn)?, counted(conn)?);
        if version != [1] || format!("{user}:{password}") != login {
            conn.write_all(&[1, 1])?;
            return Ok(None);
        }
        conn.write_all(&[1, 0])?;
    }
    request(conn).map(Some)
}

/// Takes the greeting, and chooses the method if it is offered.
fn method(conn: &mut TcpStream, wanted: &[u8; 1]) -> io::Result<bool> {
    let mut head = [0; 2];
    conn.read_exact(&mut head)?;
    assert_eq!(head[0], 5);
    let mut methods = vec![0; head[1].into()];
    conn.read_exact(&mut methods)?;
    let offered = methods.contains(&wanted[0]);
    if offered {
        conn.write_all(&[5, wanted[0]])?;
    }
    Ok(offered)
}

fn request(conn: &mut TcpStream) -> io::Result<Target> {
    let mut head = [0; 4];
    conn.read_exact(&mut head)?;
    assert_eq!(head[..3], [5, 1, 0]);
    let host = match head[3] {
        1 => {
            let mut octets = [0; 4];
            conn.read_exact(&mut octets)?;
            Host::Ip(Ipv4Addr::from(octets).into())
        }
        4 => {
            let mut octets = [0; 16];
            conn.read_exact(&mut octets)?;
            Host::Ip(Ipv6Addr::from(octets).into())
        }
        3 => counted(conn)?.parse().unwrap(),
        other => panic!("address of kind {other}"),
    };
    let mut port = [0; 2];
    conn.read_exact(&mut port)?;
    Ok(Target {
        host,
        port: u16::from_be_bytes(port),
    })
}

fn counted(conn: &mut TcpStream) -> io::Result<String> {
    let mut length = [0];
    conn.read_exact(&mut length)?;
    let mut text = vec![0; length[0].into()];
    conn.read_exact(&mut text)?;
    Ok(String::from_utf8(text).unwrap())
}
