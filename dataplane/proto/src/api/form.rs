//! Reads and writes queries in the form encoding, as Go's `url.ParseQuery` and `Values.Encode` do.

use super::Unclear;
use crate::chars::hex;

/// Takes a query apart into decoded names and values.
///
/// Go drops what it cannot decode in silence and skips empty pairs; here either makes the query
/// unclear.
pub(super) fn pairs(query: &str) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>), Unclear>> {
    let parts = (!query.is_empty()).then(|| query.split('&'));
    parts.into_iter().flatten().map(|pair| {
        if pair.is_empty() || pair.contains(';') {
            return Err(Unclear::Encoding);
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decode(name)?, decode(value)?))
    })
}

fn decode(text: &str) -> Result<Vec<u8>, Unclear> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (bytes.next().and_then(hex), bytes.next().and_then(hex));
                match (high, low) {
                    (Some(high), Some(low)) => high << 4 | low,
                    _ => return Err(Unclear::Encoding),
                }
            }
            other => other,
        });
    }
    Ok(decoded)
}

/// Appends a value in the spelling of Go's `url.QueryEscape`.
pub(super) fn encode(value: &[u8], out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 0xf)]);
    for byte in value {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                out.push(char::from(*byte));
            }
            other => out.extend(['%', digit(other >> 4), digit(*other)]),
        }
    }
}
