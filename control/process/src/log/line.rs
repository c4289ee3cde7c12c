//! Log lines that are written without the subscriber: about the log itself, and about a panic, which may be the
//! subscriber's own.

use super::Format;
use eyesplice_identity::certificate::rfc3339;
use serde_json::{Map, Value};
use std::fmt::Write;
use std::time::SystemTime;

/// Writes one line in the form of the others.
pub(super) fn line(
    format: Format,
    now: SystemTime,
    level: &str,
    message: &str,
    fields: &[(&str, Value)],
) -> String {
    let now = rfc3339(now);
    match format {
        Format::Json => {
            let mut event = Map::new();
            event.insert("timestamp".into(), now.into());
            event.insert("level".into(), level.into());
            event.insert("message".into(), message.into());
            for (name, value) in fields {
                event.insert((*name).to_owned(), value.clone());
            }
            event.insert("target".into(), module_path!().into());
            format!("{}\n", Value::Object(event))
        }
        Format::Text => {
            let mut text = format!("{now} {level:>5} {message}");
            for (name, value) in fields {
                // Writing to a String has no way to fail.
                let _ = write!(text, " {name}={value}");
            }
            text.push('\n');
            text
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, UNIX_EPOCH};

    fn written(format: Format) -> String {
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let fields = [("lines", 3.into()), ("reason", "a\n\"b\"".into())];
        line(format, now, "WARN", "log lines were lost", &fields)
    }

    #[test]
    fn line_of_json_is_one_object_with_the_keys_of_the_others() {
        let text = written(Format::Json);
        assert_eq!(text.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["timestamp"], "2023-11-14T22:13:20.000000Z");
        assert_eq!(value["level"], "WARN");
        assert_eq!(value["message"], "log lines were lost");
        assert_eq!(value["lines"], 3);
        assert_eq!(value["reason"], "a\n\"b\"");
    }

    #[test]
    fn line_of_text_is_one_line() {
        assert_eq!(
            written(Format::Text),
            "2023-11-14T22:13:20.000000Z  WARN log lines were lost lines=3 reason=\"a\\n\\\"b\\\"\"\n"
        );
    }
}
