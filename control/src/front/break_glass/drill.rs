//! Says what would come of a stream, without opening it.

use super::limits::DRILL;
use super::{BreakGlass, Permit, Wish};
use crate::front::labels::decoded;
use eyesplice_identity::certificate::rfc3339;
use eyesplice_proto::api::{PodStream, pod_stream};
use eyesplice_proto::head::RequestTarget;
use serde_json::{Value as Json, json};
use std::time::{Instant, SystemTime};

impl BreakGlass {
    /// Answers a question like `user=jane&namespace=shop&pod=web-0&stream=exec`. `Err`: what is
    /// wrong with it.
    pub(super) fn drill(&self, question: &str, now: (Instant, SystemTime)) -> Result<Json, String> {
        let (user, stream, verbs) = read(question)?;
        let wish = Wish {
            user: &user,
            stream: &stream,
            verbs,
        };
        let why_not = self.why_not(now.0);
        let permit = self.permit(wish, now.1);
        Ok(match permit {
            Ok(Permit {
                review,
                place,
                seen,
                rule,
            }) => json!({
                "allowed": true,
                "inForce": why_not.is_none(),
                "whyNotInForce": why_not,
                "rule": &*rule,
                "groups": review.user.groups,
                "reads": review.reads,
                "reviewed": rfc3339(review.at),
                "node": place.node.name(),
                "placed": rfc3339(seen),
            }),
            Err(denial) => json!({
                "allowed": false,
                "inForce": why_not.is_none(),
                "whyNotInForce": why_not,
                "why": denial.to_string(),
            }),
        })
    }
}

fn read(question: &str) -> Result<(String, PodStream, &'static [&'static str]), String> {
    if question.len() > DRILL {
        return Err(format!("the question has more than {DRILL} bytes"));
    }
    let field = |name: &str| {
        let mut pairs = question.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| (key == name).then(|| decoded(value)))
    };
    let required = |name: &str| field(name).ok_or_else(|| format!("the question has no {name}"));
    let (namespace, pod) = (required("namespace")?, required("pod")?);
    let stream = required("stream")?;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}/{stream}");
    let target = RequestTarget::new(path).ok();
    let stream = target.and_then(|target| pod_stream(&target));
    let stream = stream.ok_or_else(|| {
        "there is no such stream; write stream=exec, attach, portforward or log, and names as \
         kubectl shows them"
            .to_owned()
    })?;
    let verbs: &[&str] = match (stream.subresource.upgrades(), field("spdy")) {
        (false, _) => &["get"],
        // As kubectl asks from 1.31 on.
        (true, None) => &["get", "create"],
        (true, Some(_)) => &["create"],
    };
    let user = required("user")?;
    Ok((user, stream, verbs))
}
