//! `eyesplice version`.

use super::args::TextFormat;
use eyesplice_process::{BUILD, Build};

pub(super) fn render(format: TextFormat) -> String {
    match format {
        TextFormat::Text => format!("eyesplice {}\n", BUILD.version),
        TextFormat::Json => {
            let Build {
                version,
                commit,
                architecture,
                profile,
            } = BUILD;
            let value = serde_json::json!({
                "version": version,
                "commit": commit,
                "architecture": architecture,
                "profile": profile,
            });
            format!("{value}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn render_json_has_the_version() {
        let value: serde_json::Value = serde_json::from_str(&render(TextFormat::Json)).unwrap();
        assert_eq!(value["version"], env!("CARGO_PKG_VERSION"));
        assert!(value["commit"].is_string());
    }
}
