//! Watching the plugins: every change of who is there, and how far each is, is told, and nothing
//! else is.

use std::time::Duration;

use nri_adaptation::config::PluginConfig;
use nri_adaptation::{Error, Event, PluginState, PluginWatch, RuntimeApi as _};
use nri_testkit::{Behavior, FakePlugin, Gate, TEST_TIMEOUT, When};
use tokio::time::timeout;

use crate::values::patient;

/// Waits until the plugins are these, and so far.
async fn expect(watch: &mut PluginWatch, expected: &[(&str, PluginState)]) {
    let waited = timeout(
        TEST_TIMEOUT,
        watch.wait_for(|plugins| {
            let plugins = plugins.iter();
            let states = plugins.map(|info| (info.plugin.to_string(), info.state));
            states.eq(expected
                .iter()
                .map(|(id, state)| ((*id).to_owned(), *state)))
        }),
    );
    if !matches!(waited.await, Ok(Ok(_))) {
        panic!(
            "waited in vain for {expected:?}; the plugins are {:#?}",
            watch.plugins()
        );
    }
}

/// Whether nothing has changed since the last look.
async fn is_quiet(watch: &mut PluginWatch) -> bool {
    timeout(Duration::ZERO, watch.changed()).await.is_err()
}

#[tokio::test]
async fn every_change_of_a_plugins_state_is_told() {
    let runtime = patient().start().await;
    let mut watch = runtime.nri().watch_plugins();
    assert!(is_quiet(&mut watch).await);
    let (shown, answered) = (Gate::new(), Gate::new());
    let plugin = FakePlugin::new("10-a")
        .on(
            When::method("Synchronize"),
            Behavior::usual().behind(&shown),
        )
        .on(Event::RunPodSandbox, Behavior::usual().behind(&answered));
    let connected = plugin.connect(runtime.socket()).await.unwrap();
    connected.register().await.unwrap();
    expect(&mut watch, &[("10-a", PluginState::Synchronizing)]).await;
    shown.open();
    expect(&mut watch, &[("10-a", PluginState::Ready)]).await;

    let mut config = (*runtime.nri().config()).clone();
    let mut hasty = PluginConfig::default();
    // Enough to be sent on a busy machine: a request that was not sent makes nobody late.
    hasty.request_timeout = Some(Duration::from_millis(500));
    config.plugins.insert("10-a".to_owned(), hasty);
    config.plugin_strikes = u32::MAX;
    runtime.nri().reconfigure(config).await.unwrap();
    runtime.run_pod("p1").await;
    expect(&mut watch, &[("10-a", PluginState::Late)]).await;
    answered.open();
    expect(&mut watch, &[("10-a", PluginState::Ready)]).await;

    connected.exit();
    expect(&mut watch, &[]).await;
    runtime.nri().stop().await;
    assert_eq!(watch.changed().await, Err(Error::Stopped));
}

#[tokio::test]
async fn what_happens_between_two_looks_is_one_change_and_calls_are_none() {
    let runtime = patient().start().await;
    let mut watch = runtime.nri().watch_plugins();
    let _a = runtime.join(&FakePlugin::new("10-a")).await;
    let b = runtime.join(&FakePlugin::new("20-b")).await;
    watch.changed().await.unwrap();
    assert!(is_quiet(&mut watch).await);
    runtime.whole_life("p1", "c1").await;
    assert!(is_quiet(&mut watch).await);
    assert!(watch.plugins()[0].calls.calls > 0);

    // One that has not looked for a time, and one that begins to look now.
    let mut later = runtime.nri().watch_plugins();
    b.exit();
    expect(&mut later, &[("10-a", PluginState::Ready)]).await;
    watch.changed().await.unwrap();
}

#[tokio::test]
async fn a_watch_ends_with_the_instance_and_does_not_keep_it() {
    let runtime = patient().start().await;
    let mut watch = runtime.nri().watch_plugins();
    let connected = runtime.join(&FakePlugin::new("10-a")).await;
    drop(runtime);
    connected.closed().await;
    while watch.changed().await.is_ok() {}
}
