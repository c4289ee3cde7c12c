//! Says whether one more CSR fits, and which ones go to make room: everybody has a share.
//!
//! What is asked for with a bootstrap token counts to the token, whatever names it asks for, and so does
//! what the nodes ask for that it brought and no inventory lists: they are whatever names the token's
//! owner thought of. What is decided makes room, the oldest first. The last part of the room is for
//! those who hold a certificate and renew it, and for administrators.

use super::approve::proven;
use super::error::ApiError;
use super::held::Holders;
use super::limits;
use super::material::AuthorityMaterial;
use super::object::{APPROVED, CertificateSigningRequest, DENIED, FAILED, Timestamp};
use super::roles::Roles;
use super::store::{Object, View};
use crate::config::AuthorityLimits;
use eyesplice_identity::user::UserInfo;
use eyesplice_identity::x509::{GATEWAY_PREFIX, NODE_PREFIX};
use std::collections::BTreeSet;
use std::sync::Arc;
use time::OffsetDateTime;

/// Seconds for which a client stays away whose share, or the store, is full of what waits.
const COME_BACK_S: u32 = 60;

/// Who asks, as far as room is concerned.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    user: String,
    /// The bootstrap token that answers for it: its own, or the one that brought it.
    token: Option<String>,
    right: Right,
}

/// How much of the room is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// All of it.
    Admin,
    /// All of it, for a few at a time: a node, gateway or agent that is known.
    Known,
    /// All but the reserve.
    Other,
}

/// A limit that is reached by what nobody has decided about, with the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// `maxCSRsPerUser`.
    User(usize),
    /// `maxCSRsPerToken`, and which token.
    Token(String, usize),
    /// `maxCSRs`.
    All(usize),
}

impl Full {
    /// The word of metrics.
    pub(super) fn as_str(&self) -> &'static str {
        match self {
            Self::User(_) => "max-csrs-per-user",
            Self::Token(..) => "max-csrs-per-token",
            Self::All(_) => "max-csrs",
        }
    }

    /// What the user is told.
    pub(super) fn error(&self, user: &UserInfo) -> ApiError {
        let waiting = "that nobody has decided about";
        match self {
            Self::User(own) => {
                let why = format!(
                    "exceeded quota: user {:?} has {own} requests {waiting}, its limit",
                    user.username
                );
                ApiError::forbidden("", &why)
            }
            Self::Token(token, all) => {
                let why = format!(
                    "exceeded quota: {token:?}, and the nodes that it brought and no inventory lists, \
                     have {all} requests {waiting}, their limit"
                );
                ApiError::forbidden("", &why)
            }
            Self::All(all) => {
                let message = format!("the authority holds {all} requests {waiting}, its limit");
                ApiError::too_many(message, COME_BACK_S)
            }
        }
    }
}

impl Asker {
    /// Says who asks; `brought_by` is who brought it, if it holds a certificate of ours.
    pub(super) fn of(
        material: &AuthorityMaterial,
        user: &UserInfo,
        brought_by: Option<&str>,
    ) -> Self {
        let roles = &material.roles;
        let listed = is_listed(material, &user.username);
        let token = match brought_by {
            _ if is_token(&user.username) => Some(user.username.clone()),
            Some(token) if !listed && is_token(token) => Some(token.to_owned()),
            _ => None,
        };
        let renews = roles.are_nodes(&user.groups) || roles.are_gateways(&user.groups);
        let right = if is_admin(roles, user) {
            Right::Admin
        } else if proven(&user.extra).is_some() {
            // As many as there are nodes, which an API server has vouched for.
            Right::Known
        } else if renews && (listed || brought_by.is_some()) && token.is_none() {
            Right::Known
        } else {
            Right::Other
        };
        Self {
            user: user.username.clone(),
            token,
            right,
        }
    }

    /// Whose allowance of new ones is taken from.
    pub(super) fn payers(&self) -> BTreeSet<&str> {
        let token = self.token.as_deref();
        token.into_iter().chain([self.user.as_str()]).collect()
    }

