//! How plugins are launched, and how they are ended with the instance.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nri_adaptation::{Api as _, PluginKind};

use crate::LOG;
use crate::setup::{Setup, created, is_there, names};

pub(crate) async fn plugins_are_launched_in_order_configured_and_ended(inherited: &str) {
    let setup = Setup::new(
        &["20-b", "10-a"],
        &[("10-a.conf", "for a"), ("b.conf", "for b")],
    );
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    assert_eq!(names(&nri), ["10-a", "20-b"]);
    let infos = nri.plugins();
    assert!(infos.iter().all(|info| info.kind == PluginKind::Launched));
    let pids: Vec<i32> = infos.iter().map(|info| info.pid.unwrap()).collect();
    assert!(pids.iter().all(|pid| is_there(*pid)));

    let said = created(&nri, "c").await;
    assert_eq!(
        said["a.environment"],
        "NRI_PLUGIN_IDX=10 NRI_PLUGIN_NAME=a NRI_PLUGIN_SOCKET=3"
    );
    assert_eq!(
        (said["a.config"].as_str(), said["b.config"].as_str()),
        ("for a", "for b")
    );
    assert_eq!(said["a.arguments"], "1");
    // Nothing of the runtime's own leaks into it; what this program was itself given is not its to close.
    let expected: BTreeSet<&str> = ["0", "1", "2", "3"]
        .into_iter()
        .chain(inherited.split(' '))
        .collect();
    assert_eq!(
        said["b.descriptors"].split(' ').collect::<BTreeSet<_>>(),
        expected
    );

    // What it printed is in the log, with its name and without its control characters; what it knows is not.
    let begun = Instant::now();
    nri.stop().await;
    let log = LOG.lock().unwrap().clone();
    let line = log
        .lines()
        .find(|line| line.contains("creating"))
        .unwrap_or_default()
        .to_owned();
    assert!(
        line.contains("plugin=10-a") || line.contains("plugin=20-b"),
        "{log}"
    );
    assert!(line.contains("creating\\u{1b}[31m a container"), "{line}");
    assert!(!log.contains("NRI_PLUGIN_IDX=10"), "{log}");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
    assert!(
        pids.iter().all(|pid| !is_there(*pid)),
        "they are ended and reaped"
    );
}

pub(crate) async fn bad_files_are_skipped_or_strictly_refused() {
    let setup = Setup::new(&["10-good", "bad"], &[]);
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    assert_eq!(names(&nri), ["10-good"]);
    let bad = setup.path("bad").display().to_string();
    assert!(
        setup
            .notices()
            .iter()
            .any(|notice| notice.starts_with(&format!("refused {bad}")))
    );
    nri.stop().await;

    let strict = setup.instance(|config| config.strict_discovery = true);
    let text = strict.start().await.unwrap_err().to_string();
    assert!(text.contains(&bad) && !text.contains('\n'), "{text}");
    assert!(!strict.is_enabled());
}

pub(crate) async fn odd_processes_hold_nobody_up() {
    let setup = Setup::new(
        &["10-good", "20-silent", "30-crash", "40-stubborn", "60-dies"],
        &[("crash.conf", "crash")],
    );
    // It can be executed, but not by anything.
    std::fs::write(setup.path("50-no-program"), "not a program").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(setup.path("50-no-program"), mode).unwrap();
    let nri = setup.instance(|config| {
        config.plugin_registration_timeout = Duration::from_secs(3);
    });
    nri.start().await.unwrap();
    let all = names(&nri);
    assert!(
        all.contains(&"10-good".to_owned()) && all.contains(&"40-stubborn".to_owned()),
        "{all:?}"
    );
    for refused in [
        "20-silent: it did not register",
        "30-crash: it cannot be configured",
        "50-no-program: ",
    ] {
        setup.wait_for(refused).await;
    }
    // One that dies while it is asked: the container is created without it.
    let said = created(&nri, "c").await;
    assert!(
        said.contains_key("good.config") && !said.contains_key("dies.config"),
        "{said:?}"
    );
    setup.wait_for("gone 60-dies").await;

    let stubborn = nri
        .plugins()
        .iter()
        .find(|p| p.plugin.to_string() == "40-stubborn")
        .unwrap()
        .pid
        .unwrap();
    let begun = Instant::now();
    nri.stop().await;
    assert!(
        begun.elapsed() < Duration::from_secs(9),
        "{:?}",
        begun.elapsed()
    );
    assert!(!is_there(stubborn), "it was made to end");
}
