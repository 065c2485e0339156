//! The plugin as a runtime sees it, with directories of hooks.

use std::fs;
use std::path::PathBuf;

use nri_plugin::api;
use nri_testkit::{Changes, Describe as _, Harness, container, pod};
use tempfile::TempDir;

use crate::directories::Directories;
use crate::{Options, plugin};

struct Directory(TempDir);

impl Directory {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) {
        // A new file each time: its inode tells it apart, however fast that goes.
        let new = self.0.path().join(format!("{name}.new"));
        fs::write(&new, text).unwrap();
        fs::rename(new, self.0.path().join(name)).unwrap();
    }
}

fn harness(directories: &[&Directory]) -> Harness {
    let directories = directories.iter();
    let paths = directories.map(|directory| directory.0.path().to_owned());
    Harness::new(plugin(of(paths.collect())).unwrap())
}

fn of(hooks_dir: Vec<PathBuf>) -> Options {
    Options {
        hooks_dir,
        disable_watch: false,
    }
}

/// Law: what somebody names is there, from the start on; what is only usual may be missing.
#[test]
fn a_directory_that_is_named_must_be_one() {
    let directory = Directory::new();
    directory.write("a.json", "{}");
    for (name, says) in [
        ("a.json", "a.json: Not a directory"),
        ("nowhere", "nowhere: No such file or directory"),
    ] {
        let paths = vec![directory.0.path().to_owned(), directory.0.path().join(name)];
        let error = plugin(of(paths)).err().unwrap();
        assert!(
            error.starts_with("the directory of hooks /") && error.contains(says),
            "{error}"
        );
    }
    // It goes later.
    let gone = Directory::new();
    let directories = Directories::new(vec![gone.0.path().to_owned()]).unwrap();
    assert_eq!(directories.read().unwrap().len(), 0);
    fs::remove_dir(gone.0.path()).unwrap();
    let error = directories.read().unwrap_err();
    assert!(error.contains("No such file or directory"), "{error}");
    // No test can make or remove the usual ones; this host may have either.
    assert!(plugin(of(Vec::new())).is_ok());
}

fn file(when: &str, stages: &str) -> String {
    format!(
        r#"{{"version": "1.0.0", "hook": {{"path": "/bin/true"}}, "when": {when}, "stages": {stages}}}"#
    )
}

fn hooks(changes: &Changes) -> api::Hooks {
    let adjustment = changes.adjustment.clone().unwrap_or_default();
    adjustment.hooks.unwrap_or_default()
}

async fn is_given(text: &str, pod: api::PodSandbox, container: api::Container) -> bool {
    let directory = Directory::new();
    directory.write("a.json", text);
    !harness(&[&directory])
        .create(pod, container)
        .await
        .is_empty()
}

