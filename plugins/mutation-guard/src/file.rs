//! The file: rules of plugins, or the policies that are proposed for OpenShift. What may not enter:
//! judging.

use std::collections::BTreeMap;

use nri_plugin::policy::Policy;
use nri_plugin::policy::openshift::MutationPolicies;
use nri_plugin::{Configuration, HandlerError, InvalidConfiguration, read_configuration};
use serde::Deserialize;
use serde::de::IgnoredAny;

/// The policy below its name, as in the configuration of a runtime.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    policy: Policy,
}

/// Reads whichever it is; its keys say.
///
/// # Errors
/// It is neither, or there is none.
pub(crate) fn read(configuration: &Configuration) -> Result<Policy, HandlerError> {
    let keys = some::<BTreeMap<String, IgnoredAny>>(configuration)?;
    let has = |words: &[&str]| words.iter().any(|word| keys.contains_key(*word));
    if has(&["mode", "policies"]) {
        let file = some::<MutationPolicies>(configuration)?;
        return file
            .to_policy()
            .map_err(|error| match &configuration.config_file {
                Some(name) => format!("{name}: {error}").into(),
                None => error.into(),
            });
    }
    match has(&["policy"]) {
        true => Ok(some::<Named>(configuration)?.policy),
        false => Ok(some::<Policy>(configuration)?),
    }
}

fn some<T: serde::de::DeserializeOwned>(configuration: &Configuration) -> Result<T, HandlerError> {
    let read: Result<Option<T>, InvalidConfiguration> = read_configuration(configuration);
    read?.ok_or_else(|| {
        "the plugin needs a configuration: `mode` and `policies`, or `default` and `rules`; without one nothing would be \
         refused"
            .into()
    })
}
