//! The program at the scenarios of `scenarios/`: every rule that there is, where it allows and
//! where it denies.

use std::fs;
use std::path::Path;

use nri_plugin::policy::Selector;

fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios"))
}

#[tokio::test]
async fn the_scenarios_hold() {
    let program = env!("CARGO_BIN_EXE_nri-mutation-guard");
    for name in ["denied", "mutations", "openshift", "permissive", "policy"] {
        let file = directory().join(name);
        let config = file.with_extension("conf");
        let command = format!("{program} --config {}", config.display());
        let scenario = file.with_extension("toml");
        nri_testkit::sim::assert_scenario(scenario, "90-mutation-guard", &command).await;
    }
}

/// Law: no mutation is left out of the scenario of mutations. What there is says the error of one
/// that there is not.
#[test]
fn every_mutation_is_allowed_and_denied_somewhere() {
    let scenario = fs::read_to_string(directory().join("mutations.toml")).unwrap();
    let error = "hoks".parse::<Selector>().unwrap_err().to_string();
    let (_, names) = error.rsplit_once("the fields are ").unwrap();
    let names: Vec<&str> = names.split(", ").collect();
    assert!(names.len() > 40, "{error}");
    // The file says nothing of updates and evictions as such; resources is a group.
    let others = ["Updates", "Evictions", "Resources"];
    for name in names.into_iter().filter(|name| !others.contains(name)) {
        assert!(
            scenario.contains(&format!("asks for {name}\"")),
            "{name} is not in it"
        );
    }
}
