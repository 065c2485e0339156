//! Text that people write, as a type: TOML, YAML and JSON through serde. What may not enter: where
//! the text comes from.

mod value;
mod whole;
mod yaml;

use serde::de::DeserializeOwned;

/// The form of a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// TOML 1.
    Toml,
    /// YAML 1.2, one document. References to anchors, merge keys and tags are refused.
    Yaml,
    /// JSON.
    Json,
}

impl Format {
    /// Which one a text is in, by its first line that is neither empty nor a comment: one that
    /// begins with `{` is JSON; one that begins with `[`, or has `=` before any `:`, is TOML; all
    /// else is YAML.
    ///
    /// ```
    /// use nri_plugin::Format;
    ///
    /// assert_eq!(Format::of("# limits\n[memory]\nlimit = 1"), Format::Toml);
    /// assert_eq!(Format::of("image = \"a:b\""), Format::Toml);
    /// assert_eq!(Format::of("memory:\n  args: a=b"), Format::Yaml);
    /// assert_eq!(Format::of("{ \"memory\": { \"limit\": 1 } }"), Format::Json);
    /// ```
    pub fn of(text: &str) -> Self {
        let mut lines = text.lines().map(str::trim);
        let first = lines.find(|line| !line.is_empty() && !line.starts_with('#'));
        let first = first.unwrap_or_default();
        match first.chars().find(|c| matches!(c, '=' | ':')) {
            _ if first.starts_with('{') => Self::Json,
            _ if first.starts_with('[') => Self::Toml,
            Some('=') => Self::Toml,
            _ => Self::Yaml,
        }
    }
}

/// Reads a configuration.
pub(crate) fn read<T: DeserializeOwned>(text: &str, format: Format) -> Result<T, String> {
    let read = match format {
        Format::Toml => toml::from_str(text).map_err(|error| error.to_string()),
        Format::Json => serde_json::from_str(text).map_err(|error| error.to_string()),
        Format::Yaml => yaml::read(text)
            .and_then(|node| value::read(&node))
            .map_err(|error| error.to_string()),
    };
    read.map_err(without_quotes)
}

/// Says what would be right where a number is written as a text. It is one rule for all formats: a
/// text is no number, and no text is taken for one.
fn without_quotes(reason: String) -> String {
    let written = reason.split_once("invalid type: string \"");
    let written = written.and_then(|(_, rest)| rest.split_once('"'));
    match written {
        Some((text, _)) if text.parse::<f64>().is_ok() || text.parse::<bool>().is_ok() => {
            format!("{}; write {text} without quotes", reason.trim_end())
        }
        _ => reason,
    }
}

