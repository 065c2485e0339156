//! Messages as proto3 JSON: what is written, what is understood, and what is refused.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helper functions too"
)]

mod round_trips;

use std::fmt::Debug;
use std::fs;

use nri_proto::api;
use prost::Message;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A message of the protocol that has a JSON form: all of them.
trait JsonMessage: Message + Default + PartialEq + Debug + Serialize + DeserializeOwned {}
impl<M: Message + Default + PartialEq + Debug + Serialize + DeserializeOwned> JsonMessage for M {}

fn to_json(message: &impl Serialize) -> Value {
    serde_json::to_value(message).unwrap()
}

fn from_json<M: DeserializeOwned>(value: Value) -> Result<M, String> {
    serde_json::from_value(value).map_err(|e| e.to_string())
}

/// The bytes in hexadecimal.
fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap())
        .collect()
}

fn agrees_with_go<M: JsonMessage>(name: &str, line: &Value) {
    let wire = bytes(line["wire"].as_str().unwrap());
    let message = M::decode(&wire[..]).unwrap();
    assert_eq!(
        message.encode_to_vec(),
        wire,
        "{name}: nothing is lost, and map entries are ordered"
    );
    assert_eq!(to_json(&message), line["json"], "{name}: what we write");
    assert_eq!(
        from_json::<M>(line["json"].clone()),
        Ok(message),
        "{name}: what we read"
    );
}

/// Law: with every field set, to extreme values among others, we write and read the JSON that Go
/// writes and reads.
#[test]
fn every_field_as_go_writes_it() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/protojson.jsonl");
    let mut count = 0;
    for line in fs::read_to_string(path).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let name = line["message"].as_str().unwrap();
        match name {
            "RegisterPluginRequest" => agrees_with_go::<api::RegisterPluginRequest>(name, &line),
            "ConfigureRequest" => agrees_with_go::<api::ConfigureRequest>(name, &line),
            "ConfigureResponse" => agrees_with_go::<api::ConfigureResponse>(name, &line),
            "SynchronizeResponse" => agrees_with_go::<api::SynchronizeResponse>(name, &line),
            "ValidateContainerAdjustmentRequest" => {
                agrees_with_go::<api::ValidateContainerAdjustmentRequest>(name, &line);
            }
            "StateChangeEvent" => agrees_with_go::<api::StateChangeEvent>(name, &line),
            "UpdateContainersRequest" => {
                agrees_with_go::<api::UpdateContainersRequest>(name, &line)
            }
            "LogRequest" => agrees_with_go::<api::LogRequest>(name, &line),
            "OptionalInt32" => agrees_with_go::<api::OptionalInt32>(name, &line),
            "Empty" => agrees_with_go::<api::Empty>(name, &line),
            other => panic!("no such message here: {other}"),
        }
        count += 1;
    }
    assert_eq!(count, 10);
}

/// Law: names are written in lowerCamel form, and understood in the proto's own form too.
#[test]
fn names() {
    let container = api::Container {
        pod_sandbox_id: "p".into(),
        cdi_devices: vec![api::CdiDevice {
            name: "vendor.example/class=a".into(),
        }],
        ..Default::default()
    };
    let camel = json!({"podSandboxId": "p", "CDIDevices": [{"name": "vendor.example/class=a"}]});
    let original =
        json!({"pod_sandbox_id": "p", "CDI_devices": [{"name": "vendor.example/class=a"}]});
    assert_eq!(to_json(&container), camel);
    assert_eq!(from_json(camel), Ok(container.clone()));
    assert_eq!(from_json(original), Ok(container));

    let registration = api::RegisterPluginRequest {
        nri_version: "v0.12.2".into(),
        ..Default::default()
    };
    assert_eq!(to_json(&registration), json!({"NRIVersion": "v0.12.2"}));
    assert_eq!(
        from_json(json!({"NRIVersion": "v0.12.2"})),
        Ok(registration.clone())
    );
    assert_eq!(
        from_json(json!({"NRI_version": "v0.12.2"})),
        Ok(registration)
    );

    let answer = api::ConfigureResponse {
        events: 1,
        failure_policy: Some(api::FailurePolicy {
            fail_request: true,
            keep_connected: false,
        }),
    };
    let camel = json!({"events": 1, "failurePolicy": {"failRequest": true}});
    assert_eq!(to_json(&answer), camel);
    assert_eq!(from_json(camel), Ok(answer));
    let original = json!({"events": 1, "failure_policy": {"fail_request": true}});
    assert_eq!(from_json(original), Ok(answer));

    // One field under both of its names is there twice.
    let twice = from_json::<api::Container>(json!({"pod_sandbox_id": "p", "podSandboxId": "p"}));
    assert!(twice.unwrap_err().contains("duplicate field"));
}

