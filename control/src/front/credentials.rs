//! Finds the bearer token of a request, and takes it off, by the API server's own rules.
//!
//! Source: apiserver `pkg/authentication/request/bearertoken` and `/websocket`.

use eyesplice_proto::headers::{HeaderName, HeaderValue, Headers};

/// The subprotocol that is a token begins so; case matters.
const SUBPROTOCOL: &[u8] = b"base64url.bearer.authorization.k8s.io.";

/// The header that lists subprotocols.
const PROTOCOLS: &str = "Sec-WebSocket-Protocol";

/// Whether the API server would try a token: one that is wrong is refused there, and is never taken
/// for none.
pub(super) fn has_bearer(headers: &Headers, upgrade: Option<&str>) -> bool {
    headers.first("authorization").is_some_and(is_bearer)
        || (upgrade == Some("websocket") && headers.elements(PROTOCOLS).any(is_token))
}

/// `Bearer TOKEN`: any case, one space; what follows another space does not count.
fn is_bearer(value: &HeaderValue) -> bool {
    let mut parts = value.as_bytes().split(|byte| *byte == b' ');
    let scheme = parts.next().unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"bearer") && parts.next().is_some_and(|token| !token.is_empty())
}

fn is_token(subprotocol: &[u8]) -> bool {
    subprotocol.len() > SUBPROTOCOL.len() && subprotocol.starts_with(SUBPROTOCOL)
}

/// Takes off what could be a credential, for a request whose user is told in other headers.
pub(super) fn strip(headers: &mut Headers) {
    headers.remove("authorization");
    let is_offered = |element: &[u8]| element.starts_with(SUBPROTOCOL);
    if !headers.elements(PROTOCOLS).any(is_offered) {
        return;
    }
    let others = headers.elements(PROTOCOLS).filter(|each| !is_offered(each));
    let others = others.collect::<Vec<_>>().join(&b", "[..]);
    headers.remove(PROTOCOLS);
    // They were a header's value before.
    if let (false, Ok(others)) = (others.is_empty(), HeaderValue::new(others)) {
        headers.append(HeaderName::from_static(PROTOCOLS), others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in lines {
            let name = HeaderName::new(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::new(value.as_bytes().to_vec()).unwrap());
        }
        headers
    }

    const TOKEN: &str = "base64url.bearer.authorization.k8s.io.dG9rZW4";

    #[test]
    fn has_bearer_reads_a_header_as_the_api_server_does() {
        for (value, found) in [
            ("Bearer a", true),
            ("bEARER a b", true),
            ("Bearer", false),
            ("Bearer  a", false),
            ("Basic YTpi", false),
            ("", false),
            ("Bearer\ta", false),
        ] {
            let headers = headers(&[("authorization", value)]);
            assert_eq!(has_bearer(&headers, None), found, "{value:?}");
        }
        let second = headers(&[("Authorization", "Basic x"), ("Authorization", "Bearer a")]);
        assert!(!has_bearer(&second, None), "only the first line counts");
    }

    #[test]
    fn has_bearer_takes_subprotocols_of_websockets_alone() {
        let offered = format!("v4.channel.k8s.io, {TOKEN}");
        let with = headers(&[("sec-websocket-protocol", &offered)]);
        assert!(has_bearer(&with, Some("websocket")));
        assert!(!has_bearer(&with, Some("SPDY/3.1")));
        assert!(!has_bearer(&with, None));
        for other in [
            "v4.channel.k8s.io",
            "base64url.bearer.authorization.k8s.io.",
            "BASE64URL.bearer.authorization.k8s.io.dG9rZW4",
        ] {
            let other = headers(&[("Sec-WebSocket-Protocol", other)]);
            assert!(!has_bearer(&other, Some("websocket")));
        }
    }

    #[test]
    fn strip_leaves_other_subprotocols() {
        let offered = format!("{TOKEN}, v5.channel.k8s.io");
        let mut both = headers(&[
            ("AUTHORIZATION", "Bearer a"),
            ("Accept", "*/*"),
            ("Sec-WebSocket-Protocol", &offered),
            ("sec-websocket-protocol", "v4.channel.k8s.io"),
        ]);
        strip(&mut both);
        let values: Vec<_> = both.all(PROTOCOLS).map(|value| value.to_str()).collect();
        assert_eq!(values, [Some("v5.channel.k8s.io, v4.channel.k8s.io")]);
        assert!(!both.contains("authorization") && both.contains("accept"));
        let mut alone = headers(&[("Sec-WebSocket-Protocol", TOKEN)]);
        strip(&mut alone);
        assert!(alone.is_empty());
        let mut untouched = headers(&[("Sec-WebSocket-Protocol", "a,b")]);
        strip(&mut untouched);
        assert_eq!(untouched.first(PROTOCOLS).unwrap().as_bytes(), b"a,b");
    }
}
