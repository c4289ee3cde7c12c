//! What a test is repeated over: transports, TLS versions, and the strategy of the environment.

use crate::skip::skipped;
use eyesplice_dataplane::backend::IoPolicy;
use eyesplice_dataplane::cipher::{self, CryptoPolicy};
use eyesplice_dataplane::engine::KtlsPolicy;
use eyesplice_proto::tls::RecordLibrary;
use eyesplice_sys::uring::Backend;
use rustls::SupportedProtocolVersion;
use rustls::version::{TLS12, TLS13};
use std::fmt;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;

/// How the API server reaches the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A UNIX socket.
    Unix,
    /// TCP with mutual TLS: what is terminated is TLS inside of TLS.
    Tcp,
}

/// One cell of the matrix.
#[derive(Clone, Copy)]
pub struct Variant {
    /// How the API server reaches the gateway.
    pub transport: Transport,
    /// The version that both fakes speak, on every hop.
    pub tls: &'static SupportedProtocolVersion,
}

/// UNIX socket, TLS 1.3.
pub const UNIX_TLS13: Variant = Variant {
    transport: Transport::Unix,
    tls: &TLS13,
};
/// UNIX socket, TLS 1.2.
pub const UNIX_TLS12: Variant = Variant {
    transport: Transport::Unix,
    tls: &TLS12,
};
/// TCP, TLS 1.3.
pub const TCP_TLS13: Variant = Variant {
    transport: Transport::Tcp,
    tls: &TLS13,
};
/// TCP, TLS 1.2.
pub const TCP_TLS12: Variant = Variant {
    transport: Transport::Tcp,
    tls: &TLS12,
};

impl fmt::Debug for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?}", self.transport, self.tls.version)
    }
}

/// The strategy that `EYESPLICE_TEST_KTLS` asks for: `off` (the default), `auto` or `require`.
///
/// # Panics
/// On any other value.
pub fn ktls_policy() -> KtlsPolicy {
    match std::env::var("EYESPLICE_TEST_KTLS").as_deref() {
        Err(_) | Ok("" | "off") => KtlsPolicy::Off,
        Ok("auto") => KtlsPolicy::Auto,
        Ok("require") => KtlsPolicy::Require,
        Ok(other) => panic!("EYESPLICE_TEST_KTLS={other}: use off, auto or require"),
    }
}

/// What waits for descriptors, as `EYESPLICE_TEST_IO` asks: `io_uring` (the default) or `epoll`.
///
/// # Panics
/// On any other value.
pub fn io_policy() -> IoPolicy {
    match std::env::var("EYESPLICE_TEST_IO").as_deref() {
        Err(_) | Ok("" | "io_uring") => IoPolicy::default(),
        Ok("epoll") => IoPolicy::Fixed(Backend::Epoll),
        Ok(other) => panic!("EYESPLICE_TEST_IO={other}: use io_uring or epoll"),
    }
}

/// What protects records, as `EYESPLICE_TEST_CRYPTO` asks: `auto` (the default), or the `other`
/// library than `auto` takes here, if the build has two.
///
/// # Panics
/// On any other value.
pub fn crypto_policy() -> CryptoPolicy {
    match std::env::var("EYESPLICE_TEST_CRYPTO").as_deref() {
        Err(_) | Ok("" | "auto") => CryptoPolicy::Auto,
        Ok("other") => {
            let usual = cipher::choose(CryptoPolicy::Auto).library;
            let mut built = RecordLibrary::BUILT.iter().copied();
            let other = built.find(|library| *library != usual);
            other.map_or(CryptoPolicy::Auto, CryptoPolicy::Fixed)
        }
        Ok(other) => panic!("EYESPLICE_TEST_CRYPTO={other}: use auto or other"),
    }
}

/// Whether this kernel has kernel TLS at all.
pub fn kernel_has_tls() -> bool {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    eyesplice_sys::ktls::set_ulp(client.as_fd()).is_ok()
}

/// Whether this process can do what the environment asks for; says aloud what it cannot.
pub fn can_run(name: &str) -> bool {
    if ktls_policy() == KtlsPolicy::Require && !kernel_has_tls() {
        skipped(
            name,
            "EYESPLICE_TEST_KTLS=require, and this kernel has no kernel TLS",
        );
        return false;
    }
    true
}

/// Runs a test in one cell.
pub fn run(name: &str, variant: Variant, test: impl FnOnce(Variant)) {
    if can_run(&format!("{name} ({variant:?})")) {
        test(variant);
    }
}

/// Makes a `#[test]` of each function in each cell of the matrix: `unix_tls13::name` and so on.
/// `transports:` in front takes one TLS version per transport, for tests that take time and do not
/// depend on it; `tcp:` takes both versions over TCP, for listeners that are nothing else.
#[macro_export]
macro_rules! matrix {
    (tcp: $($test:ident),+ $(,)?) => {
        $crate::matrix!(@cell tcp_tls13, TCP_TLS13, $($test),+);
        $crate::matrix!(@cell tcp_tls12, TCP_TLS12, $($test),+);
    };
    (transports: $($test:ident),+ $(,)?) => {
        $crate::matrix!(@cell unix_tls13, UNIX_TLS13, $($test),+);
        $crate::matrix!(@cell tcp_tls12, TCP_TLS12, $($test),+);
    };
    ($($test:ident),+ $(,)?) => {
        $crate::matrix!(@cell unix_tls13, UNIX_TLS13, $($test),+);
        $crate::matrix!(@cell unix_tls12, UNIX_TLS12, $($test),+);
        $crate::matrix!(@cell tcp_tls13, TCP_TLS13, $($test),+);
        $crate::matrix!(@cell tcp_tls12, TCP_TLS12, $($test),+);
    };
    (@cell $module:ident, $variant:ident, $($test:ident),+) => {
        mod $module {
            $(#[test]
            fn $test() {
                $crate::variant::run(stringify!($test), $crate::variant::$variant, super::$test);
            })+
        }
    };
}
