//! Serial numbers of the certificates that we issue.

use rcgen::SerialNumber;
use ring::rand::{SecureRandom, SystemRandom};

/// 128 random bits: more than the 64 that the CA/Browser Forum asks for (Baseline Requirements
/// 7.1), and with its sign byte within the 20 bytes of RFC 5280, section 4.1.2.2.
const SERIAL_BYTES: usize = 16;

/// Draws a random serial number.
///
/// # Errors
/// The random source fails.
pub fn random_serial() -> Result<SerialNumber, ring::error::Unspecified> {
    let mut bytes = [0; SERIAL_BYTES];
    SystemRandom::new().fill(&mut bytes)?;
    Ok(SerialNumber::from_slice(&bytes))
}