/// Law: 64-bit numbers are written as strings, since JSON numbers lose digits elsewhere; both forms
/// are understood.
#[test]
fn numbers() {
    let memory = api::LinuxMemory {
        limit: Some(api::OptionalInt64 { value: i64::MIN }),
        swappiness: Some(api::OptionalUInt64 { value: u64::MAX }),
        ..Default::default()
    };
    let strings = json!({
        "limit": {"value": "-9223372036854775808"}, "swappiness": {"value": "18446744073709551615"}
    });
    let numbers = json!({"limit": {"value": i64::MIN}, "swappiness": {"value": u64::MAX}});
    assert_eq!(to_json(&memory), strings);
    assert_eq!(from_json(strings), Ok(memory));
    assert_eq!(from_json(numbers), Ok(memory));

    // 32-bit numbers are numbers, and understood as strings too.
    let user = api::User {
        uid: u32::MAX,
        gid: 0,
        additional_gids: vec![1, 2],
    };
    assert_eq!(
        to_json(&user),
        json!({"uid": u32::MAX, "additionalGids": [1, 2]})
    );
    assert_eq!(
        from_json(json!({"uid": u32::MAX.to_string(), "additionalGids": ["1", 2]})),
        Ok(user)
    );

    let too_large = from_json::<api::User>(json!({"uid": u64::from(u32::MAX) + 1}));
    assert!(
        too_large.is_err(),
        "a number that does not fit is refused, not cut"
    );
}

/// Law: enums are written by name, and understood by name and by number.
#[test]
fn enums() {
    let scheduler = api::LinuxScheduler {
        policy: api::LinuxSchedulerPolicy::SchedFifo as i32,
        flags: vec![api::LinuxSchedulerFlag::SchedFlagReclaim as i32],
        ..Default::default()
    };
    let names = json!({"policy": "SCHED_FIFO", "flags": ["SCHED_FLAG_RECLAIM"]});
    assert_eq!(to_json(&scheduler), names);
    assert_eq!(from_json(names), Ok(scheduler.clone()));
    assert_eq!(
        from_json(json!({"policy": 2, "flags": [1]})),
        Ok(scheduler.clone())
    );
    assert_eq!(
        from_json(json!({"policy": 2, "flags": [1, "SCHED_FLAG_RECLAIM"]}))
            .map(|s: api::LinuxScheduler| s.flags.len()),
        Ok(2)
    );
}

/// Law: an enum number without a name is kept, both ways. A name that there is not is refused with
/// those that there are.
#[test]
fn unknown_enum_numbers_are_kept() {
    let container = api::Container {
        state: 77,
        ..Default::default()
    };
    let kept = api::Container::decode(&container.encode_to_vec()[..]);
    assert_eq!(kept, Ok(container.clone()), "on the wire nothing is lost");
    assert_eq!(to_json(&container), json!({"state": 77}));
    assert_eq!(from_json(json!({"state": 77})), Ok(container.clone()));
    assert_eq!(from_json(json!({"state": 77.0})), Ok(container));
    let scheduler = api::LinuxScheduler {
        policy: -3,
        flags: vec![0, 1000],
        ..Default::default()
    };
    let text = json!({"policy": -3, "flags": ["SCHED_FLAG_RESET_ON_FORK", 1000]});
    assert_eq!(to_json(&scheduler), text);
    assert_eq!(from_json(text), Ok(scheduler));

    let read = from_json::<api::Container>(json!({"state": "CONTAINER_DREAMING"}));
    let message = read.unwrap_err();
    assert!(
        message.contains("unknown variant `CONTAINER_DREAMING`")
            && message.contains("`CONTAINER_RUNNING` (3)")
            && message.contains("for `state`"),
        "{message}"
    );
    assert!(from_json::<api::Container>(json!({"state": 1_u64 << 31})).is_err());
    // The enum alone has no place for a number that it does not know.
    assert_eq!(
        from_json(json!(3)),
        Ok(api::ContainerState::ContainerRunning)
    );
    assert!(from_json::<api::ContainerState>(json!(77)).is_err());
    assert_eq!(
        to_json(&api::ContainerState::ContainerRunning),
        json!("CONTAINER_RUNNING")
    );
}

