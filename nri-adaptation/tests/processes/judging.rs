//! What is not launched: what is no program for this machine, and what others could have changed on
//! the way to it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};
use std::path::Path;
use std::time::Duration;

use nri_adaptation::{PluginState, RuntimeApi as _};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};

use crate::setup::{Setup, names, program};

/// A user that owns nothing here.
const NOBODY: u32 = 65534;

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// This program, with other bytes at a place.
fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut content = fs::read(program()).unwrap();
    content[at..at + bytes.len()].copy_from_slice(bytes);
    content
}

/// This program, as one that needs a loader of another name.
fn with_another_loader() -> Vec<u8> {
    let content = fs::read(program()).unwrap();
    let name = content.windows(4).position(|bytes| bytes == b"/lib");
    changed(name.unwrap(), b"/bil")
}

pub(crate) async fn nothing_runs_that_is_no_program_for_this_machine() {
    let setup = Setup::new(&["10-good"], &[]);
    let marker = setup.dir.path().join("marker");
    let touch = format!("touch {}\n", marker.display());
    for (name, content) in [
        ("20-text", touch.clone().into_bytes()),
        ("21-empty", Vec::new()),
        ("22-nope", format!("#!/bin/nope\n{touch}").into_bytes()),
        ("23-relative", format!("#!bin/sh\n{touch}").into_bytes()),
        ("24-none", format!("#!\n{touch}").into_bytes()),
        ("30-other-machine", changed(18, &[0xab, 0xcd])),
        (
            "31-other-class",
            changed(4, &[3 - fs::read(program()).unwrap()[4]]),
        ),
        ("32-short", fs::read(program()).unwrap()[..40].to_vec()),
        ("33-loader", with_another_loader()),
    ] {
        setup.write(name, &content);
    }
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    assert_eq!(names(&nri), ["10-good"]);
    for (name, says) in [
        (
            "20-text",
            "cannot be executed here: it is neither a program",
        ),
        ("21-empty", "cannot be executed here: it is empty"),
        ("22-nope", "its interpreter /bin/nope does not exist"),
        (
            "23-relative",
            "its interpreter `bin/sh` is no absolute path",
        ),
        ("24-none", "names no interpreter"),
        (
            "30-other-machine",
            "cannot be executed here: it is a program for another machine",
        ),
        (
            "31-other-class",
            "cannot be executed here: it is a program for another machine",
        ),
        ("32-short", "cannot be executed here: "),
        ("33-loader", "its loader /bil"),
    ] {
        let path = setup.path(name).display().to_string();
        let notices = setup.notices();
        let refused = |notice: &String| {
            notice.starts_with(&format!("refused {path}: ")) && notice.contains(says)
        };
        assert!(notices.iter().any(refused), "{name}: {notices:?}");
    }
    nri.stop().await;
    assert!(!marker.exists(), "nothing of them has run");
}

pub(crate) async fn every_launch_is_judged_anew() {
    let setup = Setup::new(&[], &[]);
    let hop = setup.dir.path().join("hop");
    fs::create_dir(&hop).unwrap();
    mode(&hop, 0o755);
    symlink(program(), hop.join("link")).unwrap();
    symlink(hop.join("link"), setup.path("10-a")).unwrap();
    let nri = setup.instance(|config| {
        config.restart_backoff = Duration::from_millis(1);
        config.restart_limit = 2;
    });
    nri.start().await.unwrap();
    let pid = nri.plugins()[0].pid.unwrap();
    mode(&hop, 0o777);
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    setup.wait_for("down 10-a for None").await;
    let info = nri.plugins().remove(0);
    assert_eq!((info.state, info.pid), (PluginState::Failed, None));
    let error = info.last_error.unwrap();
    assert!(error.contains("hop has mode 0777"), "{error}");

    // What is there by then counts.
    mode(&hop, 0o755);
    setup.configure("a.conf", "new");
    let config = nri_adaptation::Config::clone(&nri.config());
    nri.reconfigure(config).await.unwrap();
    assert_eq!(nri.plugins()[0].state, PluginState::Ready);
    nri.stop().await;
}

pub(crate) async fn what_another_user_owns_on_the_way_is_not_trusted() {
    if !rustix::process::geteuid().is_root() {
        // Only root can give files away; the rule itself is tested in `way`.
        return;
    }
    let setup = Setup::new(&["10-good"], &[("good.conf", "good")]);
    let (hop, above) = (setup.dir.path().join("hop"), setup.dir.path().join("above"));
    for directory in [&hop, &above] {
        fs::create_dir(directory).unwrap();
        mode(directory, 0o755);
        symlink(program(), directory.join("link")).unwrap();
    }
    // A link of nobody's, in a directory of root's, and the other way about.
    lchown(hop.join("link"), Some(NOBODY), None).unwrap();
    chown(&above, Some(NOBODY), None).unwrap();
    symlink(hop.join("link"), setup.path("20-hop")).unwrap();
    symlink(above.join("link"), setup.path("30-above")).unwrap();
    // A script whose interpreter is nobody's.
    let interpreter = setup.dir.path().join("interpreter");
    fs::copy("/bin/sh", &interpreter).unwrap();
    mode(&interpreter, 0o755);
    chown(&interpreter, Some(NOBODY), None).unwrap();
    setup.write(
        "40-script",
        format!("#!{}\n", interpreter.display()).as_bytes(),
    );
    // A configuration of nobody's.
    setup.install("50-config");
    setup.configure("config.conf", "theirs");
    let config = setup.dir.path().join("conf.d/config.conf");
    chown(config, Some(NOBODY), None).unwrap();
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    assert_eq!(names(&nri), ["10-good"]);
    for (name, says) in [
        ("20-hop", "hop/link belongs to user 65534"),
        ("30-above", "above belongs to user 65534"),
        ("40-script", "interpreter belongs to user 65534"),
        ("50-config", "config.conf belongs to user 65534"),
    ] {
        let notices = setup.notices();
        let refused = |notice: &String| notice.contains(name) && notice.contains(says);
        assert!(notices.iter().any(refused), "{name}: {notices:?}");
    }
    nri.stop().await;

    // Who owns what the plugin directory is in could put another one in its place.
    chown(setup.dir.path(), Some(NOBODY), None).unwrap();
    let nri = setup.instance(|config| config.strict_discovery = true);
    let text = nri.start().await.unwrap_err().to_string();
    chown(setup.dir.path(), Some(0), None).unwrap();
    assert!(text.contains("belongs to user 65534"), "{text}");
}

pub(crate) async fn odd_configuration_files_hold_nobody_up() {
    let setup = Setup::new(&["10-good", "20-pipe", "30-device", "40-huge"], &[]);
    let conf = setup.dir.path().join("conf.d");
    let pipe = conf.join("pipe.conf");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    symlink("/dev/zero", conf.join("device.conf")).unwrap();
    setup.configure("huge.conf", "");
    let huge = fs::File::options().write(true).open(conf.join("huge.conf"));
    huge.and_then(|file| file.set_len(1 << 40)).unwrap();
    mknodat(
        CWD,
        setup.path("50-pipe"),
        FileType::Fifo,
        Mode::from_raw_mode(0o755),
        0,
    )
    .unwrap();
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    assert_eq!(names(&nri), ["10-good"]);
    for name in [
        "20-pipe: its configuration",
        "30-device: its configuration",
        "40-huge: its",
        "50-pipe: ",
    ] {
        setup.wait_for(name).await;
    }
    nri.stop().await;
}
