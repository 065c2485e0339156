//! Reading the hub's configuration and its policy from files, which operators write, tools swap and
//! disks cut short.
//!
//! What may not enter: what a configuration means; that is `config`'s.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use nri_adaptation::policy::Policy;
use nri_adaptation::policy::openshift::MutationPolicies;
use nri_adaptation::{Configuration, HandlerError};
use nri_plugin::read_configuration;

use crate::config::{HubConfig, HubConfigError, is_of_hub};

/// The largest configuration that is read.
const LARGEST: u64 = 4 << 20;

const EMPTY: &str = "it is empty, as it is while it is written and when its disk is full; if it is to say nothing, \
                     write a comment into it";

impl HubConfig {
    /// Reads the policy of a file, as [`policy_from_toml`](Self::policy_from_toml) does; of a
    /// configuration of the hub also one that is in the file that it names. A file whose name ends
    /// in `.yaml` or `.yml` has the policies that are proposed for OpenShift
    /// ([`openshift`](nri_adaptation::policy::openshift)).
    ///
    /// # Errors
    /// A file cannot be read, or what is wrong in it.
    pub fn read_policy(path: &Path) -> Result<Policy, HubConfigError> {
        let text = text(path)?;
        match !is_yaml(path) && is_of_hub(&text) {
            true => Ok(read(path, &text)?.nri.policy),
            false => policy(path, text),
        }
    }

    /// Reads a configuration from a file, and the policy from the file that it names.
    ///
    /// # Errors
    /// A file cannot be read, or what is wrong in it. One that is empty was emptied, and what it
    /// said, the policy too, is not taken back by that.
    pub fn read(path: &Path) -> Result<Self, HubConfigError> {
        read(path, &text(path)?)
    }
}

/// The configuration in the text of a file, with the policy of the file that it names.
fn read(path: &Path, said: &str) -> Result<HubConfig, HubConfigError> {
    let config = HubConfig::from_toml(said);
    let mut config = config.map_err(|error| of_file(path, error))?;
    if let Some(file) = &config.hub.policy_file {
        let read = text(file).and_then(|said| policy(file, said));
        let of_key = |error| of_file(path, format!("key `hub.policy_file`: {error}"));
        config.nri.policy = read.map_err(of_key)?;
    }
    Ok(config)
}

/// The policy in the text of a file that names no other.
fn policy(path: &Path, text: String) -> Result<Policy, HubConfigError> {
    match is_yaml(path) {
        true => policy_from_yaml(text, path).map_err(|error| of_file(path, error)),
        false => HubConfig::policy_from_toml(&text).map_err(|error| of_file(path, error)),
    }
}

fn policy_from_yaml(text: String, path: &Path) -> Result<Policy, HandlerError> {
    let mut file = Configuration::default();
    file.config = text;
    // It tells the format, and places in errors.
    file.config_file = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    let policies: Option<MutationPolicies> = read_configuration(&file)?;
    let policies = policies.ok_or("it is empty: without `mode` and `policies` nothing is said")?;
    Ok(policies.to_policy()?)
}

fn is_yaml(path: &Path) -> bool {
    path.extension()
        .is_some_and(|end| end == "yaml" || end == "yml")
}

