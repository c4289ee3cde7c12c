//! Opens CONNECT tunnels with blocking calls, for measurements that hold sockets and no tasks.

use crate::{Attempt, Error, Result};
use socket2::Socket;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// How long a socket may be stuck before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(60);

const ESTABLISHED: &str = "HTTP/1.1 200 ";

/// Opens a CONNECT tunnel through the proxy at `proxy` to `target`.
///
/// # Errors
/// If it cannot be opened, or the proxy's answer is not 200.
pub fn connect(proxy: &Path, target: SocketAddr) -> Result<Socket> {
    let mut socket =
        Socket::from(UnixStream::connect(proxy).attempt("connect to the proxy's socket")?);
    patient(&socket)?;
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
pub(crate) fn read_head(stream: &mut impl Read) -> std::io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// Bounds each wait of a socket.
pub(crate) fn patient(socket: &Socket) -> Result<()> {
    socket
        .set_read_timeout(Some(PATIENCE))
        .and_then(|()| socket.set_write_timeout(Some(PATIENCE)))
        .attempt("set a socket's patience")
}
