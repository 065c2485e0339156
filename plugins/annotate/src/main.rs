//! Adds annotations, environment variables and mounts to the containers that are created, by the
//! rules of a file. The README says how.

mod rules;

use nri_plugin::prelude::*;

use rules::Rules;

fn plugin() -> impl Plugin {
    let rules = configuration::<Rules>().required().checked(Rules::check);
    handlers()
        .configured_by(&rules)
        .on_create_container(move |_cx, pod, container| {
            let rules = rules.get();
            async move { rules.adjustment(&pod, &container.name) }
        })
        .build()
}

nri_plugin::main!("50-annotate", plugin());

#[cfg(test)]
mod tests {
    use nri_testkit::{Describe as _, Harness, container, pod};

    use super::*;

    #[tokio::test]
    async fn rules_add_to_the_containers_that_they_name_and_the_last_counts() {
        let harness = Harness::new(plugin()).configured(
            "rules:\n\
             - {annotations: {example.com/a: '1', example.com/b: '1'}, env: {A: one}}\n\
             - {labels: {app: web*}, annotations: {example.com/b: '2'}, mounts: [{source: /s, destination: /d}]}\n\
             - {namespaces: [other], env: {A: two}}\n\
             - {pods: [web-*], containers: [c], mounts: [{source: t, destination: /d, type: tmpfs}]}\n",
        );
        let web = harness
            .create(pod("web-1").labelled("app", "web-a"), container("c"))
            .await;
        let annotations = &web.adjustment.as_ref().unwrap().annotations;
        assert_eq!(
            (
                &*annotations["example.com/a"],
                &*annotations["example.com/b"]
            ),
            ("1", "2")
        );
        assert_eq!(web.env("A"), Some("one"));
        assert_eq!(web.mount("/d").unwrap().r#type, "tmpfs");
        let other = harness
            .create(pod("web-1").labelled("app", "web"), container("d"))
            .await;
        assert_eq!(other.mount("/d").unwrap().options, ["rbind", "ro"]);
        let plain = harness.create(pod("p"), container("c")).await;
        assert_eq!((plain.env("A"), plain.mount("/d")), (Some("one"), None));
    }

    #[tokio::test]
    async fn a_mistake_is_named_with_line_value_and_what_is_allowed() {
        for (text, says) in [
            ("", "the plugin needs a configuration"),
            ("rules: []", "there is none"),
            ("rules:\n- namespaces: [a]", "rule 1 adds nothing"),
            (
                "rules:\n- env: {A: b}\n- evn: {A: b}",
                "line 3: rules[1]: unknown field `evn`",
            ),
            ("rules:\n- env: {A=: b}", "line 2: rules[0].env"),
            ("rules:\n- annotations: {-a: b}", "is no key"),
            (
                "rules:\n- mounts:\n  - {source: a, destination: /b}",
                "line 3: rules[0].mounts[0]: source: the path \"a\"",
            ),
            (
                "rules:\n- mounts:\n  - {source: /a, destination: /b/../c}",
                "must not have `.` or `..`",
            ),
            (
                "rules:\n- {pods: ['['], env: {A: b}}",
                "line 2: rules[0].pods[0]",
            ),
        ] {
            let error = Harness::new(plugin())
                .configured(text)
                .try_configure()
                .await
                .unwrap_err();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
