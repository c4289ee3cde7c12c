//! Finds out what decisions about serving certificates need to know: asks DNS, and dials nodes.
//!
//! `checker` keeps, per CSR, what is being found out and when it is to be tried again; `slots` bounds
//! how much of it runs; `gather` asks, and `probe` dials one address. Nothing of it decides, and
//! nothing is remembered beyond one decision. What a crash or a change of the leader cuts is asked
//! again, because the CSR is still pending.

mod checker;
mod gather;
mod probe;
mod slots;

pub(super) use checker::{Checker, Subject};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
