//! Containers that end: by themselves, more than once, and not for good.

use nri_core::Event;

use super::super::driver::Played;
use crate::FakePlugin;
use crate::runtime_conformance::bench::{Bench, heard};
use crate::runtime_conformance::report::Check;

/// A plugin, and a container that runs.
async fn running(bench: &Bench<'_>) -> Result<Scenery, crate::runtime_conformance::DriverError> {
    let plugin = FakePlugin::new("20-conformance");
    let connected = bench.join(&plugin).await?;
    let pod = bench.pod().await?;
    let id = bench.started(&pod).await?;
    Ok(Scenery {
        plugin,
        pod,
        id,
        _connected: connected,
    })
}

struct Scenery {
    plugin: FakePlugin,
    pod: String,
    id: String,
    _connected: crate::Connected,
}

impl Scenery {
    /// Removes everything, and expects what the plugin has heard since the first start.
    async fn expect_since_start(
        &self,
        bench: &Bench<'_>,
        check: Check,
        expected: &[&str],
    ) -> Played {
        bench.driver.remove_container(&self.id).await?;
        bench.end_pod(&self.pod, &self.plugin).await?;
        let heard = heard(&self.plugin, &[&self.id]);
        let started = heard.iter().position(|event| *event == "StartContainer");
        let since: Vec<&str> = heard
            .into_iter()
            .skip(started.map_or(0, |at| at + 1))
            .filter(|event| *event != "PostStartContainer")
            .collect();
        bench.expect(check, since == expected, || {
            format!("after its start a plugin was to hear {expected:?}, and heard {since:?}")
        });
        Ok(())
    }
}

pub(super) async fn stopped_twice(bench: &Bench<'_>) -> Played {
    let scenery = running(bench).await?;
    bench.driver.stop_container(&scenery.id).await?;
    // Whether that is an error is the runtime's own business.
    let _ = bench.driver.stop_container(&scenery.id).await;
    let expected = ["StopContainer", "RemoveContainer"];
    scenery
        .expect_since_start(bench, Check::Once, &expected)
        .await
}

pub(super) async fn removed_while_running(bench: &Bench<'_>) -> Played {
    let scenery = running(bench).await?;
    let expected = ["StopContainer", "RemoveContainer"];
    scenery
        .expect_since_start(bench, Check::RemovalImplies, &expected)
        .await
}

pub(super) async fn exit(bench: &Bench<'_>) -> Played {
    let check = Check::ExitTold;
    let scenery = running(bench).await?;
    bench.driver.exit_container(&scenery.id).await?;
    bench
        .expect_heard(check, &scenery.plugin, Event::StopContainer, &scenery.id)
        .await;
    let expected = ["StopContainer", "RemoveContainer"];
    scenery.expect_since_start(bench, check, &expected).await
}

pub(super) async fn started_again(bench: &Bench<'_>) -> Played {
    let scenery = running(bench).await?;
    bench.driver.stop_container(&scenery.id).await?;
    bench.driver.start_again(&scenery.id).await?;
    bench.driver.stop_container(&scenery.id).await?;
    let expected = [
        "StopContainer",
        "StartContainer",
        "StopContainer",
        "RemoveContainer",
    ];
    scenery
        .expect_since_start(bench, Check::StartsAgain, &expected)
        .await
}
