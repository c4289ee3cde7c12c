//! The process that runs, as the new one knows it.

use super::channel::Channel;
use super::error::TakeoverError;
use super::meeting::Meeting;
use super::message::{ANSWER, Asked, Message, READY_WITHIN, SOCKETS_LIMIT, VERSION, program};
use crate::systemd;
use eyesplice_sys::socket::connect_messages;
use nix::unistd::geteuid;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// The process that runs.
#[derive(Debug)]
pub(super) struct Predecessor {
    channel: Channel,
    pid: u32,
}

impl Predecessor {
    /// Asks for its sockets.
    pub(super) async fn ask(
        meeting: &Meeting,
    ) -> Result<(Self, Vec<(String, OwnedFd)>), TakeoverError> {
        let (predecessor, offer) = Self::ask_for(meeting, Asked::Sockets).await?;
        let Offered {
            watchdog, sockets, ..
        } = offer;
        if let Some(interval) = watchdog {
            systemd::watched_every(interval);
        }
        let sockets = predecessor.sockets(sockets).await?;
        Ok((predecessor, sockets))
    }

    /// Asks it to reload; whether it does, for it may be of another program.
    pub(super) async fn reload(meeting: &Meeting) -> Result<(u32, bool), TakeoverError> {
        let (predecessor, offer) = Self::ask_for(meeting, Asked::Reload).await?;
        Ok((predecessor.pid, offer.program == program()))
    }

    async fn ask_for(meeting: &Meeting, what: Asked) -> Result<(Self, Offered), TakeoverError> {
        let path = || meeting.path().to_owned();
        let nobody = |source| TakeoverError::Nobody {
            path: path(),
            source,
        };
        let connected = connect_messages(meeting.path()).map_err(nobody)?;
        let channel = Channel::new(connected).map_err(nobody)?;
        let peer = channel.peer().map_err(nobody)?;
        if peer.uid != geteuid().as_raw() {
            return Err(TakeoverError::Stranger {
                path: path(),
                pid: peer.pid,
                uid: peer.uid,
            });
        }
        let mut predecessor = Self {
            channel,
            pid: u32::try_from(peer.pid).unwrap_or_default(),
        };
        let ask = Message::Ask {
            version: VERSION,
            what,
            program: program(),
        };
        predecessor.say(&ask).await?;
        match predecessor.hear(ANSWER, "answer").await? {
            (
                Message::Offer {
                    version: VERSION,
                    program,
                    pid,
                    watchdog_usec,
                    sockets,
                },
                _,
            ) if sockets <= SOCKETS_LIMIT => {
                predecessor.pid = pid;
                let watchdog = watchdog_usec.map(Duration::from_micros);
                Ok((
                    predecessor,
                    Offered {
                        program,
                        watchdog,
                        sockets,
                    },
                ))
            }
            _ => Err(predecessor.broken("offer what this version knows", unexpected())),
        }
    }

    async fn sockets(&self, count: usize) -> Result<Vec<(String, OwnedFd)>, TakeoverError> {
        let mut sockets = Vec::with_capacity(count);
        while sockets.len() < count {
            let (message, fds) = self.hear(ANSWER, "send all of its sockets").await?;
            match message {
                Message::Sockets { names } if names.len() == fds.len() && !fds.is_empty() => {
                    sockets.extend(names.into_iter().zip(fds));
                }
                _ => return Err(self.broken("send its sockets", unexpected())),
            }
        }
        Ok(sockets)
    }

    /// Its number.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Tells it that this process accepts connections, and waits until it does not.
    pub(super) async fn relieve(self) -> Result<(), TakeoverError> {
        let pid = self.pid;
        let relieved = async {
            self.say(&Message::Ready).await?;
            self.hear(READY_WITHIN, "let go of its sockets").await
        };
        match relieved.await {
            Ok((Message::Done, _)) => {
                tracing::info!(pid, "took over; the process before this one drains");
                Ok(())
            }
            Ok(_) => Err(self.broken("let go of its sockets", unexpected())),
            // It is gone: there is nobody to wait for.
            Err(TakeoverError::Broken { source, .. }) if is_gone(&source) => {
                tracing::warn!(pid, "took over; the process before this one has ended");
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn say(&self, message: &Message) -> Result<(), TakeoverError> {
        let sent = self.channel.send(message, &[], ANSWER).await;
        sent.map_err(|source| self.broken("listen", source))
    }

    async fn hear(
        &self,
        within: Duration,
        what: &'static str,
    ) -> Result<(Message, Vec<OwnedFd>), TakeoverError> {
        let heard = self.channel.receive(within).await;
        match heard.map_err(|source| self.broken(what, source))? {
            Some((Message::Refused { why }, _)) => {
                Err(TakeoverError::Refused { pid: self.pid, why })
            }
            Some(heard) => Ok(heard),
            None => Err(self.broken(what, io::ErrorKind::UnexpectedEof.into())),
        }
    }

    fn broken(&self, what: &'static str, source: io::Error) -> TakeoverError {
        TakeoverError::Broken {
            pid: self.pid,
            what,
            source,
        }
    }
}

/// What it offers.
struct Offered {
    program: String,
    watchdog: Option<Duration>,
    sockets: usize,
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "another message was expected")
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
    )
}
