//! Mounts and their propagation.

use super::*;

/// Bind mounts.
fn mounts(entries: &[(&str, &str, &[&str])]) -> ContainerAdjustment {
    ContainerAdjustment {
        mounts: entries
            .iter()
            .map(|(destination, source, options)| Mount {
                destination: (*destination).into(),
                r#type: "bind".into(),
                source: (*source).into(),
                options: ["rbind"]
                    .iter()
                    .chain(*options)
                    .map(|option| (*option).into())
                    .collect(),
            })
            .collect(),
        ..Default::default()
    }
}

fn destinations(spec: &Value) -> Vec<&str> {
    let mounts = spec["mounts"].as_array().unwrap();
    mounts
        .iter()
        .map(|m| m["destination"].as_str().unwrap())
        .collect()
}

#[test]
fn mounts_are_sorted_parents_first_and_compared_as_clean_paths() {
    let spec = json!({"mounts": [
        {"destination": "/a/b/c"}, {"destination": "/a"}, {"destination": "/"}, {"destination": "/z"},
    ]});
    let with_y = applied(&spec, &mounts(&[("/y/", "/s", &[])]));
    assert_eq!(destinations(&with_y), ["/", "/a", "/y/", "/z", "/a/b/c"]);
    let without_a = applied(&spec, &mounts(&[("-/a/", "", &[])]));
    assert_eq!(destinations(&without_a), ["/", "/z", "/a/b/c"]);
    let replaced = applied(&spec, &mounts(&[("/x/../z", "/s", &[])]));
    assert_eq!(destinations(&replaced), ["/", "/a", "/x/../z", "/a/b/c"]);
    let unsorted = applied(&spec, &annotations(&[("a", "b")]));
    assert_eq!(unsorted["mounts"], spec["mounts"]);
    for bad in ["rel", "/../x", ""] {
        assert!(refused(&spec, &mounts(&[(bad, "", &[])])).contains("absolute path"));
    }
}

#[test]
fn a_relative_destination_in_a_spec_is_below_the_root() {
    let spec =
        json!({"mounts": [{"destination": "dev/shm", "source": "old"}, {"destination": "/dev"}]});
    let added = applied(&spec, &mounts(&[("/dev/shm", "/s", &[])]));
    assert_eq!(destinations(&added), ["/dev", "/dev/shm"]);
    assert_eq!(added["mounts"][1]["source"], "/s");
    let removed = applied(&spec, &mounts(&[("-/dev/shm", "", &[])]));
    assert_eq!(destinations(&removed), ["/dev"]);
    let other = applied(&spec, &mounts(&[("/x", "/s", &[])]));
    assert_eq!(
        destinations(&other),
        ["/dev", "/x", "dev/shm"],
        "after its parent"
    );
}

#[test]
fn of_two_mounts_at_one_destination_the_last_one_counts() {
    let twice = mounts(&[("/a", "/1", &[]), ("/b", "/s", &[]), ("/a/", "/2", &[])]);
    let result = applied(
        &json!({"mounts": [{"destination": "/a"}, {"destination": "//a"}]}),
        &twice,
    );
    assert_eq!(destinations(&result), ["/a/", "/b"]);
    assert_eq!(result["mounts"][0]["source"], "/2");
}

#[test]
fn a_mount_with_another_source_loses_its_id_mappings() {
    let spec = json!({"mounts": [{"destination": "/d", "type": "bind", "source": "/s",
        "options": ["ro"], "uidMappings": [{"containerID": 0}]}]});
    let same = applied(&spec, &mounts(&[("/d", "/s", &["rw"])]));
    assert_eq!(
        same["mounts"][0]["uidMappings"],
        json!([{"containerID": 0}])
    );
    assert_eq!(same["mounts"][0]["options"], json!(["rbind", "rw"]));
    let other = applied(&spec, &mounts(&[("/d", "/t", &[])]));
    assert_eq!(
        other["mounts"],
        json!([{"destination": "/d", "type": "bind", "source": "/t", "options": ["rbind"]}])
    );
}

