//! Another configuration while plugins are there.

use std::sync::Arc;
use std::time::Duration;

use nri_adaptation::config::{FailureAction, PluginConfig};
use nri_adaptation::{Config, Ctx, Error, RuntimeApi as _};
use nri_core::Event;

use crate::support::{Fake, World, container, pod};

/// The configuration in force, changed.
fn changed(world: &World, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::clone(&world.nri.config());
    change(&mut config);
    config
}

/// A plugin that never answers the start of a container.
fn silent(id: &str) -> Fake {
    Fake::new(id, &[Event::StartContainer]).on("StartContainer", |_| std::future::pending())
}

#[tokio::test]
async fn limits_and_policies_hold_from_the_next_request_on() {
    let world = World::started_with(|config| {
        config.plugin_request_timeout = Duration::from_secs(3600);
    })
    .await;
    let fake = silent("10-a");
    let _peer = fake.join(&world).await;
    let pod = world.pod("p").await;
    let c = world.container(&pod, "c").await;
    let config = changed(&world, |config| {
        let mut own = PluginConfig::default();
        own.request_timeout = Some(Duration::from_millis(50));
        own.on_late = Some(FailureAction::Fail);
        config.plugins.insert("a".into(), own);
    });
    let done = world.nri.reconfigure(config.clone()).await.unwrap();
    assert_eq!(done, nri_adaptation::Reconfigured::default());
    assert_eq!(*world.nri.config(), config);
    // With the old time it would wait for an hour, and with the old policy succeed.
    let error = world
        .nri
        .start_container(&Ctx::new(), &pod, &c)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("within 50ms"), "{error}");
    // It has stayed all the time.
    assert_eq!(
        fake.got
            .all()
            .iter()
            .filter(|got| got.method == "Configure")
            .count(),
        1
    );
    assert_eq!(world.nri.plugins().len(), 1);
    world.nri.stop().await;
}

#[tokio::test]
async fn a_socket_moves_and_plugins_stay() {
    let world = World::started().await;
    let _old = Fake::all_events("10-old").join(&world).await;
    let before = world.socket();
    let after = world.dir.path().join("elsewhere/nri.sock");
    let config = changed(&world, |config| config.socket_path = after.clone());
    world.nri.reconfigure(config).await.unwrap();
    assert!(after.exists() && !before.exists());
    let _new = Fake::all_events("20-new").join(&world).await;
    assert_eq!(world.nri.plugins().len(), 2);

    let config = changed(&world, |config| config.disable_connections = true);
    world.nri.reconfigure(config).await.unwrap();
    assert!(!after.exists());
    assert_eq!(world.nri.plugins().len(), 2);
    let config = changed(&world, |config| config.disable_connections = false);
    world.nri.reconfigure(config).await.unwrap();
    let _third = Fake::all_events("30-third").join(&world).await;
    world.nri.stop().await;
    assert!(!after.exists());
}

#[tokio::test]
async fn a_bad_configuration_changes_nothing() {
    let world = World::started().await;
    let _peer = Fake::all_events("10-a").join(&world).await;
    let before = world.nri.config();
    let blocked = world.dir.path().join("file");
    std::fs::write(&blocked, "").unwrap();
    let plugins = world.dir.path().join("more-plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::os::unix::fs::symlink("/bin/sh", plugins.join("not-a-plugin")).unwrap();
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
            "another runtime is listening",
            Box::new(|c| {
                // The socket of somebody else.
                let path = world.dir.path().join("other.sock");
                let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
                std::mem::forget(listener);
                c.socket_path = path;
            }),
        ),
    ];
    for (says, change) in changes {
        // None of it counts, whatever else is right.
        let config = changed(&world, |config| {
            config.plugin_request_timeout = Duration::from_millis(1);
            config.default_validator.required_plugins = vec!["nobody".into()];
            change(config);
        });
        let error = world.nri.reconfigure(config).await.unwrap_err();
        assert!(error.to_string().contains(says), "no {says:?} in {error}");
    }
    assert!(Arc::ptr_eq(&before, &world.nri.config()));
    assert!(world.socket().exists() && world.nri.readiness().is_ready());
    assert_eq!(world.nri.plugins().len(), 1);
    world.pod("p").await;
    world.nri.stop().await;
    let late = world.nri.reconfigure(Config::default()).await;
    assert_eq!(late, Err(Error::Stopped));
}

