//! The headers that name a request's user to an API server: which those of clients are, and what
//! ours say.

use crate::config::UserHeaders;
use eyesplice_identity::user::UserInfo;
use eyesplice_proto::headers::{BadHeader, HeaderName, HeaderValue, Headers};
use eyesplice_proto::hop::Identity;
use std::fmt::Write as _;
use std::net::IpAddr;

/// One header line.
pub(super) type Line = (HeaderName, HeaderValue);

/// Takes off what only a proxy may say: who the user is, and where the request comes from. Whom
/// to act as (`Impersonate-*`) is for the API server to judge.
pub(super) fn strip(headers: &mut Headers, names: &UserHeaders) {
    headers.remove_where(|name| {
        let name = name.as_str();
        matches!(
            Identity::of(name),
            Some(Identity::Remote | Identity::Forwarded)
        ) || [&names.username, &names.group, &names.uid]
            .iter()
            .any(|list| list.iter().any(|own| is(name, own)))
            || names.extra_prefix.iter().any(|own| starts(name, own))
    });
}

/// Says where a request comes from.
pub(super) fn forwarded_for(address: IpAddr) -> Option<Line> {
    let name = HeaderName::from_static("X-Forwarded-For");
    let value = HeaderValue::new(address.to_canonical().to_string());
    value.ok().map(|value| (name, value))
}

/// Says who the user is, in the first name of each kind.
///
/// # Errors A name that no header can hold as it is: one with a control character, or with a
/// space at an end, which its reader would take off.
pub(super) fn lines(user: &UserInfo, names: &UserHeaders) -> Result<Vec<Line>, BadHeader> {
    let mut lines = Vec::new();
    let mut add = |names: &[String], value: &str| -> Result<(), BadHeader> {
        let Some(name) = names.first() else {
            return Ok(());
        };
        lines.push((
            HeaderName::new(name.as_bytes())?,
            HeaderValue::new(value.as_bytes().to_vec())?,
        ));
        Ok(())
    };
    add(&names.username, &user.username)?;
    for group in &user.groups {
        add(&names.group, group)?;
    }
    if !user.uid.is_empty() {
        add(&names.uid, &user.uid)?;
    }
    if let Some(prefix) = names.extra_prefix.first() {
        for (key, values) in &user.extra {
            let name = [escaped(prefix, key)];
            for value in values {
                add(&name, value)?;
            }
        }
    }
    Ok(lines)
}

/// Writes a key of the user's extra behind the prefix: its reader undoes percent-encoding
/// (client-go `transport/round_trippers.go`).
fn escaped(prefix: &str, key: &str) -> String {
    let mut name = prefix.to_owned();
    for byte in key.bytes() {
        if byte != b'%' && HeaderName::new(&[byte]).is_ok() {
            name.push(char::from(byte));
        } else {
            // Writing to a String has no way to fail.
            let _ = write!(name, "%{byte:02X}");
        }
    }
    name
}

/// CGI-like servers read `_` as `-`.
fn is(name: &str, own: &str) -> bool {
    name.len() == own.len() && starts(name, own)
}

fn starts(name: &str, own: &str) -> bool {
    let plain = |byte: u8| match byte {
        b'_' => b'-',
        other => other.to_ascii_lowercase(),
    };
    let mut bytes = name.bytes().map(plain);
    own.bytes()
        .map(plain)
        .all(|want| bytes.next() == Some(want))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn user() -> UserInfo {
        UserInfo {
            username: "jane".to_owned(),
            uid: "7".to_owned(),
            groups: vec!["dev, ops".to_owned(), "caf\u{e9}".to_owned()],
            extra: BTreeMap::from([(
                "authentication.kubernetes.io/credential-id".to_owned(),
                vec!["X509SHA256=ab".to_owned()],
            )]),
        }
    }

    fn shown(lines: &[Line]) -> Vec<String> {
        let show =
            |(name, value): &Line| format!("{}: {}", name.as_str(), value.to_str().unwrap_or("?"));
        lines.iter().map(show).collect()
    }

    #[test]
    fn lines_name_user_groups_uid_and_extras() {
        let lines = lines(&user(), &UserHeaders::default()).unwrap();
        assert_eq!(
            shown(&lines),
            [
                "X-Remote-User: jane",
                "X-Remote-Group: dev, ops",
                "X-Remote-Group: caf\u{e9}",
                "X-Remote-Uid: 7",
                "X-Remote-Extra-authentication.kubernetes.io%2Fcredential-id: X509SHA256=ab",
            ]
        );
    }

    #[test]
    fn lines_of_names_that_a_header_would_change_are_refused() {
        for name in [
            " system:admin",
            "system:admin ",
            "a\r\nX-Remote-Group: b",
            "a\0",
        ] {
            let username = UserInfo {
                username: name.to_owned(),
                ..user()
            };
            let group = UserInfo {
                groups: vec![name.to_owned()],
                ..user()
            };
            for user in [username, group] {
                assert!(lines(&user, &UserHeaders::default()).is_err(), "{name:?}");
            }
        }
    }

    #[test]
    fn strip_takes_every_spelling_of_what_a_proxy_says() {
        let names = UserHeaders {
            username: vec!["X-Remote-User".to_owned(), "X-Auth_User".to_owned()],
            extra_prefix: vec!["X-More-".to_owned()],
            ..UserHeaders::default()
        };
        let mut headers = Headers::new();
        for name in [
            "X-Remote-User",
            "x-remote-user",
            "X_Remote_User",
            "x-REMOTE_group",
            "X-Remote-Uid",
            "X-Remote-Extra-Scopes",
            "X-Remote-Anything",
            "x-auth-user",
            "X_AUTH_USER",
            "x-more-a",
            "X_More_",
            "X-Forwarded-For",
            "x_forwarded_host",
            "Forwarded",
            "X-Real-IP",
        ] {
            let name = HeaderName::new(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static("forged"));
        }
        for name in [
            "Impersonate-User",
            "X-Auth-Users",
            "X-Remot",
            "Authorization",
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        strip(&mut headers, &names);
        let left: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let want = [
            "Impersonate-User",
            "X-Auth-Users",
            "X-Remot",
            "Authorization",
        ];
        assert_eq!(left, want);
    }

    #[test]
    fn forwarded_for_is_the_address_as_it_is_written() {
        for (address, text) in [
            ("10.0.0.7", "10.0.0.7"),
            ("::ffff:10.0.0.7", "10.0.0.7"),
            ("fd00::7", "fd00::7"),
        ] {
            let line = forwarded_for(address.parse().unwrap()).unwrap();
            assert_eq!(line.1.as_bytes(), text.as_bytes());
        }
    }
}
