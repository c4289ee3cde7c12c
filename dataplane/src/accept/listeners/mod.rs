//! Binds the listeners: one owner for each address and each path.
//!
//! Who starts right behind a process that was killed may find its sockets still there for a moment:
//! io_uring lets go of what it polls only when the kernel gets to it. So a start has some patience.

use crate::config::{Bind, EngineConfig, Listener, ListenerConfig};
use crate::error::StartError;
use crate::limits::{BACKLOG, RELEASE_LOOK, RELEASE_LOOK_FIRST, RELEASED_WITHIN};
use crate::seam::ListenerName;
use eyesplice_sys::socket::{self, Address, ListenUnixError, Ownership, SocketFile};
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
    pub(crate) socket_files: Vec<SocketFile>,
}

impl Listeners {
    /// Binds all listeners of a configuration. Blocks, for as long as another process has one of them
    /// and might be about to let it go.
    ///
    /// # Errors
    /// The first that cannot be bound; nothing stays behind.
    pub fn bind(config: &EngineConfig) -> Result<Self, StartError> {
        let workers = config.workers.max(1);
        let mut bound = Self::default();
        bound.per_worker.resize_with(workers, Vec::new);
        for listener in &config.listeners {
            match &listener.bind {
                Bind::Tcp(address) => bound.tcp(&of(listener), *address)?,
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
                    bound.unix(&of(listener), path, *mode, owner)?;
                }
            }
        }
        Ok(bound)
    }

    /// The bound addresses of TCP listeners, in configuration order (port 0 is resolved).
    pub fn tcp_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.tcp_addresses.iter().map(|(_, address)| *address)
    }

    fn tcp(&mut self, listener: &Listener, asked: SocketAddr) -> Result<(), StartError> {
        let name = &listener.name;
        let workers = self.per_worker.len();
        let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        let group = patiently(|| socket::listen_tcp_group(asked, workers, BACKLOG), in_use);
        let group = group.map_err(|source| {
            if in_use(&source) {
                StartError::InUse {
                    name: Arc::clone(name),
                    address: asked,
                }
            } else {
                failed(name, asked.to_string(), source)
            }
        })?;
        let mut address = asked;
        for (sockets, fd) in self.per_worker.iter_mut().zip(group) {
            if let Ok(Address::Ip(local)) = socket::local_address(fd.as_fd()) {
                address = local;
            }
            sockets.push((listener.clone(), fd));
        }
        self.tcp_addresses.push((Arc::clone(name), address));
        Ok(())
    }

    fn unix(
        &mut self,
        listener: &Listener,
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
        let (fd, file) = listening
            .map_err(|error| failed(name, path.display().to_string(), io::Error::other(error)))?;
        // One worker takes them for all: were it all of them, each connection would wake them all.
        let taker = self.socket_files.len() % self.per_worker.len();
        if let Some(sockets) = self.per_worker.get_mut(taker) {
            sockets.push((listener.clone(), fd));
        }
        self.socket_files.push(file);
        Ok(())
    }
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
