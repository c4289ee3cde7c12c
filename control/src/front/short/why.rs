//! Why a stream of a pod goes through the API server.

use std::fmt;

/// The condition of the short way that does not hold, or is not known to. The labels are part of
/// audit and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// The client acts as another user.
    Impersonation,
    /// It is neither GET nor, for an upgrade, POST.
    Method,
    /// It is no upgrade and should be one, or the other way round.
    Upgrade,
    /// It has a body.
    Body,
    /// A parameter has no known equal at the kubelet, is repeated, or has an unusual value.
    Query,
    /// A subprotocol is unknown, or they stand in several lines.
    Protocol,
    /// There is no credential, or it is that of nobody in particular.
    Anonymous,
    /// A credential is not clear, is not accepted, or nobody says whose it is.
    Identity,
    /// The user may not.
    Denied,
    /// Nobody says whether the user may.
    Access,
    /// Admission plugins that are built into API servers cannot be known, and are not trusted to
    /// pass.
    AdmissionStatic,
    /// A webhook or policy may concern it.
    Admission,
    /// Nobody says which webhooks and policies there are.
    AdmissionUnknown,
    /// The pod is not there, or nobody says so.
    Pod,
    /// The pod has no node yet.
    Unscheduled,
    /// The container is not there, or several are and none is named.
    Container,
    /// The container has no log yet.
    ContainerState,
    /// The node is not there, has no usable address, or the inventory gives that to another.
    Node,
    /// The node's kubelet does not understand the subprotocol; the API server translates it.
    Translation,
    /// There is no trust in kubelets.
    NotConfigured,
    /// Kubelets are not validated.
    VerificationOff,
    /// No egress rule allows the kubelet's address, or the action is denied.
    Egress,
    /// Our own credential for kubelets cannot be used.
    Credential,
    /// Its audit events would be lost.
    Audit,
    /// No API server answers.
    Unreachable,
    /// It took too long.
    Slow,
}

impl Why {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: &[Self] = &[
        Self::Impersonation,
        Self::Method,
        Self::Upgrade,
        Self::Body,
        Self::Query,
        Self::Protocol,
        Self::Anonymous,
        Self::Identity,
        Self::Denied,
        Self::Access,
        Self::AdmissionStatic,
        Self::Admission,
        Self::AdmissionUnknown,
        Self::Pod,
        Self::Unscheduled,
        Self::Container,
        Self::ContainerState,
        Self::Node,
        Self::Translation,
        Self::NotConfigured,
        Self::VerificationOff,
        Self::Egress,
        Self::Credential,
        Self::Audit,
        Self::Unreachable,
        Self::Slow,
    ];

    /// The stable label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Impersonation => "impersonation",
            Self::Method => "method",
            Self::Upgrade => "upgrade",
            Self::Body => "body",
            Self::Query => "query_unknown",
            Self::Protocol => "protocol_unknown",
            Self::Anonymous => "anonymous",
            Self::Identity => "identity_unknown",
            Self::Denied => "denied",
            Self::Access => "access_unknown",
            Self::AdmissionStatic => "admission_static",
            Self::Admission => "admission_may_match",
            Self::AdmissionUnknown => "admission_unknown",
            Self::Pod => "pod_unknown",
            Self::Unscheduled => "pod_unscheduled",
            Self::Container => "container_choice",
            Self::ContainerState => "container_state",
            Self::Node => "node_unknown",
            Self::Translation => "translation",
            Self::NotConfigured => "not_configured",
            Self::VerificationOff => "verification_off",
            Self::Egress => "egress_denied",
            Self::Credential => "kubelet_credential",
            Self::Audit => "audit_unavailable",
            Self::Unreachable => "apiserver_unreachable",
            Self::Slow => "timeout",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
