//! What `tests/run` installs.

use super::{Program, find_program, tests_path};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A package that npm put below tests/clients.
pub fn npm_package(inner: &str) -> Option<PathBuf> {
    Some(tests_path("clients/node_modules").join(inner)).filter(|path| path.exists())
}

/// The Python that has the libraries of tests/clients/requirements.txt.
pub fn client_python() -> Option<PathBuf> {
    let installed = tests_path(".tools/venv/.installed").exists();
    installed.then(|| tests_path(".tools/venv/bin/python"))
}

/// Builds a program of one file that uses gorilla/websocket; where it is, or what is missing.
///
/// # Panics
/// When it does not compile.
pub fn build_go(source: &Path, folder: &Path) -> Result<PathBuf, &'static str> {
    let go = find_program("go").ok_or("go")?;
    let packages = PathBuf::from("/usr/share/gocode");
    if !packages.join("src/github.com/gorilla/websocket").exists() {
        return Err("the Debian package golang-github-gorilla-websocket-dev");
    }
    let binary = folder.join("client");
    let mut build = Command::new(go);
    build.args(["build", "-o"]).arg(&binary).arg(source).current_dir(folder);
    build.env("GO111MODULE", "off").env("GOPATH", packages).env("GOFLAGS", "").env("CGO_ENABLED", "0");
    build.env("GOCACHE", tests_path(".tools/go-cache"));
    let mut build = Program::start(&mut build);
    // The first build compiles Go's own library.
    assert!(build.finish(Duration::from_secs(300)).success(), "{}", build.output());
    Ok(binary)
}
