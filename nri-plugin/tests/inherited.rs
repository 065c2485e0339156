//! A plugin that a runtime launches: this program starts itself again with one end of a socket pair
//! as descriptor 3, as runtimes do, and plays the runtime on the other end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic in a test or in what serves it is its report"
)]

#[path = "plugin/support.rs"]
#[allow(dead_code, reason = "shared with the other tests")]
mod support;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitCode, Stdio};

use command_fds::{CommandFdExt as _, FdMapping};
use nri_plugin::{CloseReason, Runner, State, api};

use support::{Runtime, simple, soon, within};

/// What the child is to do; without it, this is the parent.
const TASK: &str = "NRI_TEST_TASK";

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match std::env::var(TASK) {
        Ok(task) => runtime.block_on(child(&task)),
        Err(_) => {
            for (name, test) in TESTS {
                print!("{name} ... ");
                runtime.block_on(async { within(test()).await });
                println!("ok");
            }
            ExitCode::SUCCESS
        }
    }
}

type Test = fn() -> std::pin::Pin<Box<dyn Future<Output = ()>>>;

const TESTS: [(&str, Test); 4] = [
    ("it_uses_what_it_inherits", || {
        Box::pin(it_uses_what_it_inherits())
    }),
    ("stopping_is_seen_by_the_runtime", || {
        Box::pin(stopping_is_seen_by_the_runtime())
    }),
    ("a_bad_number_is_an_error", || {
        Box::pin(a_bad_number_is_an_error())
    }),
    ("a_descriptor_that_is_no_socket_is_an_error", || {
        Box::pin(a_descriptor_that_is_no_socket_is_an_error())
    }),
];

/// The plugin. It ends with 0, or with 1 and its error on stderr.
async fn child(task: &str) -> ExitCode {
    let runner = Runner::builder(simple())
        .socket("/nonexistent/nri.sock")
        .build()
        .unwrap();
    let handle = runner.handle();
    let stops = task == "stop when ready";
    if stops {
        let mut state = handle.state();
        handle.stop_on(async move {
            let _ = state
                .wait_for(|state| matches!(state, State::Ready(_)))
                .await;
        });
    }
    let code = match runner.run().await {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    };
    if stops {
        // The runtime must see the end of the connection before that of the process.
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
    }
    code
}

fn launch(task: &str, descriptor: OwnedFd, variable: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env_clear()
        .env(TASK, task)
        .env("NRI_PLUGIN_NAME", "child")
        .env("NRI_PLUGIN_IDX", "42")
        .env("NRI_PLUGIN_SOCKET", variable)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .fd_mappings(vec![FdMapping {
            parent_fd: descriptor,
            child_fd: 3,
        }])
        .unwrap();
    command.spawn().unwrap()
}

fn runtime_and_child(task: &str) -> (Runtime, Child) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let child = launch(task, theirs.into(), "3");
    ours.set_nonblocking(true).unwrap();
    let ours = tokio::net::UnixStream::from_std(ours).unwrap();
    (Runtime::on(ours), child)
}

async fn ended(child: Child) -> (bool, String) {
    let wait = tokio::task::spawn_blocking(move || child.wait_with_output());
    let output = wait.await.unwrap().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.success(), text)
}

async fn it_uses_what_it_inherits() {
    let (mut runtime, child) = runtime_and_child("run");
    let asked = runtime.registration().await;
    let api::RegisterPluginRequest {
        plugin_idx,
        plugin_name,
        ..
    } = asked.request.clone();
    assert_eq!((plugin_idx.as_str(), plugin_name.as_str()), ("42", "child"));
    asked.answer(Ok(api::Empty {}));
    assert_eq!(
        runtime
            .configure(support::current(""))
            .await
            .unwrap()
            .events,
        1
    );
    runtime.synchronize(Default::default()).await.unwrap();
    runtime
        .plugin
        .shutdown(&api::Empty {}, soon())
        .await
        .unwrap();
    assert_eq!(ended(child).await, (true, String::new()));
}

async fn stopping_is_seen_by_the_runtime() {
    let (mut runtime, child) = runtime_and_child("stop when ready");
    runtime.admit().await;
    assert_eq!(runtime.connection.closed().await, CloseReason::PeerClosed);
    // Its input ends, and so does it.
    assert_eq!(ended(child).await, (true, String::new()));
}

async fn a_bad_number_is_an_error() {
    for (variable, says) in [
        ("three", "\"three\": it must be the decimal number"),
        ("77", "there is no file descriptor 77"),
    ] {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let (success, text) = ended(launch("run", theirs.into(), variable)).await;
        assert!(
            !success && text.contains("NRI_PLUGIN_SOCKET") && text.contains(says),
            "{text}"
        );
    }
}

async fn a_descriptor_that_is_no_socket_is_an_error() {
    let file = std::fs::File::open("/dev/null").unwrap();
    let (success, text) = ended(launch("run", file.into(), "3")).await;
    assert!(!success && text.contains("no unix stream socket"), "{text}");
}
