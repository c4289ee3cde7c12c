//! Writes the head of a request to a kubelet, with no identity but ours.

use eyesplice_identity::token::BearerToken;
use eyesplice_proto::api::{Subresource, take_bearer};
use eyesplice_proto::head::{Method, RequestHead, RequestTarget, Version};
use eyesplice_proto::headers::{HeaderName, HeaderValue, Headers};
use eyesplice_proto::hop::{Identity, strip_identity};
use eyesplice_proto::target::{Host, Target};
use std::net::IpAddr;
use zeroize::Zeroizing;

const AUTHORIZATION: HeaderName = HeaderName::from_static("Authorization");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("X-Forwarded-For");
const HOST: HeaderName = HeaderName::from_static("Host");

/// An upgrade goes on with the client's headers, as API servers pass it (docs/wire.md, "Upgrade
/// handler"), less all that names a user.
pub(super) fn passed_on(
    head: &RequestHead,
    target: RequestTarget,
    peer: IpAddr,
) -> Option<RequestHead> {
    let mut headers = head.headers.clone();
    take_bearer(&mut headers);
    headers.remove(AUTHORIZATION.as_str());
    strip_identity(&mut headers, Identity::ALL);
    headers.append(FORWARDED_FOR, HeaderValue::new(peer.to_string()).ok()?);
    Some(RequestHead {
        method: head.method.clone(),
        target,
        version: Version::Http11,
        headers,
    })
}

/// A log is asked for without headers of the client (docs/wire.md, "From the API to the kubelet").
pub(super) fn fresh(target: RequestTarget, host: &Host, port: u16) -> Option<RequestHead> {
    let host = host.clone();
    let mut headers = Headers::new();
    headers.append(
        HOST,
        HeaderValue::new(Target { host, port }.to_string()).ok()?,
    );
    Some(RequestHead {
        method: Method::GET,
        target,
        version: Version::Http11,
        headers,
    })
}

/// What the reply says of a log: kubelets guess its type from the first lines, so that a log could
/// pass for a web page.
pub(super) fn of_reply(subresource: Subresource) -> Vec<(HeaderName, HeaderValue)> {
    if subresource.upgrades() {
        return Vec::new();
    }
    [
        ("Content-Type", "text/plain"),
        ("Cache-Control", "no-cache, private"),
    ]
    .map(|(name, value)| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    })
    .to_vec()
}

/// Adds our own token, if that is who we are to kubelets.
pub(super) fn with_token(
    mut head: RequestHead,
    token: Option<&BearerToken>,
) -> Option<RequestHead> {
    if let Some(token) = token {
        let header = Zeroizing::new(format!("Bearer {}", token.expose()));
        let value = HeaderValue::new(header.as_bytes().to_vec()).ok()?;
        head.headers.append(AUTHORIZATION, value);
    }
    Some(head)
}
