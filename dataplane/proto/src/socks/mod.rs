//! Asks a SOCKS5 proxy for a connection (RFC 1928), with a user and a password where it wants them
//! (RFC 1929).
//!
//! A name goes to the proxy as it is. What the proxy says of the address that it connects from is
//! of no use here and skipped. Each answer is taken alone; bytes behind the last are the target's.

mod error;

pub use error::{Reply, SocksError};

use crate::login::Login;
use crate::parse::Parsed;
use crate::target::{Host, Target};
use std::net::IpAddr;
use zeroize::Zeroizing;

/// The version of the protocol, in the first byte of all messages but those of a login.
const VERSION: u8 = 5;
/// The version of a login.
const LOGIN_VERSION: u8 = 1;
/// Methods: no login, user and password, none of those that were offered.
const NO_LOGIN: u8 = 0;
const USER_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
/// The command to connect.
const CONNECT: u8 = 1;
/// The only code of a reply that is no refusal.
const CONNECTED: u8 = 0;
/// Kinds of addresses.
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// A client that asks for one target.
#[derive(Debug)]
pub struct Client<'a> {
    target: &'a Target,
    login: Option<&'a Login>,
    awaits: Awaits,
}

/// The answer that comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    /// Which of the methods that were offered.
    Method,
    /// Whether user and password are right.
    Verdict,
    /// Whether it is connected.
    Reply,
    /// None: it is connected, or was refused.
    Nothing,
}

/// What an answer leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this, and give the next answer. It may hold a password.
    Say(Zeroizing<Vec<u8>>),
    /// The connection leads to the target.
    Connected,
}

impl<'a> Client<'a> {
    /// Begins, with the first message to send.
    pub fn new(target: &'a Target, login: Option<&'a Login>) -> (Self, Vec<u8>) {
        let client = Self {
            target,
            login,
            awaits: Awaits::Method,
        };
        let greeting = match login {
            Some(_) => vec![VERSION, 2, NO_LOGIN, USER_PASSWORD],
            None => vec![VERSION, 1, NO_LOGIN],
        };
        (client, greeting)
    }

    /// Takes the answer at the beginning of a buffer that grows.
    ///
    /// # Errors
    /// The proxy refused, or does not speak SOCKS5. Nothing can follow.
    pub fn on(&mut self, bytes: &[u8]) -> Result<Parsed<Step>, SocksError> {
        let parsed = match self.awaits {
            Awaits::Method => self.method(bytes),
            Awaits::Verdict => self.verdict(bytes),
            Awaits::Reply => self.reply(bytes),
            Awaits::Nothing => Err(SocksError::Over),
        };
        if parsed.is_err() {
            self.awaits = Awaits::Nothing;
        }
        parsed
    }

    fn method(&mut self, bytes: &[u8]) -> Result<Parsed<Step>, SocksError> {
        version(bytes, VERSION)?;
        let [_, method, ..] = *bytes else {
            return Ok(Parsed::Incomplete);
        };
        let (awaits, say) = match (method, self.login) {
            (NO_LOGIN, _) => (Awaits::Reply, self.request()),
            (USER_PASSWORD, Some(login)) => {
                let mut say = Zeroizing::new(vec![LOGIN_VERSION]);
                login.write_counted(&mut say);
                (Awaits::Verdict, say)
            }
            (NO_METHOD, None) => return Err(SocksError::LoginWanted),
            (NO_METHOD, Some(_)) => return Err(SocksError::NoMethod),
            (other, _) => return Err(SocksError::Method(other)),
        };
        self.awaits = awaits;
        Ok(step(Step::Say(say), 2))
    }

    fn verdict(&mut self, bytes: &[u8]) -> Result<Parsed<Step>, SocksError> {
        version(bytes, LOGIN_VERSION)?;
        match *bytes {
            [_, 0, ..] => {
                self.awaits = Awaits::Reply;
                Ok(step(Step::Say(self.request()), 2))
            }
            [_, status, ..] => Err(SocksError::Login(status)),
            _ => Ok(Parsed::Incomplete),
        }
    }

    fn reply(&mut self, bytes: &[u8]) -> Result<Parsed<Step>, SocksError> {
        version(bytes, VERSION)?;
        // Of a refusal some proxies send no more than this.
        if let [_, code, ..] = *bytes
            && code != CONNECTED
        {
            return Err(SocksError::Refused(Reply(code)));
        }
        let address = match *bytes {
            [_, _, _, IPV4, ..] => 4,
            [_, _, _, IPV6, ..] => 16,
            [_, _, _, NAME, length, ..] => 1 + usize::from(length),
            [_, _, _, NAME] | [] | [_] | [_, _] | [_, _, _] => return Ok(Parsed::Incomplete),
            [_, _, _, other, ..] => return Err(SocksError::AddressKind(other)),
        };
        let whole = 4 + address + 2;
        if bytes.len() < whole {
            return Ok(Parsed::Incomplete);
        }
        self.awaits = Awaits::Nothing;
        Ok(step(Step::Connected, whole))
    }

    fn request(&self) -> Zeroizing<Vec<u8>> {
        let mut out = vec![VERSION, CONNECT, 0];
        match &self.target.host {
            Host::Ip(IpAddr::V4(address)) => {
                out.push(IPV4);
                out.extend_from_slice(&address.octets());
            }
            Host::Ip(IpAddr::V6(address)) => {
                out.push(IPV6);
                out.extend_from_slice(&address.octets());
            }
            Host::Name(name) => {
                let name = name.as_str().as_bytes();
                // A DNS name has at most 253.
                out.extend([NAME, u8::try_from(name.len()).unwrap_or(u8::MAX)]);
                out.extend_from_slice(name);
            }
        }
        out.extend_from_slice(&self.target.port.to_be_bytes());
        Zeroizing::new(out)
    }
}

fn version(bytes: &[u8], wanted: u8) -> Result<(), SocksError> {
    match bytes.first() {
        Some(&got) if got != wanted => Err(SocksError::Version { got, wanted }),
        _ => Ok(()),
    }
}

fn step(head: Step, consumed: usize) -> Parsed<Step> {
    Parsed::Complete { head, consumed }
}

#[cfg(test)]
mod tests;
