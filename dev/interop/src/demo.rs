//! A Go plugin at `cargo xtask demo --keep`, beside peers that say nothing and nonsense.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use nri_core::Event;

use super::pairing::{INDEX, NAME, expect, names};
use super::plugin::{self, Plugin};
use super::program::{Program, TEST_TIMEOUT};
use super::scratch::Scratch;
use nri_dev::process;

/// How long a program may take that builds something first.
const BUILDING: Duration = Duration::from_secs(600);

/// Neither peer keeps the runtime from serving the plugin, and when it is told to end, nothing of
/// it is left.
pub(super) fn beside_bad_peers(
    scratch: &Scratch,
    kind: plugin::Kind<'_>,
) -> Result<String, String> {
    let case_dir = scratch.case_dir()?;
    let (socket, temporary) = (case_dir.socket(), case_dir.file("tmp"));
    std::fs::create_dir(&temporary).map_err(|e| format!("{}: {e}", temporary.display()))?;
    // Not our own executable: whoever builds while we run replaces it.
    let built = process::build(&["--package", "nri-demo"])?;
    let demo = built.get("nri-demo").ok_or("nri-demo was not built")?;
    let mut command = Command::new("/usr/bin/env");
    command.arg(format!("TMPDIR={}", temporary.display()));
    command.arg(demo).args(["--keep", "--socket"]);
    command.arg(&socket);
    let mut demo = Program::start(scratch, "demo", &mut command)?;
    while demo.line(BUILDING)? != socket.display().to_string() {}

    let connect = || UnixStream::connect(&socket).map_err(|e| format!("{}: {e}", socket.display()));
    let silent = connect()?;
    let mut garbage = connect()?;
    garbage
        .write_all(&[0xa5; 4096])
        .map_err(|e| e.to_string())?;
    let mut plugin = Plugin::start(scratch, kind, &case_dir, INDEX, NAME)?;
    plugin.connect()?;
    plugin.wait_for_synchronization()?;
    // Whatever the peer that sends nonsense is sent first, this ends.
    garbage
        .set_read_timeout(Some(TEST_TIMEOUT))
        .map_err(|e| e.to_string())?;
    let mut rest = Vec::new();
    let cut_off = garbage
        .read_to_end(&mut rest)
        .err()
        .filter(|e| e.kind() != std::io::ErrorKind::ConnectionReset);
    if let Some(error) = cut_off {
        return Err(format!(
            "the peer that sends nonsense is not cut off: {error}"
        ));
    }
    demo.say("")?;
    while !demo
        .line(TEST_TIMEOUT)?
        .contains(Event::RemovePodSandbox.name())
    {}
    demo.terminate()?;
    let (_, status) = demo.finish()?;
    if !status.success() {
        return Err(format!("the demo ended with {status}"));
    }
    drop(silent);
    plugin.wait_for_close()?;
    let heard = plugin.heard()?;
    let heard = names(&heard);
    let missing = Event::ALL
        .iter()
        .find(|event| !heard.contains(&event.name()));
    if let Some(missing) = missing {
        return Err(format!("the plugin did not hear {missing}"));
    }
    let left = std::fs::read_dir(&temporary)
        .map_err(|e| e.to_string())?
        .count();
    expect("files left behind", left, 0)?;
    expect("socket left behind", socket.exists(), false)?;
    Ok("14 events beside a silent and a nonsensical peer; nothing left behind".to_owned())
}
