//! One end of a connection: sends its part, receives the other's, closes cleanly.

use super::incoming::Incoming;
use super::open::Opened;
use super::{Content, Workload, outgoing};
use crate::{Attempt, Error, Result};
use rustls::Connection;
use socket2::Socket;
use std::io::Write;
use std::net::Shutdown;
use std::sync::Arc;
use std::thread;

/// What one sealed MiB adds at most: 64 records and a little.
const SEALED_EXTRA: u64 = 64 * 32;

/// One end.
pub(super) struct End {
    side: &'static str,
    socket: Socket,
    sends: u64,
    receives: u64,
    outgoing: Outgoing,
    incoming: Incoming,
}

/// What an end sends before it closes.
pub(super) enum Outgoing {
    /// Plain text.
    Plain {
        /// What.
        content: Arc<Content>,
        /// How much of it.
        bytes: u64,
    },
    /// Records and a close_notify, sealed in advance.
    Sealed(Vec<u8>),
}

impl End {
    pub(super) fn new(
        side: &'static str,
        opened: Opened,
        content: &Arc<Content>,
        sends: u64,
        receives: u64,
        workload: Workload,
    ) -> Result<Self> {
        let Opened {
            socket,
            mut session,
        } = opened;
        Ok(Self {
            side,
            outgoing: outgoing(content, sends, session.as_mut())?,
            incoming: Incoming::new(session, workload.verify.then(|| Arc::clone(content))),
            socket,
            sends,
            receives,
        })
    }

    /// Moves all payload, in both directions at once where there is any; then both ways are closed.
    pub(super) fn run(self) -> Result<()> {
        let Self {
            side,
            socket,
            sends,
            receives,
            outgoing,
            incoming,
        } = self;
        let receive = || incoming.receive(&socket, side, receives);
        if sends == 0 {
            receive()?;
            return send(&socket, outgoing);
        }
        thread::scope(|scope| {
            let sender = scope.spawn(|| send(&socket, outgoing));
            let received = receive();
            sender.join().map_err(|_| Error::Ended("sender"))??;
            received
        })
    }
}

fn send(mut socket: &Socket, outgoing: Outgoing) -> Result<()> {
    match outgoing {
        Outgoing::Plain { content, bytes } => {
            let mut sent = 0;
            while sent < bytes {
                let piece = content.at(sent, bytes - sent);
                socket.write_all(piece).attempt("send payload")?;
                sent += piece.len() as u64;
            }
        }
        Outgoing::Sealed(records) => socket.write_all(&records).attempt("send records")?,
    }
    socket.shutdown(Shutdown::Write).attempt("close a way")
}

/// Seals `bytes` of content and a close_notify.
pub(super) fn seal(content: &Content, bytes: u64, session: &mut Connection) -> Result<Vec<u8>> {
    let room = bytes + bytes.div_ceil(1 << 20) * SEALED_EXTRA + 64;
    let mut records = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    session.set_buffer_limit(None);
    let mut sealed = 0;
    while sealed < bytes {
        let piece = content.at(sealed, bytes - sealed);
        session.writer().write_all(piece).attempt("seal payload")?;
        sealed += piece.len() as u64;
        take(session, &mut records)?;
    }
    session.send_close_notify();
    take(session, &mut records)?;
    Ok(records)
}

fn take(session: &mut Connection, records: &mut Vec<u8>) -> Result<()> {
    while session.wants_write() {
        session.write_tls(records).attempt("seal payload")?;
    }
    Ok(())
}
