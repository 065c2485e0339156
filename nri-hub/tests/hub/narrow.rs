//! A hub that subscribes to what plugins below want.

use nri_adaptation::{Event, EventMask, PluginState};
use nri_testkit::{FakePlugin, TestRuntime};

use crate::stage::{Stage, within};

/// Waits until the hub is ready above with events like these; all that it has.
async fn subscribed(runtime: &TestRuntime, is_it: impl Fn(EventMask) -> bool) -> EventMask {
    let mut watch = runtime.nri().watch_plugins();
    let of_hub = |plugins: &[nri_adaptation::PluginInfo]| {
        let mut ready = plugins
            .iter()
            .filter(|plugin| plugin.state == PluginState::Ready);
        ready.find_map(|plugin| is_it(plugin.events).then_some(plugin.events))
    };
    within(watch.wait_for(|plugins| of_hub(plugins).is_some()))
        .await
        .unwrap();
    of_hub(&watch.plugins()).unwrap()
}

#[tokio::test]
async fn a_narrow_hub_registers_again_for_what_a_plugin_wants_and_for_nothing_else() {
    let runtime = TestRuntime::start().await;
    let stage = Stage::at(runtime.socket()).with(|config| config.hub.narrow = true);
    let hub = stage.run().await;
    let few = subscribed(&runtime, |_| true).await;
    assert!(few.contains(Event::CreateContainer) && few.contains(Event::StartContainer));
    assert!(!few.contains(Event::PostCreateContainer));
    assert!(!few.contains(Event::ValidateContainerAdjustment));
    let modest = FakePlugin::new("10-modest").subscribe(Event::CreateContainer);
    let _modest = hub.join(&modest).await;
    let more = FakePlugin::new("20-more").subscribe(Event::PostCreateContainer);
    let _more = hub.join(&more).await;
    let now = subscribed(&runtime, |now| now.contains(Event::PostCreateContainer)).await;
    assert_eq!(now, few | Event::PostCreateContainer.into());
    runtime.whole_life("p1", "c1").await;
    modest.assert_events(&["CreateContainer c1"]);
    more.assert_events(&["PostCreateContainer c1"]);
    assert_eq!(hub.handle.status().runtime.connections, 2);
    hub.stop().await;
}

#[tokio::test]
async fn a_hub_that_is_not_told_to_be_narrow_has_every_event_from_the_start() {
    let runtime = TestRuntime::start().await;
    let hub = Stage::at(runtime.socket()).run().await;
    assert_eq!(subscribed(&runtime, |_| true).await, EventMask::ALL);
    hub.stop().await;
}
