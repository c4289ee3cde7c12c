//! Session tickets of our TLS servers, with which a client resumes a session on whichever worker.
//!
//! A ticket is a sealed copy of the session, so that nothing is kept and no worker asks another. Its
//! keys belong to one loaded configuration: after a reload every client shows its certificate again.
//! It is bound to the certificate that was served, and ends with the client's own certificates: a
//! client that renewed its certificate is taken through a full handshake and not refused for the
//! old one. Who resumes is verified again all the same, by the engine (`proto/tls/resumed.rs`).

mod session;

use ring::digest::{Context, Digest, SHA256, SHA256_OUTPUT_LEN};
use rustls::ServerConfig;
use rustls::crypto::GetRandomFailed;
use rustls::crypto::ring::Ticketer;
use rustls::pki_types::UnixTime;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::sign::CertifiedKey;
use rustls::ticketer::TicketRotator;
use rustls::time_provider::TimeProvider;
use std::sync::Arc;
use std::time::Duration;

/// How long a ticket is good unless configured: long enough for a client that polls, short beside
/// rustls' twelve hours.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(3600);

/// A resumed session gives a ticket, too. Once in so long a client proves its key all the same
/// (RFC 8446 section 4.6.1 asks for a limit).
const PROOF_SECONDS: u64 = 24 * 3600;

/// Tickets after a handshake; each may be used often, and costs its client memory.
const TICKETS: usize = 1;

/// What a ticket says before the session: when it ends, and whose it is.
const END: usize = size_of::<u64>();
const BINDING: usize = SHA256_OUTPUT_LEN;

/// How the TLS servers of one loaded configuration resume sessions, if they do.
#[derive(Clone, Default, derive_more::Debug)]
#[debug("Tickets({:?})", _0.as_ref().map(|keys| keys.lifetime))]
pub struct Tickets(Option<Arc<Keys>>);

struct Keys {
    /// Seals under a key that lives for two lifetimes.
    rotator: TicketRotator,
    lifetime: Duration,
    drawn: UnixTime,
}

impl Tickets {
    /// Resumes nothing.
    pub fn none() -> Self {
        Self::default()
    }

    /// Draws keys for tickets that are good for `lifetime`.
    ///
    /// # Errors
    /// The random source failed.
    pub fn new(lifetime: Duration) -> Result<Self, rustls::Error> {
        Self::drawn_at(lifetime, UnixTime::now())
    }

    fn drawn_at(lifetime: Duration, drawn: UnixTime) -> Result<Self, rustls::Error> {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX / 2);
        Ok(Self(Some(Arc::new(Keys {
            rotator: TicketRotator::new(seconds, key)?,
            lifetime,
            drawn,
        }))))
    }

    /// Lets `config`, which serves `certificate` for `purpose`, give tickets and take its own. Early
    /// data, which can be replayed, stays off.
    pub fn apply(&self, config: &mut ServerConfig, certificate: &CertifiedKey, purpose: &str) {
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.max_early_data_size = 0;
        config.send_tls13_tickets = 0;
        let Some(keys) = &self.0 else {
            return;
        };
        let mut binding = Context::new(&SHA256);
        binding.update(purpose.as_bytes());
        binding.update(&[0]);
        binding.update(certificate.cert.first().map_or(&[][..], |leaf| leaf));
        config.send_tls13_tickets = TICKETS;
        config.ticketer = Arc::new(Bound {
            keys: Arc::clone(keys),
            binding: binding.finish(),
            clock: Arc::clone(&config.time_provider),
        });
    }
}

/// Draws one key.
fn key() -> Result<Box<dyn ProducesTickets>, GetRandomFailed> {
    let ticketer = Ticketer::new().map_err(|_| GetRandomFailed)?;
    Ok(Box::new(Key(ticketer)))
}

/// rustls' own ticketer, whose key the rotator throws away long before it would do so itself.
#[derive(Debug)]
struct Key(Arc<dyn ProducesTickets>);

impl ProducesTickets for Key {
    fn enabled(&self) -> bool {
        self.0.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.0.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.0.decrypt(cipher)
    }
}

/// The tickets of one TLS server.
#[derive(derive_more::Debug)]
#[debug("Bound")]
struct Bound {
    keys: Arc<Keys>,
    binding: Digest,
    clock: Arc<dyn TimeProvider>,
}

impl Bound {
    /// When a ticket of this moment ends, in seconds since 1970, by what bounds every client.
    fn end(&self, now: u64) -> u64 {
        let age = now.saturating_sub(self.keys.drawn.as_secs());
        let proof = now.saturating_add(PROOF_SECONDS - age % PROOF_SECONDS);
        now.saturating_add(self.keys.lifetime.as_secs()).min(proof)
    }
}

impl ProducesTickets for Bound {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(self.keys.lifetime.as_secs()).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let now = self.clock.current_time()?.as_secs();
        let end = self.end(now).min(session::client_end(plain)?);
        if end <= now {
            return None;
        }
        let mut ticket = Vec::with_capacity(END + BINDING + plain.len());
        ticket.extend_from_slice(&end.to_be_bytes());
        ticket.extend_from_slice(self.binding.as_ref());
        ticket.extend_from_slice(plain);
        self.keys.rotator.encrypt(&ticket)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let now = self.clock.current_time()?.as_secs();
        let ticket = self.keys.rotator.decrypt(cipher)?;
        let (end, rest) = ticket.split_first_chunk::<END>()?;
        let (binding, plain) = rest.split_first_chunk::<BINDING>()?;
        (now < u64::from_be_bytes(*end) && binding == self.binding.as_ref()).then(|| plain.to_vec())
    }
}

#[cfg(test)]
pub(crate) mod tests;
