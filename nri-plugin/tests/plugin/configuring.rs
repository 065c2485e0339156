//! Typed configuration over connections: what the runtime sends, a file, and both ends told what is
//! wrong.

use std::fs;
use std::time::Duration;

use nri_plugin::{Backoff, Ended, Handlers, Settings, configuration, prelude::*};
use serde::Deserialize;

use crate::support::{Runtime, Socket, current, on, within};

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Limit {
    memory: u64,
}

fn plugin(limit: &Settings<Limit>) -> Handlers {
    handlers()
        .configured_by(limit)
        .on_run_pod_sandbox(|_, _| async { Ok(()) })
        .build()
}

async fn configure(runtime: &mut Runtime, text: &str) -> Result<(), String> {
    runtime.registration().await.answer(Ok(api::Empty {}));
    let configured = runtime.configure(current(text)).await;
    configured.map(drop).map_err(|error| error.to_string())
}

/// Law: every connection brings the newest configuration, and what the runtime sends goes before
/// the file.
#[tokio::test]
async fn a_configuration_is_read_on_every_connection() {
    let socket = Socket::new();
    let file = socket.directory().join("limit.yaml");
    let limit = configuration::<Limit>();
    let builder = on(&socket, plugin(&limit)).configuration_file(&file);
    let runner = builder.build().unwrap();
    let handle = runner.handle();
    let mut backoff = Backoff::default();
    backoff.initial = Duration::from_millis(1);
    let run = tokio::spawn(runner.run_forever(backoff));
    for (sent, written, expected) in [
        ("", "memory: 1", 1),
        ("memory = 2", "memory: 1", 2),
        ("{\"memory\": 3}", "memory: 1", 3),
        ("", "memory: 4", 4),
    ] {
        fs::write(&file, written).unwrap();
        let mut runtime = socket.accept().await;
        assert_eq!(configure(&mut runtime, sent).await, Ok(()));
        assert_eq!(limit.get().memory, expected);
        runtime.connection.close();
    }
    // One that is bad ends the connection and is not taken; the next is.
    fs::write(&file, "memory: lots").unwrap();
    let mut runtime = socket.accept().await;
    let error = configure(&mut runtime, "").await.unwrap_err();
    assert!(
        error.contains("limit.yaml: line 1: memory: invalid type"),
        "{error}"
    );
    assert_eq!(limit.get().memory, 4);
    fs::write(&file, "memory: 5").unwrap();
    let mut runtime = socket.accept().await;
    assert_eq!(configure(&mut runtime, "").await, Ok(()));
    assert_eq!(limit.get().memory, 5);
    handle.stop();
    assert_eq!(within(run).await.unwrap().unwrap(), Ended::Stopped);
}

#[tokio::test]
async fn both_ends_hear_what_is_wrong_with_a_configuration() {
    for (text, says) in [
        ("memroy = 1", "unknown field `memroy`"),
        ("", "gone.toml cannot be read: No such file"),
    ] {
        let socket = Socket::new();
        let builder = on(&socket, plugin(&configuration()));
        let runner = builder.configuration_file(socket.directory().join("gone.toml"));
        let run = tokio::spawn(runner.build().unwrap().run());
        let mut runtime = socket.accept().await;
        let told = configure(&mut runtime, text).await.unwrap_err();
        let ended = within(run).await.unwrap().unwrap_err().to_string();
        assert!(
            told.contains(says) && ended.contains(says),
            "{told}; {ended}"
        );
    }
}
