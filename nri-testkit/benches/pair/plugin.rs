//! The plugin. The test `counted_calls` has it too.

use std::error::Error;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nri_plugin::{Runner, api, handlers};

/// Is a plugin until the runtime is gone.
pub(crate) fn join(
    socket: &Path,
    index: &str,
    items: usize,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let begun = Arc::new(Mutex::new(Instant::now()));
    let began = Arc::clone(&begun);
    let of_index = index.to_owned();
    let plugin = handlers()
        .on_configure(move |_cx, _configuration| {
            *began.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            async { Ok(None) }
        })
        .on_synchronize(move |_cx, _pods, containers| {
            let begun = *begun.lock().unwrap_or_else(PoisonError::into_inner);
            let (containers, ns) = (containers.len(), begun.elapsed().as_nanos());
            println!("{{\"containers\":{containers},\"ns\":{ns}}}");
            async { Ok(Vec::new()) }
        })
        .on_run_pod_sandbox(|_cx, _request| async { Ok(()) })
        .on_create_container(move |_cx, _request| {
            let adjust = (items > 0).then(|| {
                let key = |item| format!("pair.example/{of_index}-{item}");
                api::ContainerAdjustment {
                    annotations: (0..items)
                        .map(|item| (key(item), of_index.clone()))
                        .collect(),
                    ..Default::default()
                }
            });
            async {
                Ok(api::CreateContainerResponse {
                    adjust,
                    ..Default::default()
                })
            }
        })
        .build();
    let runner = Runner::builder(plugin)
        .index(index)
        .name("pair")
        .socket(socket)
        .build()?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(runner.run())?;
    Ok(())
}
