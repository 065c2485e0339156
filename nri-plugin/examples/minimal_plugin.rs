//! The smallest plugin that does something: it adds an annotation to every container that is
//! created. `cargo xtask bench sizes` says how small.

use nri_plugin::build::Adjust as _;
use nri_plugin::{Adjustment, Backoff, Runner, handlers};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plugin = handlers()
        .on_create_container(|_cx, _pod, _container| async {
            let mut adjust = Adjustment::new();
            adjust.add_annotation("example.com/minimal", "yes")?;
            Ok(adjust)
        })
        .build();
    let runner = Runner::builder(plugin)
        .default_identity("90-minimal")
        .build()?;
    runner.run_forever(Backoff::default()).await?;
    Ok(())
}
