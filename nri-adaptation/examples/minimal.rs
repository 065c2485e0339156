//! The smallest runtime that plugins can connect to: it has one pod, runs it, and ends.
//! `cargo xtask bench sizes` says how small.

use nri_adaptation::{Config, Ctx, Nri, RuntimeApi as _, api};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1);
    let path = path.ok_or("say where the socket is to be")?;
    let config = Config::from_toml(&format!("socket_path = '{path}'"))?;
    let nri = Nri::builder(config).runtime("minimal", "1.0").build()?;
    nri.start().await?;
    let pod = api::PodSandbox {
        id: "pod".into(),
        ..Default::default()
    };
    nri.run_pod_sandbox(&Ctx::new(), &pod).await?;
    nri.remove_pod_sandbox(&Ctx::new(), &pod).await?;
    nri.stop().await;
    Ok(())
}
