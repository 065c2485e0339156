//! Adds annotations, environment variables and mounts to the containers that are created.
//!
//! The configuration is TOML, YAML or JSON. It comes from the runtime (`NN-annotate.conf` in its
//! plugin configuration directory), or from the file given with `--config`. All of it is optional,
//! but something must be added. In TOML:
//!
//! ```toml
//! # Which containers; without a list, all. A name may end in `*`.
//! namespaces = ["default", "team-*"]
//! pods = ["web-*"]
//! containers = ["nginx"]
//!
//! [annotations]
//! "example.com/owner" = "platform"
//!
//! [env]
//! TZ = "Europe/Helsinki"
//!
//! [[mounts]]
//! source = "/etc/ssl/certs"
//! destination = "/etc/ssl/certs"
//! type = "bind"                      # the default
//! options = ["rbind", "ro"]          # the default
//! ```

mod configuration;

use configuration::Additions;
use nri_plugin::prelude::*;

fn plugin() -> impl Plugin {
    let additions = configuration::<Additions>()
        .required()
        .checked(Additions::check);
    handlers()
        .configured_by(&additions)
        .on_create_container(move |_cx, pod, container| {
            let additions = additions.get();
            let wanted = additions.apply_to(&pod.namespace, &pod.name, &container.name);
            async move { Ok(wanted.then(|| additions.adjustment())) }
        })
        .build()
}

nri_plugin::main!("50-annotate", plugin());
