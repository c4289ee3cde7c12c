//! Makes text of certificates safe for logs, labels and reason phrases.

/// Appends `value` with everything escaped that is not visible ASCII, and what separates
/// attributes (RFC 4514, section 2.4), so that a common name cannot pose as an organization. Stops
/// once `out` is longer than `limit`.
pub(super) fn escape_into(value: &str, limit: usize, out: &mut String) {
    for c in value.chars() {
        if out.len() > limit {
            return;
        }
        match c {
            ',' | '+' | '\\' | '"' | '<' | '>' | ';' | '=' => {
                out.push('\\');
                out.push(c);
            }
            ' '..='~' => out.push(c),
            _ => out.extend(c.escape_unicode()),
        }
    }
}

/// Escapes whatever is not visible ASCII, and cuts at `limit`.
pub fn printable(value: &str, limit: usize) -> String {
    let mut out = String::new();
    for c in value.chars() {
        if out.len() > limit {
            break;
        }
        match c {
            ' '..='~' => out.push(c),
            _ => out.extend(c.escape_unicode()),
        }
    }
    shorten(&mut out, limit);
    out
}

/// Cuts ASCII text to `limit` bytes, with three dots where something is missing.
pub(crate) fn shorten(text: &mut String, limit: usize) -> &str {
    const DOTS: &str = "...";
    if text.len() > limit {
        let mut end = limit.saturating_sub(DOTS.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(DOTS);
    }
    text
}
