//! That the core needs no operating system: it builds for a target that has none, and what is built
//! asks its host for nothing. Where that target cannot be had, the layer fence alone is the proof,
//! and that is said.

use std::fs;
use std::path::Path;
use std::process::Command;

use nri_dev::{process, workspace};

const TARGET: &str = "wasm32-unknown-unknown";

/// How many functions a build of the whole core has at least. One in which the linker has left out
/// what nobody calls would import nothing either, and prove nothing.
const FUNCTIONS: u32 = 1000;

/// Builds `nri-core` for the target, bare and with its features, and looks at what the whole of it
/// imports.
///
/// # Errors
/// It does not build, or names what it imports: a clock, randomness, files.
pub(crate) fn run() -> Result<(), String> {
    if let Err(reason) = provide() {
        println!(
            "{TARGET} cannot be had here ({reason}): the layer fence alone shows that nri-core is pure"
        );
        return Ok(());
    }
    let library = ["--quiet", "--package", "nri-core", "--lib"];
    // Where the module is to be found again.
    let bare = [
        "--no-default-features",
        "--target",
        TARGET,
        "--target-dir",
        "target",
    ];
    process::run(process::cargo().arg("check").args(library).args(bare))?;
    process::run(
        process::cargo()
            .arg("rustc")
            .args(library)
            .args(bare)
            .args(["--features", "oci,serde,strategies"])
            // One module of everything, whether anybody calls it or not.
            .args(["--crate-type", "cdylib", "--"])
            .args(["-C", "link-dead-code", "-C", "link-arg=--no-gc-sections"]),
    )?;
    let built = workspace::root().join("target").join(TARGET);
    let path = built.join("debug").join("nri_core.wasm");
    let bytes = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let module =
        Module::read(&bytes).ok_or_else(|| format!("{} has an unknown form", path.display()))?;
    module.judge()?;
    println!(
        "nri-core: {} functions, which import nothing",
        module.functions
    );
    Ok(())
}

/// Installs the target unless it is there.
fn provide() -> Result<(), String> {
    let of_target = ["--print", "target-libdir", "--target", TARGET];
    let directory = process::capture(Command::new("rustc").args(of_target))?;
    if Path::new(directory.trim()).is_dir() {
        return Ok(());
    }
    process::capture(Command::new("rustup").args(["target", "add", TARGET])).map(drop)
}

/// What of a WebAssembly module matters here.
#[derive(Debug, Default, PartialEq)]
struct Module {
    /// How many functions it has, imported ones aside.
    functions: u32,
    /// `module.name` of each import.
    imports: Vec<String>,
}

impl Module {
    /// Reads a module; `None` if it is none.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(b"\0asm\x01\0\0\0")?;
        let mut module = Self::default();
        while !rest.is_empty() {
            let [kind] = *take(&mut rest, 1)? else {
                return None;
            };
            let size = number(&mut rest)?;
            let mut section = take(&mut rest, size)?;
            match kind {
                2 => module.imports = imports(&mut section)?,
                3 => module.functions = number(&mut section)?,
                _ => {}
            }
        }
        Some(module)
    }

    fn judge(&self) -> Result<(), String> {
        if !self.imports.is_empty() {
            return Err(format!(
                "nri-core for {TARGET} imports {}: something below it asks a host for a clock, for randomness, or for I/O",
                self.imports.join(", ")
            ));
        }
        if self.functions < FUNCTIONS {
            return Err(format!(
                "nri-core for {TARGET} has {} functions, less than {FUNCTIONS}: it was not linked as a whole, so its imports \
                 say nothing",
                self.functions
            ));
        }
        Ok(())
    }
}

fn take<'a>(rest: &mut &'a [u8], count: u32) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(usize::try_from(count).ok()?)?;
    *rest = left;
    Some(taken)
}

/// A number as LEB128.
fn number(rest: &mut &[u8]) -> Option<u32> {
    let mut value = 0;
    for shift in (0..32).step_by(7) {
        let [byte] = *take(rest, 1)? else { return None };
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = number(rest)?;
    String::from_utf8(take(rest, length)?.to_vec()).ok()
}

fn imports(section: &mut &[u8]) -> Option<Vec<String>> {
    let count = number(section)?;
    let mut imports = Vec::new();
    for _ in 0..count {
        imports.push(format!("{}.{}", text(section)?, text(section)?));
        // What it is: a function of a type, a table, a memory, a global, or a tag.
        match *take(section, 1)? {
            [0] => drop(number(section)?),
            [1] => {
                take(section, 1)?;
                limits(section)?;
            }
            [2] => limits(section)?,
            [3] => drop(take(section, 2)?),
            [4] => {
                take(section, 1)?;
                number(section)?;
            }
            _ => return None,
        }
    }
    Some(imports)
}

fn limits(section: &mut &[u8]) -> Option<()> {
    let [flags] = *take(section, 1)? else {
        return None;
    };
    number(section)?;
    if flags & 1 == 1 {
        number(section)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module with these imports, as bytes of their section, and a number of functions.
    fn module(imports: &[u8], functions: u8) -> Vec<u8> {
        let mut bytes = b"\0asm\x01\0\0\0".to_vec();
        for (kind, section) in [(0, &b"\x04name"[..]), (2, imports), (3, &[functions])] {
            bytes.extend([kind, u8::try_from(section.len()).unwrap()]);
            bytes.extend(section);
        }
        bytes
    }

    #[test]
    fn imports_of_every_kind_are_named() {
        let section = [
            &b"\x05"[..],
            b"\x03env\x03now\x00\x07",
            b"\x03env\x01t\x01\x70\x01\x02\x05",
            b"\x03env\x01m\x02\x00\x11",
            b"\x03env\x01g\x03\x7f\x00",
            b"\x16wasi_snapshot_preview1\x0arandom_get\x00\x01",
        ]
        .concat();
        let module = Module::read(&module(&section, 9)).unwrap();
        assert_eq!(
            module.imports,
            [
                "env.now",
                "env.t",
                "env.m",
                "env.g",
                "wasi_snapshot_preview1.random_get"
            ]
        );
        assert_eq!(module.functions, 9);
        assert!(module.judge().unwrap_err().contains("env.now"));
    }

    #[test]
    fn a_module_that_was_not_linked_as_a_whole_proves_nothing() {
        let module = Module::read(&module(b"\x00", 9)).unwrap();
        assert!(module.judge().unwrap_err().contains("9 functions"));
    }

    #[test]
    fn what_is_cut_off_is_no_module() {
        let whole = module(b"\x01\x03env\x03now\x00\x07", 9);
        for end in 0..whole.len() {
            // At the end of a section it is one.
            if ![8, 15, 28].contains(&end) {
                assert_eq!(Module::read(&whole[..end]), None, "{end}");
            }
        }
    }
}
