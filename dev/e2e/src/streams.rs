//! Exec, attach and port forwarding through crictl, with what goes wrong.

use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use nri_dev::process;
use serde_json::json;

use crate::crictl::{container, pod};
use crate::expect::{is, until};
use crate::stage::Stage;

/// How much goes through a command and back.
const MUCH: usize = 8 << 20;

type Part = (&'static str, fn(&Stage, &str) -> Result<(), String>);

/// Tries them.
///
/// # Errors
/// What does not work.
pub(crate) fn run(stage: &Stage) -> Result<(), String> {
    let pod_id = stage.crictl.run_pod(&pod("streams"))?;
    let mut config = container("streams");
    config["command"] = json!([
        "sh",
        "-c",
        "httpd -p 8000 -h /etc; while read l; do echo got $l; done"
    ]);
    (config["stdin"], config["stdin_once"]) = (true.into(), true.into());
    let id = stage.crictl.create(&pod_id, &pod("streams"), &config)?;
    stage.crictl.run(&["start", &id])?;
    let parts: [Part; 4] = [
        ("exec", exec),
        ("exec with a terminal", terminal),
        ("a client that leaves", leaving),
        ("attach", attach),
    ];
    let failed = |part, error| format!("{part}: {error}\n{}", stage.said());
    forward(stage, &pod_id).map_err(|error| failed("port forwarding", error))?;
    println!("e2e: streams: port forwarding");
    for (name, part) in parts {
        part(stage, &id).map_err(|error| failed(name, error))?;
        println!("e2e: streams: {name}");
    }
    stage.crictl.run(&["rmp", "--force", &pod_id])?;
    stage.is_clean()
}

fn exec(stage: &Stage, id: &str) -> Result<(), String> {
    let crictl = &stage.crictl;
    let output = crictl.output(&["exec", id, "sh", "-c", "echo out; echo err >&2; exit 7"])?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    is("what it says", &*text(&output.stdout), "out\n")?;
    let stderr = text(&output.stderr);
    is(
        &format!("its errors in {stderr:?}"),
        stderr.contains("err\n"),
        true,
    )?;
    // crictl has no other way to say it.
    is(
        &format!("its exit code in {stderr:?}"),
        stderr.contains("exit code 7"),
        true,
    )?;

    let much: Vec<u8> = (0..MUCH).map(|n| (n * 31 % 251) as u8).collect();
    let mut child = crictl
        .command(&["exec", "--interactive", id, "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("crictl: {e}"))?;
    let mut stdin = child.stdin.take().ok_or("no input")?;
    let sent = much.clone();
    let sender = std::thread::spawn(move || stdin.write_all(&sent));
    let output = child
        .wait_with_output()
        .map_err(|e| format!("crictl: {e}"))?;
    let sent = sender.join().map_err(|_| "a thread panics")?;
    sent.map_err(|e| format!("the input: {e}"))?;
    is("all of it", output.stdout == much, true)
}

fn terminal(stage: &Stage, id: &str) -> Result<(), String> {
    let crictl = stage
        .crictl
        .command(&["exec", "--interactive", "--tty", id]);
    let words: Vec<_> = [crictl.get_program()]
        .into_iter()
        .chain(crictl.get_args())
        .filter_map(std::ffi::OsStr::to_str)
        .collect();
    // crictl gives the container's terminal the size of its own, once it is there.
    let script = "until [ \"$(stty size)\" = \"33 99\" ]; do sleep 0.1; done; echo $TERM; tty";
    let command = format!("stty rows 33 cols 99; {} sh -c '{script}'", words.join(" "));
    let said = process::capture(
        Command::new("script")
            .args(["--quiet", "--return", "--command"])
            .arg(&command)
            .arg("/dev/null")
            .stdin(Stdio::null()),
    )?;
    is(
        &format!("a terminal in {said:?}"),
        said.contains("xterm"),
        true,
    )
}

fn leaving(stage: &Stage, id: &str) -> Result<(), String> {
    let runs = || {
        Ok(!stage
            .crictl
            .script(id, "pgrep -f 'sleep 77777' || true")?
            .is_empty())
    };
    let mut child = stage
        .crictl
        .command(&["exec", id, "sleep", "77777"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("crictl: {e}"))?;
    until("a command", runs)?;
    let killed = child.kill().and_then(|()| child.wait());
    killed.map_err(|e| format!("crictl: {e}"))?;
    until(
        "the end of a command whose client has left",
        || Ok(!runs()?),
    )
}

fn attach(stage: &Stage, id: &str) -> Result<(), String> {
    let mut child = stage
        .crictl
        .command(&["attach", "--stdin", id])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| format!("crictl: {e}"))?;
    let mut stdin = child.stdin.take().ok_or("no input")?;
    stdin
        .write_all(b"this\n")
        .map_err(|e| format!("the input: {e}"))?;
    // The end of the input is that of the container's, which then ends.
    drop(stdin);
    let output = child
        .wait_with_output()
        .map_err(|e| format!("crictl: {e}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    is("what the container answers", &*said, "got this\n")?;
    until("the container's end", || {
        Ok(stage.crictl.state(id)? == "EXITED")
    })
}

fn forward(stage: &Stage, pod: &str) -> Result<(), String> {
    let mut child = stage
        .crictl
        .command(&["port-forward", pod, "18000:8000"])
        .stdout(Stdio::null())
        .spawn()
        .map_err(|e| format!("crictl: {e}"))?;
    let get = |port: u16, path: &str| -> Result<String, String> {
        let address = format!("http://127.0.0.1:{port}{path}");
        process::capture(Command::new("busybox").args(["wget", "-q", "-O", "-", &address]))
    };
    let done = until("a forwarded port", || {
        Ok(TcpStream::connect("127.0.0.1:18000").is_ok())
    })
    .and_then(|()| {
        for _ in 0..5 {
            let users = get(18000, "/passwd")?;
            is("a page", users.starts_with("root:"), true)?;
        }
        Ok(())
    });
    let killed = child.kill().and_then(|()| child.wait());
    killed.map_err(|e| format!("crictl: {e}"))?;
    done
}
