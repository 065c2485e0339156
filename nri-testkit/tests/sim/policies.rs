//! `nri-sim policy check`, as in the manual.

use std::process::Output;

use crate::support::program;

const POLICY: &str = r#"
[[rules]]
name = "production"
namespaces = ["prod-*"]
fields = ["oci-hooks", "env:LD_*"]
action = "deny"
"#;

const ASKS: &str =
    r#"{"env": [{"key": "LD_PRELOAD", "value": "/x.so"}, {"key": "A", "value": "1"}]}"#;

fn check(policy: &str, more: &[&str]) -> (Output, String) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("policy.toml");
    std::fs::write(&file, policy).unwrap();
    let mut command = program();
    let output = command
        .args(["policy", "check"])
        .arg(&file)
        .args(more)
        .output()
        .unwrap();
    let printed = String::from_utf8([&output.stdout[..], &output.stderr].concat()).unwrap();
    (output, printed)
}

#[test]
fn a_policy_is_said_in_words() {
    let (output, printed) = check(POLICY, &[]);
    assert!(output.status.success());
    let says =
        "1. \"production\": deny oci-hooks, env:LD_* in namespaces prod-*\nOtherwise: allow.\n";
    assert_eq!(printed, says);
    assert!(include_str!("../../src/manual/nri_sim.md").contains(says));
}

#[test]
fn what_would_become_of_an_adjustment_is_said_with_the_rule() {
    let asked = |namespace: &'static str| {
        let namespace = ["--namespace", namespace];
        [
            &["--plugin", "10-gpu", "--adjustment", ASKS][..],
            &namespace,
        ]
        .concat()
    };
    let (output, printed) = check(POLICY, &asked("prod-a"));
    assert_eq!(output.status.code(), Some(1));
    let says =
        "deny   Env \"LD_PRELOAD\" (rule \"production\")\nallow  Env \"A\" (rule \"default\")\n";
    assert_eq!(printed, says);
    assert!(include_str!("../../src/manual/nri_sim.md").contains(says));
    let (output, printed) = check(POLICY, &asked("dev"));
    assert!(output.status.success());
    assert_eq!(
        printed,
        "allow  Env \"LD_PRELOAD\", \"A\" (rule \"default\")\n"
    );
}

#[test]
fn what_is_wrong_is_said_with_the_line() {
    let (output, printed) = check("[[rules]]\naction = 'block'", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed.contains("policy.toml: line 2: key `rules[0].action`: \"block\" is no action"),
        "{printed}"
    );
    let (output, printed) = check(
        POLICY,
        &["--plugin", "10-a", "--adjustment", "{\"envy\": []}"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        printed.contains("this is no adjustment in JSON"),
        "{printed}"
    );
}
