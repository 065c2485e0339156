//! A plugin to copy. It sets the variable `GREETING` in every container, to what the pod's
//! annotation or else the configuration says. The README says what to change.

use nri_plugin::prelude::*;
use serde::Deserialize;

/// Of a pod: `greeting.example.com`, or `greeting.example.com/container.NAME` for one container.
const GREETING: AnnotationKey = AnnotationKey::new("greeting.example.com");

/// The configuration. A field that is not here is an error that names its line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Config {
    greeting: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            greeting: "hello".to_owned(),
        }
    }
}

fn plugin() -> impl Plugin {
    let config = configuration::<Config>().checked(|config| match config.greeting.trim() {
        "" => Err("greeting must not be empty".into()),
        _ => Ok(()),
    });
    handlers()
        .configured_by(&config)
        .on_create_container(move |_cx, pod, container| {
            let config = config.get();
            async move {
                let annotated = GREETING.find(&pod.annotations, &container.name);
                let greeting = annotated.map_or(config.greeting.as_str(), |(_, value)| value);
                if greeting.contains('\n') {
                    return Err(GREETING
                        .invalid(&pod.annotations, &container.name, "one line is wanted")
                        .into());
                }
                let mut adjust = Adjustment::new();
                adjust.add_env("GREETING", greeting)?;
                Ok(adjust)
            }
        })
        .on_stop_pod_sandbox(|_cx, pod| async move {
            tracing::info!(pod = pod.name, namespace = pod.namespace, "stopped");
            Ok(())
        })
        .build()
}

nri_plugin::main!("10-template", plugin());

#[cfg(test)]
mod tests {
    use nri_testkit::{Describe as _, Harness, container, pod};

    use super::*;

    #[tokio::test]
    async fn the_annotation_counts_before_the_configuration() {
        let harness = Harness::new(plugin()).configured("greeting: good day");
        let created = harness.create(pod("web-1"), container("nginx")).await;
        assert_eq!(created.env("GREETING"), Some("good day"));
        let created = harness.create(
            pod("web-2").annotated("greeting.example.com", "hi"),
            container("nginx"),
        );
        assert_eq!(created.await.env("GREETING"), Some("hi"));
    }

    #[tokio::test]
    async fn mistakes_are_errors_that_say_where() {
        let error = Harness::new(plugin())
            .configured("greting: hi")
            .try_configure()
            .await
            .unwrap_err();
        assert!(error.contains("line 1: unknown field `greting`"), "{error}");
        let error = Harness::new(plugin())
            .configured("greeting: ''")
            .try_configure()
            .await
            .unwrap_err();
        assert!(error.contains("greeting must not be empty"), "{error}");
        let pod = pod("web-1").annotated("greeting.example.com/pod", "a\nb");
        let error = Harness::new(plugin())
            .try_create(pod, container("nginx"))
            .await
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("annotation \"greeting.example.com/pod\""),
            "{error}"
        );
    }
}
