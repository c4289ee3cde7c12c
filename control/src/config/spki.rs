//! Reads the SHA-256 of a public key as operators write it: hexadecimal or base64.

/// Parses 64 hexadecimal digits (colons allowed, as openssl prints them), or base64 with or
/// without the `sha256/` that curl puts in front.
pub(super) fn parse(text: &str) -> Option<[u8; 32]> {
    let hex: String = text.chars().filter(|c| *c != ':').collect();
    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        let byte = |i: usize| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok();
        let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
        return bytes?.try_into().ok();
    }
    base64(text.strip_prefix("sha256/").unwrap_or(text))
}

/// Decodes exactly 32 bytes: 43 characters, the last of which has four bits of use, and a `=`.
fn base64(text: &str) -> Option<[u8; 32]> {
    let text = text.strip_suffix('=').unwrap_or(text);
    if text.len() != 43 {
        return None;
    }
    let mut bytes = Vec::with_capacity(33);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for symbol in text.bytes() {
        let six = match symbol {
            b'A'..=b'Z' => symbol - b'A',
            b'a'..=b'z' => symbol - b'a' + 26,
            b'0'..=b'9' => symbol - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from((bits >> held) & 0xff).ok()?);
        }
    }
    let unused = bits & ((1 << held) - 1);
    if unused != 0 {
        None
    } else {
        bytes.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn parse_both_notations_give_the_same_bytes() {
        let hex = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let base64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        let want = parse(hex).unwrap();
        assert_eq!(want[..4], [0xe3, 0xb0, 0xc4, 0x42]);
        assert_eq!(want[31], 0x55);
        assert_eq!(parse(base64), Some(want));
        assert_eq!(parse(&format!("sha256/{base64}")), Some(want));
        assert_eq!(parse(&hex.to_uppercase()), Some(want));
    }

    #[test]
    fn parse_anything_else_is_refused() {
        let base64 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";
        for end in 0..base64.len() - 1 {
            assert_eq!(parse(&base64[..end]), None, "{end}");
        }
        for bad in [
            "",
            "zz",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=",
            &"é".repeat(32),
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
