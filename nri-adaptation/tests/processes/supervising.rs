//! What becomes of launched plugins that end.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nri_adaptation::{Config, Nri, PluginInfo, PluginState, RuntimeApi as _};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};

use crate::setup::{Setup, created, is_there, names};

/// Soon, so that the test is quick; the pauses themselves are a matter of state, and tested there.
const SOON: Duration = Duration::from_millis(1);

fn info(nri: &Nri, id: &str) -> PluginInfo {
    let all = nri.plugins();
    let found = all.iter().find(|info| info.plugin.id.to_string() == id);
    found
        .unwrap_or_else(|| panic!("no {id} in {all:?}"))
        .clone()
}

pub(crate) async fn a_plugin_that_ends_is_launched_again_and_synchronised() {
    let setup = Setup::new(&["10-a", "20-once"], &[]);
    let marker = setup.dir.path().join("marker");
    let config = format!("crash once {}", marker.display());
    std::fs::write(setup.dir.path().join("conf.d/once.conf"), config).unwrap();
    let nri = setup.instance(|config| config.restart_backoff = SOON);
    nri.start().await.unwrap();

    // One that could not be configured the first time.
    setup.wait_for("synchronized 20-once").await;
    let once = info(&nri, "20-once");
    assert_eq!((once.state, once.restarts), (PluginState::Ready, 1));
    let error = once.last_error.unwrap();
    assert!(error.contains("it cannot be configured"), "{error}");
    assert!(error.contains("exited with status 4"), "{error}");

    // One that is killed while it is ready.
    let first = info(&nri, "10-a").pid.unwrap();
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    setup.wait_for("down 10-a for Some(1ms)").await;
    setup.wait_for_count("synchronized 10-a", 2).await;
    let a = info(&nri, "10-a");
    assert!(a.pid.is_some_and(|pid| pid != first && is_there(pid)));
    assert_eq!((a.state, a.restarts), (PluginState::Ready, 1));
    let error = a.last_error.unwrap();
    assert!(error.contains("ended by signal 9"), "{error}");
    assert!(!is_there(first), "it is reaped");
    assert!(created(&nri, "c").await.contains_key("a.config"));
    nri.stop().await;
}

pub(crate) async fn a_plugin_that_keeps_ending_is_given_up() {
    let setup = Setup::new(&["10-crash"], &[("crash.conf", "crash")]);
    let nri = setup.instance(|config| {
        config.restart_backoff = SOON;
        config.restart_limit = 3;
    });
    nri.start().await.unwrap();
    setup.wait_for("down 10-crash for None").await;
    let pauses: Vec<String> = setup
        .notices()
        .iter()
        .filter_map(|notice| notice.strip_prefix("down 10-crash for "))
        .map(|rest| rest.split(": ").next().unwrap().to_owned())
        .collect();
    assert_eq!(pauses, ["Some(1ms)", "Some(2ms)", "Some(4ms)", "None"]);
    let crash = info(&nri, "10-crash");
    assert_eq!((crash.state, crash.restarts), (PluginState::Failed, 3));
    assert_eq!((crash.pid, crash.plugin.registration), (None, 0));
    let error = crash.last_error.unwrap();
    assert!(error.contains("exited with status 3"), "{error}");
    nri.stop().await;
}

pub(crate) async fn restarting_can_be_off() {
    let setup = Setup::new(
        &["10-crash", "20-once"],
        &[("crash.conf", "crash"), ("once.conf", "crash")],
    );
    let nri = setup.instance(|config| {
        config.restart = false;
        config.restart_backoff = SOON;
        config.restart_limit = 1;
        config.plugins = toml::from_str("[once]\nrestart = true").unwrap();
    });
    nri.start().await.unwrap();
    setup.wait_for("down 10-crash for None").await;
    setup.wait_for("down 20-once for None").await;
    assert_eq!(info(&nri, "10-crash").restarts, 0);
    assert_eq!(info(&nri, "20-once").restarts, 1);
    nri.stop().await;
}

