//! Finds the client's certificates in a session as rustls writes it into a ticket.
//!
//! That form is rustls' own business (`msgs/persist.rs`, `ServerSessionValue`), and may change: a session
//! that does not read as expected gets no ticket, and a test with a real handshake says so. Nobody is
//! trusted by what is read here.

use x509_parser::prelude::{FromDer, X509Certificate};

/// When the first certificate of the client's chain ends, in seconds since 1970; never, if it showed
/// none. `None`: not to be told, or past.
pub(super) fn client_end(session: &[u8]) -> Option<u64> {
    let mut rest = session;
    if flag(&mut rest)? {
        vector(&mut rest, 1)?; // the server's name
    }
    take(&mut rest, 4)?; // version and cipher suite
    vector(&mut rest, 1)?; // the secret
    flag(&mut rest)?; // extended master secret
    if !flag(&mut rest)? {
        return Some(u64::MAX);
    }
    let mut chain = vector(&mut rest, 3)?;
    let mut end = u64::MAX;
    while !chain.is_empty() {
        let (_, certificate) = X509Certificate::from_der(vector(&mut chain, 3)?).ok()?;
        let not_after = certificate.validity().not_after.timestamp();
        end = end.min(u64::try_from(not_after).ok()?);
    }
    Some(end)
}

fn take<'a>(rest: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

fn flag(rest: &mut &[u8]) -> Option<bool> {
    match take(rest, 1)? {
        [0] => Some(false),
        [1] => Some(true),
        _ => None,
    }
}

/// A vector whose length stands in `width` bytes before it.
fn vector<'a>(rest: &mut &'a [u8], width: usize) -> Option<&'a [u8]> {
    let length = take(rest, width)?;
    let length = length
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    take(rest, length)
}