/// Law: `null` is the default of a field of any kind. It is no item of a list and no value of a
/// map.
#[test]
fn null_is_the_default_of_every_field() {
    fn all_null<M: JsonMessage>(names: &[&str]) {
        for name in names {
            let read = from_json::<M>(json!({*name: null}));
            assert_eq!(read, Ok(M::default()), "{name}");
        }
    }
    all_null::<api::Container>(&[
        "id",
        "state",
        "labels",
        "args",
        "mounts",
        "hooks",
        "linux",
        "pid",
        "createdAt",
        "created_at",
    ]);
    all_null::<api::LinuxMemory>(&["limit", "swappiness", "disableOomKiller", "useHierarchy"]);
    all_null::<api::LinuxResources>(&["hugepageLimits", "unified", "rdtClass", "devices"]);
    all_null::<api::OptionalInt64>(&["value"]);
    all_null::<api::OptionalRepeatedString>(&["value"]);
    all_null::<api::FieldOwners>(&["simple", "compound"]);
    all_null::<api::LinuxScheduler>(&["policy", "flags", "nice", "runtime"]);
    all_null::<api::Mount>(&["options"]);

    assert!(from_json::<api::Container>(json!(null)).is_err());
    for (value, place) in [
        (json!({"args": ["a", null]}), "args[1]"),
        (json!({"labels": {"a": null}}), "labels[\"a\"]"),
        (json!({"mounts": [null]}), "mounts[0]"),
    ] {
        let message = from_json::<api::Container>(value).unwrap_err();
        assert!(
            message.contains("null") && message.contains(&format!("`{place}`")),
            "{message}"
        );
    }
}