#[test]
fn relabelling_is_the_runtimes_work() {
    let adjustment = mounts(&[("/d", "/s", &["relabel"])]);
    let expected = json!(["rbind"]);
    let applied = apply(&json!({}), &adjustment, &ApplyOptions::default(), None).unwrap();
    assert_eq!(applied.spec["mounts"][0]["options"], expected);
    assert!(applied.warnings[0].to_string().contains("cannot relabel"));

    let relabelled = Arc::new(Mutex::new(Vec::new()));
    let mut options = ApplyOptions::default();
    let log = relabelled.clone();
    options.relabel = Some(Arc::new(move |mount| {
        log.lock().unwrap().push(mount.source.clone());
        Ok(())
    }));
    let applied = apply(&json!({}), &adjustment, &options, None).unwrap();
    assert_eq!(applied.spec["mounts"][0]["options"], expected);
    assert_eq!(
        (applied.warnings.len(), relabelled.lock().unwrap().clone()),
        (0, vec!["/s".into()])
    );
}

/// A mount table with `/link` a symbolic link to `/mnt/shared`.
struct Host(&'static str);

impl HostMounts for Host {
    fn resolve(&self, source: &str) -> Result<String, CallbackError> {
        if source.starts_with('/') {
            Ok(source.replacen("/link", "/mnt/shared", 1))
        } else {
            Err(format!("{source:?} is no path").into())
        }
    }
    fn mounts(&self) -> Result<Vec<HostMount>, CallbackError> {
        Ok(parse_mountinfo(self.0))
    }
}

#[test]
fn propagation_is_checked_mount_by_mount() {
    let mut options = ApplyOptions::default();
    options.host_mounts = Some(Arc::new(Host(
        "1 0 0:1 / / rw - x x rw\n\
         2 1 0:1 / /mnt/shared rw shared:1 - x x rw\n\
         3 1 0:1 / /mnt/slave rw master:1 - x x rw\n\
         4 1 0:1 / /over rw shared:2 - x x rw\n\
         5 4 0:1 / /over rw - x x rw\n",
    )));
    let root = |entries: &[(&str, &str, &[&str])]| {
        let applied = apply(&json!({}), &mounts(entries), &options, None)?;
        Ok::<Value, ApplyError>(applied.spec["linux"]["rootfsPropagation"].clone())
    };
    assert_eq!(
        root(&[("/d", "/mnt/shared/x", &["rshared"])]).unwrap(),
        "rshared"
    );
    assert_eq!(root(&[("/d", "/link/x", &["rshared"])]).unwrap(), "rshared");
    assert_eq!(
        root(&[("/d", "/mnt/slave", &["rslave"])]).unwrap(),
        "rslave"
    );
    // The value of one mount is not the next one's.
    assert_eq!(
        root(&[("/d", "/link", &["rshared"]), ("/e", "/mnt/private", &[])]).unwrap(),
        "rshared"
    );
    assert_eq!(
        root(&[("/d", "/link", &["rshared"]), ("/e", "/link", &["rslave"])]).unwrap(),
        "rshared"
    );
    assert_eq!(
        root(&[("/d", "/x", &["rshared", "rprivate"])]).unwrap(),
        Value::Null
    );
    for (source, option) in [
        ("/mnt/shared-not", "rshared"),
        ("/mnt/slave", "rshared"),
        ("/over/x", "rslave"),
        ("tmpfs", "rslave"),
    ] {
        assert!(
            root(&[("/d", source, &[option])]).is_err(),
            "{source} {option}"
        );
    }
    // Only what is bound has a source on the host.
    let mut tmpfs = mounts(&[("/d", "tmpfs", &["rslave"])]);
    tmpfs.mounts[0].r#type = "tmpfs".into();
    tmpfs.mounts[0].options.retain(|option| option != "rbind");
    apply(&json!({}), &tmpfs, &options, None).unwrap();
}
