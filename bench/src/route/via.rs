//! What is dialled, in one word of the command line.

use crate::{Error, Result};
use std::path::PathBuf;
use std::str::FromStr;

/// What a client dials first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// The far end itself.
    Direct,
    /// A proxy that knows its target.
    Tcp(String),
    /// The same on a UNIX socket.
    Unix(PathBuf),
    /// A proxy that takes HTTP CONNECT.
    ConnectTcp(String),
    /// The same inside of mutual TLS.
    ConnectTls(String),
    /// The same on a UNIX socket.
    ConnectUnix(PathBuf),
    /// `kubectl exec` of a far end on standard input and output.
    KubectlExec(String),
    /// `kubectl logs` of a pod that writes numbered lines.
    KubectlLogs(String),
    /// `kubectl port-forward` to a far end that listens in a pod.
    KubectlPortForward(String),
}

impl Via {
    /// Whether the proxy is told where the far end is.
    pub(crate) fn asks_for_target(&self) -> bool {
        matches!(
            self,
            Self::ConnectTcp(_) | Self::ConnectTls(_) | Self::ConnectUnix(_)
        )
    }
}

impl FromStr for Via {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self> {
        let (kind, rest) = word.split_once(':').unwrap_or((word, ""));
        let address = || rest.to_string();
        match (kind, rest) {
            ("direct", "") => Ok(Self::Direct),
            ("tcp", at) if !at.is_empty() => Ok(Self::Tcp(address())),
            ("unix", at) if !at.is_empty() => Ok(Self::Unix(at.into())),
            ("connect-tcp", at) if !at.is_empty() => Ok(Self::ConnectTcp(address())),
            ("connect-tls", at) if !at.is_empty() => Ok(Self::ConnectTls(address())),
            ("connect-unix", at) if !at.is_empty() => Ok(Self::ConnectUnix(at.into())),
            ("kubectl-exec", at) if !at.is_empty() => Ok(Self::KubectlExec(address())),
            ("kubectl-logs", at) if !at.is_empty() => Ok(Self::KubectlLogs(address())),
            ("kubectl-port-forward", at) if !at.is_empty() => {
                Ok(Self::KubectlPortForward(address()))
            }
            _ => Err(Error::Unfit(format!(
                "--via {word:?} is none of direct, tcp:HOST:PORT, unix:PATH, connect-tcp:HOST:PORT, \
                 connect-tls:HOST:PORT, connect-unix:PATH, kubectl-exec:NAMESPACE/POD[/CONTAINER], \
                 kubectl-logs:NAMESPACE/POD[/CONTAINER], kubectl-port-forward:NAMESPACE/POD/PORT"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_read_and_nothing_else() {
        for (word, via) in [
            ("direct", Via::Direct),
            ("tcp:[::1]:80", Via::Tcp("[::1]:80".into())),
            ("unix:/a", Via::Unix("/a".into())),
            ("connect-tcp:a:1", Via::ConnectTcp("a:1".into())),
            ("connect-tls:a:1", Via::ConnectTls("a:1".into())),
            ("connect-unix:/a:b", Via::ConnectUnix("/a:b".into())),
            ("kubectl-exec:ns/pod", Via::KubectlExec("ns/pod".into())),
            ("kubectl-logs:ns/p/c", Via::KubectlLogs("ns/p/c".into())),
            (
                "kubectl-port-forward:ns/p/80",
                Via::KubectlPortForward("ns/p/80".into()),
            ),
        ] {
            assert_eq!(word.parse::<Via>().unwrap(), via);
        }
        for word in ["", "direct:x", "tcp:", "http:a:1"] {
            assert!(word.parse::<Via>().is_err(), "{word}");
        }
    }
}