/// Law: whole numbers may have an exponent and a fraction of zeros, as numbers and as texts. What
/// is not whole, does not fit or may have been another number is refused.
#[test]
fn numbers_with_exponents_and_fractions() {
    let limit = |text: &str| {
        let text = format!(r#"{{"limit": {{"value": {text}}}}}"#);
        let read = serde_json::from_str::<api::LinuxMemory>(&text);
        read.map(|memory| memory.limit.unwrap().value)
            .map_err(|error| error.to_string())
    };
    for (text, value) in [
        ("1e3", 1000),
        ("1000.0", 1000),
        ("-2.5e1", -25),
        ("1.7e18", 1_700_000_000_000_000_000),
        (r#""1e3""#, 1000),
        (r#""1000.0""#, 1000),
        (r#""1.7E+18""#, 1_700_000_000_000_000_000),
        (r#""9223372036854775807.00""#, i64::MAX),
        ("0e5", 0),
    ] {
        assert_eq!(limit(text), Ok(value), "{text}");
    }
    for text in [
        "1.5",
        r#""1.5""#,
        "1e19",
        r#""1e19""#,
        "9007199254740993.0",
        r#""""#,
        r#"" 1""#,
        r#""0x1""#,
        "true",
        "[1]",
        "{}",
    ] {
        let message = limit(text).unwrap_err();
        assert!(
            message.contains("expected a whole number of 64 bits for `limit.value`"),
            "{text}: {message}"
        );
    }
    let user: api::User =
        serde_json::from_str(r#"{"uid": 1e3, "gid": "1.0", "additionalGids": [2e0]}"#).unwrap();
    assert_eq!(
        (user.uid, user.gid, user.additional_gids),
        (1000, 1, vec![2])
    );
}

/// Law: every error of a value names the way to it, and the line where there is one.
#[test]
fn errors_name_the_field() {
    fn error<M: JsonMessage>(text: &str) -> String {
        serde_json::from_str::<M>(text).unwrap_err().to_string()
    }
    let container = error::<api::Container>;
    for (text, expected) in [
        (
            r#"{"linux": {"resources": {"memory": {"limit": {"value": "much"}}}}}"#,
            "invalid value: string \"much\", expected a whole number of 64 bits for `linux.resources.memory.limit.value` at \
             line 1 column ",
        ),
        (
            r#"{"linux": {"resources": {"memory": {"limit": 5}}}}"#,
            "invalid type: integer `5`, expected an object with `value` in it, the message OptionalInt64, for \
             `linux.resources.memory.limit` at line 1 column ",
        ),
        (
            "{\n\"mounts\": [{}, {\"destination\": 7}]}",
            "invalid type: integer `7`, expected a text for `mounts[1].destination` at line 2 column ",
        ),
    ] {
        let message = container(text);
        assert!(message.starts_with(expected), "{message}");
    }
    for (text, part) in [
        (r#"{"labels": {"a": {}}}"#, "for `labels[\"a\"]`"),
        (
            r#"{"linux": {"resources": {"rdt_class": {"Value": "x"}}}}"#,
            "in `linux.resources.rdtClass`",
        ),
        (
            r#"{"pod_sandbox_id": "a", "podSandboxId": null}"#,
            "duplicate field `podSandboxId`",
        ),
        (
            r#"{"labels": {"a": "1", "a": "2"}}"#,
            "duplicate key `labels[\"a\"]`",
        ),
        (r#"{"args": {}}"#, "a list for `args`"),
        (r#"{"hooks": []}"#, "for `hooks`"),
        (r#"{"args": "ls"}"#, "a list for `args`"),
        ("[]", "expected an object, the message Container"),
    ] {
        let message = container(text);
        assert!(message.contains(part), "{text}: {message}");
        assert!(!message.contains("untagged"), "{message}");
    }
    let message = error::<api::FieldOwners>(r#"{"simple": {"Args": "20-b"}}"#);
    assert!(
        message.contains("`simple[\"Args\"]`: the key is no number"),
        "{message}"
    );
}

/// Law: a field that the protocol does not have is refused, by its name, so that a misspelt one is
/// never lost.
#[test]
fn unknown_fields_are_refused() {
    let read = from_json::<api::Container>(json!({"id": "c", "podSandboxID": "p"}));
    let message = read.unwrap_err();
    assert!(
        message.contains("unknown field `podSandboxID`") && message.contains("`podSandboxId`"),
        "{message}"
    );
}

/// Law: a default value is not written; a wrapper that is present is, whatever it holds. `null` is
/// an absent message.
#[test]
fn presence() {
    assert_eq!(to_json(&api::Container::default()), json!({}));
    let resources = api::LinuxResources {
        rdt_class: Some(api::OptionalString::default()),
        pids: Some(api::LinuxPids::default()),
        ..Default::default()
    };
    assert_eq!(to_json(&resources), json!({"rdtClass": {}, "pids": {}}));
    assert_eq!(
        from_json(json!({"rdtClass": {}, "pids": {"limit": 0}, "cpu": null})),
        Ok(resources)
    );

    // Defaults that are written out, as other languages do on request.
    let full = json!({
        "id": "", "state": "CONTAINER_UNKNOWN", "labels": {}, "args": [], "linux": null, "pid": 0, "createdAt": "0"
    });
    assert_eq!(from_json(full), Ok(api::Container::default()));
}

/// Law: map keys are strings in JSON, also where they are numbers in the protocol.
#[test]
fn maps() {
    let field = api::Field::Env as i32;
    let compound = api::CompoundFieldOwners {
        owners: [("PATH".to_owned(), "10-a".to_owned())].into(),
    };
    let owners = api::FieldOwners {
        simple: [
            (api::Field::Args as i32, "20-b".to_owned()),
            (-1, "00-c".to_owned()),
        ]
        .into(),
        compound: [(field, compound)].into(),
    };
    let text = json!({
        "simple": {"-1": "00-c", "7": "20-b"},
        "compound": {"6": {"owners": {"PATH": "10-a"}}},
    });
    assert_eq!(to_json(&owners), text);
    assert_eq!(from_json(text), Ok(owners));
    assert!(from_json::<api::FieldOwners>(json!({"simple": {"Args": "20-b"}})).is_err());

    // A removal of a network device: an entry with an empty message.
    let adjustment = api::LinuxContainerAdjustment {
        net_devices: [("-eth1".to_owned(), api::LinuxNetDevice::default())].into(),
        ..Default::default()
    };
    assert_eq!(to_json(&adjustment), json!({"netDevices": {"-eth1": {}}}));
    assert_eq!(
        from_json(json!({"netDevices": {"-eth1": {}}})),
        Ok(adjustment)
    );
}
