//! Who may do what: a table of groups and roles.
//!
//! What Kubernetes spreads over RBAC, NodeRestriction and the admission plug-ins of certificates is
//! here one row per group. Bootstrappers and nodes see and ask for their own, as narrow as upstream
//! can be set up.

use super::object::CertificateSigningRequest;
use eyesplice_identity::token::bootstrap::{Bound, DEFAULT_GROUP};
use eyesplice_identity::user::UserInfo;
use eyesplice_identity::x509::{
    AGENT_GROUP, AGENT_PREFIX, CertificateRequest, GATEWAY_GROUP, GATEWAY_PREFIX, NODE_GROUP,
    NODE_PREFIX, Signer,
};

/// What a group may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// See everything, approve and deny for its signers, delete.
    Approver,
    /// Write certificates and Failed for its signers: other signers than the ones here.
    Signer,
    /// Ask its signers, see its own.
    Requester,
    /// See everything.
    Viewer,
    /// Ask whose a token is (`system:auth-delegator`).
    Reviewer,
    /// Ask for the client certificate of any node, see its own (`system:node-bootstrapper`).
    Bootstrapper,
    /// A node: ask for its own two certificates, see its own.
    Node,
    /// Ask for the client certificate of any gateway, see its own.
    GatewayBootstrapper,
    /// A gateway: ask for its own three kinds of certificates, see its own.
    Gateway,
    /// An agent of a tunnel: ask for its own certificate, see its own.
    Agent,
}

/// One row of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The group, as tokens and certificates name it.
    pub group: String,
    /// What it may do.
    pub role: Role,
    /// For which signers: names, `domain/*` or `*`.
    pub signers: Vec<String>,
}

/// What of the objects a user sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sight {
    All,
    Own,
    Nothing,
}

/// The rows that are always there.
///
/// Every bootstrap token is in `system:bootstrappers`, those of gateways and those that sign alone, too: so
/// that group is good for nothing, as in a cluster of kubeadm's.
const BUILT_IN: [(&str, Role); 7] = [
    ("system:masters", Role::Admin),
    ("kubeadm:cluster-admins", Role::Admin),
    (NODE_BOOTSTRAPPERS, Role::Bootstrapper),
    (NODE_GROUP, Role::Node),
    (GATEWAY_BOOTSTRAPPERS, Role::GatewayBootstrapper),
    (GATEWAY_GROUP, Role::Gateway),
    (AGENT_GROUP, Role::Agent),
];

/// The group of tokens that are good for nodes: kubeadm's default, and ours.
pub(crate) const NODE_BOOTSTRAPPERS: &str = "system:bootstrappers:kubeadm:default-node-token";

/// The group of tokens that are good for gateways. No token of nodes is: a gateway may do on every
/// kubelet what the API server may.
const GATEWAY_BOOTSTRAPPERS: &str = "system:bootstrappers:eyesplice:gateways";

/// What a node may ask for.
const OF_NODES: [Signer; 2] = [Signer::KubeletClient, Signer::KubeletServing];
/// What a gateway may ask for.
const OF_GATEWAYS: [Signer; 3] = [Signer::GatewayClient, Signer::Serving, Signer::EgressLeaf];
/// What an agent may ask for.
const OF_AGENTS: [Signer; 1] = [Signer::AgentClient];

/// The table.
#[derive(Clone, Debug)]
pub(crate) struct Roles(Vec<Binding>);

impl Roles {
    /// Adds the operator's rows to the built-in ones.
    pub(crate) fn new(more: &[Binding]) -> Self {
        let built_in = BUILT_IN.iter().map(|(group, role)| Binding {
            group: (*group).to_owned(),
            role: *role,
            signers: vec!["*".to_owned()],
        });
        Self(built_in.chain(more.iter().cloned()).collect())
    }

    /// What `user` sees.
    pub(crate) fn sight(&self, user: &UserInfo) -> Sight {
        let mut sight = Sight::Nothing;
        for binding in self.of(user) {
            match binding.role {
                Role::Admin | Role::Approver | Role::Signer | Role::Viewer => return Sight::All,
                Role::Requester
                | Role::Bootstrapper
                | Role::Node
                | Role::GatewayBootstrapper
                | Role::Gateway
                | Role::Agent => sight = Sight::Own,
                Role::Reviewer => {}
            }
        }
        sight
    }

