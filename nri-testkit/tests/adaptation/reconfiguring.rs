//! Another configuration while plugins are there.

use std::os::unix::net::UnixListener;
use std::sync::Arc;
use std::time::Duration;

use nri_adaptation::config::{FailureAction, PluginConfig};
use nri_adaptation::{Config, Ctx, Error, Event, Reconfigured, RuntimeApi as _};
use nri_testkit::{Behavior, FakePlugin, TestRuntime};

use crate::values::patient;

/// The configuration in force, changed.
fn changed(runtime: &TestRuntime, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::clone(&runtime.nri().config());
    change(&mut config);
    config
}

#[tokio::test]
async fn limits_and_policies_hold_from_the_next_request_on() {
    let builder = patient().request_timeout(Duration::from_secs(3600));
    let runtime = builder.start().await;
    let plugin = FakePlugin::new("10-a")
        .subscribe(Event::StartContainer)
        .on(Event::StartContainer, Behavior::hang());
    let _connected = runtime.join(&plugin).await;
    let pod = runtime.run_pod("p").await;
    let c = runtime.create(&pod, "c").await;
    let config = changed(&runtime, |config| {
        let mut own = PluginConfig::default();
        own.request_timeout = Some(Duration::from_millis(50));
        own.on_late = Some(FailureAction::Fail);
        config.plugins.insert("a".into(), own);
    });
    let nri = runtime.nri();
    let done = nri.reconfigure(config.clone()).await.unwrap();
    assert_eq!(done, Reconfigured::default());
    assert_eq!(*nri.config(), config);
    // With the old time it would wait for an hour, and with the old policy succeed.
    let error = nri
        .start_container(&Ctx::new(), &pod, &c)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("within 50ms"), "{error}");
    // It has stayed all the time.
    let seen = plugin.seen();
    let configured = seen.iter().filter(|seen| seen.method() == "Configure");
    assert_eq!(configured.count(), 1);
    assert_eq!(nri.plugins().len(), 1);
}

