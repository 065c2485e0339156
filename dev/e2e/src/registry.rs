//! A registry on this machine, over plain HTTP, with the images that critest asks for: they have
//! the names of the real ones and what the tests look at, and nothing else.

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nri_dev::debian::which;
use nri_dev::process;
use serde_json::{Value, json};

use crate::expect::until;
use crate::image::{self, Files, Layer};
use crate::needs::Needs;

/// Where it is. The runtime has it as the mirror of those that tests name.
pub(crate) const ADDRESS: &str = "127.0.0.1:5000";
/// Which those are.
pub(crate) const MIRRORED: [&str; 3] = ["registry.k8s.io", "k8s.gcr.io", "gcr.io"];

const TESTS: &str = "k8s-staging-cri-tools";
const PATH: &str = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33:www:/var/www:/bin/false\n\
    nobody:x:65534:65534:nobody:/:/bin/false\n";
const GROUPS: &str = "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n";

/// The registry, which ends when it is dropped.
pub(crate) struct Registry(Child);

impl Registry {
    /// Starts it and brings the images to it.
    ///
    /// # Errors
    /// Those of the programs that are run.
    pub(crate) fn start(directory: &Path, needs: &Needs) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("the registry: {e}");
        let config = json!({
            "version": 0.1,
            "storage": {"filesystem": {"rootdirectory": directory.join("registry")}},
            "http": {"addr": ADDRESS},
        });
        // JSON is YAML.
        let file = directory.join("registry.yml");
        fs::write(&file, config.to_string()).map_err(failed)?;
        let log = File::create(directory.join("registry.log")).map_err(failed)?;
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log)
            .spawn()
            .map_err(failed)?;
        let registry = Self(child);
        until("the registry", || Ok(TcpStream::connect(ADDRESS).is_ok()))?;
        for (name, layers, config) in images(needs)? {
            let image = directory.join("pushed");
            image::write(&image, &layers, &config)?;
            process::run(
                Command::new("skopeo")
                    .args(["copy", "--quiet", "--dest-tls-verify=false"])
                    .arg(format!("dir:{}", image.display()))
                    .arg(format!("docker://{ADDRESS}/{name}")),
            )?;
            fs::remove_dir_all(&image).map_err(failed)?;
        }
        Ok(registry)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

type Image = (String, Vec<Layer>, Value);

