//! The program at a runtime that launches it, and at one that it connects to.

#[tokio::test]
async fn the_scenario_holds() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/scenario.toml");
    let program = env!("CARGO_BIN_EXE_nri-rdt");
    nri_testkit::sim::assert_scenario(file, "10-rdt", program).await;
}
