//! Kernel TLS: the kernel protects a TCP socket's records with keys from a finished handshake.
//!
//! Order of a hand-over: [`set_ulp`] when the connection was made; handshake in user space; every
//! byte of ciphertext that user space read must be finished there, up to a record boundary; then
//! [`install_tx`] and [`install_rx`], each once. Afterwards plain `send`, `recv` and `splice` carry
//! application data.
//!
//! Traps, each met on Linux 6.1 or 6.12:
//! - A control record (alert, session ticket, key update) makes `recv` fail with `EIO` and `splice`
//!   with `EINVAL` until [`recv_record`] took it; [`Trouble::of`] tells. Data before it comes
//!   first.
//! - Half a record makes the socket readable although nothing can be read: [`RecordWait`] keeps the
//!   reader from spinning.
//! - A read whose low-water mark (SO_RCVLOWAT) is above what it found takes the error of a reset,
//!   and returns the data alone; the next one says FIN. [`RecordWait`] lowers the mark for reads.
//! - A FIN without close_notify, even inside a record, reads as an end. Only a close_notify that
//!   [`recv_record`] returned is a clean one.
//! - Neither `close` nor `shutdown` sends close_notify: [`close_notify`] does.
//! - After a peer's key update the connection cannot go on, before Linux 6.14 at least.
//! - Closing with unread session tickets sends RST, and data on the way to the peer can be lost.
//! - The record count belongs to whoever installed the keys: AES-GCM may protect 2^24 records with
//!   one key (RFC 8446, section 5.5), and nothing here counts them.

mod install;
mod keys;
mod record;
mod trouble;
mod wait;

pub use install::{InstallError, InstallStep, Obstacle, install_rx, install_tx, set_ulp};
pub use keys::{Cipher, Keys, Version, WrongKeyLength};
pub use record::{Alert, Record, RecordKind, close_notify, recv_record, send_record};
pub use trouble::Trouble;
pub use wait::{Next, RecordWait};
