//! The process that keeps a pod's namespaces: a program of a few instructions, written here, so
//! that no image has to be there for it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use crate::config::Config;
use crate::error::{Error, Result};
use crate::files;

/// Sets `SIGCHLD` to be ignored, so that the kernel reaps the orphans of a shared process
/// namespace, and sleeps for ever. `SIGTERM` and the like do nothing to the first process of a
/// namespace; it is stopped with `SIGKILL`.
#[rustfmt::skip]
const X86_64: &[u8] = &[
    0xb8, 13, 0, 0, 0,                  // mov eax, rt_sigaction
    0xbf, 17, 0, 0, 0,                  // mov edi, SIGCHLD
    0x48, 0x8d, 0x35, 19, 0, 0, 0,      // lea rsi, [rip + action]
    0x31, 0xd2,                         // xor edx, edx
    0x41, 0xba, 8, 0, 0, 0,             // mov r10d, 8
    0x0f, 0x05,                         // syscall
    0xb8, 34, 0, 0, 0,                  // mov eax, pause
    0x0f, 0x05,                         // syscall
    0xeb, 0xf7,                         // jmp to `mov eax, pause`
    1, 0, 0, 0, 0, 0, 0, 0,             // action: SIG_IGN, no flags, no restorer, no mask
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0,
];

/// Where the program is of which each pod has a link.
pub(crate) fn installed(config: &Config) -> PathBuf {
    config.root.join("pause")
}

/// Writes the program, that of the configuration or our own, to where it is linked from.
///
/// # Errors
/// There is none for this processor, or that of the configuration cannot be read; those of the
/// operating system.
pub(crate) fn install(config: &Config) -> Result<()> {
    let code = match &config.pause {
        Some(own) => fs::read(own).map_err(|error| Error::file("read", own, error))?,
        None => program()?,
    };
    let path = installed(config);
    files::write(&path, &code)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))
        .map_err(|error| Error::file("make executable", &path, error))
}

/// The program as an ELF file.
///
/// # Errors
/// There is none for this processor.
fn program() -> Result<Vec<u8>> {
    match std::env::consts::ARCH {
        "x86_64" => Ok(elf(62, X86_64)),
        other => Err(Error::unimplemented(format!(
            "there is no built-in pause program for {other}: set `pause` to a static one"
        ))),
    }
}

/// One segment that holds everything, headers included, as is usual for the smallest of programs.
fn elf(machine: u16, code: &[u8]) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
    file.extend([0; 8]);
    file.extend(2u16.to_le_bytes()); // an executable
    file.extend(machine.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend((BASE + HEADERS).to_le_bytes()); // entry
    file.extend(64u64.to_le_bytes()); // where the program header is
    file.extend([0; 12]); // no sections, no flags
    for half in [64u16, 56, 1, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let size = HEADERS + code.len() as u64;
    file.extend(1u32.to_le_bytes()); // to be loaded
    file.extend(5u32.to_le_bytes()); // readable, executable
    for word in [0, BASE, BASE, size, size, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(code);
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn it_sleeps_until_it_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pause");
        files::tests::write_program(&path, &program().unwrap());
        let mut child = Command::new(&path).spawn().unwrap();
        let status = format!("/proc/{}/status", child.id());
        // It is asleep with SIGCHLD (bit 16) ignored; until then it is not there yet.
        let asleep = |status: &str| {
            let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
            let ignored = u64::from_str_radix(ignored.unwrap_or("0").trim(), 16).unwrap();
            status.contains("Name:\tpause")
                && status.contains("S (sleeping)")
                && ignored & 0x10000 != 0
        };
        while !asleep(&std::fs::read_to_string(&status).unwrap()) {
            assert!(child.try_wait().unwrap().is_none(), "it has ended");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
    }
}
