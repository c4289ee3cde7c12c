//! Receives and sends whole records with their type.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, TlsGetRecordType, recvmsg};
use socket2::{MsgHdr, SockRef};

/// TLS record content types, RFC 8446 section 5.1.
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

/// What a record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// Application data.
    Data,
    /// An alert; [`Alert::parse`] reads it.
    Alert,
    /// A handshake message, of which the first byte is the type: 4 a session ticket, 24 a key
    /// update. Several may share a record, and one may span two.
    Handshake,
    /// A change of cipher; TLS 1.3 knows it only during the handshake.
    ChangeCipherSpec,
    /// Any other content type.
    Other(u8),
}

impl RecordKind {
    fn content_type(self) -> u8 {
        match self {
            RecordKind::Data => APPLICATION_DATA,
            RecordKind::Alert => ALERT,
            RecordKind::Handshake => HANDSHAKE,
            RecordKind::ChangeCipherSpec => CHANGE_CIPHER_SPEC,
            RecordKind::Other(content_type) => content_type,
        }
    }
}

impl From<TlsGetRecordType> for RecordKind {
    fn from(kind: TlsGetRecordType) -> Self {
        match kind {
            TlsGetRecordType::ApplicationData => RecordKind::Data,
            TlsGetRecordType::Alert => RecordKind::Alert,
            TlsGetRecordType::Handshake => RecordKind::Handshake,
            TlsGetRecordType::ChangeCipherSpec => RecordKind::ChangeCipherSpec,
            TlsGetRecordType::Unknown(content_type) => RecordKind::Other(content_type),
            _ => RecordKind::Other(0),
        }
    }
}

/// What [`recv_record`] took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// Bytes of one kind, `len` of them at the start of the buffer. Data of several records may
    /// come together; a control record comes alone.
    Content {
        /// What they are.
        kind: RecordKind,
        /// How many, in bytes; may be 0, which is no end.
        len: usize,
        /// The record's last byte is among them. A control record that was cut goes on in the next.
        complete: bool,
    },
    /// FIN, perhaps inside a record. Not a clean end unless a close_notify came before.
    Fin,
}

/// Room for one control message of one byte, aligned as the kernel's header is: `cmsghdr` is a
/// length of pointer size and two ints, then comes the byte, then padding.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

const HEADER_LEN: usize = size_of::<usize>() + 2 * size_of::<i32>();
const CONTROL_LEN: usize = (HEADER_LEN + 1).next_multiple_of(size_of::<usize>());

impl Control {
    fn set_record_type(content_type: u8) -> Self {
        let mut bytes = [0; CONTROL_LEN];
        let level = size_of::<usize>();
        let kind = level + size_of::<i32>();
        bytes[..level].copy_from_slice(&(HEADER_LEN + 1).to_ne_bytes());
        bytes[level..kind].copy_from_slice(&libc::SOL_TLS.to_ne_bytes());
        bytes[kind..HEADER_LEN].copy_from_slice(&libc::TLS_SET_RECORD_TYPE.to_ne_bytes());
        bytes[HEADER_LEN] = content_type;
        Control(bytes)
    }
}

/// Takes the next record, of any kind, from a socket with receive keys.
///
/// `buf` must have room for a byte at least; 16 KiB hold any record.
///
/// # Errors
///
/// `WouldBlock` when no whole record is there, `EBADMSG` and the rest as [`super::Trouble::of`]
/// says, `Unsupported` when the socket has no receive keys: the bytes taken were not protected, and
/// must not be used.
pub fn recv_record(socket: BorrowedFd<'_>, buf: &mut [u8]) -> io::Result<Record> {
    let mut control = Control([0; CONTROL_LEN]);
    let mut vector = [IoSliceMut::new(buf)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut vector,
        Some(&mut control.0),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let kind = message.cmsgs()?.find_map(|message| match message {
        ControlMessageOwned::TlsGetRecordType(kind) => Some(RecordKind::from(kind)),
        _ => None,
    });
    match kind {
        Some(kind) => Ok(Record::Content {
            kind,
            len: message.bytes,
            complete: message.flags.contains(MsgFlags::MSG_EOR),
        }),
        None if message.bytes == 0 => Ok(Record::Fin),
        None => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the socket has no keys to receive with",
        )),
    }
}

