//! Heads as an API server sends them, and what is done with one that is passed on.

use eyesplice_proto::framing::{Framing, request_framing};
use eyesplice_proto::head::RequestHead;
use eyesplice_proto::hop::{Identity, keeps_alive, rewrite_request, strip_identity};
use eyesplice_proto::parse::{HeadLimits, Parsed, Progress, parse_request};
use eyesplice_proto::serialize::write_request;
use eyesplice_proto::upgrade::asked;
use std::hint::black_box;

/// What it sends first, for each stream.
pub(crate) const CONNECT: &[u8] = b"CONNECT 10.20.30.40:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";

/// What kube-apiserver sends for `kubectl exec`.
pub(crate) const EXEC: &[u8] =
    b"POST /exec/default/web-5d4b8c9f7-x2x7k/main?command=sh&input=1&output=1&tty=1 \
    HTTP/1.1\r\nHost: 10.20.30.40:10250\r\nUser-Agent: kubectl/v1.33.1 (linux/amd64) \
    kubernetes/8adc0f0\r\nContent-Length: 0\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\
    X-Stream-Protocol-Version: v5.channel.k8s.io\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\
    \r\nX-Stream-Protocol-Version: v3.channel.k8s.io\r\nKubectl-Command: kubectl exec\r\n\
    Kubectl-Session: 0b5f0b0e-5f0a-4d3c-8f3e-6f0f2a9a7c11\r\nAccept-Encoding: gzip\r\n\r\n";

/// A head that is known to be good.
pub(crate) fn parsed(bytes: &[u8]) -> RequestHead {
    match parse_request(bytes, &mut Progress::default(), &HeadLimits::REQUEST) {
        Ok(Parsed::Complete { head, .. }) => head,
        other => panic!("a good head: {other:?}"),
    }
}

/// Rewrites a head and writes it down.
pub(crate) fn rewritten(mut head: RequestHead) -> Vec<u8> {
    let framing = request_framing(&head).unwrap_or(Framing::Length(0));
    let upgrade = asked(&head, framing).ok().flatten();
    black_box(keeps_alive(head.version, &head.headers));
    strip_identity(
        &mut head.headers,
        &[Identity::Remote, Identity::Impersonate],
    );
    rewrite_request(&mut head, framing, upgrade.as_ref()).expect("a head that may pass");
    let mut out = Vec::new();
    write_request(&head, &mut out);
    out
}