pub(crate) async fn what_others_can_change_is_not_launched() {
    let setup = Setup::new(&["10-a"], &[]);
    std::fs::copy("/bin/sh", setup.path("20-open")).unwrap();
    let mode = std::fs::Permissions::from_mode(0o775);
    std::fs::set_permissions(setup.path("20-open"), mode).unwrap();
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    let all = nri.plugins();
    assert_eq!((all.len(), all[0].plugin.to_string().as_str()), (1, "10-a"));
    let open = setup.path("20-open").display().to_string();
    setup
        .wait_for(&format!("refused {open}: {open} has mode 0775"))
        .await;
    nri.stop().await;

    let strict = setup.instance(|config| config.strict_discovery = true);
    let text = strict.start().await.unwrap_err().to_string();
    assert!(text.contains(&format!("chmod go-w {open}")), "{text}");
}

pub(crate) async fn reconfiguring_looks_at_the_plugin_directory_again() {
    let setup = Setup::new(
        &["10-same", "20-changed", "30-gone", "40-crash"],
        &[("changed.conf", "one"), ("crash.conf", "crash")],
    );
    let nri = setup.instance(|config| config.restart_limit = 0);
    nri.start().await.unwrap();
    setup.wait_for("down 40-crash for None").await;
    let pids = |names: &[&str]| -> Vec<i32> {
        names
            .iter()
            .map(|name| info(&nri, name).pid.unwrap())
            .collect()
    };
    let before = pids(&["10-same", "20-changed", "30-gone"]);

    let conf = setup.dir.path().join("conf.d");
    std::fs::write(conf.join("changed.conf"), "two").unwrap();
    std::fs::write(conf.join("crash.conf"), "better").unwrap();
    std::fs::remove_file(setup.path("30-gone")).unwrap();
    setup.install("50-new");
    let done = nri.reconfigure(Config::clone(&nri.config())).await.unwrap();
    let words = |plugins: &[nri_core::PluginId]| {
        let plugins: Vec<String> = plugins.iter().map(ToString::to_string).collect();
        plugins.join(" ")
    };
    assert_eq!(words(&done.restarted), "20-changed 40-crash");
    assert_eq!(words(&done.stopped), "30-gone");
    assert_eq!(words(&done.launched), "50-new");
    assert_eq!(names(&nri), ["10-same", "20-changed", "40-crash", "50-new"]);
    assert!(
        nri.plugins()
            .iter()
            .all(|info| info.state == PluginState::Ready)
    );

    let after = pids(&["10-same", "20-changed"]);
    assert!(after[0] == before[0] && after[1] != before[1]);
    assert!(!is_there(before[1]) && !is_there(before[2]));
    let said = created(&nri, "c").await;
    assert_eq!(
        (
            said["changed.config"].as_str(),
            said["crash.config"].as_str()
        ),
        ("two", "better")
    );
    // Nothing has changed since.
    let done = nri.reconfigure(Config::clone(&nri.config())).await.unwrap();
    assert_eq!(done, nri_adaptation::Reconfigured::default());
    nri.stop().await;
}

pub(crate) async fn a_host_that_reaps_our_children_does_no_harm() {
    let setup = Setup::new(&["10-a", "20-b"], &[]);
    let nri = setup.instance(|config| config.restart_backoff = SOON);
    nri.start().await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reaper = std::thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let mut reaped = Vec::new();
            while !done.load(Ordering::Relaxed) {
                match wait(WaitOptions::NOHANG) {
                    Ok(Some((pid, _))) => reaped.push(pid.as_raw_nonzero().get()),
                    _ => std::thread::yield_now(),
                }
            }
            reaped
        }
    });
    let first = info(&nri, "10-a").pid.unwrap();
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    setup.wait_for_count("synchronized 10-a", 2).await;
    let pids: Vec<i32> = nri.plugins().iter().filter_map(|info| info.pid).collect();
    assert_eq!(pids.len(), 2);
    assert!(created(&nri, "c").await.contains_key("a.config"));
    nri.stop().await;
    assert!(pids.iter().all(|pid| !is_there(*pid)), "all are ended");
    done.store(true, Ordering::Relaxed);
    reaper.join().unwrap();
}
