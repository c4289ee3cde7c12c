//! What protects the records of the engine and of the bare loops: `EYESPLICE_CRYPTO` as
//! `engine.crypto` of a gateway, so that both kinds run with the same in one run.

use crate::{Error, Result};
use eyesplice_dataplane::cipher::CryptoPolicy;
use eyesplice_proto::tls::RecordLibrary;

const VARIABLE: &str = "EYESPLICE_CRYPTO";

/// Reads the variable; `auto` without it.
///
/// # Errors
/// If it names what is not built in.
pub(crate) fn policy() -> Result<CryptoPolicy> {
    let Some(word) = std::env::var_os(VARIABLE) else {
        return Ok(CryptoPolicy::Auto);
    };
    let mut built = RecordLibrary::BUILT.iter();
    match built.find(|library| word == library.as_str()) {
        Some(library) => Ok(CryptoPolicy::Fixed(*library)),
        None if word == "auto" => Ok(CryptoPolicy::Auto),
        None => Err(Error::Unfit(format!(
            "{VARIABLE} is {}, which is not built in",
            word.display()
        ))),
    }
}
