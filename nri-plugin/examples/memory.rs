//! Limits the memory of containers by an annotation of their pod.

use nri_plugin::prelude::*;

nri_plugin::main!(
    "10-memory",
    handlers()
        .on_create_container(|_cx, pod, container| async move {
            let mut adjust = Adjustment::new();
            let key = "example.com/memory"; // or `example.com/memory/container.NAME`
            if let Some(bytes) = effective_annotation_as(&pod.annotations, key, &container.name)? {
                adjust.set_memory_limit(bytes);
                adjust.add_env("MEMORY", bytes.to_string())?;
            }
            Ok(adjust)
        })
        .build()
);
