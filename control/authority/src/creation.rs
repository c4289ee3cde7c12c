//! Makes a stored object of what a client sent, as fast as its user may.

use super::error::ApiError;
use super::limits;
use super::object::{API_VERSION, CertificateSigningRequest, KIND, Status, Timestamp};
use eyesplice_identity::random;
use eyesplice_identity::user::UserInfo;
use parking_lot::Mutex;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::HashMap;
use std::time::Instant;

/// What generated names end in: no vowels, no digits that look like letters, as upstream.
const NAME_ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const NAME_SUFFIX: usize = 5;

/// `generateName` is cut so that its suffix still fits, as upstream.
const LONGEST_GENERATE_NAME: usize = 253 - NAME_SUFFIX;

/// How long a client stays away that created too many at once, in seconds.
const COME_BACK_S: u32 = 10;

/// Fills in what the server alone says: name, UID, time, and whose request it is.
pub(super) fn complete(
    mut object: CertificateSigningRequest,
    user: &UserInfo,
    now: Timestamp,
) -> Result<CertificateSigningRequest, ApiError> {
    KIND.clone_into(&mut object.kind);
    API_VERSION.clone_into(&mut object.api_version);
    let metadata = &mut object.metadata;
    if metadata.name.is_empty() && !metadata.generate_name.is_empty() {
        let base = &metadata.generate_name;
        let end = base.len().min(LONGEST_GENERATE_NAME);
        let base = base.get(..end).unwrap_or_default();
        metadata.name = format!("{base}{}", suffix()?);
    }
    metadata.uid = random::uuid().map_err(unlucky)?;
    metadata.creation_timestamp = Some(now);
    metadata.resource_version.clear();
    object.status = Status::default();
    let spec = &mut object.spec;
    spec.username.clone_from(&user.username);
    spec.uid.clone_from(&user.uid);
    spec.groups.clone_from(&user.groups);
    spec.extra.clone_from(&user.extra);
    Ok(object)
}

/// How fast each user creates.
#[derive(Debug, Default)]
pub(super) struct Rates(Mutex<HashMap<String, Bucket>>);

#[derive(Clone, Copy, Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

impl Rates {
    /// Takes one from the allowance of a user, which fills evenly over a minute; what has come of late
    /// by those whom the user brought is taken from the same one.
    pub(super) fn take(&self, user: &str, per_minute: u32, now: Instant) -> Result<(), ApiError> {
        let most = f64::from(per_minute);
        let mut buckets = self.0.lock();
        if buckets.len() >= limits::RATED_IDENTITIES && !buckets.contains_key(user) {
            let idle = buckets.iter().min_by_key(|(_, bucket)| bucket.at);
            if let Some(idle) = idle.map(|(name, _)| name.clone()) {
                buckets.remove(&idle);
            }
        }
        let full = Bucket {
            left: most,
            at: now,
        };
        let bucket = buckets.entry(user.to_owned()).or_insert(full);
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        bucket.left = (bucket.left + passed * most / 60.0).min(most);
        bucket.at = now;
        if bucket.left < 1.0 {
            let message = format!("user {user:?} creates more than {per_minute} requests a minute");
            return Err(ApiError::too_many(message, COME_BACK_S));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

fn suffix() -> Result<String, ApiError> {
    let mut bytes = [0; NAME_SUFFIX];
    SystemRandom::new().fill(&mut bytes).map_err(unlucky)?;
    let letter = |byte: &u8| char::from(NAME_ALPHABET[usize::from(*byte) % NAME_ALPHABET.len()]);
    Ok(bytes.iter().map(letter).collect())
}

fn unlucky(_: ring::error::Unspecified) -> ApiError {
    ApiError::internal("the system's random source failed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn rates_let_a_burst_pass_and_then_the_allowance() {
        let rates = Rates::default();
        let start = Instant::now();
        for _ in 0..60 {
            rates.take("flooder", 60, start).unwrap();
        }
        let refused = rates.take("flooder", 60, start).unwrap_err();
        assert_eq!(
            (refused.code.as_u16(), refused.retry_after_s()),
            (429, i32::try_from(COME_BACK_S).ok())
        );
        // Another user is not touched by it.
        rates.take("other", 60, start).unwrap();
        let later = start + Duration::from_secs(1);
        rates.take("flooder", 60, later).unwrap();
        rates.take("flooder", 60, later).unwrap_err();
    }

    #[test]
    fn rates_forget_the_idlest_user_and_no_more() {
        let rates = Rates::default();
        let start = Instant::now();
        for index in 0..2 * limits::RATED_IDENTITIES {
            let at = start + Duration::from_millis(index as u64);
            rates.take(&index.to_string(), 1, at).unwrap();
        }
        let len = rates.0.lock().len();
        assert_eq!(len, limits::RATED_IDENTITIES);
    }

    #[test]
    fn complete_overwrites_what_a_client_claims() {
        let user = UserInfo {
            username: "system:bootstrap:abcdef".to_owned(),
            groups: vec!["system:bootstrappers".to_owned()],
            ..UserInfo::default()
        };
        let mut object = CertificateSigningRequest::default();
        object.metadata.generate_name = "csr-".to_owned();
        object.metadata.uid = "mine".to_owned();
        object.spec.username = "admin".to_owned();
        object.spec.groups = vec!["system:masters".to_owned()];
        object.status.certificate.0 = b"mine".to_vec();
        let now = Timestamp::new(eyesplice_identity::pki::testing::NOW);
        let object = complete(object, &user, now).unwrap();
        assert_eq!(object.spec.username, user.username);
        assert_eq!(object.spec.groups, user.groups);
        assert!(object.status.certificate.is_empty());
        assert_eq!(object.metadata.name.len(), "csr-".len() + NAME_SUFFIX);
        assert_eq!(object.metadata.uid.len(), 36);
        assert_eq!(&object.metadata.uid[14..15], "4");
    }
}
