//! Sets what the OCI specification calls `intelRdt` of a container, by annotations of the pod. The
//! README says how.

use nri_plugin::prelude::*;

const CLOS_ID: AnnotationKey = AnnotationKey::new("closid.rdt.noderesource.dev").of_containers();
const SCHEMATA: AnnotationKey = AnnotationKey::new("schemata.rdt.noderesource.dev").of_containers();
const ENABLE_MONITORING: AnnotationKey =
    AnnotationKey::new("enablemonitoring.rdt.noderesource.dev").of_containers();

/// As many lines of schemata as there may be.
const MOST_LINES: usize = 64;

fn plugin() -> impl Plugin {
    handlers()
        .on_create_container(|_cx, pod, container| async move {
            let (pod, container) = (&pod.annotations, &container.name);
            let mut adjust = Adjustment::new();
            if let Some((_, class)) = CLOS_ID.find(pod, container) {
                let checked = class_name(class).map_err(|e| CLOS_ID.invalid(pod, container, e))?;
                adjust.set_rdt_clos_id(checked);
            }
            if let Some((_, lines)) = SCHEMATA.find(pod, container) {
                let checked = schemata(lines).map_err(|e| SCHEMATA.invalid(pod, container, e))?;
                adjust.set_rdt_schemata(checked);
            }
            if let Some((_, word)) = ENABLE_MONITORING.find(pod, container) {
                let checked =
                    yes_or_no(word).map_err(|e| ENABLE_MONITORING.invalid(pod, container, e))?;
                adjust.set_rdt_enable_monitoring(checked);
            }
            Ok(adjust)
        })
        .build()
}

/// The name of a class, which becomes the name of a directory of resctrl.
fn class_name(text: &str) -> Result<&str, &'static str> {
    match text {
        "" | "." | ".." => Err("a name of a class is wanted, such as gold"),
        _ if text.len() > 255 => Err("the name of a class has 255 bytes at most"),
        _ if text.contains(['/', '\0', '\n']) => {
            Err("the name of a class has no `/` and no line break in it")
        }
        _ => Ok(text),
    }
}

/// `L3:0=ff,MB:0=50`: every comma begins a new schema, as with the Go plugin.
fn schemata(text: &str) -> Result<Vec<&str>, String> {
    let lines: Vec<&str> = text.split(',').take(MOST_LINES + 1).collect();
    if lines.len() > MOST_LINES {
        return Err(format!("there are more than {MOST_LINES} schemata"));
    }
    let is_schema = |line: &str| {
        let parts = line.split_once(':');
        let known = |c: char| c.is_ascii_alphanumeric() || "=;:_- ".contains(c);
        parts.is_some_and(|(resource, rest)| {
            !resource.is_empty() && rest.contains('=') && line.chars().all(known)
        })
    };
    match lines.iter().find(|line| !is_schema(line)) {
        Some(line) => Err(format!(
            "{line:?} is no schema: RESOURCE:ID=VALUE is wanted, such as L3:0=ff;1=f"
        )),
        None => Ok(lines),
    }
}

/// The words that Go's `strconv.ParseBool` takes.
fn yes_or_no(text: &str) -> Result<bool, &'static str> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("true or false is wanted"),
    }
}

nri_plugin::main!("10-rdt", plugin());

#[cfg(test)]
mod tests {
    use nri_testkit::{Changes, Describe as _, Harness, container, pod};

    use super::*;

    async fn created(annotations: &[(&str, &str)]) -> Result<Changes, String> {
        let annotated = |pod: api::PodSandbox, (key, value): &(&str, &str)| {
            pod.annotated(format!("{key}.rdt.noderesource.dev/container.c0"), *value)
        };
        let pod = annotations.iter().fold(pod("web-1"), annotated);
        let created = Harness::new(plugin())
            .try_create(pod, container("c0"))
            .await;
        created.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn what_is_annotated_is_set_and_nothing_else() {
        let changes = created(&[
            ("closid", "gold"),
            ("schemata", "L3:0=ff;1=f,MB:0=50"),
            ("enablemonitoring", "T"),
        ]);
        let rdt = changes
            .await
            .unwrap()
            .adjustment
            .unwrap()
            .linux
            .unwrap()
            .rdt
            .unwrap();
        assert_eq!(rdt.clos_id.unwrap().value, "gold");
        assert_eq!(rdt.schemata.unwrap().value, ["L3:0=ff;1=f", "MB:0=50"]);
        assert!(rdt.enable_monitoring.unwrap().value);

        let rdt = created(&[("enablemonitoring", "0")])
            .await
            .unwrap()
            .adjustment
            .unwrap()
            .linux
            .unwrap()
            .rdt
            .unwrap();
        assert!(!rdt.enable_monitoring.unwrap().value);
        assert_eq!((rdt.clos_id, rdt.schemata), (None, None));
        assert!(created(&[("other", "x")]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_mistake_is_named_with_annotation_and_value() {
        let many = "L3:0=1,".repeat(100_000);
        for (key, value, says) in [
            ("closid", "../../etc", "has no `/`"),
            ("closid", "", "a name of a class is wanted"),
            ("schemata", "L3", "\"L3\" is no schema"),
            ("schemata", "L3:0=f\nMB:0=1", "is no schema"),
            ("schemata", many.as_str(), "more than 64 schemata"),
            ("enablemonitoring", "yes", "true or false is wanted"),
        ] {
            let error = created(&[(key, value)]).await.unwrap_err();
            assert!(error.contains(says), "{error}");
            assert!(
                error.contains(&format!(
                    "annotation \"{key}.rdt.noderesource.dev/container.c0\""
                )),
                "{error}"
            );
            assert!(error.len() < 1000, "{} bytes", error.len());
        }
    }
}
