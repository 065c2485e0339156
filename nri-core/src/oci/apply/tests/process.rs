//! The process: environment, arguments, scheduling, limits, hooks.

use super::*;

#[test]
fn variables_keep_their_places() {
    let spec = json!({"process": {"env": ["A=1", "B", "A=2", "C=x=y"]}});
    for (entries, expected) in [
        (&[("A", "3")][..], json!(["A=3", "B", "C=x=y"])),
        (&[("-A", "")], json!(["B", "C=x=y"])),
        (&[("-A", ""), ("A", "3")], json!(["A=3", "B", "C=x=y"])),
        (&[("A", "3"), ("-A", "")], json!(["A=3", "B", "C=x=y"])),
        (&[("-B", "")], json!(["A=1", "A=2", "C=x=y"])),
        (
            &[("D", "1"), ("A", "a=b"), ("D", "2")],
            json!(["A=a=b", "B", "C=x=y", "D=2"]),
        ),
    ] {
        let result = applied(&spec, &env(entries));
        assert_eq!(result["process"]["env"], expected, "{entries:?}");
    }
    assert_eq!(applied(&json!({}), &env(&[("-A", "")])), json!({}));
    for bad in ["", "-", "A=B", "-A=B", "A\0"] {
        assert!(refused(&spec, &env(&[(bad, "")])).contains("name of a variable"));
    }
    assert!(refused(&spec, &env(&[("A", "\0")])).contains("NUL"));
}

#[test]
fn args_are_replaced_as_a_whole_without_what_is_left_of_a_marker() {
    let args = |args: &[&str]| ContainerAdjustment {
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..Default::default()
    };
    let spec = json!({"process": {"args": ["old", "x"]}});
    assert_eq!(
        applied(&spec, &args(&["new"]))["process"]["args"],
        json!(["new"])
    );
    assert_eq!(
        applied(&spec, &args(&["", "new", ""]))["process"]["args"],
        json!(["new", ""])
    );
    assert_eq!(applied(&spec, &args(&[""])), spec);
}

#[test]
fn hooks_are_appended() {
    let hooks = |path: &str, timeout: Option<i64>| ContainerAdjustment {
        hooks: Some(Hooks {
            create_runtime: vec![Hook {
                path: path.into(),
                args: vec!["h".into()],
                timeout: timeout.map(|value| OptionalInt { value }),
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    };
    let spec = json!({"hooks": {"createRuntime": [{"path": "/first", "x": 1}]}});
    assert_eq!(
        applied(&spec, &hooks("/second", Some(3))),
        json!({"hooks": {"createRuntime": [
            {"path": "/first", "x": 1}, {"path": "/second", "args": ["h"], "timeout": 3},
        ]}})
    );
    assert!(refused(&spec, &hooks("relative", None)).contains("absolute"));
    assert!(refused(&spec, &hooks("/x", Some(0))).contains("timeout"));
}

#[test]
fn scheduling_is_set_checked_and_removed() {
    let spec = json!({"process": {"scheduler": {"policy": "SCHED_OTHER"},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1}}});
    let scheduler = |policy, nice, priority, flags: &[i32], times: [u64; 3]| {
        linux(LinuxContainerAdjustment {
            scheduler: Some(LinuxScheduler {
                policy,
                nice,
                priority,
                flags: flags.to_vec(),
                runtime: times[0],
                deadline: times[1],
                period: times[2],
            }),
            ..Default::default()
        })
    };
    let none = applied(&spec, &scheduler(0, 0, 0, &[], [0; 3]));
    assert_eq!(none["process"].get("scheduler"), None);
    let batch = applied(&spec, &scheduler(4, 5, 0, &[1], [0; 3]));
    assert_eq!(
        batch["process"]["scheduler"],
        json!({"policy": "SCHED_BATCH", "nice": 5, "flags": ["SCHED_FLAG_RECLAIM"]})
    );
    applied(&spec, &scheduler(7, 0, 0, &[], [1024, 2048, 0]));
    for (adjustment, part) in [
        (scheduler(8, 0, 0, &[], [0; 3]), "no such policy"),
        (scheduler(4, 0, 0, &[7], [0; 3]), "no such flag"),
        (scheduler(4, 20, 0, &[], [0; 3]), "nice"),
        (scheduler(2, 0, 0, &[], [0; 3]), "between 1 and 99"),
        (
            scheduler(7, 0, 0, &[], [3072, 2048, 5120]),
            "runtime <= deadline",
        ),
    ] {
        let error = refused(&spec, &adjustment);
        assert!(error.contains(part), "{error}");
    }

    let io = |class, priority| {
        linux(LinuxContainerAdjustment {
            io_priority: Some(LinuxIoPriority { class, priority }),
            ..Default::default()
        })
    };
    assert_eq!(applied(&spec, &io(0, 0))["process"].get("ioPriority"), None);
    assert_eq!(
        applied(&spec, &io(3, 0))["process"]["ioPriority"],
        json!({"class": "IOPRIO_CLASS_IDLE", "priority": 0})
    );
    assert!(refused(&spec, &io(2, 8)).contains("between 0 and 7"));
    assert!(refused(&spec, &io(4, 0)).contains("no such class"));
}

#[test]
fn there_is_one_rlimit_per_type() {
    let rlimits = |kind: &str, hard, soft| ContainerAdjustment {
        rlimits: vec![PosixRlimit {
            r#type: kind.into(),
            hard,
            soft,
        }],
        ..Default::default()
    };
    let entry =
        |kind: &str, hard: u64, soft: u64| json!({"type": kind, "hard": hard, "soft": soft});
    let spec = json!({"process": {"rlimits": [
        entry("RLIMIT_NOFILE", 1024, 512), entry("RLIMIT_CORE", 0, 0), entry("RLIMIT_NOFILE", 1, 1),
    ]}});
    let result = applied(&spec, &rlimits("RLIMIT_NOFILE", u64::MAX, 256));
    assert_eq!(
        result["process"]["rlimits"],
        json!([
            entry("RLIMIT_NOFILE", u64::MAX, 256),
            entry("RLIMIT_CORE", 0, 0)
        ])
    );
    assert!(refused(&spec, &rlimits("RLIMIT_NOFILE", 1, 2)).contains("above the hard limit"));
    assert!(refused(&spec, &rlimits("NOFILE", 1, 1)).contains("RLIMIT_"));
    let unknown = rlimits("RLIMIT_NEW", 1, 1);
    assert!(refused(&spec, &unknown).contains("there is no such limit"));
    let mut options = ApplyOptions::default();
    options.left_to_runtime.insert(Family::Rlimits);
    let applied = apply(&spec, &unknown, &options, None).unwrap();
    assert_eq!(applied.warnings.len(), 1);
}

#[test]
fn a_process_that_is_made_of_nothing_is_warned_about() {
    let warnings = |spec: Value, adjustment: &ContainerAdjustment| -> Vec<String> {
        let applied = apply(&spec, adjustment, &ApplyOptions::default(), None).unwrap();
        applied.warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(
        warnings(json!({}), &env(&[("A", "1")])),
        [
            "Args: the spec had no process, and the one that was made for what plugins ask for has no command or no working directory"
        ]
    );
    assert!(warnings(json!({"process": {}}), &env(&[("A", "1")])).is_empty());
    assert!(warnings(json!({}), &annotations(&[("a", "1")])).is_empty());
}
