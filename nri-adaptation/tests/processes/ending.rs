//! What is left of a plugin's own processes when it ends.

use std::path::Path;
use std::time::Duration;

use nri_adaptation::RuntimeApi as _;
use rustix::process::{Pid, Signal, getpid, kill_process, set_child_subreaper};

use crate::setup::{Setup, is_there, names};

/// The numbers that plugins have written down.
fn begotten(notes: &Path) -> Vec<i32> {
    let notes = std::fs::read_to_string(notes).unwrap();
    notes.lines().map(|line| line.parse().unwrap()).collect()
}

pub(crate) async fn what_a_plugin_has_begun_ends_with_it() {
    // As in a container, where what loses its parent becomes the child of the first process.
    set_child_subreaper(Some(getpid())).unwrap();
    let setup = Setup::new(&["10-parent", "20-other"], &[]);
    let notes = setup.dir.path().join("notes");
    setup.configure("parent.conf", &format!("beget {}", notes.display()));
    let nri = setup.instance(|_| {});
    nri.start().await.unwrap();
    assert_eq!(names(&nri), ["10-parent", "20-other"]);
    let children = begotten(&notes);
    assert_eq!(children.len(), 1);
    assert!(is_there(children[0]));
    nri.stop().await;
    assert!(!is_there(children[0]), "it is ended, and no zombie either");
    set_child_subreaper(None).unwrap();
}

pub(crate) async fn what_a_plugin_has_left_is_gone_before_it_is_launched_again() {
    set_child_subreaper(Some(getpid())).unwrap();
    let setup = Setup::new(&["10-parent"], &[]);
    let notes = setup.dir.path().join("notes");
    setup.configure("parent.conf", &format!("beget {}", notes.display()));
    let nri = setup.instance(|config| config.restart_backoff = Duration::from_millis(1));
    nri.start().await.unwrap();
    let first = nri.plugins()[0].pid.unwrap();
    kill_process(Pid::from_raw(first).unwrap(), Signal::KILL).unwrap();
    setup.wait_for_count("synchronized 10-parent", 2).await;
    let children = begotten(&notes);
    assert_eq!(children.len(), 2);
    assert!(!is_there(first) && !is_there(children[0]));
    assert!(is_there(children[1]));
    nri.stop().await;
    assert!(!is_there(children[1]));
    set_child_subreaper(None).unwrap();
}