    /// Says whether `user` may ask for that; else why not.
    pub(crate) fn may_create(
        &self,
        user: &UserInfo,
        signer: &str,
        request: &CertificateRequest,
    ) -> Result<(), String> {
        // Upstream's admission plug-in CertificateSubjectRestriction: nobody may.
        let masters = request.organizations().contains(&"system:masters");
        if signer == Signer::ApiServerClient.name() && masters {
            return Err(format!(
                "use of {signer} signer with system:masters group is not allowed; a certificate of \
                 it could not be revoked"
            ));
        }
        let mut why = format!(
            "User {:?} cannot create resource \"certificatesigningrequests\" in API group \
             \"certificates.k8s.io\" at the cluster scope",
            user.username
        );
        if user.is_in(DEFAULT_GROUP) {
            why.push_str(&format!(
                "; its bootstrap token is for neither nodes nor gateways: make one with --groups \
                 {NODE_BOOTSTRAPPERS} or {GATEWAY_BOOTSTRAPPERS}, or give a group of it the role \
                 node-bootstrapper"
            ));
        }
        let bound = Bound::of_extra(&user.extra);
        // It says more than that another role of the user is for another signer.
        let mut refused = None;
        for binding in self.of(user) {
            match binding.role {
                Role::Admin => return Ok(()),
                Role::Requester if binding.covers(signer) => return Ok(()),
                Role::Bootstrapper if signer == Signer::KubeletClient.name() => {
                    match of_bound(&bound, &bound.nodes, NODE_PREFIX, request) {
                        Ok(()) => return Ok(()),
                        Err(refusal) => refused = Some(refusal),
                    }
                }
                Role::Bootstrapper => {
                    why = format!(
                        "group {} may ask {} only, for a node's client certificate",
                        binding.group,
                        Signer::KubeletClient
                    );
                }
                Role::GatewayBootstrapper if signer == Signer::GatewayClient.name() => {
                    match of_bound(&bound, &bound.gateways, GATEWAY_PREFIX, request) {
                        Ok(()) => return Ok(()),
                        Err(refusal) => refused = Some(refusal),
                    }
                }
                Role::GatewayBootstrapper => {
                    why = format!(
                        "group {} may ask {} only, for a gateway's client certificate",
                        binding.group,
                        Signer::GatewayClient
                    );
                }
                Role::Node => match OWN_NODE.check(user, signer, request) {
                    Ok(()) => return Ok(()),
                    Err(refusal) => why = refusal,
                },
                Role::Gateway => match OWN_GATEWAY.check(user, signer, request) {
                    Ok(()) => return Ok(()),
                    Err(refusal) => why = refusal,
                },
                Role::Agent => match OWN_AGENT.check(user, signer, request) {
                    Ok(()) => return Ok(()),
                    Err(refusal) => why = refusal,
                },
                Role::Approver | Role::Signer | Role::Viewer | Role::Requester | Role::Reviewer => {
                }
            }
        }
        Err(refused.unwrap_or(why))
    }

    /// Says whether `user` may approve and deny for a signer.
    pub(crate) fn may_approve(&self, user: &UserInfo, signer: &str) -> Result<(), String> {
        self.has(user, signer, Role::Approver).ok_or_else(|| {
            format!(
                "user {:?} is not permitted to approve requests with signerName {signer:?}; give \
                 one of its groups the role approver",
                user.username
            )
        })
    }

    /// Says whether `user` may write certificates for a signer.
    pub(crate) fn may_sign(&self, user: &UserInfo, signer: &str) -> Result<(), String> {
        self.has(user, signer, Role::Signer).ok_or_else(|| {
            format!(
                "user {:?} is not permitted to sign requests with signerName {signer:?}; give one \
                 of its groups the role signer",
                user.username
            )
        })
    }

    /// Says whether `user` may delete an object.
    pub(crate) fn may_delete(
        &self,
        user: &UserInfo,
        object: &CertificateSigningRequest,
    ) -> Result<(), String> {
        let allowed = self.has(user, &object.spec.signer_name, Role::Approver);
        allowed.ok_or_else(|| cannot(user, "delete"))
    }

    /// Says whether `user` may change labels and annotations.
    pub(crate) fn may_update(
        &self,
        user: &UserInfo,
        object: &CertificateSigningRequest,
    ) -> Result<(), String> {
        let allowed = self.has(user, &object.spec.signer_name, Role::Approver);
        allowed.ok_or_else(|| cannot(user, "update"))
    }

    /// Says whether `user` may ask whose a token is: administrators, those who are told to, and nodes,
    /// whose kubelets authenticate their own callers so (upstream's role `system:node`).
    pub(crate) fn may_review(&self, user: &UserInfo) -> Result<(), String> {
        let mut rows = self.of(user);
        let allowed = rows.any(|row| matches!(row.role, Role::Admin | Role::Reviewer | Role::Node));
        if allowed {
            return Ok(());
        }
        Err(format!(
            "User {:?} cannot create resource \"tokenreviews\" in API group \"authentication.k8s.io\" \
             at the cluster scope; give one of its groups the role reviewer",
            user.username
        ))
    }

    /// Says whether requesters of these groups may have any node's first client certificate
    /// (upstream's `nodeclient`).
    pub(crate) fn bootstraps_nodes(&self, groups: &[String]) -> bool {
        self.any(groups, Role::Bootstrapper)
    }

