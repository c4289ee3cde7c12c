//! Opens connections through a proxy, up to the last byte of the handshakes.

use crate::identity::Identity;
use crate::{Attempt, Error, Result};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use socket2::Socket;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How long a socket may be stuck before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);

const ESTABLISHED: &str = "HTTP/1.1 200 ";

/// A proxy's socket, a server behind it, and what they speak.
#[derive(Debug)]
pub struct Field {
    proxy: PathBuf,
    listener: Socket,
    address: SocketAddr,
    tls: Option<(Arc<ClientConfig>, Arc<ServerConfig>)>,
}

/// One end of a connection that is ready for payload.
pub(super) struct Opened {
    pub(super) socket: Socket,
    pub(super) session: Option<Connection>,
}

impl Field {
    /// Listens on a port of loopback, behind the proxy at `proxy`.
    ///
    /// # Errors
    /// If it cannot listen.
    pub fn new(proxy: &Path, tls: Option<&Identity>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").attempt("listen on loopback")?;
        let address = listener.local_addr().attempt("read the server's address")?;
        let listener = Socket::from(listener);
        // Also bounds accept(2), so that a client that fails does not leave us waiting.
        listener
            .set_read_timeout(Some(PATIENCE))
            .attempt("set the server's patience")?;
        Ok(Self {
            proxy: proxy.to_path_buf(),
            listener,
            address,
            tls: tls
                .map(|identity| Ok::<_, Error>((identity.client()?, identity.server()?)))
                .transpose()?,
        })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens one connection: the client's end, then the server's.
    pub(super) fn open(&self) -> Result<[Opened; 2]> {
        thread::scope(|scope| {
            let server = scope.spawn(|| self.accept());
            let client = self.dial();
            let server = server.join().map_err(|_| Error::Ended("server"))?;
            // The client's failure is the cause of the server's.
            Ok([client?, server?])
        })
    }

    fn accept(&self) -> Result<Opened> {
        let (mut socket, _) = self.listener.accept().attempt("accept from the proxy")?;
        prepare(&socket)?;
        socket.set_tcp_nodelay(true).attempt("set TCP_NODELAY")?;
        let session = match &self.tls {
            None => None,
            Some((_, server)) => {
                let mut session = ServerConnection::new(Arc::clone(server))?.into();
                shake(&mut session, &mut socket)?;
                Some(session)
            }
        };
        Ok(Opened { socket, session })
    }

    fn dial(&self) -> Result<Opened> {
        let mut socket = connect(&self.proxy, self.address)?;
        let session = match &self.tls {
            None => None,
            Some((client, _)) => {
                let mut session =
                    ClientConnection::new(Arc::clone(client), Identity::name())?.into();
                shake(&mut session, &mut socket)?;
                Some(session)
            }
        };
        Ok(Opened { socket, session })
    }
}

/// Opens a CONNECT tunnel through the proxy at `proxy` to `target`.
///
/// # Errors
/// If it cannot be opened, or the proxy's answer is not 200.
pub fn connect(proxy: &Path, target: SocketAddr) -> Result<Socket> {
    let mut socket =
        Socket::from(UnixStream::connect(proxy).attempt("connect to the proxy's socket")?);
    prepare(&socket)?;
    socket
        .write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes())
        .attempt("send a CONNECT")?;
    let answer = read_head(&mut socket).attempt("read the proxy's answer")?;
    if answer.starts_with(ESTABLISHED) {
        return Ok(socket);
    }
    Err(Error::Answer {
        who: "proxy",
        answer,
        expected: ESTABLISHED,
    })
}

/// Reads up to the blank line and no byte more.
///
/// # Errors
/// If the stream ends before it.
pub fn read_head(stream: &mut impl Read) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn prepare(socket: &Socket) -> Result<()> {
    socket
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| socket.set_write_timeout(Some(PATIENCE)))
        .attempt("set a socket's patience")
}

/// Finishes a handshake. Nobody sends payload before both ends are open, so none is read here.
fn shake(session: &mut Connection, socket: &mut Socket) -> Result<()> {
    while session.is_handshaking() || session.wants_write() {
        session
            .complete_io(socket)
            .attempt("finish a TLS handshake")?;
    }
    Ok(())
}
