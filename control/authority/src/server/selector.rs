//! Field and label selectors (apimachinery `pkg/fields`, `pkg/labels`).

use crate::error::ApiError;
use crate::object::CertificateSigningRequest;

/// Terms of one selector; a URL of bounded length holds no more that anybody needs.
const TERMS: usize = 64;

/// Which objects a request is about; the default is all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Selector {
    fields: Vec<FieldTerm>,
    labels: Vec<LabelTerm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct FieldTerm {
    field: Field,
    value: String,
    equal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Name,
    SignerName,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct LabelTerm {
    key: String,
    test: LabelTest,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum LabelTest {
    Exists,
    Absent,
    In(Vec<String>),
    NotIn(Vec<String>),
}

impl Selector {
    /// Adds `metadata.name=a,spec.signerName!=b`.
    pub(super) fn add_fields(&mut self, text: &str) -> Result<(), ApiError> {
        for term in text.split(',').filter(|term| !term.is_empty()) {
            let (field, value, equal) = comparison(term)
                .ok_or_else(|| bad(text, "write FIELD=VALUE, FIELD==VALUE or FIELD!=VALUE"))?;
            let field = match field {
                "metadata.name" => Field::Name,
                "spec.signerName" => Field::SignerName,
                other => {
                    let message = format!("field label not supported: {other}");
                    return Err(ApiError::bad_request(message));
                }
            };
            if self.fields.len() == TERMS {
                return Err(bad(text, "use fewer terms"));
            }
            let value = value.to_owned();
            self.fields.push(FieldTerm {
                field,
                value,
                equal,
            });
        }
        Ok(())
    }

    /// Adds `a=b,c!=d,e,!f,g in (h,i),j notin (k)`.
    pub(super) fn add_labels(&mut self, text: &str) -> Result<(), ApiError> {
        for term in split_outside_parentheses(text) {
            let term = term.trim();
            if term.is_empty() {
                continue;
            }
            let parsed = label_term(term);
            let parsed = parsed.ok_or_else(|| bad(text, "write it as kubectl get -l takes it"))?;
            if self.labels.len() == TERMS {
                return Err(bad(text, "use fewer terms"));
            }
            self.labels.push(parsed);
        }
        Ok(())
    }

    /// Says whether every object is meant.
    pub(super) fn is_all(&self) -> bool {
        self.fields.is_empty() && self.labels.is_empty()
    }

    /// Says whether an object is meant.
    pub(super) fn matches(&self, object: &CertificateSigningRequest) -> bool {
        let field = |term: &FieldTerm| {
            let value = match term.field {
                Field::Name => &object.metadata.name,
                Field::SignerName => &object.spec.signer_name,
            };
            (*value == term.value) == term.equal
        };
        let label = |term: &LabelTerm| {
            let value = object.metadata.labels.get(&term.key);
            match &term.test {
                LabelTest::Exists => value.is_some(),
                LabelTest::Absent => value.is_none(),
                LabelTest::In(values) => value.is_some_and(|value| values.contains(value)),
                // As upstream: an object without the label is not in any set of its values.
                LabelTest::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
            }
        };
        self.fields.iter().all(field) && self.labels.iter().all(label)
    }
}

fn bad(text: &str, fix: &str) -> ApiError {
    ApiError::bad_request(format!("selector {text:?} cannot be parsed; {fix}"))
}

fn comparison(term: &str) -> Option<(&str, &str, bool)> {
    let (key, rest) = term.split_at(term.find(['=', '!'])?);
    let (value, equal) = if let Some(value) = rest.strip_prefix("!=") {
        (value, false)
    } else if let Some(value) = rest.strip_prefix("==") {
        (value, true)
    } else {
        (rest.strip_prefix('=')?, true)
    };
    let good = !key.trim().is_empty() && !value.contains(['=', '!']);
    good.then_some((key.trim(), value.trim(), equal))
}

fn label_term(term: &str) -> Option<LabelTerm> {
    let built = |key: &str, test| {
        let good = !key.is_empty() && !key.contains([' ', '(', ')', '!', '=']);
        good.then(|| LabelTerm {
            key: key.to_owned(),
            test,
        })
    };
    if let Some((head, values)) = term.split_once('(') {
        let values = values.strip_suffix(')')?;
        let values: Vec<String> = values
            .split(',')
            .map(|value| value.trim().to_owned())
            .collect();
        let (key, operator) = head.trim().rsplit_once(' ')?;
        return match operator {
            "in" => built(key.trim(), LabelTest::In(values)),
            "notin" => built(key.trim(), LabelTest::NotIn(values)),
            _ => None,
        };
    }
    if let Some((key, value, equal)) = comparison(term) {
        let values = vec![value.to_owned()];
        let test = if equal {
            LabelTest::In(values)
        } else {
            LabelTest::NotIn(values)
        };
        return built(key, test);
    }
    match term.strip_prefix('!') {
        Some(key) => built(key.trim(), LabelTest::Absent),
        None => built(term, LabelTest::Exists),
    }
}

fn split_outside_parentheses(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0_usize);
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> CertificateSigningRequest {
        let mut object = CertificateSigningRequest::default();
        object.metadata.name = "csr-1".to_owned();
        object.spec.signer_name = "kubernetes.io/kubelet-serving".to_owned();
        object
            .metadata
            .labels
            .insert("env".to_owned(), "prod".to_owned());
        object
    }

    #[test]
    fn field_selector_matches_name_and_signer() {
        for (text, expected) in [
            ("metadata.name=csr-1", true),
            ("metadata.name==csr-1", true),
            ("metadata.name!=csr-1", false),
            ("metadata.name=csr-1,spec.signerName=x", false),
            ("spec.signerName=kubernetes.io/kubelet-serving", true),
            ("", true),
        ] {
            let mut selector = Selector::default();
            selector.add_fields(text).unwrap();
            assert_eq!(selector.matches(&object()), expected, "{text}");
        }
    }

    #[test]
    fn label_selector_knows_every_operator() {
        for (text, expected) in [
            ("env=prod", true),
            ("env==prod", true),
            ("env!=prod", false),
            ("zone!=a", true),
            ("env", true),
            ("!env", false),
            ("!zone", true),
            ("env in (prod,test)", true),
            ("env in (test)", false),
            ("env notin (test)", true),
            ("zone notin (a)", true),
            ("env=prod,zone", false),
            ("env in (a,prod),!zone", true),
        ] {
            let mut selector = Selector::default();
            selector.add_labels(text).unwrap();
            assert_eq!(selector.matches(&object()), expected, "{text}");
        }
    }

    #[test]
    fn label_selector_refuses_nonsense() {
        for text in [
            "a in b", "(a)", "a (b)", "=b", "a=b=c", "! ", "a in (b", "a b",
        ] {
            assert!(Selector::default().add_labels(text).is_err(), "{text}");
        }
    }
}