fn of_file(path: &Path, error: impl ToString) -> HubConfigError {
    HubConfigError::File {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

/// What a file says.
fn text(path: &Path) -> Result<String, HubConfigError> {
    let error = |reason: String| of_file(path, reason);
    // To open a pipe is to wait for somebody who writes into it, at each reload anew.
    let found = fs::metadata(path).map_err(|e| error(e.to_string()))?;
    if found.file_type().is_fifo() {
        return Err(error("it is a pipe, and must be a file".to_owned()));
    }
    let file = File::open(path).map_err(|e| error(e.to_string()))?;
    let mut text = String::new();
    let read = file.take(LARGEST + 1).read_to_string(&mut text);
    read.map_err(|e| error(e.to_string()))?;
    if text.len() as u64 > LARGEST {
        return Err(error(format!("it has more than {LARGEST} bytes")));
    }
    // Nobody takes back all that it said by emptying it, the policy too: its disk is full, or it is
    // being written.
    if text.trim().is_empty() {
        return Err(error(EMPTY.to_owned()));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use nri_adaptation::Config;
    use nri_adaptation::policy::Action;

    use super::*;

    #[test]
    fn a_policy_is_found_wherever_the_operator_has_it_and_no_pipe_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let [policy, config] = ["policy.toml", "config.toml"].map(|it| directory.path().join(it));
        std::fs::write(&policy, "default = 'audit'").unwrap();
        let said = format!("[hub]\npolicy_file = '{}'", policy.display());
        std::fs::write(&config, said).unwrap();
        let alone = HubConfig::read_policy(&policy).unwrap();
        assert_ne!(alone, Policy::default());
        assert_eq!(HubConfig::read_policy(&config).unwrap(), alone);
        std::fs::write(&policy, "default = 'aduit'").unwrap();
        let error = HubConfig::read_policy(&config).unwrap_err().to_string();
        assert!(error.contains("policy.toml: "), "{error}");
        let pipe = directory.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.unwrap().success());
        let error = HubConfig::read(&pipe).unwrap_err().to_string();
        assert!(
            error.ends_with("pipe: it is a pipe, and must be a file"),
            "{error}"
        );
    }

    #[test]
    fn a_policy_comes_from_a_file_of_its_own_and_its_mistakes_name_it() {
        let directory = tempfile::tempdir().unwrap();
        let (config, policy) = (directory.path().join("c"), directory.path().join("p"));
        let named = format!("[hub]\npolicy_file = {policy:?}");
        std::fs::write(&config, named).unwrap();
        assert!(
            HubConfig::read(&config)
                .unwrap_err()
                .to_string()
                .contains("/p: No such file")
        );
        std::fs::write(&policy, "default = 'deny'").unwrap();
        assert_ne!(
            HubConfig::read(&config).unwrap().nri.policy,
            Config::default().policy
        );
        std::fs::write(&policy, "default = 'no'").unwrap();
        let error = HubConfig::read(&config).unwrap_err().to_string();
        assert!(error.contains("/p: line 1"), "{error}");
    }

    /// Law: what is empty takes no policy away; what says nothing on purpose may.
    #[test]
    fn a_file_that_was_emptied_is_no_configuration() {
        let directory = tempfile::tempdir().unwrap();
        let [config, policy] = ["config.toml", "policy.toml"].map(|it| directory.path().join(it));
        for (emptied, is_refused) in [("", true), (" \n\n", true), ("# nothing\n", false)] {
            std::fs::write(&config, emptied).unwrap();
            assert_eq!(HubConfig::read(&config).is_err(), is_refused);
            std::fs::write(&policy, emptied).unwrap();
            std::fs::write(&config, format!("[hub]\npolicy_file = {policy:?}")).unwrap();
            match HubConfig::read(&config) {
                Ok(_) => assert!(!is_refused),
                Err(error) => assert!(
                    is_refused && error.to_string().contains("is empty"),
                    "{error}"
                ),
            }
        }
    }

    #[test]
    fn the_policies_of_openshift_are_a_policy_file_too() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mutations.yaml");
        let policies = "mode: permissive\npolicies:\n- namespaceSelector:\n    matchNames: [team-a]\n  \
                        allowedMutations: [resources]\n";
        std::fs::write(&file, policies).unwrap();
        let config = directory.path().join("config.toml");
        std::fs::write(&config, format!("[hub]\npolicy_file = {file:?}")).unwrap();
        let policy = HubConfig::read(&config).unwrap().nri.policy;
        assert_eq!(policy.default_action(), Action::Audit);
        assert_eq!(HubConfig::read_policy(&file), Ok(policy));
        for (wrong, what) in [
            (policies.replace("resources", "resorces"), "resorces"),
            (policies.replace("permissive", "lax"), "lax"),
            (String::new(), "it is empty"),
        ] {
            std::fs::write(&file, wrong).unwrap();
            let error = HubConfig::read(&config).unwrap_err().to_string();
            assert!(
                error.contains("mutations.yaml") && error.contains(what),
                "{error}"
            );
        }
    }
}
