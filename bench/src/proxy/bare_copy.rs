//! The least that a copying proxy can do, with TLS on neither leg, one or both: edge-triggered epoll, one
//! buffer, receive, open and seal where the bytes stand, send. The record layer is the engine's; nothing
//! else of it is here: no runtime, no limits, no deadlines, no counters, no record of what happened.
//!
//! What it costs is the kernel and the cryptography, so it says how much of the engine's cost is neither.

use super::crypto;
use super::preamble::{ESTABLISHED, HEAD, target};
use crate::identity::{Identity, Manners};
use crate::{Attempt, Result};
use eyesplice_dataplane::cipher;
use eyesplice_proto::tls::{
    Layout, RECORD_FULL, RECORD_MAX, RECORD_PAYLOAD, RecordLibrary, Session,
};
use eyesplice_sys::buffer::AlignedBuf;
use eyesplice_sys::socket;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustls::{ClientConfig, ServerConfig};
use slab::Slab;
use socket2::Socket;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::thread;

/// Payload of one turn, as in the engine.
const CHUNK: usize = 128 * 1024;

/// Ciphertext of one turn: as many full records.
const CIPHERTEXT: usize = CHUNK / RECORD_PAYLOAD * RECORD_FULL;

/// A buffer, with room for a turn that is sealed behind a ticket.
const BUFFER: usize = 33 * 4096;

/// Turns of one direction before others have theirs.
const TURNS: usize = 16;

/// The listener's number among the events.
const LISTENER: u64 = u64::MAX;

/// Which legs carry TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legs {
    /// Towards the client.
    pub downstream: bool,
    /// Towards the target.
    pub upstream: bool,
}

/// Starts the proxy on a thread of its own.
///
/// # Errors
/// If it cannot listen or start a thread.
pub fn start(socket: &Path, identity: &Identity, manners: Manners, legs: Legs) -> Result<()> {
    let tls = |wanted: bool| wanted.then_some(());
    let server = tls(legs.downstream).map(|()| identity.server_with(manners));
    let client = tls(legs.upstream).map(|()| identity.client_with(manners));
    let listener = UnixListener::bind(socket).attempt("listen for the bare copy loop")?;
    let library = cipher::choose(crypto::policy()?).library;
    let mut proxy = Proxy {
        listener,
        library,
        server: server.transpose()?,
        client: client.transpose()?,
        epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)
            .map_err(io::Error::from)
            .attempt("make an epoll")?,
        streams: Slab::new(),
        room: AlignedBuf::new(BUFFER),
        sealed: AlignedBuf::new(BUFFER),
    };
    thread::Builder::new()
        .name("bare copy".into())
        .spawn(move || proxy.serve())
        .attempt("start the bare copy loop")?;
    Ok(())
}

struct Proxy {
    listener: UnixListener,
    library: RecordLibrary,
    server: Option<Arc<ServerConfig>>,
    client: Option<Arc<ClientConfig>>,
    epoll: Epoll,
    streams: Slab<[End; 2]>,
    room: AlignedBuf,
    sealed: AlignedBuf,
}

/// One leg of a stream: downstream is the first of two.
struct End {
    socket: Socket,
    session: Option<Session>,
    /// Wire bytes that the socket did not take yet.
    owed: Vec<u8>,
    /// The socket tells when it takes more.
    waits_for_room: bool,
    /// The peer hung up: there may be no other event for what it left.
    hung_up: bool,
    /// The peer said all it had to say.
    ended: bool,
    /// It was told the other's end.
    shut: bool,
}

/// What a direction stopped at.
#[derive(PartialEq, Eq)]
enum Stop {
    /// The next event.
    Event,
    /// Its share of turns.
    Share,
}