/// The images, by their names at the registry.
fn images(needs: &Needs) -> Result<Vec<Image>, String> {
    let base = base(needs, USERS, GROUPS)?;
    let shell = |user: &str| json!({"Env": [PATH], "Cmd": ["sh"], "User": user});
    let mut images: Vec<Image> = Vec::new();
    let mut add = |name: &str, layers: &[&Layer], config: Value| {
        let layers = layers.iter().map(|layer| (*layer).clone()).collect();
        images.push((name.to_owned(), layers, config));
    };
    add("e2e-test-images/busybox:1.29-2", &[&base], shell(""));
    // Those that tests pull and remove differ, so that each is an image of its own.
    for (image, tags) in [
        ("test-image-1", &["latest"][..]),
        ("test-image-2", &["latest"]),
        ("test-image-3", &["latest"]),
        ("test-image-tags", &["1", "2", "3"]),
        ("test-image-latest", &["latest"]),
        ("test-image-tag", &["test"]),
        ("test-image-tag", &["all"]),
        ("test-image-digest", &["latest"]),
    ] {
        let mark = marked(&format!("{image}:{}", tags[0]))?;
        for tag in tags {
            add(
                &format!("{TESTS}/{image}:{tag}"),
                &[&base, &mark],
                shell(""),
            );
        }
    }
    for (name, user) in [
        ("uid", "1002"),
        ("username", "www-data"),
        ("uid-group", "1003:1004"),
        ("username-group", "www-data:1004"),
    ] {
        let name = format!("{TESTS}/test-image-user-{name}:latest");
        add(&name, &[&base], shell(user));
    }
    let user = "default-user:x:1000:1000::/home/default-user:/bin/sh\n";
    let groups = "default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n";
    let grouped = self::base(needs, &[USERS, user].concat(), &[GROUPS, groups].concat())?;
    let name = format!("{TESTS}/test-image-predefined-group:latest");
    add(&name, &[&grouped], shell("1000"));

    // It says who it is: a program that belongs to root and takes its rights, if it may.
    let mut files = Files::new();
    files.program("nnp", 0o4755, &needed("id")?)?;
    let script = "echo \"Effective uid: $(/nnp -u)\"";
    let config = json!({"Env": [PATH], "Entrypoint": ["sh", "-c", script]});
    add(
        "e2e-test-images/nonewprivs:1.3",
        &[&base, &files.finish()?],
        config,
    );
    for (name, port) in [
        ("e2e-test-images/nginx:1.14-2", 80),
        (&*format!("{TESTS}/hostnet-nginx-amd64:latest"), 12003),
    ] {
        let config = json!({
            "Env": [PATH],
            "Cmd": ["nginx", "-g", "daemon off;"],
            "ExposedPorts": {format!("{port}/tcp"): {}},
            "StopSignal": "SIGQUIT",
        });
        add(name, &[&base, &nginx(port)?], config);
    }
    let mut files = Files::new();
    files.file("htdocs/index.html", 0o644, b"<h1>It works!</h1>\n")?;
    let script = "echo httpd; exec httpd -f -p 80 -h /htdocs";
    let config = json!({"Env": [PATH], "Cmd": ["sh", "-c", script]});
    add(
        "e2e-test-images/httpd:2.4.39-4",
        &[&base, &files.finish()?],
        config,
    );
    let config = json!({"Env": [PATH], "Entrypoint": ["sleep", "1000000"]});
    add("pause:3.9", &[&base, &marked("pause")?], config);
    Ok(images)
}

/// busybox, but with a shell that looks for programs where they are, not in itself, and with two
/// programs that Debian's has not.
fn base(needs: &Needs, users: &str, groups: &str) -> Result<Layer, String> {
    let others = [("sh", "dash"), ("pgrep", "pgrep"), ("ipcs", "ipcs")];
    let names = others.map(|(name, _)| name);
    let mut files = image::busybox(&needs.busybox, &names)?;
    for (name, program) in others {
        files.program(&format!("bin/{name}"), 0o755, &needed(program)?)?;
    }
    files.file("etc/passwd", 0o644, users.as_bytes())?;
    files.file("etc/group", 0o644, groups.as_bytes())?;
    files.directory("home", 0o755)?;
    files.directory("mnt", 0o755)?;
    files.finish()
}

fn nginx(port: u16) -> Result<Layer, String> {
    let mut files = Files::new();
    files.program("usr/sbin/nginx", 0o755, &needed("nginx")?)?;
    let config = format!(
        "user root;\nworker_processes 1;\npid /var/run/nginx.pid;\nerror_log /dev/stderr;\n\
         events {{}}\nhttp {{ access_log off; server {{ listen {port};\n\
         location / {{ root /usr/share/nginx/html; index index.html; }} }} }}\n"
    );
    files.file("etc/nginx/nginx.conf", 0o644, config.as_bytes())?;
    let page = b"<h1>Welcome to nginx!</h1>\n";
    files.file("usr/share/nginx/html/index.html", 0o644, page)?;
    for name in ["var/log/nginx", "var/lib/nginx", "var/run"] {
        files.directory(name, 0o755)?;
    }
    files.finish()
}

fn marked(name: &str) -> Result<Layer, String> {
    let mut files = Files::new();
    files.file("etc/image", 0o644, name.as_bytes())?;
    files.finish()
}

fn needed(program: &str) -> Result<std::path::PathBuf, String> {
    which(program).ok_or_else(|| format!("no {program}"))
}
