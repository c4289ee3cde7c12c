//! Whose a request is, and until when.

use super::wanted::WEBSOCKET;
use super::{Question, Why};
use data_encoding::BASE64URL_NOPAD;
use eyesplice_identity::access::expires;
use eyesplice_identity::token::BearerToken;
use eyesplice_identity::user::{ALL_AUTHENTICATED, UserInfo};
use eyesplice_proto::api::{Bearer, bearer};
use eyesplice_proto::headers::Sole;
use std::sync::Arc;
use std::time::SystemTime;

/// What a request proves its user with.
#[derive(Debug)]
pub(super) enum Credential {
    /// A validated certificate, and its end.
    Certificate(Arc<UserInfo>, SystemTime),
    /// A token, of which nothing is known.
    Token(BearerToken),
}

/// Finds the credential that the API server would take. A wrong one is never left out for another.
pub(super) fn credential(asked: &Question<'_>) -> Result<Credential, Why> {
    if let Some((user, until)) = &asked.by_certificate {
        return Ok(Credential::Certificate(Arc::clone(user), *until));
    }
    let headers = &asked.head.headers;
    let among_protocols = match asked.upgrade {
        Some(WEBSOCKET) => bearer(headers),
        _ => Bearer::Absent,
    };
    let token = match (headers.sole("authorization"), among_protocols) {
        (Sole::Absent, Bearer::Absent) => return Err(Why::Anonymous),
        (Sole::Absent, Bearer::Encoded(encoded)) => decoded(encoded),
        (Sole::One(header), Bearer::Absent) => BearerToken::from_header(header.as_bytes()).ok(),
        _ => None,
    };
    token.map(Credential::Token).ok_or(Why::Identity)
}

fn decoded(encoded: &str) -> Option<BearerToken> {
    let token = zeroize::Zeroizing::new(BASE64URL_NOPAD.decode(encoded.as_bytes()).ok()?);
    BearerToken::new(str::from_utf8(&token).ok()?).ok()
}

/// A user, and when the credential ends, if that is known.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) user: Arc<UserInfo>,
    pub(super) until: Option<SystemTime>,
}

impl Caller {
    /// API servers add the group of all who were authenticated.
    pub(super) fn by_certificate(user: &Arc<UserInfo>, until: SystemTime) -> Self {
        let user = if user.is_in(ALL_AUTHENTICATED) {
            Arc::clone(user)
        } else {
            let mut user = UserInfo::clone(user);
            user.groups.push(ALL_AUTHENTICATED.to_owned());
            Arc::new(user)
        };
        Self {
            user,
            until: Some(until),
        }
    }

    /// As a review said.
    pub(super) fn by_token(user: Arc<UserInfo>, token: &BearerToken) -> Self {
        let until = expires(token);
        Self { user, until }
    }

    /// Refuses users who are nobody in particular.
    pub(super) fn somebody(self) -> Result<Self, Why> {
        let nobody = self.user.username == "system:anonymous"
            || self.user.is_in("system:unauthenticated")
            || !self.user.is_in(ALL_AUTHENTICATED);
        if nobody {
            Err(Why::Anonymous)
        } else {
            Ok(self)
        }
    }
}
