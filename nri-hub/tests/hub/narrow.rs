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

/// Law: a validator that is not asked does not go unnoticed.
#[tokio::test]
async fn what_plugins_want_and_the_operator_leaves_out_is_told_once() {
    let runtime = TestRuntime::start().await;
    let events = EventMask::PODS | EventMask::CONTAINERS;
    let stage = Stage::at(runtime.socket()).with(|config| config.hub.events = events);
    let hub = stage.run().await;
    assert_eq!(subscribed(&runtime, |_| true).await, events);
    let told = || {
        let audit = hub.handle.status().audit;
        let left_out = audit.into_iter().filter(|entry| entry.event == "left out");
        left_out.map(|entry| entry.what).collect::<Vec<_>>()
    };
    let modest = FakePlugin::new("10-modest").subscribe(Event::CreateContainer);
    let _modest = hub.join(&modest).await;
    assert_eq!(told(), [] as [String; 0]);
    let judge = |name| FakePlugin::new(name).subscribe(Event::ValidateContainerAdjustment);
    let (one, other) = (judge("20-judge"), judge("30-judge"));
    let _one = hub.join(&one).await;
    within(async {
        while told().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let _other = hub.join(&other).await;
    runtime.whole_life("p1", "c1").await;
    let told = told();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("ValidateContainerAdjustment"), "{told:?}");
    hub.stop().await;
}
