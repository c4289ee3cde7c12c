//! What is drawn from the system's random source: UUIDs, and jitter.

use data_encoding::HEXLOWER;
use ring::error::Unspecified;
use ring::rand::{SecureRandom, SystemRandom};

/// Draws a UUID of version 4 (RFC 9562, section 5.4).
///
/// # Errors
/// The random source fails.
pub fn uuid() -> Result<String, Unspecified> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes)?;
    bytes[6] = 0x40 | (bytes[6] & 0x0f);
    bytes[8] = 0x80 | (bytes[8] & 0x3f);
    let hex = HEXLOWER.encode(&bytes);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &hex[part]);
    Ok(parts.join("-"))
}

/// Draws a number from 0 to 1 for a jitter; the middle if the random source fails.
pub fn jitter() -> f64 {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
