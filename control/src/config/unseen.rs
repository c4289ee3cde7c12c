//! Finds rules whose targets' cuts look like ends to a client on a UNIX socket.

use super::model::{Config, RuleAction, Transport};

/// Says which they are; a UNIX socket has no reset, and splice and originate put no TLS of ours on it.
pub(crate) fn warning(config: &Config) -> Option<String> {
    let listener = config
        .listeners
        .iter()
        .find(|listener| matches!(listener.transport, Transport::Unix(_)))?;
    let rules: Vec<String> = config
        .egress
        .rules
        .iter()
        .filter(|rule| matches!(rule.action, RuleAction::Splice | RuleAction::Originate(_)))
        .map(|rule| format!("{} ({})", rule.name, rule.action.as_str()))
        .collect();
    (!rules.is_empty()).then(|| {
        format!(
            "egress.rules: over the UNIX socket of listener {}, a target of {} that dies in the \
             middle of a stream looks like one that ended, unless its protocol marks the end \
             (TLS, a length), because a UNIX socket has no reset; where that matters, use a `tcp` \
             listener",
            listener.name,
            rules.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Document;
    use std::path::Path;

    const HEAD: &str = "apiVersion: eyesplice.dev/v1alpha1\nkind: GatewayConfig\n";
    const UNIX: &str = "listeners: [{name: uds, unix: {path: /x}}]\n";
    const TCP: &str = "listeners: [{name: mtls, tcp: {address: '127.0.0.1:1', tlsCertFile: a, \
                       tlsPrivateKeyFile: b, clientCAFile: c}}]\n";
    const RULES: &str = "egress:\n  rules:\n  - {name: no, cidrs: [10.9.0.0/16], action: deny}\n  \
                         - {name: pods, cidrs: [10.0.0.0/8], action: splice}\n  \
                         - {name: hooks, cidrs: [11.0.0.0/8], action: originate, upstream: {caFile: d}}\n";

    fn of(text: &str) -> Option<String> {
        let loaded = Config::parse(text, Path::new("gateway.yaml"));
        warning(&loaded.unwrap_or_else(|errors| panic!("{errors}")).config)
    }

    #[test]
    fn warning_names_listener_and_rules_that_cannot_show_a_cut() {
        let words = of(&format!("{HEAD}{UNIX}{RULES}")).unwrap();
        assert!(words.contains("listener uds"), "{words}");
        assert!(
            words.contains("pods (splice), hooks (originate)"),
            "{words}"
        );
        assert!(!words.contains("no (deny)"), "{words}");
    }

    #[test]
    fn warning_is_none_where_every_cut_shows() {
        assert_eq!(of(&format!("{HEAD}{TCP}{RULES}")), None);
        let denied = "egress:\n  rules:\n  - {name: no, cidrs: [10.0.0.0/8], action: deny}\n";
        assert_eq!(of(&format!("{HEAD}{UNIX}{denied}")), None);
    }
}
