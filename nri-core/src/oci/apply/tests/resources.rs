//! Resources, classes, RDT, CDI, and what the low-level runtime can do.

use super::*;

#[test]
fn classes_are_resolved_replaced_and_cleared() {
    let mut options = ApplyOptions::default();
    options.blockio_resolver = Some(Arc::new(|class| match class {
        "gold" => Ok(Some(json!({"weight": 900}))),
        "none" => Ok(None),
        "wrong" => Ok(Some(json!("text"))),
        _ => Err("unknown class".into()),
    }));
    let blockio = |class: &str| {
        resources(LinuxResources {
            blockio_class: text(class),
            ..Default::default()
        })
    };
    let spec = json!({"linux": {"resources": {"blockIO": {"weight": 1, "x": 2}}}});
    let result = |class: &str| apply(&spec, &blockio(class), &options, None);
    assert_eq!(
        result("gold").unwrap().spec["linux"]["resources"],
        json!({"blockIO": {"weight": 900}})
    );
    for class in ["none", ""] {
        assert_eq!(result(class).unwrap().spec["linux"]["resources"], json!({}));
    }
    assert_eq!(
        result("lead").unwrap_err().to_string(),
        "cannot apply BlockioClass \"lead\": unknown class"
    );
    assert!(matches!(result("wrong"), Err(ApplyError::Malformed(_))));
}

#[test]
fn what_needs_a_callback_is_refused_without_it_unless_told_otherwise() {
    let adjustments = [
        resources(LinuxResources {
            blockio_class: text("gold"),
            ..Default::default()
        }),
        resources(LinuxResources {
            rdt_class: text("gold"),
            ..Default::default()
        }),
        ContainerAdjustment {
            cdi_devices: vec![CdiDevice {
                name: "v.com/gpu=0".into(),
            }],
            ..Default::default()
        },
    ];
    for adjustment in &adjustments {
        let error = refused(&json!({}), adjustment);
        assert!(error.contains("the runtime has no"), "{error}");
        for (how, warnings) in [(OnUnsupported::Warn, 1), (OnUnsupported::Ignore, 0)] {
            let mut options = ApplyOptions::default();
            options.without_callback = how;
            let applied = apply(&json!({}), adjustment, &options, None).unwrap();
            assert_eq!(
                (applied.spec, applied.warnings.len()),
                (json!({}), warnings)
            );
        }
    }
    let mut bad = adjustments[2].clone();
    bad.cdi_devices[0].name = "gpu".into();
    assert!(refused(&json!({}), &bad).contains("vendor.com/class=name"));
}

#[test]
fn explicit_rdt_settings_override_a_class() {
    let rdt = |rdt: LinuxRdt| {
        linux(LinuxContainerAdjustment {
            rdt: Some(rdt),
            ..Default::default()
        })
    };
    let spec = json!({"linux": {"intelRdt": {"closID": "a", "l3CacheSchema": "L3:0=f"}}});
    let result = |adjustment: &ContainerAdjustment| {
        let mut options = ApplyOptions::default();
        options.rdt_resolver = Some(Arc::new(|class| Ok(Some(json!({"closID": class, "x": 1})))));
        let applied = apply(&spec, adjustment, &options, None).unwrap();
        applied.spec["linux"]["intelRdt"].clone()
    };
    assert_eq!(
        result(&rdt(LinuxRdt {
            clos_id: text("b"),
            remove: true,
            ..Default::default()
        })),
        json!({"closID": "b"})
    );
    assert_eq!(
        result(&rdt(LinuxRdt {
            schemata: Some(OptionalRepeatedString {
                value: vec!["MB:0=10".into()]
            }),
            enable_monitoring: Some(OptionalBool { value: true }),
            ..Default::default()
        })),
        json!({"closID": "a", "schemata": ["MB:0=10"], "enableMonitoring": true})
    );
    let mut both = resources(LinuxResources {
        rdt_class: text("gold"),
        ..Default::default()
    });
    assert_eq!(result(&both), json!({"closID": "gold", "x": 1}));
    both.linux.as_mut().unwrap().rdt = Some(LinuxRdt {
        clos_id: text("b"),
        ..Default::default()
    });
    assert_eq!(result(&both), json!({"closID": "b", "x": 1}));
}

