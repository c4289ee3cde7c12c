//! Hands a TCP socket's TLS records to the kernel.

use std::io;
use std::os::fd::BorrowedFd;

use nix::errno::Errno;
use nix::sys::socket::sockopt::{TcpTlsRx, TcpTlsTx, TcpUlp, TlsCryptoInfo};
use nix::sys::socket::{SetSockOpt, setsockopt};
use thiserror::Error;
use zeroize::Zeroize;

use super::keys::{Cipher, Keys, Version};

/// Which step of the hand-over failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
pub enum InstallStep {
    /// [`set_ulp`].
    #[display("attach kernel TLS to the socket")]
    Ulp,
    /// [`install_tx`].
    #[display("give the kernel the keys to send with")]
    Tx,
    /// [`install_rx`].
    #[display("give the kernel the keys to receive with")]
    Rx,
}

/// Why the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, derive_more::Display)]
pub enum Obstacle {
    /// The kernel has no TLS, or its module is not loaded.
    #[display("the kernel has no TLS")]
    NoKernelTls,
    /// The module of the cipher is not loaded.
    #[display("the kernel does not have the cipher")]
    NoCipherModule,
    /// This kernel does not know the version or cipher.
    #[display("the kernel does not know the version or cipher")]
    Unsupported,
    /// The connection is not established, or the peer has ended it already.
    #[display("the connection is not established or has ended")]
    NotConnected,
    /// It was done before.
    #[display("it was done before")]
    AlreadyDone,
    /// Something else; the source says.
    #[display("the kernel refused")]
    Other,
}

impl Obstacle {
    fn of(step: InstallStep, errno: Errno) -> Self {
        match (step, errno) {
            (InstallStep::Ulp, Errno::ENOENT) => Obstacle::NoKernelTls,
            (_, Errno::ENOENT) => Obstacle::NoCipherModule,
            // Keys without the ULP are an option of an unknown level.
            (_, Errno::ENOPROTOOPT) => Obstacle::NoKernelTls,
            (_, Errno::EINVAL) => Obstacle::Unsupported,
            (_, Errno::ENOTCONN) => Obstacle::NotConnected,
            (_, Errno::EEXIST | Errno::EBUSY) => Obstacle::AlreadyDone,
            _ => Obstacle::Other,
        }
    }
}

impl Obstacle {
    /// What an operator can do about it, if anything.
    #[must_use]
    pub fn remedy(self) -> Option<&'static str> {
        match self {
            Obstacle::NoKernelTls => {
                Some("load the kernel module `tls` on the node, or use a kernel with CONFIG_TLS")
            }
            Obstacle::NoCipherModule => {
                Some("load the cipher's kernel modules on the node: gcm, or chacha20poly1305")
            }
            Obstacle::Unsupported => Some("use a newer kernel"),
            Obstacle::NotConnected | Obstacle::AlreadyDone | Obstacle::Other => None,
        }
    }
}

/// The kernel did not take a connection over.
#[derive(Debug, Error)]
#[error("cannot {step}: {obstacle}{}", or_do(.obstacle.remedy()))]
pub struct InstallError {
    /// What was attempted.
    pub step: InstallStep,
    /// Why it failed.
    pub obstacle: Obstacle,
    /// The kernel's own word.
    pub source: io::Error,
}

fn or_do(remedy: Option<&str>) -> String {
    remedy.map_or_else(String::new, |remedy| format!("; {remedy}"))
}

impl InstallError {
    fn new(step: InstallStep, errno: Errno) -> Self {
        InstallError {
            step,
            obstacle: Obstacle::of(step, errno),
            source: errno.into(),
        }
    }
}

/// Attaches kernel TLS to an established TCP socket; bytes pass unchanged until keys are installed.
///
/// Do it right after accept or connect: it fails once the peer has sent FIN. May load the kernel's
/// module when the process has CAP_NET_ADMIN.
///
/// # Errors
///
/// [`Obstacle::NoKernelTls`] is the usual one; the socket stays as it was.
pub fn set_ulp(socket: BorrowedFd<'_>) -> Result<(), InstallError> {
    setsockopt(&socket, TcpUlp::default(), b"tls")
        .map_err(|errno| InstallError::new(InstallStep::Ulp, errno))
}

/// Lets the kernel protect what is sent from now on. Cannot be undone.
///
/// # Errors
///
/// See [`Obstacle`]; the socket still sends bytes unchanged then.
pub fn install_tx(socket: BorrowedFd<'_>, keys: &Keys) -> Result<(), InstallError> {
    install(socket, TcpTlsTx, InstallStep::Tx, keys)
}

/// Lets the kernel open the records that come from now on. Cannot be undone.
///
/// # Errors
///
/// See [`Obstacle`]; the socket still receives bytes unchanged then.
pub fn install_rx(socket: BorrowedFd<'_>, keys: &Keys) -> Result<(), InstallError> {
    install(socket, TcpTlsRx, InstallStep::Rx, keys)
}

