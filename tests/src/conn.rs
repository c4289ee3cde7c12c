//! One end of a connection in a test's hands: a socket, the TLS sessions on top of it, and a clear
//! word for how it ended.

use crate::rng::Rng;
use crate::wait::{LOOK, PATIENCE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};
use socket2::Socket;
use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How the other end ended its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// As it should: close_notify where there is TLS, FIN where there is none.
    Clean,
    /// FIN without close_notify.
    Truncated,
    /// RST.
    Reset,
    /// TLS that cannot be read, or an alert.
    Broken,
}

impl Ending {
    /// Whether it is no end that a peer could take for one.
    pub fn is_cut(self) -> bool {
        self != Self::Clean
    }
}

/// What a read brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Got {
    /// So many bytes.
    Data(usize),
    /// Nothing yet.
    Blocked,
    /// Nothing more.
    End(Ending),
}

/// Wire bytes that may wait to be sent before a write blocks.
const OUT_MAX: usize = 64 * 1024;

/// Looks at a full socket, one after another, before it counts as stalled: for longer than a
/// gateway waits for its turn on a busy machine.
const REFUSALS: u32 = 300;

/// Payload that one write takes at most: a full record.
const WRITE_MAX: usize = 16 * 1024;

/// One end of a connection.
pub struct Conn {
    socket: Socket,
    /// From the socket outwards.
    layers: Vec<Connection>,
    /// Payload that was read and not asked for yet.
    plain: VecDeque<u8>,
    /// Wire bytes that the socket has not taken.
    out: VecDeque<u8>,
    /// Longest write to the socket, and what draws the lengths.
    chop: Option<(usize, Rng)>,
    ending: Option<Ending>,
    /// A write met a reset, of which the socket tells once: its last read says 0.
    reset: bool,
    /// The words of a TLS failure.
    trouble: Option<String>,
}

impl fmt::Debug for Conn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Conn")
            .field("layers", &self.layers.len())
            .field("plain", &self.plain.len())
            .field("out", &self.out.len())
            .field("ending", &self.ending)
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

impl Conn {
    /// Takes a connected socket.
    pub fn new(socket: impl Into<Socket>) -> Self {
        let socket = socket.into();
        socket.set_nonblocking(true).unwrap();
        // UNIX sockets have no such option.
        let _ = socket.set_tcp_nodelay(true);
        Self {
            socket,
            layers: Vec::new(),
            plain: VecDeque::new(),
            out: VecDeque::new(),
            chop: None,
            ending: None,
            reset: false,
            trouble: None,
        }
    }

    /// Cuts everything that goes out into writes of 1 to `max` bytes.
    pub fn chop(&mut self, max: usize, rng: Rng) {
        self.chop = Some((max, rng));
    }

    /// Gives the socket a small send buffer, so that little is enough to fill it. Not a small receive
    /// buffer: below the size of a segment on loopback TCP waits for its persist timer.
    pub fn shrink(&self, bytes: usize) {
        self.socket.set_send_buffer_size(bytes).unwrap();
    }

    /// Becomes a TLS client on top of what there is.
    ///
    /// # Errors
    /// The handshake failed.
    pub fn start_client(
        &mut self,
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<()> {
        let session = ClientConnection::new(Arc::clone(config), name).unwrap();
        self.start(session.into())
    }

    /// Becomes a TLS client, and sends a payload and a clean end along with its last flight.
    ///
    /// # Errors
    /// The handshake failed.
    pub fn start_client_and_say(
        &mut self,
        config: &Arc<ClientConfig>,
        name: ServerName<'static>,
        payload: &[u8],
    ) -> io::Result<()> {
        let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
        // Kept until there are keys, and then sealed behind the last flight.
        session.writer().write_all(payload)?;
        self.start(session.into())?;
        self.shut()
    }

    /// Becomes a TLS server on top of what there is.
    ///
    /// # Errors
    /// The handshake failed.
    pub fn start_server(&mut self, config: &Arc<ServerConfig>) -> io::Result<()> {
        self.start(ServerConnection::new(Arc::clone(config)).unwrap().into())
    }

    fn start(&mut self, mut session: Connection) -> io::Result<()> {
        session.set_buffer_limit(None);
        let early: Vec<u8> = self.plain.drain(..).collect();
        self.layers.push(session);
        let top = self.layers.len() - 1;
        self.feed(top, &early);
        self.seal();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let flushed = self.flush()?;
            // First, because the peer may end along with its last flight.
            if flushed && !self.layers.iter().any(|layer| layer.is_handshaking()) {
                return Ok(());
            }
            if let Some(ending) = self.ending {
                return Err(self.failure(ending));
            }
            if self.pull() == Pulled::Nothing {
                self.wait(true, !flushed, deadline)?;
            }
        }
    }

