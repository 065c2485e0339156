//! Writing a configuration with the JSON names.

use serde::{Serialize, Serializer, ser::Error as _};
use toml::{Table, Value};

use super::Config;

/// A configuration that is written with the lowerCamel names of the JSON form.
///
/// ```
/// use nri_adaptation::config::{Config, JsonConfig};
/// let json = serde_json::to_value(JsonConfig(&Config::default()))?;
/// assert_eq!(json["socketPath"], "/var/run/nri/nri.sock");
/// assert_eq!(json["defaultValidator"]["rejectOCIHookAdjustment"], false);
/// assert_eq!(serde_json::from_value::<Config>(json)?, Config::default());
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct JsonConfig<'a>(
    /// What is written.
    pub &'a Config,
);

impl Serialize for JsonConfig<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let table = Table::try_from(self.0).map_err(S::Error::custom)?;
        renamed(table, true).serialize(to)
    }
}

/// The table with keys in lowerCamel. Those of `plugins` and `pod_labels` are names, not keys.
fn renamed(table: Table, keys: bool) -> Table {
    table
        .into_iter()
        .map(|(key, value)| {
            let value = match value {
                Value::Table(inner) => {
                    let names = keys && matches!(&*key, "plugins" | "pod_labels");
                    Value::Table(renamed(inner, !names))
                }
                Value::Array(list) => {
                    let renamed = |item| match item {
                        Value::Table(inner) => Value::Table(renamed(inner, true)),
                        other => other,
                    };
                    Value::Array(list.into_iter().map(renamed).collect())
                }
                other => other,
            };
            (if keys { lower_camel(&key) } else { key }, value)
        })
        .collect()
}

fn lower_camel(key: &str) -> String {
    let mut words = key.split('_');
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        if word == "oci" {
            name.push_str("OCI");
            continue;
        }
        let (first, rest) = word.split_at(word.len().min(1));
        name.push_str(&first.to_ascii_uppercase());
        name.push_str(rest);
    }
    name
}
