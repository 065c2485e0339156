//! The smallest plugin that does something: it adds an annotation to every container that is
//! created. `cargo xtask bench sizes` says how small.

use nri_plugin::build::Adjust as _;
use nri_plugin::{Backoff, Runner, api, handlers};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plugin = handlers()
        .on_create_container(|_cx, _request| async {
            let mut adjust = api::ContainerAdjustment::default();
            adjust.add_annotation("example.com/minimal", "yes")?;
            Ok(api::CreateContainerResponse {
                adjust: Some(adjust),
                ..Default::default()
            })
        })
        .build();
    let runner = Runner::builder(plugin)
        .default_identity("90-minimal")
        .build()?;
    runner.run_forever(Backoff::default()).await?;
    Ok(())
}