    /// Says whether requesters of these groups are nodes (upstream's `selfnodeclient`).
    pub(crate) fn are_nodes(&self, groups: &[String]) -> bool {
        self.any(groups, Role::Node)
    }

    /// Says whether requesters of these groups may have any gateway's first client certificate.
    pub(crate) fn bootstraps_gateways(&self, groups: &[String]) -> bool {
        self.any(groups, Role::GatewayBootstrapper)
    }

    /// Says whether these groups are administrators.
    pub(crate) fn are_admins(&self, groups: &[String]) -> bool {
        self.any(groups, Role::Admin)
    }

    /// Says whether requesters of these groups are gateways.
    pub(crate) fn are_gateways(&self, groups: &[String]) -> bool {
        self.any(groups, Role::Gateway)
    }

    /// Says whether requesters of these groups are agents.
    pub(crate) fn are_agents(&self, groups: &[String]) -> bool {
        self.any(groups, Role::Agent)
    }

    fn any(&self, groups: &[String], role: Role) -> bool {
        let mut of_role = self.0.iter().filter(|binding| binding.role == role);
        of_role.any(|binding| groups.contains(&binding.group))
    }

    fn has(&self, user: &UserInfo, signer: &str, role: Role) -> Option<()> {
        self.of(user)
            .any(|binding| {
                binding.role == Role::Admin || (binding.role == role && binding.covers(signer))
            })
            .then_some(())
    }

    /// The rows of a user.
    pub(super) fn of(&self, user: &UserInfo) -> impl Iterator<Item = &Binding> {
        self.0
            .iter()
            .filter(|binding| user.groups.contains(&binding.group))
    }
}

impl Binding {
    /// Says whether the row is about a signer.
    pub(super) fn covers(&self, signer: &str) -> bool {
        self.signers
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some("") => true,
                Some(domain) => domain.ends_with('/') && signer.starts_with(domain),
                None => pattern == signer,
            })
    }
}

/// Says whether a bootstrap token is for the name that a certificate is asked for.
fn of_bound(
    bound: &Bound,
    names: &[String],
    prefix: &str,
    request: &CertificateRequest,
) -> Result<(), String> {
    let own = |name: &str| {
        let name = name.strip_prefix(prefix);
        name.is_some_and(|name| names.iter().any(|each| each == name))
    };
    match request.common_names()[..] {
        _ if bound.is_free() => Ok(()),
        [name] if own(name) => Ok(()),
        ref asked => Err(format!(
            "the bootstrap token is bound to nodes {:?} and gateways {:?}, not to {asked:?}; make one \
             for it (eyesplice token bootstrap create --node NAME)",
            bound.nodes, bound.gateways
        )),
    }
}

/// How the API server words a refusal.
pub(crate) fn cannot(user: &UserInfo, verb: &str) -> String {
    format!(
        "User {:?} cannot {verb} resource \"certificatesigningrequests\" in API group \
         \"certificates.k8s.io\" at the cluster scope",
        user.username
    )
}

/// Who asks for nothing but its own.
struct Own {
    kind: &'static str,
    group: &'static str,
    prefix: &'static str,
    signers: &'static [Signer],
}

/// Upstream's admission plug-in NodeRestriction.
const OWN_NODE: Own = Own {
    kind: "node",
    group: NODE_GROUP,
    prefix: NODE_PREFIX,
    signers: &OF_NODES,
};

const OWN_GATEWAY: Own = Own {
    kind: "gateway",
    group: GATEWAY_GROUP,
    prefix: GATEWAY_PREFIX,
    signers: &OF_GATEWAYS,
};

const OWN_AGENT: Own = Own {
    kind: "agent",
    group: AGENT_GROUP,
    prefix: AGENT_PREFIX,
    signers: &OF_AGENTS,
};

impl Own {
    fn check(
        &self,
        user: &UserInfo,
        signer: &str,
        request: &CertificateRequest,
    ) -> Result<(), String> {
        let Self {
            kind,
            group,
            prefix,
            signers,
        } = self;
        let name = user.username.strip_prefix(prefix);
        if name.is_none_or(str::is_empty) {
            let name = &user.username;
            return Err(format!("user {name:?} in group {group} is no {prefix}NAME"));
        }
        if !signers.iter().any(|each| each.name() == signer) {
            let names: Vec<&str> = signers.iter().map(|each| each.name()).collect();
            return Err(format!(
                "{kind} user {:?} may ask {} only, not {signer:?}",
                user.username,
                names.join(" and ")
            ));
        }
        // A gateway's leaf stands for a node; whether it may, the inventory says at the approval.
        let leaf = signer == Signer::EgressLeaf.name() && request.organizations() == [NODE_GROUP];
        match request.common_names()[..] {
            [_] if leaf => Ok(()),
            [name] if name == user.username => Ok(()),
            ref names => Err(format!(
                "{kind} {:?} can only request a certificate for itself, not for {names:?}",
                user.username
            )),
        }
    }
}

#[cfg(test)]
mod tests;
