//! Judges a request that comes with a certificate for break-glass. Nothing of it ever goes to an
//! API server.

use super::kept::Outcome;
use super::{BreakGlass, Claim, Denial, Holder, Permit, Wish};
use crate::front::Front;
use crate::front::short::{Kubelets, Question, Right, Short, Wanted};
use crate::front::status::{Words, answer};
use eyesplice_dataplane::seam::{ApiAnswer, ApiLabels, ApiRequest, ApiVerdict, Reason};
use eyesplice_identity::certificate::rfc3339;
use eyesplice_proto::api::{PodStream, pod_stream};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Why there is no stream.
struct Refused {
    outcome: Outcome,
    words: String,
}

impl Refused {
    fn new(outcome: Outcome, words: impl Into<String>) -> Self {
        Self {
            outcome,
            words: words.into(),
        }
    }
}

impl From<Denial> for Refused {
    fn from(denial: Denial) -> Self {
        let outcome = match denial {
            Denial::Unreviewed { .. } => Outcome::NoReview,
            Denial::Unplaced(_) => Outcome::NoPlace,
            Denial::Unruled { .. } => Outcome::NoRule,
        };
        Self::new(outcome, denial.to_string())
    }
}

impl Front {
    /// Decides on a request by break-glass.
    pub(in crate::front) async fn by_break_glass(
        &self,
        (glass, short): (&BreakGlass, &Short),
        kubelets: &dyn Kubelets,
        request: &ApiRequest,
        (claim, mut labels): (Claim, ApiLabels),
    ) -> ApiVerdict {
        let holder = match claim {
            Ok(holder) => holder,
            Err(why) => {
                let refused = Refused::new(Outcome::Certificate, why.to_string());
                return self.refuse(glass, &refused, labels);
            }
        };
        labels.user = Some(Arc::clone(&holder.user));
        let opened = self.open(glass, short, kubelets, (request, &holder, &mut labels));
        match opened.await {
            Ok(verdict) => verdict,
            Err(refused) => self.refuse(glass, &refused, labels),
        }
    }

    async fn open(
        &self,
        glass: &BreakGlass,
        short: &Short,
        kubelets: &dyn Kubelets,
        (request, holder, labels): (&ApiRequest, &Holder, &mut ApiLabels),
    ) -> Result<ApiVerdict, Refused> {
        if let Some(why) = request.short_failed {
            let words = format!("the kubelet did not do what it should: {why}; the log has more");
            return Err(Refused::new(Outcome::Kubelet, words));
        }
        let now = SystemTime::now();
        let stream = pod_stream(&request.head.target).ok_or_else(|| {
            let words = "it is for exec, attach, port-forward and logs of pods alone";
            Refused::new(Outcome::Request, words)
        })?;
        let question = Question {
            stream: &stream,
            head: &request.head,
            upgrade: request.upgrade,
            has_body: request.has_body,
            by_certificate: None,
            peer: request.peer.ip().to_canonical(),
            now,
        };
        let unclear =
            |why| Refused::new(Outcome::Request, format!("the request is not clear: {why}"));
        let wanted = Wanted::read(&question).map_err(unclear)?;
        let wish = Wish {
            user: &holder.user,
            stream: &stream,
            verbs: wanted.verbs(),
        };
        let permit = glass.permit(wish, now);
        if let Some(why) = glass.why_not(Instant::now()) {
            let words = format!("it is not in force: {why}; {}", rehearsed(&permit));
            return Err(Refused::new(Outcome::NotInForce, words));
        }
        let permit = permit?;
        // Names of nodes may have to be looked up, which is not for the worker's thread.
        tokio::task::yield_now().await;
        let led = short.lead(kubelets, &question, &wanted, &permit.place);
        let led = led.await.map_err(|why| {
            let words = format!("the kubelet cannot be reached: {why}");
            Refused::new(Outcome::Kubelet, words)
        })?;
        let request_to = led.by(Right {
            user: Arc::clone(&permit.review.user),
            allowed: Arc::clone(&permit.review.reason),
            until: Some(holder.until.min(now + glass.settings.max_stream)),
            break_glass: Some(Arc::clone(&holder.serial)),
        });
        let Some(verdict) = self.pass(request, &stream, request_to, labels) else {
            let words = "its audit events would be lost; see front.audit";
            return Err(Refused::new(Outcome::Audit, words));
        };
        match &verdict {
            ApiVerdict::Forward(_) => {
                log_use(&permit, holder, &stream);
                glass.count(Outcome::Opened);
            }
            ApiVerdict::Answer(_) => glass.count(Outcome::Limit),
        }
        Ok(verdict)
    }

    fn refuse(&self, glass: &BreakGlass, refused: &Refused, labels: ApiLabels) -> ApiVerdict {
        glass.count(refused.outcome);
        let (code, reason, label) = match refused.outcome {
            Outcome::Certificate => (401, "Unauthorized", Reason::Unverified),
            Outcome::Kubelet => (503, "ServiceUnavailable", Reason::DialFailed),
            Outcome::Audit => (503, "ServiceUnavailable", Reason::Unaudited),
            _ => (403, "Forbidden", Reason::Denied),
        };
        let told = format!("break-glass: {}", refused.words);
        let words = Words {
            code,
            reason,
            message: &format!("eyesplice: {told}"),
            told: &told,
            label,
        };
        let answer: ApiAnswer = answer(self.generation, words, labels);
        ApiVerdict::Answer(Box::new(answer))
    }
}

/// What would come of a request if it were in force: each one before is a drill.
fn rehearsed(permit: &Result<Permit, Denial>) -> String {
    match permit {
        Ok(permit) => format!(
            "if it were, rule {:?} would allow this, by a review of {} and the place of {} on \
             node {}",
            permit.rule,
            rfc3339(permit.review.at),
            rfc3339(permit.seen),
            permit.place.node.name()
        ),
        Err(denial) => format!("if it were, this would be refused all the same: {denial}"),
    }
}

fn log_use(permit: &Permit, holder: &Holder, stream: &PodStream) {
    tracing::warn!(
        user = &*holder.user,
        serial = &*holder.serial,
        namespace = &*stream.namespace,
        pod = &*stream.pod,
        stream = stream.subresource.as_str(),
        node = permit.place.node.name(),
        rule = &*permit.rule,
        reviewed = rfc3339(permit.review.at),
        placed = rfc3339(permit.seen),
        "break-glass is used"
    );
}
