//! Names listening sockets, so that another process knows what it gets.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

/// What the service manager takes as the name of a descriptor (sd_pid_notify_with_fds(3)).
const NAME_LIMIT: usize = 255;

/// Where a socket listens, as the process says that made it.
///
/// Its name, by [`Display`](fmt::Display), is printable ASCII without a colon, as the service
/// manager wants the names of descriptors.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// At an address, perhaps one of a group.
    Tcp(SocketAddr),
    /// At a path. The file is named too: another one may have the path by now.
    Unix {
        /// The path.
        path: PathBuf,
        /// Device of the socket file.
        device: u64,
        /// Inode of the socket file.
        inode: u64,
    },
}

impl Place {
    /// The name that the service manager can keep; none for a path of many odd characters.
    pub fn name(&self) -> Option<String> {
        Some(self.to_string()).filter(|name| name.len() <= NAME_LIMIT)
    }

    /// Reads a name.
    pub fn named(name: &str) -> Option<Self> {
        let (kind, rest) = name.split_once('=')?;
        match kind {
            "tcp" => {
                let address = String::from_utf8(unescaped(rest)?).ok()?;
                Some(Self::Tcp(address.parse().ok()?))
            }
            "unix" => {
                let (file, path) = rest.split_once('=')?;
                let (device, inode) = file.split_once('.')?;
                let path = std::ffi::OsString::from_vec(unescaped(path)?);
                Some(Self::Unix {
                    path: path.into(),
                    device: device.parse().ok()?,
                    inode: inode.parse().ok()?,
                })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => {
                f.write_str("tcp=")?;
                escape(address.to_string().as_bytes(), f)
            }
            Self::Unix {
                path,
                device,
                inode,
            } => {
                write!(f, "unix={device}.{inode}=")?;
                escape(path.as_os_str().as_bytes(), f)
            }
        }
    }
}

fn escape(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for &byte in bytes {
        if byte.is_ascii_graphic() && byte != b':' && byte != b'%' {
            f.write_char(byte.into())?;
        } else {
            write!(f, "%{byte:02x}")?;
        }
    }
    Ok(())
}

fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unix(path: &str) -> Place {
        Place::Unix {
            path: path.into(),
            device: 26,
            inode: 41,
        }
    }

    #[test]
    fn name_is_read_back_and_fits_the_service_manager() {
        let tcp = Place::Tcp("[::1]:8131".parse().unwrap());
        let odd = unix("/run/a b:c%=d\u{e9}/s");
        for place in [tcp, unix("/run/eyesplice/egress.sock"), odd] {
            let name = place.name().unwrap();
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic()), "{name}");
            assert!(!name.contains(':'), "{name}");
            assert_eq!(Place::named(&name), Some(place));
        }
        assert_eq!(unix(&":".repeat(107)).name(), None);
    }

    #[test]
    fn name_that_is_none_is_no_place() {
        let none = [
            "",
            "tcp",
            "tcp=",
            "tcp=1.2.3.4",
            "tcp=1.2.3.4%3a99999",
            "tcp=%",
            "tcp=%zz",
            "unix=",
            "unix=/run/s",
            "unix=1=/run/s",
            "unix=1.x=/run/s",
            "stored",
            "udp=1.2.3.4%3a1",
        ];
        for name in none {
            assert_eq!(Place::named(name), None, "{name}");
        }
    }
}