fn install(
    socket: BorrowedFd<'_>,
    option: impl SetSockOpt<Val = TlsCryptoInfo>,
    step: InstallStep,
    keys: &Keys,
) -> Result<(), InstallError> {
    setsockopt(&socket, option, &Layout::of(keys).0).map_err(|errno| InstallError::new(step, errno))
}

/// The kernel's layout of [`Keys`], wiped on drop: libc's types do not do that.
struct Layout(TlsCryptoInfo);

impl Layout {
    fn of(keys: &Keys) -> Self {
        let info = |cipher_type| libc::tls_crypto_info {
            version: match keys.version {
                Version::Tls12 => libc::TLS_1_2_VERSION,
                Version::Tls13 => libc::TLS_1_3_VERSION,
            },
            cipher_type,
        };
        let rec_seq = keys.sequence.to_be_bytes();
        Layout(match keys.cipher {
            Cipher::Aes128Gcm => TlsCryptoInfo::Aes128Gcm(libc::tls12_crypto_info_aes_gcm_128 {
                info: info(libc::TLS_CIPHER_AES_GCM_128),
                salt: part(&keys.iv[..4]),
                iv: part(&keys.iv[4..]),
                key: part(keys.key()),
                rec_seq,
            }),
            Cipher::Aes256Gcm => TlsCryptoInfo::Aes256Gcm(libc::tls12_crypto_info_aes_gcm_256 {
                info: info(libc::TLS_CIPHER_AES_GCM_256),
                salt: part(&keys.iv[..4]),
                iv: part(&keys.iv[4..]),
                key: part(keys.key()),
                rec_seq,
            }),
            Cipher::ChaCha20Poly1305 => {
                TlsCryptoInfo::Chacha20Poly1305(libc::tls12_crypto_info_chacha20_poly1305 {
                    info: info(libc::TLS_CIPHER_CHACHA20_POLY1305),
                    iv: keys.iv,
                    key: part(keys.key()),
                    salt: [],
                    rec_seq,
                })
            }
        })
    }
}

/// Copies a slice whose length is fixed by the cipher; anything else would be a bug of this file.
fn part<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes
        .try_into()
        .expect("a part of a key has its cipher's length")
}

impl Drop for Layout {
    fn drop(&mut self) {
        match &mut self.0 {
            TlsCryptoInfo::Aes128Gcm(info) => {
                info.key.zeroize();
                info.iv.zeroize();
                info.salt.zeroize();
            }
            TlsCryptoInfo::Aes256Gcm(info) => {
                info.key.zeroize();
                info.iv.zeroize();
                info.salt.zeroize();
            }
            TlsCryptoInfo::Chacha20Poly1305(info) => {
                info.key.zeroize();
                info.iv.zeroize();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obstacles_follow_from_step_and_errno() {
        use InstallStep::{Rx, Tx, Ulp};
        for (step, errno, expected) in [
            (Ulp, Errno::ENOENT, Obstacle::NoKernelTls),
            (Ulp, Errno::ENOTCONN, Obstacle::NotConnected),
            (Ulp, Errno::EEXIST, Obstacle::AlreadyDone),
            (Tx, Errno::ENOENT, Obstacle::NoCipherModule),
            (Rx, Errno::ENOENT, Obstacle::NoCipherModule),
            (Rx, Errno::EINVAL, Obstacle::Unsupported),
            (Tx, Errno::EBUSY, Obstacle::AlreadyDone),
            (Tx, Errno::ENOPROTOOPT, Obstacle::NoKernelTls),
            (Tx, Errno::ENOMEM, Obstacle::Other),
        ] {
            assert_eq!(Obstacle::of(step, errno), expected, "{step:?} {errno}");
        }
    }

    #[test]
    fn layout_splits_the_iv_for_gcm_and_not_for_chacha() {
        let iv = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        let keys = |cipher: Cipher| {
            Keys::new(Version::Tls13, cipher, &vec![9; cipher.key_len()], &iv, 258).unwrap()
        };
        let TlsCryptoInfo::Aes128Gcm(gcm) = Layout::of(&keys(Cipher::Aes128Gcm)).0 else {
            panic!("another cipher")
        };
        assert_eq!(
            (gcm.salt, gcm.iv),
            ([0, 1, 2, 3], [4, 5, 6, 7, 8, 9, 10, 11])
        );
        assert_eq!(gcm.rec_seq, [0, 0, 0, 0, 0, 0, 1, 2]);
        let TlsCryptoInfo::Chacha20Poly1305(chacha) = Layout::of(&keys(Cipher::ChaCha20Poly1305)).0
        else {
            panic!("another cipher")
        };
        assert_eq!(chacha.iv, iv);
        assert_eq!(chacha.info.version, libc::TLS_1_3_VERSION);
    }
}
