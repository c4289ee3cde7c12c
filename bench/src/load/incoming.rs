//! Receives payload to the end of its way, and counts or compares it.

use super::Content;
use crate::{Attempt, Error, Result};
use nix::sys::socket::{MsgFlags, recv};
use rustls::Connection;
use socket2::{Domain, Socket};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// Bytes of one read.
const READ: usize = 256 * 1024;

/// Bytes of one read that drops what it reads.
const DROP: usize = 1 << 20;

/// A TLS 1.3 record on the wire without its payload: 5 of header, 1 of type, 16 of tag.
const RECORD_HEADER: usize = 5;
const RECORD_REST: u64 = 1 + 16;

/// Payload of a close_notify.
const CLOSE_NOTIFY: u64 = 2;

/// How payload is looked at.
pub(super) enum Incoming {
    /// Plain text, counted.
    Count,
    /// Plain text, compared.
    Compare(Arc<Content>),
    /// TLS records, counted by their headers; close_notify is the last.
    Records,
    /// TLS records, opened and compared.
    Open(Box<Connection>, Arc<Content>),
}

impl Incoming {
    pub(super) fn new(session: Option<Connection>, compare: Option<Arc<Content>>) -> Self {
        match (session, compare) {
            (None, None) => Self::Count,
            (None, Some(content)) => Self::Compare(content),
            (Some(_), None) => Self::Records,
            (Some(session), Some(content)) => Self::Open(Box::new(session), content),
        }
    }

    /// Receives until the way ends, which must be after `expected` bytes.
    pub(super) fn receive(self, socket: &Socket, side: &'static str, expected: u64) -> Result<()> {
        let received = match self {
            Self::Count => count(socket)?,
            Self::Compare(content) => compare(socket, side, &content)?,
            Self::Records => records(socket)?.saturating_sub(CLOSE_NOTIFY),
            Self::Open(session, content) => open(socket, side, *session, &content)?,
        };
        if received == expected {
            return Ok(());
        }
        Err(Error::Bytes {
            side,
            received,
            expected,
        })
    }
}

fn count(mut socket: &Socket) -> Result<u64> {
    let mut buffer = vec![0; DROP];
    let mut received = 0;
    let is_unix = socket.domain().attempt("read a socket's domain")? == Domain::UNIX;
    loop {
        // TCP drops what it reads without a copy when asked to; a UNIX socket cannot.
        let now = if is_unix {
            socket.read(&mut buffer)
        } else {
            recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC).map_err(Into::into)
        };
        match now.attempt("receive payload")? {
            0 => return Ok(received),
            now => received += now as u64,
        }
    }
}

fn compare(mut socket: &Socket, side: &'static str, content: &Content) -> Result<u64> {
    let mut buffer = vec![0; READ];
    let mut offset = 0;
    loop {
        let now = socket.read(&mut buffer).attempt("receive payload")?;
        if now == 0 {
            return Ok(offset);
        }
        if !content.matches(offset, &buffer[..now]) {
            return Err(Error::Content { side, offset });
        }
        offset += now as u64;
    }
}

fn records(mut socket: &Socket) -> Result<u64> {
    let mut buffer = vec![0; READ];
    let mut header = Vec::with_capacity(RECORD_HEADER);
    let mut body = 0;
    let mut payload = 0;
    loop {
        let now = socket.read(&mut buffer).attempt("receive records")?;
        if now == 0 {
            return Ok(payload);
        }
        let mut rest = &buffer[..now];
        while !rest.is_empty() {
            let skip = body.min(rest.len());
            body -= skip;
            rest = &rest[skip..];
            let part = rest.len().min(RECORD_HEADER - header.len());
            header.extend_from_slice(&rest[..part]);
            rest = &rest[part..];
            if let [_, _, _, high, low] = *header.as_slice() {
                let len = u16::from_be_bytes([high, low]);
                body = usize::from(len);
                payload += u64::from(len).saturating_sub(RECORD_REST);
                header.clear();
            }
        }
    }
}

fn open(
    mut socket: &Socket,
    side: &'static str,
    mut session: Connection,
    content: &Content,
) -> Result<u64> {
    let mut buffer = vec![0; READ];
    let mut offset = 0;
    loop {
        let now = session.read_tls(&mut socket).attempt("receive records")?;
        session.process_new_packets()?;
        loop {
            match session.reader().read(&mut buffer) {
                Ok(0) => break,
                Ok(read) if content.matches(offset, &buffer[..read]) => offset += read as u64,
                Ok(_) => return Err(Error::Content { side, offset }),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).attempt("open records"),
            }
        }
        if now == 0 {
            // An end without close_notify was an error of the reader.
            return Ok(offset);
        }
    }
}