#[tokio::test]
async fn a_hook_is_given_when_its_conditions_hold() {
    let of = |annotated: bool, command: &str, mounts: usize| {
        let pod = if annotated {
            pod("p").annotated("example.com/gpu", "all")
        } else {
            pod("p")
        };
        let mut container = container("c");
        container.mounts.truncate(mounts);
        container.args = vec![command.to_owned()];
        (pod, container)
    };
    for (when, given) in [
        (r#"{"always": true}"#, [true, true, true]),
        (
            r#"{"always": false, "commands": ["sh"]}"#,
            [false, false, false],
        ),
        (r#"{"commands": ["^/bin/sh$", "x"]}"#, [true, false, false]),
        (
            r#"{"annotations": {"^example\\.com/": "^(all|some)$"}}"#,
            [false, true, false],
        ),
        (r#"{"annotations": {"gpu": "none"}}"#, [false, false, false]),
        (r#"{"hasBindMounts": true}"#, [false, true, false]),
        (r#"{"hasBindMounts": false}"#, [false, false, false]),
        (
            r#"{"always": true, "annotations": {"gpu": ""}, "commands": ["cat"]}"#,
            [false, true, false],
        ),
    ] {
        for ((annotated, command, mounts), given) in
            [(false, "/bin/sh", 0), (true, "cat", 1), (false, "", 0)]
                .into_iter()
                .zip(given)
        {
            let (pod, container) = of(annotated, command, mounts);
            let is = is_given(&file(when, r#"["poststop"]"#), pod, container).await;
            assert_eq!(is, given, "{when}: {annotated} {command} {mounts}");
        }
    }
    // Without a command line none matches.
    let mut bare = container("c");
    bare.args.clear();
    assert!(
        !is_given(
            &file(r#"{"commands": [""]}"#, r#"["poststop"]"#),
            pod("p"),
            bare
        )
        .await
    );
}

#[tokio::test]
async fn the_old_form_means_any_condition() {
    let old = r#"{"hook": "/bin/true", "arguments": ["a"], "stages": ["prestart"], "cmds": ["^none$"], "annotations": ["^all$"]}"#;
    let directory = Directory::new();
    directory.write("old.json", old);
    let harness = harness(&[&directory]);
    let given = harness
        .create(pod("p").annotated("any", "all"), container("c"))
        .await;
    assert_eq!(hooks(&given).create_runtime[0].args, ["/bin/true", "a"]);
    assert!(harness.create(pod("p"), container("c")).await.is_empty());
}

#[tokio::test]
async fn files_come_in_the_order_of_names_and_a_later_directory_hides_an_earlier_one() {
    let named = |name: &str| {
        format!(
            r#"{{"version": "1.0.0", "hook": {{"path": "/bin/true", "args": ["{name}"]}}, "when": {{"always": true}}, "stages": ["prestart", "poststop"]}}"#
        )
    };
    let (usual, own) = (Directory::new(), Directory::new());
    usual.write("B.json", &named("usual-b"));
    usual.write("c.json", &named("usual-c"));
    usual.write("c.json.old", "nonsense");
    own.write("a.json", &named("own-a"));
    own.write("c.json", &named("own-c"));
    let given = hooks(
        &harness(&[&usual, &own])
            .create(pod("p"), container("c"))
            .await,
    );
    let args = |list: &[api::Hook]| {
        list.iter()
            .map(|hook| hook.args[0].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(args(&given.create_runtime), ["own-a", "usual-b", "own-c"]);
    assert_eq!(args(&given.poststop), ["own-a", "usual-b", "own-c"]);
    assert!(given.prestart.is_empty());
}

#[tokio::test]
async fn changes_of_files_count_and_a_file_that_breaks_stays_as_it_was() {
    let directory = Directory::new();
    let harness = harness(&[&directory]);
    let count = async || {
        hooks(&harness.create(pod("p"), container("c")).await)
            .poststop
            .len()
    };
    assert_eq!(count().await, 0);
    directory.write("a.json", &file(r#"{"always": true}"#, r#"["poststop"]"#));
    assert_eq!(count().await, 1);
    directory.write("a.json", "{");
    assert_eq!(count().await, 1);
    directory.write(
        "a.json",
        &file(r#"{"always": true}"#, r#"["poststop", "poststop"]"#),
    );
    assert_eq!(count().await, 2);
    fs::remove_file(directory.0.path().join("a.json")).unwrap();
    assert_eq!(count().await, 0);
}

#[tokio::test]
async fn a_mistake_is_named_with_file_line_value_and_what_is_allowed() {
    let fifo = Directory::new();
    fs::create_dir(fifo.0.path().join("a.json")).unwrap();
    let error = harness(&[&fifo]).try_configure().await.unwrap_err();
    assert!(error.contains("a.json: it is no regular file"), "{error}");
    for (text, says) in [
        ("{", "line 1"),
        (
            r#"{"version": "2.0.0"}"#,
            "version \"2.0.0\" is not known; there is \"1.0.0\"",
        ),
        (
            &file(r#"{"always": true}"#, r#"["start"]"#),
            "unknown variant `start`, expected one of",
        ),
        (&file(r#"{"alway": true}"#, "[]"), "unknown field `alway`"),
        (&file("{}", "[]"), "when has no condition"),
        (
            &file(r#"{"commands": ["("]}"#, "[]"),
            "when.commands: \"(\" is no regular expression",
        ),
        (
            &file(r#"{"commands": ["(a{1000}){1000}"]}"#, "[]"),
            "is no regular expression",
        ),
        (
            r#"{"version": "1.0.0", "hook": {"path": "true"}, "stages": []}"#,
            "the path \"true\" must be absolute",
        ),
        (
            r#"{"version": "1.0.0", "hook": {"path": "/t", "timeout": 0}, "stages": []}"#,
            "hook.timeout",
        ),
        (
            r#"{"version": "1.0.0", "hook": {"path": "/t", "env": ["A"]}, "stages": []}"#,
            "NAME=VALUE is wanted",
        ),
    ] {
        let directory = Directory::new();
        directory.write("a.json", text);
        let error = harness(&[&directory]).try_configure().await.unwrap_err();
        assert!(
            error.contains("/a.json: ") && error.contains(says),
            "{text}: {error}"
        );
    }
}