/// Sends one record of any kind on a socket with send keys; `content` has 16 KiB at most.
///
/// A record of data that was begun before is ended by it.
///
/// # Errors
///
/// `WouldBlock` when the send buffer is full: nothing was sent. The socket's error otherwise.
/// `ENOPROTOOPT` or `EINVAL` without send keys.
pub fn send_record(socket: BorrowedFd<'_>, kind: RecordKind, content: &[u8]) -> io::Result<usize> {
    let control = Control::set_record_type(kind.content_type());
    let vector = [IoSlice::new(content)];
    let message = MsgHdr::new().with_buffers(&vector).with_control(&control.0);
    SockRef::from(&socket).sendmsg(&message, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
}

/// Tells the peer that nothing more comes: an end, not a cut. Then shut the write side down.
///
/// # Errors
///
/// As for [`send_record`].
pub fn close_notify(socket: BorrowedFd<'_>) -> io::Result<()> {
    let warning_close_notify = [1, Alert::CLOSE_NOTIFY];
    send_record(socket, RecordKind::Alert, &warning_close_notify).map(drop)
}

/// An alert, RFC 8446 section 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The sender ends the connection in error. As TLS 1.3 says, every alert but close_notify and
    /// user_canceled counts, whatever its level; so does a mere warning of TLS 1.2.
    pub fatal: bool,
    /// What happened.
    pub description: u8,
}

impl Alert {
    /// The description of a clean end.
    pub const CLOSE_NOTIFY: u8 = 0;
    const USER_CANCELED: u8 = 90;

    /// Reads the content of an alert record; nothing when it has another form.
    #[must_use]
    pub fn parse(content: &[u8]) -> Option<Self> {
        match *content {
            [level @ 1..=2, description] => Some(Alert {
                fatal: level == 2
                    || !matches!(description, Self::CLOSE_NOTIFY | Self::USER_CANCELED),
                description,
            }),
            _ => None,
        }
    }

    /// The peer sends nothing more, on purpose.
    #[must_use]
    pub fn is_close_notify(self) -> bool {
        self.description == Self::CLOSE_NOTIFY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_parse_by_level_and_description() {
        assert_eq!(
            Alert::parse(&[1, 0]),
            Some(Alert {
                fatal: false,
                description: 0
            })
        );
        assert_eq!(
            Alert::parse(&[1, 90]),
            Some(Alert {
                fatal: false,
                description: 90
            })
        );
        assert_eq!(
            Alert::parse(&[1, 42]),
            Some(Alert {
                fatal: true,
                description: 42
            })
        );
        assert_eq!(
            Alert::parse(&[2, 20]),
            Some(Alert {
                fatal: true,
                description: 20
            })
        );
        assert!(Alert::parse(&[1, 0]).unwrap().is_close_notify());
    }

    #[test]
    fn alerts_of_another_form_are_none() {
        for content in [&[][..], &[1], &[0, 0], &[3, 0], &[1, 0, 0]] {
            assert_eq!(Alert::parse(content), None, "{content:?}");
        }
    }

    #[test]
    fn control_message_has_the_layout_of_libc() {
        let control = Control::set_record_type(ALERT);
        assert_eq!(size_of::<libc::cmsghdr>(), HEADER_LEN);
        assert_eq!(align_of::<Control>() % align_of::<libc::cmsghdr>(), 0);
        let len = HEADER_LEN + 1;
        assert_eq!(control.0[..size_of::<usize>()], len.to_ne_bytes());
        assert_eq!(
            control.0[std::mem::offset_of!(libc::cmsghdr, cmsg_level)..][..4],
            libc::SOL_TLS.to_ne_bytes()
        );
        assert_eq!(
            control.0[std::mem::offset_of!(libc::cmsghdr, cmsg_type)..][..4],
            libc::TLS_SET_RECORD_TYPE.to_ne_bytes()
        );
        assert_eq!(control.0[HEADER_LEN], 21);
    }
}
