mod asking;
mod cache;

use super::*;

#[test]
fn endpoint_is_an_https_host_and_port() {
    let show = |text: &str| {
        text.parse::<Endpoint>()
            .map(|endpoint| endpoint.to_string())
    };
    for (text, expected) in [
        ("https://10.0.0.1:6443", "10.0.0.1:6443"),
        ("https://api.example", "api.example:443"),
        ("https://api.example/", "api.example:443"),
        ("https://[fd00::1]:6443", "[fd00::1]:6443"),
    ] {
        assert_eq!(show(text).as_deref(), Ok(expected), "{text}");
    }
    for (text, error) in [
        ("", EndpointError::Scheme),
        ("10.0.0.1:6443", EndpointError::Scheme),
        ("http://10.0.0.1", EndpointError::Scheme),
        ("https://", EndpointError::Scheme),
        ("https://a/b", EndpointError::Path),
        ("https://a?b", EndpointError::Path),
        ("https://user@a", EndpointError::Path),
        ("https://a_b!", EndpointError::Host),
        ("https://999.1.1.1", EndpointError::Host),
    ] {
        assert_eq!(show(text), Err(error), "{text}");
    }
}
