//! The checks of the default validator.

use std::collections::BTreeMap;

use nri_proto::api;
use nri_proto::api::Field;

use super::options::ValidatorOptions;
use super::rejection::{Rejection, SeccompClass};
use super::required;
use crate::PluginId;
use crate::merge::{Owner, Owners};

/// Checks what plugins ask for together against the options. Whether the validator is enabled makes
/// no difference here.
///
/// Hooks, seccomp, namespaces and kernel parameters are checked by their owners, and only if there
/// is an adjustment at all; the required plugins in any case.
///
/// # Errors
/// The first reason to reject, in the order hooks, seccomp, namespaces, required plugins, kernel
/// parameters.
///
/// ```
/// use nri_core::validate::{ValidatorOptions, check};
///
/// let options = ValidatorOptions { required_plugins: vec!["quota".into()], ..Default::default() };
/// let rejection = check(&options, &Default::default()).unwrap_err();
/// assert_eq!(rejection.to_string(), r#"validation error: required plugin "quota" is missing"#);
/// ```
pub fn check(
    options: &ValidatorOptions,
    request: &api::ValidateContainerAdjustmentRequest,
) -> Result<(), Rejection> {
    let adjusted = request.adjust.as_ref().map(|_| {
        let owners = request.owners.as_ref();
        Adjusted {
            options,
            container: request.container.clone().unwrap_or_default(),
            owners: owners.map(Owners::from_message).unwrap_or_default(),
        }
    });
    if let Some(adjusted) = &adjusted {
        adjusted.check_hooks()?;
        adjusted.check_seccomp()?;
        adjusted.check_namespaces()?;
    }
    required::check(options, request)?;
    match &adjusted {
        Some(adjusted) => adjusted.check_sysctl(),
        None => Ok(()),
    }
}

/// What the checks by owner look at.
struct Adjusted<'a> {
    options: &'a ValidatorOptions,
    container: api::Container,
    owners: Owners,
}

/// The plugins of an owner in words.
fn names(owner: &Owner) -> Vec<String> {
    match owner {
        Owner::Unrecognised(text) => vec![text.clone()],
        owner => owner.plugins().iter().map(PluginId::to_string).collect(),
    }
}