    /// The certificates that the peer of the topmost session presented.
    pub fn peer_chain(&self) -> Option<Vec<CertificateDer<'static>>> {
        let top = self.layers.last()?;
        top.peer_certificates().map(<[_]>::to_vec)
    }

    /// The protocol that the topmost session agreed on.
    pub fn alpn(&self) -> Option<Vec<u8>> {
        self.layers.last()?.alpn_protocol().map(<[u8]>::to_vec)
    }

    /// Changes the keys of this side, and asks the other one to do so too (TLS 1.3).
    pub fn refresh_keys(&mut self) {
        if let Some(top) = self.layers.last_mut() {
            top.refresh_traffic_keys().unwrap();
        }
        self.seal();
    }

    /// Reads without waiting.
    pub fn try_read(&mut self, to: &mut [u8]) -> Got {
        loop {
            if !self.plain.is_empty() {
                return Got::Data(self.plain.read(to).unwrap());
            }
            if let Some(ending) = self.ending {
                return Got::End(ending);
            }
            if self.pull() == Pulled::Nothing {
                return Got::Blocked;
            }
        }
    }

    /// Reads what comes first: payload or the end.
    ///
    /// # Panics
    /// When nothing comes.
    pub fn read(&mut self, to: &mut [u8]) -> Got {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // What the peer waits for may be ours; its end is found by reading.
            let flushed = self.flush().unwrap_or(true);
            match self.try_read(to) {
                Got::Blocked => self
                    .wait(true, !flushed, deadline)
                    .expect("nothing to read"),
                got => return got,
            }
        }
    }

    /// Reads exactly so much.
    ///
    /// # Errors
    /// How it ended before.
    pub fn read_exact(&mut self, len: usize) -> Result<Vec<u8>, Ending> {
        let mut all = vec![0; len];
        let mut have = 0;
        while have < len {
            match self.read(&mut all[have..]) {
                Got::Data(n) => have += n,
                Got::End(ending) => return Err(ending),
                Got::Blocked => {}
            }
        }
        Ok(all)
    }

    /// Reads to the end.
    pub fn read_to_end(&mut self) -> (Vec<u8>, Ending) {
        let mut all = Vec::new();
        let mut buffer = [0; 16 * 1024];
        loop {
            match self.read(&mut buffer) {
                Got::Data(n) => all.extend_from_slice(&buffer[..n]),
                Got::End(ending) => return (all, ending),
                Got::Blocked => {}
            }
        }
    }

    /// Waits for the socket's own end behind that of the TLS on top. A socket that is closed with
    /// anything unread, be it the close_notify of an outer session, is reset, and what it sent last
    /// may be lost.
    pub fn drain(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let mut chunk = [0; 4096];
        loop {
            match (&self.socket).read(&mut chunk) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(true, false, deadline).expect("no FIN");
                }
                Ok(0) | Err(_) => return,
            }
        }
    }

    /// Looks whether the peer has ended, without waiting; what comes before is kept.
    pub fn ended(&mut self) -> Option<Ending> {
        while self.ending.is_none() && self.pull() == Pulled::Something {}
        self.ending
    }

    /// Whether something can be read, be it the end.
    pub fn ready_to_read(&mut self) -> bool {
        self.ended().is_some() || !self.plain.is_empty()
    }

    /// Waits until the peer has ended, and reads nothing.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_hangup(&self) {
        let events = PollFlags::from_bits_retain(nix::libc::POLLRDHUP);
        let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::MAX);
        let ready = poll(&mut [PollFd::new(self.socket.as_fd(), events)], timeout);
        assert_eq!(ready, Ok(1), "peer does not leave");
    }

    /// Puts back what was read too far.
    pub fn unread(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().rev() {
            self.plain.push_front(*byte);
        }
    }

    /// Takes as much as there is room for, without waiting; 0 when there is none.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn try_write(&mut self, payload: &[u8]) -> io::Result<usize> {
        self.flush()?;
        if self.out.len() >= OUT_MAX {
            return Ok(0);
        }
        let piece = &payload[..payload.len().min(WRITE_MAX)];
        match self.layers.last_mut() {
            Some(top) => top.writer().write_all(piece)?,
            None => self.out.extend(piece),
        }
        self.seal();
        self.flush()?;
        Ok(piece.len())
    }

    /// Writes everything, in records that are as full as can be.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn write_all(&mut self, mut payload: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !payload.is_empty() {
            match self.try_write(payload)? {
                0 => self.wait(false, true, deadline)?,
                n => payload = &payload[n..],
            }
        }
        self.flush_all()
    }

    /// Writes everything to a reader that may take its time: patience begins again with each byte.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn write_all_patiently(&mut self, mut payload: &[u8]) -> io::Result<()> {
        while !payload.is_empty() {
            let wrote = self.try_write(payload)?;
            payload = &payload[wrote..];
            if wrote == 0 {
                self.wait(false, true, Instant::now() + PATIENCE)?;
            }
        }
        self.flush_all()
    }

    /// Writes again and again until nothing is taken any more: every buffer on the way is full.
    /// Returns how much was taken.
    ///
    /// # Panics
    /// If the connection is gone.
    pub fn write_until_full(&mut self, payload: &[u8]) -> usize {
        let mut refused = 0;
        let mut taken = 0;
        while refused < REFUSALS {
            let wrote = self.try_write(payload).unwrap();
            taken += wrote;
            if wrote > 0 {
                refused = 0;
            } else {
                refused += 1;
                std::thread::park_timeout(LOOK);
            }
        }
        taken
    }

    /// Ends this side cleanly: close_notify of every session, then FIN.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn shut(&mut self) -> io::Result<()> {
        self.begin_shut();
        self.flush_all()?;
        self.fin()
    }

    /// Writes everything and ends cleanly, as one piece: the peer's first read may see it all.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn write_and_shut(&mut self, payload: &[u8]) -> io::Result<()> {
        match self.layers.last_mut() {
            Some(top) => top.writer().write_all(payload)?,
            None => self.out.extend(payload),
        }
        self.seal();
        self.shut()
    }

    /// Ends the topmost session alone; the socket and what is below stay open.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn shut_top(&mut self) -> io::Result<()> {
        if let Some(top) = self.layers.last_mut() {
            top.send_close_notify();
        }
        self.seal();
        self.flush_all()
    }

    /// Queues payload behind what waits, so that what is written next goes out with it.
    pub fn queue(&mut self, payload: &[u8]) {
        match self.layers.last_mut() {
            Some(top) => top.writer().write_all(payload).unwrap(),
            None => self.out.extend(payload),
        }
        self.seal();
    }

    /// Ends the only session by close_notify, with these bytes right behind it, and goes on without
    /// it when the peer has ended it as well.
    ///
    /// # Errors
    /// The connection is gone, or the peer does not end the session.
    pub fn shed(&mut self, behind: &[u8]) -> io::Result<()> {
        self.shut_top_with(behind)?;
        let mut held = Vec::new();
        // It may have come with what was read last.
        let mut closed = self.ending == Some(Ending::Clean);
        while !closed {
            let mut chunk = [0; 16 * 1024];
            match (&self.socket).read(&mut chunk) {
                Ok(0) => return Err(self.failure(Ending::Truncated)),
                Ok(n) => held.extend(&chunk[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_input(),
                Err(error) => return Err(error),
            }
            // One record at a time: what is behind the last is not the session's.
            while !closed && let Some(length) = record(&held) {
                let record: Vec<u8> = held.drain(..length).collect();
                let session = &mut self.layers[0];
                session.read_tls(&mut &record[..])?;
                session.process_new_packets().map_err(io::Error::other)?;
                match session.reader().read(&mut [0]) {
                    Ok(0) => closed = true,
                    Ok(_) => panic!("payload where a session was to end"),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
        }
        assert_eq!(self.layers.len(), 1);
        self.layers.clear();
        self.ending = None;
        self.plain.extend(held);
        Ok(())
    }

    fn shut_top_with(&mut self, behind: &[u8]) -> io::Result<()> {
        if let Some(top) = self.layers.last_mut() {
            top.send_close_notify();
        }
        self.seal();
        self.out.extend(behind);
        self.flush_all()
    }

    /// Queues the close_notify of every session; [`Conn::fin`] is due once all is flushed.
    pub fn begin_shut(&mut self) {
        for level in (0..self.layers.len()).rev() {
            self.layers[level].send_close_notify();
            self.seal();
        }
    }

    /// Sends FIN and nothing before it: with TLS, a truncation.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn fin(&mut self) -> io::Result<()> {
        match self.socket.shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            result => result,
        }
    }

    /// Resets the connection when it is closed; a UNIX socket can only be closed.
    pub fn reset_when_closed(&self) {
        let _ = self.socket.set_linger(Some(Duration::ZERO));
    }

    /// Sends what waits, without waiting; says whether all is out.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn flush(&mut self) -> io::Result<bool> {
        while !self.out.is_empty() {
            let (front, _) = self.out.as_slices();
            let piece = match &mut self.chop {
                Some((max, rng)) => &front[..front.len().min(1 + rng.below(*max))],
                None => front,
            };
            match (&self.socket).write(piece) {
                Ok(n) => drop(self.out.drain(..n)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.reset |= error.kind() == io::ErrorKind::ConnectionReset;
                    return Err(error);
                }
            }
        }
        Ok(true)
    }

    /// Sends what waits.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn flush_all(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.flush()? {
            self.wait(false, true, deadline)?;
        }
        Ok(())
    }

    /// Sends bytes past all TLS, as they are.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn write_raw(&mut self, wire: &[u8]) -> io::Result<()> {
        self.flush_all()?;
        self.out.extend(wire);
        self.flush_all()
    }

    /// Sends the first half of what `payload` becomes on the wire: a record that goes on.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn write_torn(&mut self, payload: &[u8]) -> io::Result<()> {
        self.flush_all()?;
        match self.layers.last_mut() {
            Some(top) => top.writer().write_all(payload)?,
            None => self.out.extend(payload),
        }
        self.seal();
        self.out.truncate(self.out.len() / 2);
        self.flush_all()
    }

    /// Whether the peer's kernel has all that was sent. The peer of a UNIX socket has it at once.
    pub fn is_settled(&self) -> bool {
        let unix = self.socket.domain().unwrap() == socket2::Domain::UNIX;
        self.out.is_empty()
            && (unix || eyesplice_sys::socket::unacknowledged(self.socket.as_fd()).unwrap() == 0)
    }

    /// Waits until something came, and reads nothing.
    ///
    /// # Panics
    /// When nothing comes.
    pub fn wait_input(&self) {
        let deadline = Instant::now() + PATIENCE;
        self.wait(true, false, deadline).expect("nothing came");
    }

    /// Waits until the socket is ready.
    ///
    /// # Errors
    /// `TimedOut` at the deadline.
    pub fn wait(&self, read: bool, write: bool, deadline: Instant) -> io::Result<()> {
        let mut events = PollFlags::empty();
        events.set(PollFlags::POLLIN, read);
        events.set(PollFlags::POLLOUT, write);
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(self.socket.as_fd(), events)], timeout) {
            Ok(0) => Err(io::ErrorKind::TimedOut.into()),
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The words of a TLS failure, if there was one.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn failure(&self, ending: Ending) -> io::Error {
        io::Error::other(match &self.trouble {
            Some(words) => words.clone(),
            None => format!("{ending:?}"),
        })
    }

    /// Reads once from the socket, and pushes it up through the layers.
    fn pull(&mut self) -> Pulled {
        if self.ending.is_some() {
            return Pulled::Nothing;
        }
        let mut chunk = [0; 16 * 1024];
        match (&self.socket).read(&mut chunk) {
            Ok(0) if self.reset => self.end(Ending::Reset),
            Ok(0) if self.layers.is_empty() => self.end(Ending::Clean),
            Ok(0) => self.end(Ending::Truncated),
            Ok(n) => self.feed(0, &chunk[..n]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Pulled::Nothing,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => self.end(Ending::Reset),
        }
        self.seal();
        Pulled::Something
    }

    fn feed(&mut self, level: usize, bytes: &[u8]) {
        if level == self.layers.len() {
            self.plain.extend(bytes);
            return;
        }
        let mut left = bytes;
        let mut payload = Vec::new();
        let mut closed = false;
        while !left.is_empty() && !closed {
            let session = &mut self.layers[level];
            session.read_tls(&mut left).unwrap();
            if let Err(error) = session.process_new_packets() {
                self.trouble = Some(error.to_string());
                self.seal();
                // The alert that says why; the peer may be gone.
                let _ = self.flush();
                self.end(Ending::Broken);
                return;
            }
            match session.reader().read_to_end(&mut payload) {
                Ok(_) => closed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
        }
        if !payload.is_empty() {
            self.feed(level + 1, &payload);
        }
        if closed {
            self.end(if level + 1 == self.layers.len() {
                Ending::Clean
            } else {
                Ending::Truncated
            });
        }
    }

    fn end(&mut self, ending: Ending) {
        self.ending.get_or_insert(ending);
    }

    /// Moves what the sessions want out to the wire.
    fn seal(&mut self) {
        for level in (0..self.layers.len()).rev() {
            let mut wire = Vec::new();
            while self.layers[level].wants_write() {
                self.layers[level].write_tls(&mut wire).unwrap();
            }
            match level.checked_sub(1) {
                Some(below) => self.layers[below].writer().write_all(&wire).unwrap(),
                None => self.out.extend(wire),
            }
        }
    }
}

/// The length of the record at the beginning, if it is whole.
fn record(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, high, low, ..] = *bytes else {
        return None;
    };
    let length = 5 + usize::from(u16::from_be_bytes([high, low]));
    (bytes.len() >= length).then_some(length)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pulled {
    Something,
    Nothing,
}