#[test]
fn the_checker_sees_complete_resources_and_its_word_counts() {
    let pids = resources(LinuxResources {
        pids: Some(LinuxPids { limit: 0 }),
        ..Default::default()
    });
    let spec = json!({"linux": {"resources": {"memory": {"limit": 5}}}});
    let mut options = ApplyOptions::default();
    options.resource_checker = Some(Arc::new(|resources| {
        let resources = resources.ok_or("no resources")?;
        assert_eq!(
            *resources,
            json!({"memory": {"limit": 5}, "pids": {"limit": 0}})
        );
        resources["memory"]["limit"] = json!(6);
        Ok(())
    }));
    let applied = apply(&spec, &pids, &options, None).unwrap();
    assert_eq!(applied.spec["linux"]["resources"]["memory"]["limit"], 6);
    assert!(
        applied.warnings[0]
            .to_string()
            .starts_with("PidsLimit: 0 means")
    );
    // Without resources in the adjustment it is not asked.
    apply(&json!({}), &annotations(&[("a", "b")]), &options, None).unwrap();
    let nothing = resources(LinuxResources::default());
    assert_eq!(
        apply(&json!({}), &nothing, &options, None)
            .unwrap_err()
            .to_string(),
        "the runtime refuses the adjusted resources: no resources"
    );
}

#[test]
fn what_the_low_level_runtime_would_ignore_is_said() {
    let adjustment = linux(LinuxContainerAdjustment {
        memory_policy: Some(LinuxMemoryPolicy::default()),
        scheduler: Some(LinuxScheduler {
            policy: 1,
            ..Default::default()
        }),
        ..Default::default()
    });
    let mut options = ApplyOptions::default();
    options.runtime = Some(OciVersion::new(1, 1, 0));
    let spec = json!({"process": {"args": ["/bin/sh"], "cwd": "/"}});
    let applied = apply(&spec, &adjustment, &options, None).unwrap();
    assert_eq!(applied.needs, Some(OciVersion::new(1, 3, 0)));
    let warnings: Vec<String> = applied.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "MemoryPolicy: linux.memoryPolicy may be ignored: it came with OCI 1.3.0, and the low-level runtime supports 1.1.0"
        ]
    );
    options.beyond_runtime = OnUnsupported::Error;
    let error = apply(&json!({}), &adjustment, &options, None).unwrap_err();
    assert!(matches!(error, ApplyError::BeyondRuntime { .. }), "{error}");
    options.runtime = Some(OciVersion::new(1, 3, 0));
    apply(&json!({}), &adjustment, &options, None).unwrap();
    for nonsense in [json!({}), json!({"ociVersionMax": "new"}), json!(null)] {
        assert_eq!(OciVersion::from_features(&nonsense), None);
    }
}

#[test]
fn cdi_comes_between_env_and_devices() {
    let adjustment = ContainerAdjustment {
        cdi_devices: vec![CdiDevice {
            name: "v.com/gpu=0".into(),
        }],
        env: vec![KeyValue {
            key: "A".into(),
            value: "plugin".into(),
        }],
        linux: Some(LinuxContainerAdjustment {
            devices: vec![device("/dev/x", "c", 1, None)],
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut options = ApplyOptions::default();
    options.cdi_injector = Some(Arc::new(|spec, names| {
        assert_eq!(names, ["v.com/gpu=0"]);
        assert_eq!(spec["process"]["env"], json!(["A=plugin"]));
        spec["process"]["env"] = json!(["A=cdi"]);
        spec["linux"]["devices"] = json!([{"path": "/dev/x", "type": "c", "major": 9, "minor": 9}]);
        Ok(())
    }));
    let spec = apply(&json!({}), &adjustment, &options, None).unwrap().spec;
    assert_eq!(spec["process"]["env"], json!(["A=cdi"]));
    assert_eq!(spec["linux"]["devices"][0]["major"], 10);
    options.cdi_injector = Some(Arc::new(|spec, _| {
        spec["process"] = json!([]);
        Ok(())
    }));
    let error = apply(&json!({}), &adjustment, &options, None).unwrap_err();
    assert!(
        error.to_string().contains("process must be an object"),
        "{error}"
    );
}
