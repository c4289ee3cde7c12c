//! Listening sockets that another process made, until somebody here wants them.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use socket2::SockRef;

use super::address::{Address, local_address};
use super::file::{SocketFile, is_at};
use super::place::Place;
use super::unix::Ownership;

/// Listening sockets of a process before this one, or of the service manager.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(Place, OwnedFd)>,
}

/// Where a process is to listen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Addresses.
    pub addresses: Vec<SocketAddr>,
    /// Paths.
    pub paths: Vec<PathBuf>,
}

impl Inherited {
    /// Adds a socket by its name, if it is what its name says: a listening socket, at this address
    /// or with this file.
    ///
    /// # Errors
    ///
    /// What it is instead; the descriptor is closed.
    pub fn add(&mut self, name: &str, fd: OwnedFd) -> Result<(), &'static str> {
        let place = Place::named(name).ok_or("its name says no place")?;
        let socket = SockRef::from(&fd);
        if !socket.is_listener().unwrap_or(false) {
            return Err("it is no listening socket");
        }
        let local = local_address(fd.as_fd());
        let right = match (&place, local) {
            (Place::Tcp(address), Ok(Address::Ip(local))) => local == *address,
            (
                Place::Unix {
                    path,
                    device,
                    inode,
                },
                Ok(Address::Unix),
            ) => is_at(path, *device, *inode),
            _ => false,
        };
        if !right {
            return Err("it is not where its name says, or its file is gone");
        }
        // Of the description, which its maker made so: for one that comes from elsewhere.
        socket
            .set_nonblocking(true)
            .map_err(|_| "it cannot be used without waiting")?;
        self.sockets.push((place, fd));
        Ok(())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sockets.is_empty()
    }

    /// Closes those that nobody wants, and says where they listened.
    pub fn keep_only(&mut self, wanted: &Wanted) -> Vec<Place> {
        let (kept, closed) = std::mem::take(&mut self.sockets)
            .into_iter()
            .partition::<Vec<_>, _>(|(place, _)| wanted.has(place));
        self.sockets = kept;
        let places: HashSet<Place> = closed.into_iter().map(|(place, _)| place).collect();
        places.into_iter().collect()
    }

    /// Takes all sockets at an address.
    pub fn take_tcp(&mut self, address: SocketAddr) -> Vec<OwnedFd> {
        let address = canonical(address);
        let all = std::mem::take(&mut self.sockets).into_iter();
        let (taken, left) = all.partition::<Vec<_>, _>(|(place, _)| *place == Place::Tcp(address));
        self.sockets = left;
        taken.into_iter().map(|(_, fd)| fd).collect()
    }

    /// Takes the socket at a path, which has this mode and owner from now on.
    ///
    /// # Errors
    ///
    /// The mode or the owner cannot be set.
    pub fn take_unix(
        &mut self,
        path: &Path,
        mode: u32,
        owner: Ownership,
    ) -> io::Result<Option<(OwnedFd, SocketFile)>> {
        let at = |(place, _): &(Place, OwnedFd)| match place {
            Place::Unix { path: at, .. } => at == path,
            Place::Tcp(_) => false,
        };
        let Some(index) = self.sockets.iter().position(at) else {
            return Ok(None);
        };
        let (_, fd) = self.sockets.swap_remove(index);
        let file = SocketFile::taken(path, mode, owner)?;
        Ok(Some((fd, file)))
    }
}

impl Wanted {
    fn has(&self, place: &Place) -> bool {
        match place {
            Place::Tcp(address) => {
                let mut addresses = self.addresses.iter();
                addresses.any(|wanted| canonical(*wanted) == *address)
            }
            Place::Unix { path, .. } => self.paths.contains(path),
        }
    }
}

/// As [`local_address`] says it.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Where a TCP socket listens.
///
/// # Errors
///
/// It is none.
pub fn tcp_place(socket: BorrowedFd<'_>) -> io::Result<Place> {
    match local_address(socket)? {
        Address::Ip(address) => Ok(Place::Tcp(address)),
        Address::Unix => Err(io::ErrorKind::InvalidInput.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{listen_tcp_group, listen_unix};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::net::UnixStream;

    const OWN: Ownership = Ownership {
        uid: None,
        gid: None,
    };

    fn group(count: usize) -> (SocketAddr, Vec<OwnedFd>) {
        let any = "127.0.0.1:0".parse().unwrap();
        let group = listen_tcp_group(any, count, 16).unwrap();
        let Address::Ip(address) = local_address(group[0].as_fd()).unwrap() else {
            panic!("no TCP");
        };
        (address, group)
    }

    #[test]
    fn group_is_taken_whole_and_once() {
        let (address, sockets) = group(3);
        let mut inherited = Inherited::default();
        for socket in sockets {
            let name = tcp_place(socket.as_fd()).unwrap().name().unwrap();
            inherited.add(&name, socket).unwrap();
        }
        assert_eq!(inherited.take_tcp("127.0.0.1:1".parse().unwrap()).len(), 0);
        assert_eq!(inherited.take_tcp(address).len(), 3);
        assert_eq!(inherited.take_tcp(address).len(), 0);
        assert!(inherited.is_empty());
    }

    #[test]
    fn socket_that_is_not_what_its_name_says_is_refused() {
        let (_, mut sockets) = group(1);
        let mut inherited = Inherited::default();
        let elsewhere = inherited.add("tcp=127.0.0.1%3a1", sockets.remove(0));
        assert!(elsewhere.unwrap_err().contains("not where"));
        let (one, _other) = UnixStream::pair().unwrap();
        let connected = inherited.add("unix=1.2=/run/s", one.into());
        assert!(connected.unwrap_err().contains("no listening"));
        assert!(inherited.is_empty());
    }

    #[test]
    fn path_is_taken_with_another_mode_and_given_back_if_nobody_keeps_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let (fd, file) = listen_unix(&path, 0o600, OWN, 16).unwrap();
        for keeps in [false, true] {
            let mut inherited = Inherited::default();
            let name = file.place().name().unwrap();
            inherited.add(&name, fd.try_clone().unwrap()).unwrap();
            let taken = inherited.take_unix(&path, 0o660, OWN).unwrap();
            let (taken, mut taken_file) = taken.unwrap();
            assert_eq!(mode(), 0o660);
            if keeps {
                taken_file.keep();
            }
            drop((taken, taken_file));
            assert_eq!(path.exists(), !keeps);
            if !keeps {
                assert_eq!(mode(), 0o600);
                UnixStream::connect(&path).unwrap();
            }
        }
        drop(file);
    }

    #[test]
    fn path_that_another_file_has_is_not_taken() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (fd, file) = listen_unix(&path, 0o600, OWN, 16).unwrap();
        let name = file.place().name().unwrap();
        fs::rename(&path, directory.path().join("other")).unwrap();
        let _another = listen_unix(&path, 0o600, OWN, 16).unwrap();
        assert!(Inherited::default().add(&name, fd).is_err());
    }

    #[test]
    fn what_nobody_wants_is_closed_and_named_once() {
        let (address, sockets) = group(2);
        let (kept, more) = group(1);
        let mut inherited = Inherited::default();
        for socket in sockets.into_iter().chain(more) {
            let name = tcp_place(socket.as_fd()).unwrap().name().unwrap();
            inherited.add(&name, socket).unwrap();
        }
        let wanted = Wanted {
            addresses: vec![kept],
            paths: Vec::new(),
        };
        assert_eq!(inherited.keep_only(&wanted), [Place::Tcp(address)]);
        assert!(std::net::TcpStream::connect(address).is_err());
        assert_eq!(inherited.take_tcp(kept).len(), 1);
    }
}
