//! The user that a request is made by.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The group of everybody who was authenticated.
pub const ALL_AUTHENTICATED: &str = "system:authenticated";

/// The key under which a user's extra names the credential: `X509SHA256=..` or `JTI=..`.
pub(crate) const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// A Kubernetes user: `user.Info` of the API server, `UserInfo` of a TokenReview.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserInfo {
    /// Unique among active users; never empty once authenticated.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// Tells a user from an earlier one of the same name; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// In the order of the credential, each once.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// What a credential says beyond that, by key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// Says whether the user is a member of `group`.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|each| each == group)
    }

    /// Adds the group of all who were authenticated, and drops repeated ones.
    pub(crate) fn authenticated(mut self) -> Self {
        self.groups.push(ALL_AUTHENTICATED.to_owned());
        let mut groups: Vec<String> = Vec::with_capacity(self.groups.len());
        for group in self.groups {
            if !group.is_empty() && !groups.contains(&group) {
                groups.push(group);
            }
        }
        self.groups = groups;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authenticated_adds_the_group_once() {
        let user = |groups: &[&str]| UserInfo {
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        };
        let after = |groups| user(groups).authenticated().groups;
        assert_eq!(after(&[]), ["system:authenticated"]);
        assert_eq!(after(&["a", "", "a"]), ["a", "system:authenticated"]);
        assert_eq!(
            after(&["system:authenticated", "b"]),
            ["system:authenticated", "b"]
        );
    }

    #[test]
    fn user_info_serializes_as_kubernetes_does() {
        let empty = serde_json::to_string(&UserInfo::default()).unwrap();
        assert_eq!(empty, "{}");
        let user = UserInfo {
            username: "jane".to_owned(),
            uid: "1".to_owned(),
            groups: vec!["dev".to_owned()],
            extra: BTreeMap::from([("k".to_owned(), vec!["v".to_owned()])]),
        };
        let json = serde_json::to_string(&user).unwrap();
        assert_eq!(
            json,
            r#"{"username":"jane","uid":"1","groups":["dev"],"extra":{"k":["v"]}}"#
        );
        assert_eq!(serde_json::from_str::<UserInfo>(&json).unwrap(), user);
        assert!(user.is_in("dev") && !user.is_in("ops"));
    }
}