/// Reads one value: a text as it is if a text is wanted, else YAML, and so JSON.
pub(crate) fn read_value<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    T::deserialize(whole::Whole(text)).map_err(|error| without_quotes(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Limits {
        memory: Option<u64>,
        names: Vec<String>,
        mode: Mode,
        by_pod: BTreeMap<String, Limit>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Mode {
        #[default]
        Off,
        Share(f64),
        Fixed {
            cpus: String,
        },
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Limit {
        soft: i64,
        hard: bool,
    }

    fn expected() -> Limits {
        let limit = Limit {
            soft: -1,
            hard: true,
        };
        Limits {
            memory: Some(4096),
            names: vec!["012".into(), "yes".into(), "a: b".into()],
            mode: Mode::Fixed { cpus: "3".into() },
            by_pod: BTreeMap::from([("1".to_owned(), limit)]),
        }
    }

    const TOML: &str = r#"
        # limits
        memory = 4096
        names = ["012", "yes", "a: b"]
        mode = { fixed = { cpus = "3" } }
        [by_pod.1]
        soft = -1
        hard = true
    "#;
    const YAML: &str = "
# limits
memory: 0x1000
names: [012, yes, 'a: b']
mode:
  fixed:
    cpus: 3
by_pod:
  1: { soft: -1, hard: true }
";
    const JSON: &str = r#"{"memory": 4096, "names": ["012", "yes", "a: b"],
        "mode": {"fixed": {"cpus": "3"}}, "by_pod": {"1": {"soft": -1, "hard": true}}}"#;

    #[test]
    fn all_formats_say_the_same() {
        for (text, format) in [
            (TOML, Format::Toml),
            (YAML, Format::Yaml),
            (JSON, Format::Json),
        ] {
            assert_eq!(Format::of(text), format);
            assert_eq!(read::<Limits>(text, format).unwrap(), expected());
        }
        // JSON is YAML.
        assert_eq!(read::<Limits>(JSON, Format::Yaml).unwrap(), expected());
        assert_eq!(
            read::<Limits>("", Format::of("")).unwrap(),
            Limits::default()
        );
    }

    /// Law: what is a number in one format is one in all, and what is none is none.
    #[test]
    fn a_text_is_no_number_in_any_format() {
        for (value, is_number) in [
            ("4096", true),
            ("\"4096\"", false),
            ("\"true\"", false),
            ("true", false),
            ("\"1Gi\"", false),
            ("-1", false),
            ("0.5", false),
            ("1e30", false),
            ("99999999999999999999", false),
            ("\"\"", false),
        ] {
            for (format, text) in [
                (Format::Toml, format!("memory = {value}")),
                (Format::Yaml, format!("memory: {value}")),
                (Format::Json, format!("{{\"memory\": {value}}}")),
            ] {
                let read = read::<Limits>(&text, format);
                assert_eq!(read.is_ok(), is_number, "{text}: {read:?}");
                let is_hinted = read.is_err_and(|reason| reason.contains("without quotes"));
                let is_quoted = ["\"4096\"", "\"true\""].contains(&value);
                assert_eq!(is_hinted, is_quoted, "{text}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        for (text, says) in [
            (
                "memory: lots",
                "line 1: memory: invalid type: string \"lots\", expected u64",
            ),
            (
                "memory: 1\nnames:\n- a\n- [b]",
                "line 4: names[1]: invalid type: sequence, expected a string",
            ),
            (
                "by_pod:\n  p:\n    soft: 1",
                "line 3: by_pod.p: missing field `hard`",
            ),
            (
                "memory: '4096'",
                "line 1: memory: invalid type: string \"4096\", expected u64; write 4096 without quotes",
            ),
            ("memory: 1\nmemroy: 2", "line 2: unknown field `memroy`"),
            (
                "memory: -1",
                "line 1: memory: invalid value: integer `-1`, expected u64",
            ),
            (
                "memory: 1\nmemory: 2",
                "line 2, column 1: \"memory\" is there twice",
            ),
            ("mode: fast", "line 1: mode: unknown variant `fast`"),
            (
                "mode: { off: 1, share: 2 }",
                "line 1: mode: one name was expected",
            ),
            ("a: &x 1\nb: *x", "references to anchors"),
            ("a: !env B", "tags are not read"),
            ("<<: 1", "merge keys"),
            ("a: 1\n---\nb: 1", "second document"),
            ("a: [", "line "),
            ("? [a]\n: 1", "a key must be a text"),
        ] {
            let error = read::<Limits>(text, Format::Yaml).unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
        }
        let error = read::<Limits>("memroy = 1", Format::Toml).unwrap_err();
        assert!(
            error.contains("line 1") && error.contains("memroy"),
            "{error}"
        );
    }

    #[test]
    fn a_value_is_a_text_as_it_is_or_what_it_says() {
        assert_eq!(read_value::<String>("a: b"), Ok("a: b".to_owned()));
        assert_eq!(
            read_value::<Option<String>>(" [ "),
            Ok(Some(" [ ".to_owned()))
        );
        assert_eq!(read_value::<u16>(" 7 "), Ok(7));
        assert_eq!(read_value::<bool>("true"), Ok(true));
        assert_eq!(read_value::<f64>("1.5e3"), Ok(1500.0));
        assert_eq!(
            read_value::<Vec<String>>("[a, 1]"),
            Ok(vec!["a".into(), "1".into()])
        );
        assert_eq!(read_value::<Mode>("off"), Ok(Mode::Off));
        assert_eq!(read_value::<Mode>("share: 0.5"), Ok(Mode::Share(0.5)));
        assert_eq!(read_value::<Option<u8>>("~"), Ok(None));
        assert!(read_value::<u16>("70000").is_err());
        assert!(read_value::<u16>("").is_err());
    }

    #[test]
    fn depth_is_bounded() {
        let deep = "[".repeat(100_000);
        for format in [Format::Yaml, Format::Json] {
            assert!(read::<serde_json::Value>(&deep, format).is_err());
        }
    }

    proptest! {
        /// Law: what JSON says, YAML says of the same text.
        #[test]
        fn json_is_read_as_yaml_alike(
            map in prop::collection::btree_map("[a-z0-9 :#'\\-]{0,8}", prop::option::of(any::<i64>()), 0..6)
        ) {
            let text = serde_json::to_string(&map).unwrap();
            let again: BTreeMap<String, Option<i64>> = read(&text, Format::Yaml).unwrap();
            prop_assert_eq!(again, map);
        }

        /// Law: no text makes it panic.
        #[test]
        fn any_text_is_read_or_refused(text in "[ -~\n]{0,60}") {
            for format in [Format::Toml, Format::Yaml, Format::Json] {
                let _ = read::<Limits>(&text, format);
            }
            let _ = read_value::<Limits>(&text);
        }
    }
}
