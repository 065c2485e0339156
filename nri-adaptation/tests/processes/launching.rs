//! How plugins are launched, and how they are ended with the instance.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nri_adaptation::{PluginKind, RuntimeApi as _};

use crate::setup::{Setup, created, is_there, logged, names, program};
use crate::{LOG, TEST_TIMEOUT};

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
    // Nothing of the runtime's own leaks into it; what this program was itself given is not its to
    // close.
    let expected: BTreeSet<&str> = ["0", "1", "2", "3"]
        .into_iter()
        .chain(inherited.split(' '))
        .collect();
    assert_eq!(
        said["b.descriptors"].split(' ').collect::<BTreeSet<_>>(),
        expected
    );

    // What it printed is in the log, with its name and without its control characters; what it
    // knows is not.
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
    assert!(begun.elapsed() < TEST_TIMEOUT, "{:?}", begun.elapsed());
    assert!(
        pids.iter().all(|pid| !is_there(*pid)),
        "they are ended and reaped"
    );
}

pub(crate) async fn programs_and_scripts_are_called_as_by_their_paths(inherited: &str) {
    let setup = Setup::new(&["10-linked"], &[]);
    std::fs::copy(program(), setup.path("20-copied")).unwrap();
    let notes = setup.dir.path().join("notes");
    let script = |body: &str| {
        let (notes, program) = (notes.display(), program().display());
        format!("{body}\necho \"$0 $# $-\" >> {notes}\nexec {program}\n")
    };
    setup.write("30-script", script("#! /bin/sh -e").as_bytes());
    // An interpreter that is a script itself.
    let wrapper = setup.dir.path().join("wrapper");
    std::fs::write(&wrapper, "#!/bin/sh\nexec /bin/sh -u \"$2\" \"$1\"\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&wrapper, mode).unwrap();
    let first = format!("#!{} one argument ", wrapper.display());
    setup.write("40-wrapped", script(&first).as_bytes());
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    assert_eq!(
        names(&nri),
        ["10-linked", "20-copied", "30-script", "40-wrapped"]
    );
    let said = created(&nri, "c").await;
    let of = |plugin: &str, what: &str| said[&format!("{plugin}.{what}")].clone();
    let path = |name: &str| setup.path(name).display().to_string();
    assert_eq!(of("linked", "called"), path("10-linked"));
    assert_eq!(of("linked", "program"), program().display().to_string());
    assert_eq!(of("copied", "called"), path("20-copied"));
    assert_eq!(of("copied", "program"), path("20-copied"));
    let expected: BTreeSet<&str> = ["0", "1", "2", "3"]
        .into_iter()
        .chain(inherited.split(' '))
        .collect();
    for plugin in ["linked", "copied", "script", "wrapped"] {
        let descriptors = of(plugin, "descriptors");
        assert_eq!(descriptors.split(' ').collect::<BTreeSet<_>>(), expected);
    }
    let notes = std::fs::read_to_string(&notes).unwrap();
    for (name, arguments, flag) in [("30-script", 0, 'e'), ("40-wrapped", 1, 'u')] {
        let start = format!("{} {arguments} ", path(name));
        let flags = notes.lines().find_map(|line| line.strip_prefix(&start));
        assert!(flags.is_some_and(|flags| flags.contains(flag)), "{notes}");
    }
    nri.stop().await;
}

pub(crate) async fn a_flood_of_output_holds_nobody_up_and_is_summed_up() {
    const LINES: usize = 1 << 17;
    let flood = format!("flood {}", LINES * 64);
    let setup = Setup::new(&["10-flood"], &[("flood.conf", &flood)]);
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    assert_eq!(names(&nri), ["10-flood"]);
    nri.stop().await;
    let logged_lines = logged(&["plugin=10-flood", "stdout", "xxxx"]).len();
    let summaries = logged(&["plugin=10-flood", "lines left out"]);
    let left_out: usize = summaries
        .iter()
        .map(|line| {
            let before = line.split(" lines left out").next().unwrap();
            before.rsplit(' ').next().unwrap().parse::<usize>().unwrap()
        })
        .sum();
    assert_eq!(logged_lines + left_out, LINES, "{summaries:?}");
    // However long it took: each second that was too much has one, and each stream may have one at
    // its end.
    assert!(
        summaries.len() <= 2 + logged_lines / 1000,
        "{}",
        summaries.len()
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
    assert!(begun.elapsed() < TEST_TIMEOUT, "{:?}", begun.elapsed());
    assert!(!is_there(stubborn), "it was made to end");
}