impl Proxy {
    fn serve(&mut self) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let of_listener = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
        self.epoll.add(&self.listener, of_listener)?;
        let mut events = [EpollEvent::empty(); 256];
        let mut again: Vec<(usize, usize)> = Vec::new();
        loop {
            let timeout = if again.is_empty() {
                EpollTimeout::NONE
            } else {
                EpollTimeout::ZERO
            };
            let told = match self.epoll.wait(&mut events, timeout) {
                Err(nix::Error::EINTR) => 0,
                outcome => outcome?,
            };
            for (key, from) in std::mem::take(&mut again) {
                self.pump(key, from, &mut again);
            }
            for event in events.iter().take(told) {
                if event.data() == LISTENER {
                    self.accept();
                    continue;
                }
                let (key, side) = (event.data() as usize / 2, event.data() as usize % 2);
                let flags = event.events();
                let Some(ends) = self.streams.get_mut(key) else {
                    continue;
                };
                ends[side].hung_up |= flags.intersects(
                    EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR,
                );
                if ends[side].waits_for_room {
                    self.pump(key, 1 - side, &mut again);
                }
                if flags != EpollFlags::EPOLLOUT {
                    self.pump(key, side, &mut again);
                }
            }
        }
    }

    fn accept(&mut self) {
        match self.listener.accept() {
            Ok((socket, _)) => {
                if let Err(error) = self.begin(Socket::from(socket)) {
                    eprintln!("bare copy loop: {error}");
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => eprintln!("bare copy loop: {error}"),
        }
    }

    /// Establishes both legs while nothing else runs: on loopback that is no wait.
    fn begin(&mut self, mut downstream: Socket) -> io::Result<()> {
        downstream.set_nonblocking(false)?;
        let mut head = [0; HEAD];
        let library = self.library;
        let read = downstream.read(&mut head)?;
        let upstream = TcpStream::connect(target(&head[..read])?)?;
        upstream.set_nodelay(true)?;
        let mut upstream = Socket::from(upstream);
        let client = self.client.as_ref().map(|config| {
            Session::client(Arc::clone(config), Identity::name())
                .map(|session| session.protected_by(library))
                .map_err(io::Error::other)
        });
        let mut client = client.transpose()?;
        let said = shake(&mut upstream, client.as_mut(), &mut self.room)?;
        downstream.write_all(ESTABLISHED)?;
        let server = self.server.as_ref().map(|config| {
            Session::server(Arc::clone(config))
                .map(|session| session.protected_by(library))
                .map_err(io::Error::other)
        });
        let mut server = server.transpose()?;
        let asked = shake(&mut downstream, server.as_mut(), &mut self.room)?;
        let mut ends = [End::new(downstream, server)?, End::new(upstream, client)?];
        ends[1].owe(&asked, &mut self.sealed)?;
        ends[0].owe(&said, &mut self.sealed)?;
        let key = self.streams.insert(ends);
        for (side, end) in self.streams[key].iter().enumerate() {
            let event = EpollEvent::new(ARRIVALS, (key * 2 + side) as u64);
            self.epoll.add(&end.socket, event)?;
        }
        let mut again = Vec::new();
        for from in [0, 1] {
            self.pump(key, from, &mut again);
        }
        Ok(())
    }

    /// Carries what there is of one direction.
    fn pump(&mut self, key: usize, from: usize, again: &mut Vec<(usize, usize)>) {
        let Some(ends) = self.streams.get_mut(key) else {
            return;
        };
        let [downstream, upstream] = ends;
        let (source, sink) = match from {
            0 => (downstream, upstream),
            _ => (upstream, downstream),
        };
        let number = (key * 2 + 1 - from) as u64;
        let outcome = carry(source, sink, &mut self.room, &mut self.sealed)
            .and_then(|stop| sink.watch(&self.epoll, number).map(|()| stop));
        match outcome {
            Ok(Stop::Share) => again.push((key, from)),
            Ok(Stop::Event) if ends.iter().all(|end| end.shut) => drop(self.streams.remove(key)),
            Ok(Stop::Event) => {}
            Err(error) => {
                eprintln!("bare copy loop: {error}");
                self.streams.remove(key);
            }
        }
    }
}

/// What every leg is asked to tell.
const ARRIVALS: EpollFlags = EpollFlags::EPOLLIN
    .union(EpollFlags::EPOLLRDHUP)
    .union(EpollFlags::EPOLLET);

impl End {
    fn new(socket: Socket, session: Option<Session>) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            session,
            owed: Vec::new(),
            waits_for_room: false,
            hung_up: false,
            ended: false,
            shut: false,
        })
    }

    /// Sends what is owed; returns whether that was all.
    fn settle(&mut self) -> io::Result<bool> {
        while !self.owed.is_empty() {
            match socket::send(self.socket.as_fd(), &self.owed) {
                Ok(sent) => drop(self.owed.drain(..sent)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn send(&mut self, wire: &[u8]) -> io::Result<()> {
        let sent = match socket::send(self.socket.as_fd(), wire) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            outcome => outcome?,
        };
        self.owed.extend_from_slice(&wire[sent..]);
        Ok(())
    }

    /// Keeps payload that came with a handshake for later.
    fn owe(&mut self, payload: &[u8], sealed: &mut [u8]) -> io::Result<()> {
        for piece in payload.chunks(CHUNK) {
            match &mut self.session {
                None => self.owed.extend_from_slice(piece),
                Some(session) => {
                    let len = session.seal(piece, sealed).map_err(io::Error::other)?;
                    self.owed.extend_from_slice(&sealed[..len]);
                }
            }
        }
        Ok(())
    }

    /// Ends its write side, once.
    fn shut(&mut self, sealed: &mut [u8]) -> io::Result<()> {
        if !self.shut {
            self.shut = true;
            if let Some(session) = &mut self.session {
                let len = session.close(sealed).map_err(io::Error::other)?;
                self.send(&sealed[..len])?;
            }
            self.socket.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    /// Asks the socket to tell when it takes more, while that matters.
    fn watch(&mut self, epoll: &Epoll, number: u64) -> io::Result<()> {
        let waits = !self.owed.is_empty();
        if waits != self.waits_for_room {
            let mut flags = ARRIVALS;
            flags.set(EpollFlags::EPOLLOUT, waits);
            epoll.modify(&self.socket, &mut EpollEvent::new(flags, number))?;
            self.waits_for_room = waits;
        }
        Ok(())
    }
}

fn carry(from: &mut End, to: &mut End, room: &mut [u8], sealed: &mut [u8]) -> io::Result<Stop> {
    for _ in 0..TURNS {
        if !to.settle()? {
            return Ok(Stop::Event);
        }
        if from.ended {
            to.shut(sealed)?;
            return Ok(Stop::Event);
        }
        let kept = from.session.as_ref().map_or(0, Session::pending_len);
        let end = match from.session {
            Some(_) => CIPHERTEXT.max(kept + RECORD_MAX).min(room.len()),
            None => CHUNK,
        };
        let received = match socket::recv(from.socket.as_fd(), &mut room[kept..end]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Stop::Event),
            Ok(0) if from.session.is_some() => return Err(io::ErrorKind::UnexpectedEof.into()),
            outcome => outcome?,
        };
        let (payload, layout) = match &mut from.session {
            None => {
                from.ended = received == 0;
                (received, Layout::Dense)
            }
            Some(session) => {
                let wanted = to.session.as_ref().map_or(Layout::Dense, Session::layout);
                let got = session
                    .receive_as(wanted, &mut room[..kept + received])
                    .map_err(io::Error::other)?;
                from.ended = got.peer_closed;
                let answers = session.take_outgoing();
                if !answers.is_empty() {
                    from.send(&answers)?;
                }
                (got.plaintext, got.layout)
            }
        };
        if payload > 0 {
            match &mut to.session {
                None => to.send(&room[..payload])?,
                Some(session) => {
                    let in_place = match layout {
                        Layout::Slots => session.seal_slots(payload, room),
                        Layout::Dense => Ok(None),
                    };
                    match in_place.map_err(io::Error::other)? {
                        Some(len) => to.send(&room[..len])?,
                        None => {
                            let len = session
                                .seal(&room[..payload], sealed)
                                .map_err(io::Error::other)?;
                            to.send(&sealed[..len])?;
                        }
                    }
                }
            }
        }
        if received < end - kept && !from.ended && !from.hung_up {
            return Ok(Stop::Event);
        }
    }
    Ok(Stop::Share)
}

/// Runs a handshake on a socket that waits; returns the payload that came with it.
fn shake(
    socket: &mut Socket,
    session: Option<&mut Session>,
    room: &mut [u8],
) -> io::Result<Vec<u8>> {
    let mut early = Vec::new();
    let Some(session) = session else {
        return Ok(early);
    };
    // Lets a client write its first flight.
    session.receive(&mut []).map_err(io::Error::other)?;
    loop {
        socket.write_all(&session.take_outgoing())?;
        if !session.is_handshaking() {
            return Ok(early);
        }
        let kept = session.pending_len();
        let received = socket.read(&mut room[kept..kept + RECORD_MAX])?;
        if received == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let got = session
            .receive(&mut room[..kept + received])
            .map_err(io::Error::other)?;
        early.extend_from_slice(&room[..got.plaintext]);
    }
}