impl Adjusted<'_> {
    fn owner(&self, field: Field) -> Option<&Owner> {
        self.owners.owner(&self.container.id, field, None)
    }

    /// Key and plugin of everything that is owned in a field with entries, in order of the keys.
    fn entries(&self, field: Field) -> Vec<(String, String)> {
        let owned = self.owners.owners_of(&self.container.id, field);
        let named = owned.flat_map(|owned| {
            let key = owned.key.unwrap_or_default();
            let of_key = move |plugin| (key.to_owned(), plugin);
            names(owned.owner).into_iter().map(of_key)
        });
        named.collect()
    }

    fn check_hooks(&self) -> Result<(), Rejection> {
        match self.owner(Field::OciHooks) {
            Some(owner) if self.options.reject_oci_hook_adjustment => Err(Rejection::Hooks {
                plugins: names(owner),
            }),
            _ => Ok(()),
        }
    }

    fn check_seccomp(&self) -> Result<(), Rejection> {
        let Some(owner) = self.owner(Field::SeccompPolicy) else {
            return Ok(());
        };
        let class = SeccompClass::of(&self.container);
        let rejected = match class {
            SeccompClass::RuntimeDefault => self.options.reject_runtime_default_seccomp_adjustment,
            SeccompClass::Unconfined => self.options.reject_unconfined_seccomp_adjustment,
            SeccompClass::Custom => self.options.reject_custom_seccomp_adjustment,
        };
        if rejected {
            return Err(Rejection::Seccomp {
                plugin: names(owner).join(", "),
                class,
            });
        }
        Ok(())
    }

    fn check_namespaces(&self) -> Result<(), Rejection> {
        if !self.options.reject_namespace_adjustment {
            return Ok(());
        }
        match self.entries(Field::Namespace) {
            changes if changes.is_empty() => Ok(()),
            changes => Err(Rejection::Namespaces { changes }),
        }
    }

    fn check_sysctl(&self) -> Result<(), Rejection> {
        if !self.options.reject_sysctl_adjustment {
            return Ok(());
        }
        let mut changes: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (key, plugin) in self.entries(Field::Sysctl) {
            changes.entry(plugin).or_default().push(key);
        }
        if changes.is_empty() {
            return Ok(());
        }
        Err(Rejection::Sysctl { changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> PluginId {
        text.parse().unwrap()
    }

    fn all_flags() -> ValidatorOptions {
        ValidatorOptions {
            reject_oci_hook_adjustment: true,
            reject_runtime_default_seccomp_adjustment: true,
            reject_unconfined_seccomp_adjustment: true,
            reject_custom_seccomp_adjustment: true,
            reject_namespace_adjustment: true,
            reject_sysctl_adjustment: true,
            ..Default::default()
        }
    }

    /// A request about container `c` in which the given things have owners.
    fn request(owned: &[(Field, Option<&str>, Owner)]) -> api::ValidateContainerAdjustmentRequest {
        let mut owners = Owners::default();
        for (field, key, owner) in owned {
            owners.insert("c", *field, *key, owner.clone());
        }
        api::ValidateContainerAdjustmentRequest {
            container: Some(api::Container {
                id: "c".into(),
                name: "main".into(),
                ..Default::default()
            }),
            adjust: Some(api::ContainerAdjustment::default()),
            owners: Some(owners.to_message()),
            ..Default::default()
        }
    }

    fn profile(profile_type: i32) -> api::LinuxContainer {
        api::LinuxContainer {
            seccomp_profile: Some(api::SecurityProfile {
                profile_type,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn hooks_are_rejected_with_everyone_who_adds_them() {
        let request = request(&[(
            Field::OciHooks,
            None,
            Owner::Many(vec![id("10-a"), id("20-b")]),
        )]);
        assert_eq!(check(&ValidatorOptions::default(), &request), Ok(()));
        let text = check(&all_flags(), &request).unwrap_err().to_string();
        assert!(text.contains("plugins 10-a, 20-b"), "{text}");
    }

    #[test]
    fn d27_a_seccomp_policy_is_judged_by_the_profile_that_was_asked_for() {
        let owned = [(Field::SeccompPolicy, None, Owner::Set(id("10-a")))];
        for (linux, class) in [
            (None, SeccompClass::Unconfined),
            (
                Some(api::LinuxContainer::default()),
                SeccompClass::Unconfined,
            ),
            (Some(profile(0)), SeccompClass::RuntimeDefault),
            (Some(profile(1)), SeccompClass::Unconfined),
            (Some(profile(2)), SeccompClass::Custom),
            (Some(profile(3)), SeccompClass::Custom),
        ] {
            let mut request = request(&owned);
            request.container.as_mut().unwrap().linux = linux;
            assert_eq!(
                check(&all_flags(), &request),
                Err(Rejection::Seccomp {
                    plugin: "10-a".into(),
                    class
                })
            );
            let mut others = all_flags();
            match class {
                SeccompClass::RuntimeDefault => {
                    others.reject_runtime_default_seccomp_adjustment = false;
                }
                SeccompClass::Unconfined => others.reject_unconfined_seccomp_adjustment = false,
                SeccompClass::Custom => others.reject_custom_seccomp_adjustment = false,
            }
            assert_eq!(check(&others, &request), Ok(()));
        }
    }

    #[test]
    fn d26_namespaces_and_kernel_parameters_are_rejected_when_set_and_when_removed() {
        for owner in [Owner::Set(id("10-a")), Owner::Removed(id("10-a"))] {
            let namespaces = request(&[
                (Field::Namespace, Some("uts"), owner.clone()),
                (Field::Namespace, Some("ipc"), owner.clone()),
            ]);
            let change = |kind: &str| (kind.to_owned(), "10-a".to_owned());
            assert_eq!(
                check(&all_flags(), &namespaces),
                Err(Rejection::Namespaces {
                    changes: vec![change("ipc"), change("uts")]
                })
            );
            let sysctl = request(&[(Field::Sysctl, Some("net.core.somaxconn"), owner)]);
            let text = check(&all_flags(), &sysctl).unwrap_err().to_string();
            assert!(text.contains("net.core.somaxconn by plugin 10-a"), "{text}");
        }
    }

    #[test]
    fn owners_of_other_containers_do_not_count() {
        let mut request = request(&[]);
        let mut owners = Owners::default();
        owners.insert(
            "other",
            Field::OciHooks,
            None,
            Owner::Many(vec![id("10-a")]),
        );
        request.owners = Some(owners.to_message());
        assert_eq!(check(&all_flags(), &request), Ok(()));
    }

    #[test]
    fn without_an_adjustment_only_required_plugins_count() {
        let mut request = request(&[(Field::OciHooks, None, Owner::Many(vec![id("10-a")]))]);
        request.adjust = None;
        assert_eq!(check(&all_flags(), &request), Ok(()));
        let options = ValidatorOptions {
            required_plugins: vec!["x".into()],
            ..all_flags()
        };
        assert!(check(&options, &request).is_err());
    }

    #[test]
    fn owners_that_name_no_plugin_are_rejected_too() {
        let mut request = request(&[]);
        let owners = request.owners.as_mut().unwrap();
        let of_container = owners.owners.entry("c".into()).or_default();
        of_container
            .simple
            .insert(Field::OciHooks as i32, "plugin,with,commas".into());
        let text = check(&all_flags(), &request).unwrap_err().to_string();
        assert!(text.contains("plugin,with,commas"), "{text}");
    }
}
