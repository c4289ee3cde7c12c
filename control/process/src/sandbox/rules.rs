//! Gives up files, ports and others' signals by Landlock (landlock(7)).
//!
//! Rules are of the interface as of ABI 7, which these rules were tried with: a kernel that knows
//! less enforces what it knows, a later one nothing beyond.

use super::error::SandboxError;
use super::files::Rule;
use super::reach::{Access, Ports};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// What is to be enforced.
pub(super) struct Wanted<'a> {
    pub(super) rules: Vec<Rule>,
    pub(super) listens: &'a Ports,
    pub(super) connects: &'a Ports,
    /// Sockets of others with abstract names are out of reach.
    pub(super) abstract_sockets: bool,
}

/// Enforces it, for this thread and those that it starts.
pub(super) fn restrict(wanted: Wanted<'_>) -> Result<(), SandboxError> {
    match enforce(wanted) {
        Ok(true) => Ok(()),
        Ok(false) => Err(SandboxError::NotEnforced),
        Err(error) => Err(SandboxError::Landlock(Box::new(error))),
    }
}

/// Whether anything was enforced.
fn enforce(wanted: Wanted<'_>) -> Result<bool, RulesetError> {
    let mut scope = BitFlags::from(Scope::Signal);
    if wanted.abstract_sockets {
        scope |= Scope::AbstractUnixSocket;
    }
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V7))?
        .scope(scope)?;
    let net = [
        (wanted.listens, AccessNet::BindTcp),
        (wanted.connects, AccessNet::ConnectTcp),
    ];
    for (ports, access) in net {
        if let Ports::Only(_) = ports {
            ruleset = ruleset.handle_access(access)?;
        }
    }
    let mut created = ruleset.create()?;
    for rule in &wanted.rules {
        let rights = rights(rule.access, rule.is_directory);
        created = created.add_rule(PathBeneath::new(&rule.open, rights))?;
    }
    for (ports, access) in net {
        if let Ports::Only(ports) = ports {
            for port in ports {
                created = created.add_rule(NetPort::new(*port, access))?;
            }
        }
    }
    Ok(created.restrict_self()?.ruleset != RulesetStatus::NotEnforced)
}

/// Nothing is ever run, and no device is ever controlled.
fn rights(access: Access, is_directory: bool) -> BitFlags<AccessFs> {
    let mut rights = AccessFs::ReadFile | AccessFs::ReadDir;
    if access >= Access::Write {
        rights |=
            AccessFs::WriteFile | AccessFs::Truncate | AccessFs::MakeReg | AccessFs::RemoveFile;
    }
    if access >= Access::Listen {
        rights |= AccessFs::MakeSock;
    }
    if is_directory {
        rights
    } else {
        rights & AccessFs::from_file(ABI::V7)
    }
}