#[tokio::test]
async fn the_default_validator_comes_changes_and_goes() {
    let world = World::started().await;
    let pod = world.pod("p").await;
    let require = |config: &mut Config, plugins: &[&str]| {
        config.default_validator.enable = true;
        config.default_validator.required_plugins = plugins.iter().map(|p| (*p).into()).collect();
    };
    let create = async |id: &str| {
        let created = world
            .nri
            .create_container(&Ctx::new(), &pod, &container(&pod, id))
            .await;
        created
            .map(|creation| creation.commit())
            .map_err(|error| error.to_string())
    };
    create("c1").await.unwrap();
    let config = changed(&world, |config| require(config, &["policy"]));
    world.nri.reconfigure(config).await.unwrap();
    assert_eq!(
        world.nri.plugins()[0].plugin.to_string(),
        "00-default-validator"
    );
    assert_eq!(world.nri.readiness().missing, ["policy"]);
    assert!(create("c2").await.unwrap_err().contains("policy"));
    let config = changed(&world, |config| require(config, &["other"]));
    world.nri.reconfigure(config).await.unwrap();
    let refused = create("c3").await.unwrap_err();
    assert!(
        refused.contains("other") && !refused.contains("policy"),
        "{refused}"
    );
    let config = changed(&world, |config| {
        config.default_validator = Default::default()
    });
    world.nri.reconfigure(config).await.unwrap();
    world.observer.wait_for("gone 00-default-validator").await;
    create("c4").await.unwrap();
    assert!(world.nri.plugins().is_empty() && world.nri.readiness().is_ready());
    // And once more.
    let config = changed(&world, |config| require(config, &["policy"]));
    world.nri.reconfigure(config).await.unwrap();
    assert!(create("c5").await.is_err());
    world.nri.stop().await;
}

#[tokio::test]
async fn who_may_not_be_there_any_more_is_sent_away() {
    let world = World::started().await;
    let _a = Fake::all_events("10-a").join(&world).await;
    let b = Fake::all_events("20-b").join(&world).await;
    let config = changed(&world, |config| {
        let mut bound = PluginConfig::default();
        bound.allowed_uids = Some(vec![u32::MAX - 1]);
        config.plugins.insert("b".into(), bound);
    });
    world.nri.reconfigure(config).await.unwrap();
    b.closed().await;
    world
        .observer
        .wait_for("gone 20-b: its user may not be this plugin any more")
        .await;
    assert_eq!(world.nri.plugins().len(), 1);
    world.nri.stop().await;
}

#[tokio::test]
async fn a_listener_that_was_brought_along_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let world = World::with(|config| config.socket_path = path, |b| b.listener(listener));
    let before = changed(&world, |config| config.max_plugins = 1);
    world.nri.reconfigure(before).await.unwrap();
    world.nri.start().await.unwrap();
    for (key, change) in [
        (
            "socket_path",
            (|c| c.socket_path = "/other".into()) as fn(&mut Config),
        ),
        ("disable_connections", |c| c.disable_connections = true),
    ] {
        let error = world
            .nri
            .reconfigure(changed(&world, change))
            .await
            .unwrap_err();
        assert_eq!(error, Error::Fixed { key });
    }
    let _one = Fake::all_events("10-one").join(&world).await;
    let two = Fake::all_events("20-two").connect(&world).await;
    two.register().await.unwrap();
    two.closed().await;
    let more = changed(&world, |config| config.max_plugins = 2);
    world.nri.reconfigure(more).await.unwrap();
    let _two = Fake::all_events("20-two").join(&world).await;
    world
        .nri
        .run_pod_sandbox(&Ctx::new(), &pod("p"))
        .await
        .unwrap();
    world.nri.stop().await;
}