    /// Says whether one more object fits, and which ones go for it.
    pub(super) fn fits(
        &self,
        view: View<'_>,
        material: &AuthorityMaterial,
        now: OffsetDateTime,
    ) -> Result<Vec<String>, Full> {
        let limits = &material.config.limits;
        let mut room = Room { decided: None, now };
        let mut gone = BTreeSet::new();
        let own = |object: &CertificateSigningRequest| object.spec.username == self.user;
        let count = room.make(view, limits.max_csrs_per_user, &mut gone, own);
        count.map_err(Full::User)?;
        if let Some(token) = &self.token {
            let of_token = |object: &CertificateSigningRequest| {
                answers(token, &object.spec.username, view.holders, material)
            };
            let count = room.make(view, limits.max_csrs_per_token, &mut gone, of_token);
            count.map_err(|count| Full::Token(token.clone(), count))?;
        }
        let most = self.room(view, limits);
        let count = room.make(view, most, &mut gone, |_| true);
        count.map_err(Full::All)?;
        Ok(gone.into_iter().collect())
    }

    /// How many objects there may be, with the new one.
    fn room(&self, view: View<'_>, limits: &AuthorityLimits) -> usize {
        let reserve = (limits.max_csrs / limits::RESERVE).max(1);
        // An authority for one CSR has no room to keep free.
        let open = (limits.max_csrs - reserve).max(1);
        let own = || {
            view.objects
                .values()
                .filter(|o| o.spec.username == self.user)
        };
        match self.right {
            Right::Admin => limits.max_csrs,
            Right::Known if own().count() < limits::RESERVED_EACH => limits.max_csrs,
            Right::Known | Right::Other => open,
        }
    }
}

/// Makes room; decided objects are sorted once.
struct Room {
    decided: Option<Vec<(Timestamp, Object)>>,
    now: OffsetDateTime,
}

impl Room {
    /// Adds to `gone` until fewer than `most` of those that `counts` are left; else says how many
    /// there are.
    fn make(
        &mut self,
        view: View<'_>,
        most: usize,
        gone: &mut BTreeSet<String>,
        counts: impl Fn(&CertificateSigningRequest) -> bool,
    ) -> Result<(), usize> {
        let objects = view.objects.values();
        let counted = objects.filter(|o| !gone.contains(&o.metadata.name) && counts(o));
        let mut left = counted.count();
        if left < most {
            return Ok(());
        }
        let now = self.now;
        let decided = self.decided.get_or_insert_with(|| {
            let objects = view.objects.values();
            let decided = objects.filter_map(|o| Some((decided(o, now)?, Arc::clone(o))));
            let mut decided: Vec<(Timestamp, Object)> = decided.collect();
            decided.sort_by_key(|(at, _)| *at);
            decided
        });
        for (_, object) in decided.iter().filter(|(_, object)| counts(object)) {
            if gone.insert(object.metadata.name.clone()) {
                left -= 1;
            }
            if left < most {
                return Ok(());
            }
        }
        Err(left)
    }
}

/// When nothing was left to be done about a CSR; `None` if something is. A certificate that was issued
/// is to be fetched yet: a flood must not take it away from whoever polls for it.
fn decided(object: &CertificateSigningRequest, now: OffsetDateTime) -> Option<Timestamp> {
    let issued = object.has(APPROVED) && !object.status.certificate.is_empty();
    let kinds = [(DENIED, true), (FAILED, true), (APPROVED, issued)];
    let (kind, condition) = kinds
        .into_iter()
        .filter(|(_, counts)| *counts)
        .find_map(|(kind, _)| Some((kind, object.condition(kind)?)))?;
    let at = condition
        .last_update_time
        .or(object.metadata.creation_timestamp)?;
    let fetched = kind != APPROVED || now - at.time() > limits::FETCH;
    fetched.then_some(at)
}

/// Says whether a token answers for what this user asks.
fn answers(token: &str, user: &str, holders: &Holders, material: &AuthorityMaterial) -> bool {
    if user == token {
        return true;
    }
    let held = holders.get(user);
    held.is_some_and(|held| held.brought_by == token) && !is_listed(material, user)
}

/// An operator has listed the node or gateway.
fn is_listed(material: &AuthorityMaterial, user: &str) -> bool {
    let inventory = material.inventory.as_ref();
    let node = user.strip_prefix(NODE_PREFIX);
    let node = node.is_some_and(|node| inventory.is_some_and(|i| i.has(node)));
    let gateway = user.strip_prefix(GATEWAY_PREFIX);
    let gateways = &material.config.approval.gateways;
    node || gateway.is_some_and(|gateway| gateways.contains_key(gateway))
}

fn is_token(user: &str) -> bool {
    user.starts_with(eyesplice_identity::token::bootstrap::USER_PREFIX)
}

fn is_admin(roles: &Roles, user: &UserInfo) -> bool {
    roles.are_admins(&user.groups)
}

#[cfg(test)]
mod tests;
