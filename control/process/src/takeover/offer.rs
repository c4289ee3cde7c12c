//! What a process that runs has for the next one.

use super::channel::Channel;
use super::meeting::Meeting;
use super::message::{
    ANSWER, Asked, Message, READY_WITHIN, SOCKETS_LIMIT, STRANGER, VERSION, program,
};
use crate::admin::Readiness;
use crate::metrics::TakeoverMetrics;
use crate::systemd;
use eyesplice_sys::socket::{self, MAX_RIGHTS, PeerCredentials, Place, SocketFile};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use std::future::pending;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// The wait after accept failed, for want of descriptors most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listening sockets, for the process that comes next.
#[derive(Debug)]
pub struct Offer {
    listener: Option<Listener>,
    sockets: Vec<(Place, OwnedFd)>,
    stored: bool,
    /// A process has them that is not ready yet.
    given: bool,
}

#[derive(Debug)]
struct Listener {
    socket: AsyncFd<OwnedFd>,
    file: SocketFile,
}

/// What a hand-over is reported to.
#[derive(Clone, Debug)]
pub struct Reported {
    /// For `/readyz`.
    pub readiness: Arc<Readiness>,
    /// For `/metrics`.
    pub metrics: TakeoverMetrics,
}

/// The process that has the sockets from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Successor {
    /// Its number; 0 of another PID namespace.
    pub pid: i32,
}

/// What somebody wanted who came.
enum Visit {
    /// To know which program runs.
    Looked,
    /// The sockets, and it has them.
    Took(Successor),
}

impl Offer {
    pub(super) fn new(
        meeting: Option<Meeting>,
        listener: Option<(OwnedFd, SocketFile)>,
        sockets: Vec<(Place, OwnedFd)>,
        stored: bool,
    ) -> Self {
        let listener = listener.and_then(|(fd, mut file)| {
            file.keep();
            match socket::watched(fd) {
                Ok(socket) => Some(Listener { socket, file }),
                Err(error) => {
                    tracing::warn!(%error, "no process can take over from this one");
                    None
                }
            }
        });
        if let (Some(meeting), Some(_)) = (&meeting, &listener) {
            let path = meeting.path().display();
            tracing::info!(%path, sockets = sockets.len(), "a new process can take over");
        }
        Self {
            listener,
            sockets,
            stored,
            given: false,
        }
    }

    /// Nothing to offer.
    pub fn nothing() -> Self {
        Self {
            listener: None,
            sockets: Vec::new(),
            stored: false,
            given: false,
        }
    }

    /// Whether the service manager has the sockets as well, or a process that will take over.
    pub fn is_elsewhere(&self) -> bool {
        self.stored || self.given
    }

    /// Waits until another process accepts connections in place of this one.
    pub async fn taken(&mut self, reported: &Reported) -> Successor {
        let Self {
            listener: Some(listener),
            sockets,
            given,
            ..
        } = self
        else {
            return pending().await;
        };
        loop {
            let Ok(channel) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let visited = visit(&channel, (listener, sockets), given, reported).await;
            match visited {
                Ok(Visit::Looked) => {}
                Ok(Visit::Took(successor)) => {
                    listener.file.leave();
                    return successor;
                }
                Err(error) => {
                    *given = false;
                    reported.metrics.failed();
                    let why = format!("a new process did not take over: {error}; see its log");
                    reported.readiness.takeover_failed(why);
                    tracing::error!(%error, "a new process did not take over; this one goes on");
                }
            }
        }
    }
}

impl Listener {
    async fn accept(&self) -> io::Result<Channel> {
        let accept = |fd: &OwnedFd| socket::accept(fd.as_fd());
        let accepted = self.socket.async_io(Interest::READABLE, accept).await?;
        Channel::new(accepted.fd)
    }
}

/// Serves one that came.
async fn visit(
    channel: &Channel,
    (listener, sockets): (&Listener, &[(Place, OwnedFd)]),
    given: &mut bool,
    reported: &Reported,
) -> io::Result<Visit> {
    let peer = channel.peer()?;
    if peer.uid != geteuid().as_raw() {
        let PeerCredentials { pid, uid, .. } = peer;
        tracing::warn!(
            pid,
            uid,
            "a process of another user asked for the sockets; refused"
        );
        reported.metrics.refused();
        // Closed with its question unread it would get a reset, and perhaps not the answer.
        let _ = channel.receive(STRANGER).await;
        refuse(channel, "it is of another user").await;
        return Ok(Visit::Looked);
    }
    let (what, theirs) = match channel.receive(ANSWER).await? {
        Some((
            Message::Ask {
                version: VERSION,
                what,
                program,
            },
            _,
        )) => (what, program),
        Some((
            Message::Ask {
                version, program, ..
            },
            _,
        )) => {
            tracing::warn!(
                version,
                program,
                "a process of another version asked; refused"
            );
            reported.metrics.refused();
            let why =
                format!("it speaks version {VERSION} of hand-overs, not {version}; restart it");
            refuse(channel, &why).await;
            return Ok(Visit::Looked);
        }
        // It came to see whether somebody listens.
        None => return Ok(Visit::Looked),
        Some(_) => return Err(unexpected()),
    };
    let mut all = vec![(listener.file.place(), listener.socket.as_fd())];
    all.extend(
        sockets
            .iter()
            .map(|(place, fd)| (place.clone(), fd.as_fd())),
    );
    if all.len() > SOCKETS_LIMIT {
        refuse(channel, "it has too many sockets; restart it").await;
        return Err(io::Error::other("there are too many sockets"));
    }
    let offer = Message::Offer {
        version: VERSION,
        program: program(),
        pid: std::process::id(),
        watchdog_usec: systemd::watchdog().and_then(|every| every.as_micros().try_into().ok()),
        sockets: all.len(),
    };
    channel.send(&offer, &[], ANSWER).await?;
    if what == Asked::Reload {
        if theirs == program() {
            kill(Pid::this(), Signal::SIGHUP)?;
        }
        return Ok(Visit::Looked);
    }
    tracing::info!(
        pid = peer.pid,
        sockets = all.len(),
        "a new process takes over"
    );
    *given = true;
    for some in all.chunks(MAX_RIGHTS) {
        let (names, fds): (Vec<_>, Vec<_>) = some
            .iter()
            .map(|(place, fd)| (place.to_string(), *fd))
            .unzip();
        channel
            .send(&Message::Sockets { names }, &fds, ANSWER)
            .await?;
    }
    match channel.receive(READY_WITHIN).await? {
        Some((Message::Ready, _)) => {}
        Some(_) => return Err(unexpected()),
        None => return Err(io::Error::other("it ended before it was ready")),
    }
    // Before it hears so, for from then on it speaks for the service.
    systemd::hand_over(peer.pid).await;
    if let Err(error) = channel.send(&Message::Done, &[], ANSWER).await {
        systemd::take_back().await;
        return Err(error);
    }
    Ok(Visit::Took(Successor { pid: peer.pid }))
}

async fn refuse(channel: &Channel, why: &str) {
    let why = why.to_owned();
    // Who is gone needs no answer.
    let _ = channel.send(&Message::Refused { why }, &[], ANSWER).await;
}

fn unexpected() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "it sent another message than expected",
    )
}
