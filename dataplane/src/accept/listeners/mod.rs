//! Binds the listeners: one owner for each address and each path.
//!
//! Who starts right behind a process that was killed may find its sockets still there for a moment:
//! io_uring lets go of what it polls only when the kernel gets to it. So a start has some patience.

use crate::config::{Bind, EngineConfig, Listener, ListenerConfig};
use crate::error::StartError;
use crate::limits::{BACKLOG, RELEASE_LOOK, RELEASE_LOOK_FIRST, RELEASED_WITHIN};
use crate::liveness::Liveness;
use crate::seam::ListenerName;
use eyesplice_sys::socket::{
    self, Address, Inherited, ListenUnixError, Ownership, Place, SocketFile,
};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Sockets that listen; who connects waits until an engine has them.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Each worker's listening sockets.
    pub(crate) per_worker: Vec<Vec<(Listener, OwnedFd)>>,
    pub(crate) tcp_addresses: Vec<(ListenerName, SocketAddr)>,
    /// Whose the socket files are.
    unix_names: Vec<ListenerName>,
    pub(crate) socket_files: Vec<SocketFile>,
}

impl Listeners {
    /// Binds all listeners of a configuration. Blocks, for as long as another process has one of them
    /// and might be about to let it go.
    ///
    /// # Errors
    /// The first that cannot be bound; nothing stays behind.
    pub fn bind(config: &EngineConfig) -> Result<Self, StartError> {
        Self::take(config, &mut Inherited::default())
    }

    /// The same with the sockets of a process before this one, where they are at the same addresses
    /// and paths. A group has as many sockets as it had: one more would take connections from the
    /// others, and lose those that it holds if this process failed.
    ///
    /// # Errors
    /// As those of [`Listeners::bind`].
    pub fn take(config: &EngineConfig, inherited: &mut Inherited) -> Result<Self, StartError> {
        let workers = config.workers.max(1);
        let mut bound = Self::default();
        bound.per_worker.resize_with(workers, Vec::new);
        for listener in &config.listeners {
            match &listener.bind {
                Bind::Tcp(address) => {
                    let taken = inherited.take_tcp(*address);
                    bound.tcp(&of(listener), *address, taken, Liveness::of(config))?;
                }
                Bind::Unix {
                    path,
                    mode,
                    uid,
                    gid,
                } => {
                    let owner = Ownership {
                        uid: *uid,
                        gid: *gid,
                    };
                    let taken = inherited.take_unix(path, *mode, owner);
                    let of = of(listener);
                    let taken = taken
                        .map_err(|source| failed(&of.name, path.display().to_string(), source))?;
                    match taken {
                        Some(taken) => bound.unix(of, taken),
                        None => bound.unix_at(of, path, *mode, owner)?,
                    }
                }
            }
        }
        Ok(bound)
    }

    /// The bound addresses of TCP listeners, in configuration order (port 0 is resolved).
    pub fn tcp_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.tcp_addresses.iter().map(|(_, address)| *address)
    }

    /// Second descriptors of all sockets, with where they listen: for another process.
    ///
    /// # Errors
    /// Descriptors ran out.
    pub fn second(&self) -> io::Result<Vec<(Place, OwnedFd)>> {
        let sockets = self.per_worker.iter().flatten();
        sockets
            .map(|(listener, fd)| {
                let mut files = self.unix_names.iter().zip(&self.socket_files);
                let place = match files.find(|(name, _)| **name == listener.name) {
                    Some((_, file)) => file.place(),
                    None => socket::tcp_place(fd.as_fd())?,
                };
                Ok((place, fd.try_clone()?))
            })
            .collect()
    }

    /// Sockets at an address: those that another process had, or new ones.
    fn tcp(
        &mut self,
        listener: &Listener,
        asked: SocketAddr,
        taken: Vec<OwnedFd>,
        liveness: Liveness,
    ) -> Result<(), StartError> {
        let name = &listener.name;
        let workers = self.per_worker.len();
        let group = if taken.is_empty() {
            new_group(name, asked, workers)?
        } else {
            taken
        };
        let mut address = asked;
        for (index, fd) in group.into_iter().enumerate() {
            liveness.apply_to_listener(fd.as_fd());
            if let Ok(Address::Ip(local)) = socket::local_address(fd.as_fd()) {
                address = local;
            }
            if let Some(sockets) = self.per_worker.get_mut(index % workers) {
                sockets.push((listener.clone(), fd));
            }
        }
        self.tcp_addresses.push((Arc::clone(name), address));
        Ok(())
    }

    /// Listens at a path.
    fn unix_at(
        &mut self,
        listener: Listener,
        path: &Path,
        mode: u32,
        owner: Ownership,
    ) -> Result<(), StartError> {
        let name = &listener.name;
        let in_use = |error: &ListenUnixError| {
            matches!(
                error,
                ListenUnixError::InUse { .. } | ListenUnixError::Contended { .. }
            )
        };
        let listening = patiently(|| socket::listen_unix(path, mode, owner, BACKLOG), in_use);
        let listening = listening
            .map_err(|error| failed(name, path.display().to_string(), io::Error::other(error)))?;
        self.unix(listener, listening);
        Ok(())
    }

    /// One worker takes the connections of a path for all: were it all of them, each connection
    /// would wake them all.
    fn unix(&mut self, listener: Listener, (fd, file): (OwnedFd, SocketFile)) {
        let taker = self.socket_files.len() % self.per_worker.len();
        self.unix_names.push(Arc::clone(&listener.name));
        self.socket_files.push(file);
        if let Some(sockets) = self.per_worker.get_mut(taker) {
            sockets.push((listener, fd));
        }
    }
}

/// Listens at an address with a socket for each worker.
fn new_group(
    name: &ListenerName,
    asked: SocketAddr,
    workers: usize,
) -> Result<Vec<OwnedFd>, StartError> {
    let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
    let group = patiently(|| socket::listen_tcp_group(asked, workers, BACKLOG), in_use);
    group.map_err(|source| {
        if in_use(&source) {
            StartError::InUse {
                name: Arc::clone(name),
                address: asked,
            }
        } else {
            failed(name, asked.to_string(), source)
        }
    })
}

fn of(config: &ListenerConfig) -> Listener {
    Listener {
        name: Arc::clone(&config.name),
        role: config.role,
    }
}

fn failed(name: &ListenerName, address: String, source: io::Error) -> StartError {
    StartError::Bind {
        name: Arc::clone(name),
        address,
        source,
    }
}

/// Tries again while another process has what is asked for, each time later: a look at a UNIX socket
/// is a connection to whoever listens.
fn patiently<T, E>(
    attempt: impl Fn() -> Result<T, E>,
    in_use: impl Fn(&E) -> bool,
) -> Result<T, E> {
    let until = Instant::now() + RELEASED_WITHIN;
    let mut pause = RELEASE_LOOK_FIRST;
    loop {
        match attempt() {
            Err(error) if in_use(&error) && Instant::now() < until => {
                std::thread::sleep(pause);
                pause = (pause * 2).min(RELEASE_LOOK);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
