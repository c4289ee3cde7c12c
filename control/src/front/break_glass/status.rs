//! How break-glass is, for `eyesplice break-glass status`.

use super::BreakGlass;
use crate::front::servers::Sight;
use crate::front::short::{PLACES, REVIEWS};
use eyesplice_identity::certificate::rfc3339;
use serde_json::{Value as Json, json};
use std::time::{Instant, SystemTime};

impl BreakGlass {
    /// All that is known, at this moment.
    pub(super) fn status(&self, now: (Instant, SystemTime)) -> Json {
        let why_not = self.why_not(now.0);
        let own = self.servers.sights();
        let path = |sight: &Sight| {
            json!({
                "state": sight.standing(&self.need, now.0).as_str(),
                "error": sight.trouble(),
            })
        };
        let other = self.vantage.sights();
        let servers = own.iter().zip(&other).map(|((name, here), there)| {
            json!({"server": name, "here": path(here), "vantage": path(there)})
        });
        let (reviews, places) = self.kept.memory.counts();
        let kubelets = self.kept.warm.all();
        let kubelets = kubelets.iter().map(|(node, warmth)| {
            let until = warmth.reviewed.map(|at| at + self.settings.kubelet_cache);
            json!({
                "node": &**node,
                "allowed": warmth.allowed.map(rfc3339),
                "untilAtMost": until.map(rfc3339),
                "error": warmth.error,
            })
        });
        json!({
            "time": rfc3339(now.1),
            "inForce": why_not.is_none(),
            "since": self.kept.since().filter(|_| why_not.is_none()).map(rfc3339),
            "whyNot": why_not,
            "vantage": self.vantage.address().to_string(),
            "servers": servers.collect::<Vec<_>>(),
            "reviews": {"count": reviews, "most": REVIEWS},
            "places": {"count": places, "most": PLACES},
            "kubelets": kubelets.collect::<Vec<_>>(),
        })
    }

    /// Answers the admin endpoint: the status, or a drill's question.
    pub(in crate::front) fn answer(&self, drill: Option<&str>) -> Result<Json, String> {
        let now = (Instant::now(), SystemTime::now());
        match drill {
            None => Ok(self.status(now)),
            Some(question) => self.drill(question, now),
        }
    }
}
