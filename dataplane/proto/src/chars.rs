//! Classifies bytes by the grammars of HTTP/1 (RFC 9110 section 5.6, RFC 9112) and of URIs (RFC 3986).

/// Says whether a byte may stand in a token: a method, a header name, an upgrade protocol.
pub(crate) const fn is_token(byte: u8) -> bool {
    matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'0'..=b'9' | b'A'..=b'Z'
        | b'^'..=b'z' | b'|' | b'~')
}

/// Says whether a byte may stand in a header value or reason phrase: tab, space, visible ASCII and
/// obs-text.
pub(crate) const fn is_value(byte: u8) -> bool {
    matches!(byte, b'\t' | b' '..=b'~' | 0x80..)
}

/// Says whether a byte is optional whitespace.
pub(crate) const fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Says whether a byte may stand in the part of a target before the query: the characters of
/// RFC 3986, reserved ones included.
pub(crate) const fn is_path(byte: u8) -> bool {
    matches!(byte, b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~')
}

/// Says whether a byte may stand in a query: visible ASCII without `#`. Wider than RFC 3986 because
/// browsers leave `{`, `|`, `}`, `^` and backquotes as they are, and nothing here routes on a query.
pub(crate) const fn is_query(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~') && byte != b'#'
}

/// Gives the value of a hexadecimal digit.
pub(crate) const fn hex(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Cuts optional whitespace off both ends.
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_blank(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_blank(*last)
    {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_every_byte_match_the_grammar() {
        let token =
            b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let uri = b":/?[]@!$&'()*+,;=-._~%0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ\
                    abcdefghijklmnopqrstuvwxyz";
        for byte in 0..=u8::MAX {
            assert_eq!(is_token(byte), token.contains(&byte), "token {byte:#x}");
            assert_eq!(is_path(byte), uri.contains(&byte), "path {byte:#x}");
            assert_eq!(
                is_query(byte),
                byte.is_ascii_graphic() && byte != b'#',
                "{byte:#x}"
            );
            assert_eq!(
                is_value(byte),
                byte == b'\t' || (byte >= 0x20 && byte != 0x7f),
                "{byte:#x}"
            );
            assert_eq!(
                hex(byte).is_some(),
                byte.is_ascii_hexdigit(),
                "hex {byte:#x}"
            );
        }
    }

    #[test]
    fn trim_blanks_around_a_value_go() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
    }
}