#[tokio::test]
async fn a_socket_moves_and_plugins_stay() {
    let runtime = patient().start().await;
    let nri = runtime.nri();
    let _old = runtime.join(&FakePlugin::new("10-old")).await;
    let before = runtime.socket();
    let after = runtime.directory().join("elsewhere/nri.sock");
    let config = changed(&runtime, |config| config.socket_path = after.clone());
    nri.reconfigure(config).await.unwrap();
    assert!(after.exists() && !before.exists());
    let _new = runtime.join(&FakePlugin::new("20-new")).await;
    assert_eq!(nri.plugins().len(), 2);

    let config = changed(&runtime, |config| config.disable_connections = true);
    nri.reconfigure(config).await.unwrap();
    assert!(!after.exists());
    assert_eq!(nri.plugins().len(), 2);
    let config = changed(&runtime, |config| config.disable_connections = false);
    nri.reconfigure(config).await.unwrap();
    let _third = runtime.join(&FakePlugin::new("30-third")).await;
    nri.stop().await;
    assert!(!after.exists());
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let runtime = patient().start().await;
    let nri = runtime.nri();
    let _connected = runtime.join(&FakePlugin::new("10-a")).await;
    let before = nri.config();
    let blocked = runtime.directory().join("file");
    std::fs::write(&blocked, "").unwrap();
    let plugins = runtime.directory().join("more-plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::os::unix::fs::symlink("/bin/sh", plugins.join("not-a-plugin")).unwrap();
    let taken = runtime.directory().join("other.sock");
    let _somebody_else = UnixListener::bind(&taken).unwrap();
    type Change<'a> = Box<dyn Fn(&mut Config) + 'a>;
    let changes: [(&str, Change<'_>); 6] = [
        ("`serial` cannot change", Box::new(|c| c.serial = true)),
        ("`disable` cannot change", Box::new(|c| c.disable = true)),
        ("key `max_plugins`", Box::new(|c| c.max_plugins = 0)),
        (
            "not a socket",
            Box::new(|c| c.socket_path = blocked.clone()),
        ),
        (
            "not-a-plugin",
            Box::new(|c| {
                c.plugin_path = plugins.clone();
                c.strict_discovery = true;
            }),
        ),
        (
            "another process is listening",
            Box::new(|c| c.socket_path = taken.clone()),
        ),
    ];
    for (says, change) in changes {
        // None of it counts, whatever else is right.
        let config = changed(&runtime, |config| {
            config.plugin_request_timeout = Duration::from_millis(1);
            config.default_validator.required_plugins = vec!["nobody".into()];
            change(config);
        });
        let error = nri.reconfigure(config).await.unwrap_err();
        assert!(error.to_string().contains(says), "no {says:?} in {error}");
    }
    assert!(Arc::ptr_eq(&before, &nri.config()));
    assert!(runtime.socket().exists() && nri.readiness().is_ready());
    assert_eq!(nri.plugins().len(), 1);
    runtime.run_pod("p").await;
    nri.stop().await;
    assert_eq!(
        nri.reconfigure(Config::default()).await,
        Err(Error::Stopped)
    );
}

#[tokio::test]
async fn the_default_validator_comes_changes_and_goes() {
    let runtime = patient().start().await;
    let nri = runtime.nri();
    let pod = runtime.run_pod("p").await;
    let require = |config: &mut Config, plugins: &[&str]| {
        config.default_validator.enable = true;
        config.default_validator.required_plugins = plugins.iter().map(|p| (*p).into()).collect();
    };
    let create = async |id: &str| {
        let created = runtime.try_create(&pod, id).await;
        created.map(drop).map_err(|error| error.to_string())
    };
    create("c1").await.unwrap();
    let config = changed(&runtime, |config| require(config, &["policy"]));
    nri.reconfigure(config).await.unwrap();
    let first = nri.plugins()[0].plugin.to_string();
    assert_eq!(first, "00-default-validator");
    assert_eq!(nri.readiness().missing, ["policy"]);
    assert!(create("c2").await.unwrap_err().contains("policy"));
    let config = changed(&runtime, |config| require(config, &["other"]));
    nri.reconfigure(config).await.unwrap();
    let refused = create("c3").await.unwrap_err();
    assert!(
        refused.contains("other") && !refused.contains("policy"),
        "{refused}"
    );
    let config = changed(&runtime, |config| {
        config.default_validator = Default::default()
    });
    nri.reconfigure(config).await.unwrap();
    runtime
        .watcher()
        .wait_for("gone 00-default-validator")
        .await;
    create("c4").await.unwrap();
    assert!(nri.plugins().is_empty() && nri.readiness().is_ready());
    // And once more.
    let config = changed(&runtime, |config| require(config, &["policy"]));
    nri.reconfigure(config).await.unwrap();
    assert!(create("c5").await.is_err());
}

#[tokio::test]
async fn who_may_not_be_there_any_more_is_sent_away() {
    let runtime = patient().start().await;
    let _a = runtime.join(&FakePlugin::new("10-a")).await;
    let b = runtime.join(&FakePlugin::new("20-b")).await;
    let config = changed(&runtime, |config| {
        let mut bound = PluginConfig::default();
        bound.allowed_uids = Some(vec![u32::MAX - 1]);
        config.plugins.insert("b".into(), bound);
    });
    runtime.nri().reconfigure(config).await.unwrap();
    b.closed().await;
    let notice = "gone 20-b: its user may not be this plugin any more";
    runtime.watcher().wait_for(notice).await;
    assert_eq!(runtime.nri().plugins().len(), 1);
}

#[tokio::test]
async fn a_listener_that_was_brought_along_stays() {
    let builder = patient();
    let path = builder.directory().join("own.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let builder = builder.config(|config| config.socket_path = path);
    let runtime = builder.with(|builder| builder.listener(listener)).build();
    let nri = runtime.nri();
    let before = changed(&runtime, |config| config.max_plugins = 1);
    nri.reconfigure(before).await.unwrap();
    nri.start().await.unwrap();
    for (key, change) in [
        (
            "socket_path",
            (|c| c.socket_path = "/other".into()) as fn(&mut Config),
        ),
        ("disable_connections", |c| c.disable_connections = true),
    ] {
        let error = nri.reconfigure(changed(&runtime, change)).await;
        assert_eq!(error, Err(Error::Fixed { key }));
    }
    let _one = runtime.join(&FakePlugin::new("10-one")).await;
    let two = FakePlugin::new("20-two")
        .connect(runtime.socket())
        .await
        .unwrap();
    two.register().await.unwrap();
    two.closed().await;
    let more = changed(&runtime, |config| config.max_plugins = 2);
    nri.reconfigure(more).await.unwrap();
    let _two = runtime.join(&FakePlugin::new("20-two")).await;
    runtime.run_pod("p").await;
}
