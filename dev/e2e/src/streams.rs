//! Exec, attach and port forwarding through crictl, with what goes wrong.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use nri_dev::process;
use serde_json::{Value, json};

use crate::crictl::{container, pod};
use crate::expect::{LIMIT, is, until};
use crate::stage::Stage;

/// How much goes through a command and back.
const MUCH: usize = 8 << 20;

type Part = (&'static str, fn(&Stage, &str) -> Result<(), String>);

/// Tries them.
///
/// # Errors
/// What does not work.
pub(crate) fn run(stage: &Stage) -> Result<(), String> {
    with(stage, &pod("streams"))
}

/// Tries them with a pod of this configuration.
///
/// # Errors
/// What does not work.
pub(crate) fn with(stage: &Stage, pod: &Value) -> Result<(), String> {
    let pod_id = stage.crictl.run_pod(pod)?;
    let mut config = container("streams");
    config["command"] = json!([
        "sh",
        "-c",
        "httpd -p 8000 -h /etc; while read l; do echo got $l; done"
    ]);
    (config["stdin"], config["stdin_once"]) = (true.into(), true.into());
    let id = stage.crictl.create(&pod_id, pod, &config)?;
    stage.crictl.run(&["start", &id])?;
    let parts: [Part; 4] = [
        ("exec", exec),
        ("exec with a terminal", terminal),
        ("a client that leaves", leaving),
        ("attach", attach),
    ];
    let failed = |part, error| format!("{part}: {error}\n{}", stage.said());
    forward(stage, &pod_id, &id).map_err(|error| failed("port forwarding", error))?;
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
    // Not every busybox has a program that looks for processes.
    const COMMANDS: &str =
        "for all in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $all; echo; done 2>/dev/null";
    let runs = || {
        Ok(stage
            .crictl
            .script(id, COMMANDS)?
            .lines()
            .any(|command| command.trim() == "sleep 77777"))
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

fn forward(stage: &Stage, pod: &str, id: &str) -> Result<(), String> {
    // A connection that nobody answers ends what crictl forwards, so somebody must be there first.
    until("a server in the container", || {
        let page = "wget -q -O - http://127.0.0.1:8000/passwd >/dev/null 2>&1 && echo yes || :";
        Ok(stage.crictl.script(id, page)? == "yes")
    })?;
    forwarded(stage, pod, "18000:8000", || {
        for _ in 0..5 {
            let address = "http://127.0.0.1:18000/passwd";
            let get = &mut Command::new("busybox");
            let users = process::capture(get.args(["wget", "-q", "-O", "-", address]))?;
            is("a page", users.starts_with("root:"), true)?;
        }
        Ok(())
    })?;
    forwarded(stage, pod, "18001:8001", || {
        let failed = |e: std::io::Error| format!("a port that nobody serves: {e}");
        let mut connection = TcpStream::connect("127.0.0.1:18001").map_err(failed)?;
        let limit = connection.set_read_timeout(Some(LIMIT));
        limit.map_err(failed)?;
        // It ends, in whatever way, and without a word.
        let mut said = Vec::new();
        match connection.read_to_end(&mut said) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Err(failed(error)),
            _ => is("what nobody says", said, Vec::new()),
        }
    })
}

/// Forwards a port while something is done.
fn forwarded(
    stage: &Stage,
    pod: &str,
    ports: &str,
    done: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let mut child = stage
        .crictl
        .command(&["port-forward", pod, ports])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| format!("crictl: {e}"))?;
    // It says where it listens once it does, and ends if it can say nothing any more.
    let mut said = String::new();
    let mut stdout = BufReader::new(child.stdout.take().ok_or("no output")?);
    let listens = stdout.read_line(&mut said);
    let done = match listens {
        Ok(1..) => done(),
        _ => Err(format!("crictl forwards no port: {said:?}")),
    };
    let killed = child.kill().and_then(|()| child.wait());
    killed.map_err(|e| format!("crictl: {e}"))?;
    done
}
