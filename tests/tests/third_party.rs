//! The dependencies in Cargo.lock against the rules in `deny.toml`: licences, duplicate versions, sources. `cargo deny` reads
//! the same file, but takes minutes to install; this test takes a second.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use spdx::{Expression, ParseMode};

const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[derive(Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licenses,
    bans: Bans,
}

#[derive(Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Deserialize)]
struct Bans {
    skip: Vec<Skipped>,
}

#[derive(Deserialize)]
struct Skipped {
    /// `name@version`
    #[serde(rename = "crate")]
    package: String,
}

fn rules() -> Rules {
    let text = std::fs::read_to_string(Path::new(WORKSPACE).join("deny.toml")).expect("deny.toml is readable");
    toml::from_str(&text).expect("deny.toml has the keys that this test reads")
}

/// A crate from outside the workspace.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Dependency {
    name: String,
    version: String,
    licence: String,
    /// A git address or another registry; `None` for crates.io.
    unusual_source: Option<String>,
}

/// What a build of the workspace for the targets of `deny.toml` uses; tests aside, as in `cargo deny`.
fn dependencies(rules: &Rules) -> BTreeSet<Dependency> {
    let mut tree = Command::new(env!("CARGO"));
    tree.args(["tree", "--workspace", "--locked", "--edges=normal,build", "--prefix=none", "--format={p}|{l}|"]);
    tree.args(rules.graph.targets.iter().map(|target| format!("--target={target}")));
    let output = tree.current_dir(WORKSPACE).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let root = Path::new(WORKSPACE).canonicalize().expect("the workspace is there");
    let members = format!("({}", root.display());
    let mut dependencies = BTreeSet::new();
    for line in String::from_utf8_lossy(&output.stdout).lines().filter(|line| !line.is_empty()) {
        // `name v1.2.3 (proc-macro) (source)|licence|`, where the parentheses are optional.
        let mut columns = line.split('|');
        let (package, licence) = (columns.next().unwrap_or_default(), columns.next().unwrap_or_default());
        let mut words = package.splitn(3, ' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let source = words.next().unwrap_or_default().trim_start_matches("(proc-macro)").trim();
        if !source.starts_with(&members) {
            dependencies.insert(Dependency {
                name: name.to_owned(),
                version: version.trim_start_matches('v').to_owned(),
                licence: licence.to_owned(),
                unusual_source: (!source.is_empty()).then(|| source.to_owned()),
            });
        }
    }
    assert!(dependencies.len() > 100, "cargo tree lists only {} dependencies", dependencies.len());
    dependencies
}

#[test]
fn licences_are_allowed() {
    let rules = rules();
    for Dependency { name, version, licence, .. } in dependencies(&rules) {
        let expression = Expression::parse_mode(&licence, ParseMode::LAX)
            .unwrap_or_else(|error| panic!("{name} {version}: unknown licence {licence:?}: {error}"));
        let is_allowed = expression.evaluate(|requirement| rules.licenses.allow.contains(&requirement.to_string()));
        assert!(is_allowed, "{name} {version}: deny.toml does not allow the licence {licence:?}");
    }
}

#[test]
fn no_crate_has_two_versions_unless_skipped() {
    let rules = rules();
    let mut versions: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for Dependency { name, version, .. } in dependencies(&rules) {
        if !rules.bans.skip.iter().any(|skipped| skipped.package == format!("{name}@{version}")) {
            versions.entry(name).or_default().push(version);
        }
    }
    for (name, versions) in versions {
        assert!(
            versions.len() == 1,
            "{name} has the versions {versions:?}: update what needs the older one, or add that to `skip` in deny.toml"
        );
    }
}

#[test]
fn crates_come_from_crates_io() {
    for Dependency { name, version, unusual_source, .. } in dependencies(&rules()) {
        assert!(unusual_source.is_none(), "{name} {version} comes from {unusual_source:?}");
    }
}
