//! Logs what other plugins have changed of each container that is created, and which plugin it was.
//! The README says how.

mod changes;

use std::process::ExitCode;

use nri_plugin::Program;
use nri_plugin::prelude::*;

#[derive(clap::Args)]
struct Options {
    /// Log the combined adjustment with its values too, as proto3 JSON.
    #[arg(long)]
    values: bool,
}

fn plugin(values: bool) -> impl Plugin {
    handlers()
        .on_validate_container_adjustment(move |_cx, pod, container, proposal| async move {
            let changes = changes::by_plugin(&pod, &container, &proposal)?;
            let (namespace, pod, container) = (&pod.namespace, &pod.name, &container.name);
            if changes.is_empty() {
                tracing::info!(namespace, pod, container, "nobody changes anything");
            }
            for (plugin, changes) in changes {
                tracing::info!(
                    namespace,
                    pod,
                    container,
                    "{plugin} changes {}",
                    changes.join(", ")
                );
            }
            if values {
                let adjustment = serde_json::to_string(&proposal.adjust)?;
                tracing::info!(
                    namespace,
                    pod,
                    container,
                    "the combined adjustment: {adjustment}"
                );
            }
            Ok(())
        })
        .build()
}

fn main() -> ExitCode {
    Program::new("99-differ")
        .version(env!("CARGO_PKG_VERSION"))
        .about(env!("CARGO_PKG_DESCRIPTION"))
        .run_with(|options: Options, _stop| Ok(plugin(options.values)))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use nri_testkit::{Harness, container, pod};

    use super::*;

    /// A plugin that sets some variables and adds a hook.
    fn changing(names: &'static [&'static str]) -> impl Plugin {
        handlers()
            .on_create_container(move |_cx, _pod, _container| async move {
                let mut adjust = Adjustment::new();
                for name in names {
                    adjust.add_env(*name, "1")?;
                }
                let hook = api::Hook {
                    path: "/bin/true".into(),
                    ..Default::default()
                };
                adjust.add_hooks(api::Hooks {
                    poststop: vec![hook],
                    ..Default::default()
                });
                let mut other = api::ContainerUpdate::of_container("other")?;
                if names.len() == 2 {
                    other.set_memory_limit(1);
                    adjust.also_update(other);
                }
                Ok(adjust)
            })
            .build()
    }

    #[tokio::test]
    async fn each_change_has_its_plugin() {
        let seen = Arc::new(Mutex::new(None));
        let sees = Arc::clone(&seen);
        let looking = handlers()
            .on_validate_container_adjustment(move |_cx, pod, container, proposal| {
                *sees.lock().unwrap() =
                    Some(changes::by_plugin(&pod, &container, &proposal).unwrap());
                async { Ok(()) }
            })
            .build();
        let harness = Harness::new(changing(&["A", "B"]))
            .and("20-b", changing(&["C"]))
            .and("98-look", looking);
        harness
            .and("99-differ", plugin(true))
            .create(pod("web-1"), container("c"))
            .await;
        let seen = seen.lock().unwrap().take().unwrap();
        let other = "MemLimit of container \"other\"";
        assert_eq!(
            seen["10-plugin"],
            ["Env \"A\"", "Env \"B\"", "OciHooks", other]
        );
        assert_eq!(seen["20-b"], ["Env \"C\"", "OciHooks"]);
        assert_eq!(seen.len(), 2);
    }
}
