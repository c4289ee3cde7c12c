//! Gives descriptors to another process, and takes its (SCM_RIGHTS, unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Descriptors of one message, by the kernel's limit (SCM_MAX_FD).
pub const MAX_RIGHTS: usize = 253;

/// Sends bytes in one message, and descriptors with them. Never waits.
///
/// # Errors
///
/// `WouldBlock` when the other side does not read; `ETOOMANYREFS` when as many descriptors are on
/// their way as the user may have open; `EINVAL` for more than [`MAX_RIGHTS`]; `EPIPE`.
pub fn give(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let fds: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let all = [ControlMessage::ScmRights(&fds)];
    let rights: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &all };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let bytes = [IoSlice::new(bytes)];
    // A message of a kind of socket that keeps their bounds goes in one piece, or not at all.
    sendmsg::<()>(socket.as_raw_fd(), &bytes, rights, flags, None)?;
    Ok(())
}

/// Receives one message into `buffer`, and the descriptors that came with it, close-on-exec. Never
/// waits. Nothing received: the other side is gone.
///
/// # Errors
///
/// `WouldBlock` when there is none. `InvalidData` for one that does not fit. `ENOBUFS` when this
/// process may not have as many descriptors as came: those that found room stay open without an
/// owner, so it should end.
pub fn take(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; MAX_RIGHTS]);
    let mut bytes = [IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut bytes,
        Some(&mut space),
        MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    let whole = !message.flags.contains(MsgFlags::MSG_TRUNC);
    let mut fds = Vec::new();
    // Of a message that is cut as well: the kernel has put them into our table.
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = control {
            for fd in received {
                // SAFETY: the kernel has just made this descriptor for this process (recvmsg
                // succeeded, and this is its control message), and nothing else here knows it.
                fds.push(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    if whole {
        Ok((message.bytes, fds))
    } else {
        let why = "message is longer than any that is expected";
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixDatagram;

    #[test]
    fn descriptors_arrive_with_their_message_and_as_many_as_one_can_have() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let many = vec![writer.as_fd(); MAX_RIGHTS];
        give(ours.as_fd(), b"first", &many).unwrap();
        give(ours.as_fd(), b"second", &[]).unwrap();
        drop(writer);
        let mut buffer = [0; 8];
        let (length, fds) = take(theirs.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"first"[..], MAX_RIGHTS));
        let mut files = fds.into_iter().map(File::from);
        files.next_back().unwrap().write_all(b"x").unwrap();
        drop(files);
        let mut written = Vec::new();
        reader.read_to_end(&mut written).unwrap();
        assert_eq!(written, b"x");
        let (length, fds) = take(theirs.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fds.len()), (&b"second"[..], 0));
        let error = take(theirs.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn message_that_does_not_fit_is_an_error() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        give(ours.as_fd(), b"12345", &[]).unwrap();
        let error = take(theirs.as_fd(), &mut [0; 4]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn more_descriptors_than_a_message_can_have_are_refused() {
        let (ours, _theirs) = UnixDatagram::pair().unwrap();
        let many = vec![ours.as_fd(); MAX_RIGHTS + 1];
        assert!(give(ours.as_fd(), b"x", &many).is_err());
    }
}
