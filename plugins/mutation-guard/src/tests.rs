//! The plugin as a runtime sees it, beside one that changes containers.

use nri_plugin::api;
use nri_plugin::prelude::*;
use nri_testkit::{Harness, container, pod};

use crate::plugin;

/// A plugin that sets a variable and adds a hook, and limits the memory of another container.
fn changes(env: bool, hook: bool, update: bool) -> impl Plugin {
    handlers()
        .on_create_container(move |_cx, _pod, _container| async move {
            let mut adjust = Adjustment::new();
            if env {
                adjust.add_env("LD_PRELOAD", "/x.so")?;
            }
            if hook {
                let hook = api::Hook {
                    path: "/bin/true".into(),
                    ..Default::default()
                };
                adjust.add_hooks(api::Hooks {
                    poststop: vec![hook],
                    ..Default::default()
                });
            }
            if update {
                let mut other = api::ContainerUpdate::of_container("other")?;
                other.set_memory_limit(1 << 20);
                adjust.also_update(other);
            }
            Ok(adjust)
        })
        .build()
}

fn harness(file: &str, changing: impl Plugin) -> Harness {
    Harness::new(changing)
        .and("90-mutation-guard", plugin())
        .configured(file)
}

async fn created(file: &str, namespace: &str, changing: impl Plugin) -> Result<(), String> {
    let mut pod = pod("web-1");
    pod.namespace = namespace.to_owned();
    let created = harness(file, changing)
        .try_create(pod, container("c0"))
        .await;
    created.map(drop).map_err(|error| error.to_string())
}

const FILE: &str = "
mode: MODE
policies:
- namespaceSelector:
    matchNames: [some]
  allowedMutations: [resources, hooks]
- namespaceSelector: {matchNames: [none]}
  allowedMutations: []
- namespaceSelector: {matchNames: [trusted]}
  allowedMutations: [all]
";

#[tokio::test]
async fn the_file_of_openshift_is_read_as_it_is() {
    for (mode, namespace, env, hook) in [
        ("strict", "some", false, true),
        ("strict", "none", false, false),
        ("strict", "trusted", true, true),
        ("strict", "other", false, false),
        ("permissive", "some", false, true),
        ("permissive", "other", true, true),
    ] {
        let file = FILE.replace("MODE", mode);
        let of_env = created(&file, namespace, changes(true, false, false)).await;
        assert_eq!(of_env.is_ok(), env, "{mode} {namespace}: {of_env:?}");
        let of_hook = created(&file, namespace, changes(false, true, false)).await;
        assert_eq!(of_hook.is_ok(), hook, "{mode} {namespace}: {of_hook:?}");
    }
    assert_eq!(
        created(
            &FILE.replace("MODE", "strict"),
            "none",
            changes(false, false, false)
        )
        .await,
        Ok(())
    );
}

#[tokio::test]
async fn rules_about_plugins_count_and_the_error_names_the_plugin_and_the_rule() {
    let file = "
[[rules]]
name = 'no-preload'
plugins = ['plugin']
fields = ['env:LD_*']
action = 'deny'
[[rules]]
plugins = ['other']
action = 'deny'
";
    let file = format!("default = 'allow'\n{file}");
    let error = created(&file, "any", changes(true, true, false))
        .await
        .unwrap_err();
    assert!(
        error.contains("plugin \"10-plugin\" asks for Env \"LD_PRELOAD\""),
        "{error}"
    );
    assert!(error.contains("deny by rule \"no-preload\""), "{error}");
    assert_eq!(
        created(&file, "any", changes(false, true, false)).await,
        Ok(())
    );
    let named = file
        .replace("default", "[policy]\ndefault")
        .replace("rules]]", "policy.rules]]")
        .replace("[[", "\n[[");
    assert!(
        created(&named, "any", changes(true, false, false))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn updates_of_other_containers_are_judged_by_their_own_pod() {
    let file = FILE.replace("MODE", "strict");
    let harness = harness(&file, changes(false, false, true));
    let mut some = pod("a");
    some.namespace = "some".into();
    let mut none = pod("b");
    none.namespace = "none".into();
    let mut other = container("other");
    other.id = "other".into();
    for (of, allowed) in [(&some, true), (&none, false)] {
        other.pod_sandbox_id.clone_from(&of.id);
        harness
            .synchronize(vec![some.clone(), none.clone()], vec![other.clone()])
            .await;
        let created = harness.try_create(some.clone(), container("c0")).await;
        assert_eq!(created.is_ok(), allowed, "{created:?}");
    }
    harness.synchronize(vec![some.clone()], vec![]).await;
    assert!(
        harness.try_create(some, container("c0")).await.is_err(),
        "its pod is not known"
    );
}

#[tokio::test]
async fn a_mistake_is_named_with_line_value_and_what_is_allowed() {
    for (file, says) in [
        ("", "the plugin needs a configuration"),
        (
            "mode: lax\npolicies: []",
            "line 1: mode: unknown variant `lax`, expected `strict` or `permissive`",
        ),
        (
            "mode: strict\npolices: []",
            "line 2: unknown field `polices`",
        ),
        (
            "mode: strict\npolicies:\n- namespaceSelector: {matchNames: [a]}\n  allowedMutations: [hoks]",
            "policy 1: `allowedMutations`: \"hoks\" is no field",
        ),
        (
            "mode: strict\npolicies:\n- namespaceSelector: {matchNames: []}",
            "must name a namespace",
        ),
        (
            "default: allow\nrules:\n- {fields: [hoks], action: deny}",
            "hoks",
        ),
        ("default: allow\nrule: []", "unknown field `rule`"),
    ] {
        let error = Harness::new(plugin())
            .configured(file)
            .try_configure()
            .await
            .unwrap_err();
        assert!(error.contains(says), "{file:?}: {error}");
    }
}
