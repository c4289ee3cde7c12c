//! Keeps what a gateway or an agent holds from an authority: asks, checks, writes, renews.
//!
//! `want` says what a configuration wants. Each certificate lies with its key in one file of the
//! identity's directory, which the process loads, judges and reloads like any other file: a renewal
//! is a file that changed. `obtain` does one of them, `keep` all of them for as long as the process
//! runs; `first` waits for those without which it cannot begin. Leaves are not kept here: they live
//! in memory (`leaf`).

mod first;
mod keep;
mod obtain;
mod want;

pub(crate) use first::first_certificates;
pub(crate) use keep::Wanted;
#[cfg(test)]
pub(crate) use keep::{Progress, keep};
pub(crate) use obtain::{connect, read};
pub(crate) use want::{agent_wants, wants};

use crate::config::Identity;
use eyesplice_identity::x509::{GATEWAY_GROUP, GATEWAY_PREFIX};

/// The user that an identity is to the authority.
pub(crate) fn user(identity: &Identity) -> String {
    format!("{GATEWAY_PREFIX}{}", identity.name)
}

/// The group of that user.
pub(crate) const GROUP: &str = GATEWAY_GROUP;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
