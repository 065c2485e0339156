//! Saying beforehand what a policy does.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use nri_adaptation::api::{ContainerAdjustment, PodSandbox};
use nri_adaptation::policy::{Action, explain};
use nri_hub::HubConfig;

use crate::Failure;
use crate::arguments::PolicyCheck;

/// No plugin can ask for more: messages are not longer.
const LARGEST: u64 = 4 << 20;

/// The text of a file, which may be what a shell writes for the output of a command.
fn text(file: &str) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(file)?
        .take(LARGEST + 1)
        .read_to_string(&mut text)?;
    match length as u64 > LARGEST {
        true => Err(io::Error::other(format!(
            "it has more than {LARGEST} bytes"
        ))),
        false => Ok(text),
    }
}

/// What to print, and whether something is denied.
pub(crate) fn check(file: &Path, check: &PolicyCheck) -> Result<(String, bool), Failure> {
    let policy = HubConfig::read_policy(file).map_err(Failure::wrong)?;
    let file = file.display();
    let mut said = String::new();
    let Some(asked) = &check.adjustment else {
        let (rules, default) = (policy.rules().len(), policy.default_action());
        writeln!(said, "{file}: {rules} rules, then {default}")?;
        return Ok((said, false));
    };
    let asked = match asked.strip_prefix('@') {
        Some(file) => text(file).map_err(|error| Failure::wrong(format!("{file}: {error}")))?,
        None => asked.clone(),
    };
    let asked: ContainerAdjustment = serde_json::from_str(&asked)
        .map_err(|error| Failure::wrong(format!("the adjustment: {error}")))?;
    let plugin = check.plugin.parse().map_err(Failure::wrong)?;
    let pod = PodSandbox {
        namespace: check.namespace.clone(),
        labels: check.labels.iter().cloned().collect(),
        runtime_handler: check.runtime_handler.clone(),
        ..PodSandbox::default()
    };
    let verdicts = explain(&policy, &plugin, &pod, &asked);
    if verdicts.is_empty() {
        writeln!(said, "nothing is asked for")?;
    }
    for verdict in &verdicts {
        write!(
            said,
            "{:<6} {}",
            verdict.action.to_string(),
            verdict.target.name()
        )?;
        for key in &verdict.keys {
            write!(said, " {key:?}")?;
        }
        writeln!(said, "  by rule {:?}", verdict.rule)?;
    }
    let denied = verdicts
        .iter()
        .any(|verdict| verdict.action == Action::Deny);
    Ok((said, denied))
}
