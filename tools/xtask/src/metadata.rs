//! What `cargo metadata` says of the workspace.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The workspace's root folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Runs cargo in the root and returns its standard output.
pub fn cargo(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(root())
        .output()
        .map_err(|error| format!("cargo {arguments:?}: {error}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        return Err(format!("cargo {arguments:?} ended with {}: {stderr}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|error| format!("cargo {arguments:?}: {error}"))
}

/// Direct dependencies of every workspace package, by kind ("normal", "dev", "build").
pub type Dependencies = BTreeMap<String, Vec<(String, &'static str)>>;

/// Reads the direct dependencies of the workspace's packages.
pub fn dependencies() -> Result<Dependencies, String> {
    let text = cargo(&["metadata", "--format-version", "1", "--no-deps"])?;
    let metadata: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
    let packages = metadata["packages"].as_array().ok_or("cargo metadata lists no packages")?;
    Ok(packages.iter().map(direct_dependencies).collect())
}

fn direct_dependencies(package: &Value) -> (String, Vec<(String, &'static str)>) {
    let list = package["dependencies"].as_array().map_or(&[][..], Vec::as_slice);
    let dependencies = list.iter().map(|dependency| {
        let kind = match dependency["kind"].as_str() {
            Some("dev") => "dev",
            Some("build") => "build",
            _ => "normal",
        };
        (text(dependency, "name"), kind)
    });
    (text(package, "name"), dependencies.collect())
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_owned()
}
