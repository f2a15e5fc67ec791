//! The rules of ARCHITECTURE.md: which crates a crate must not depend on, and which modules a module may use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, MetadataCommand};

use fivefold_tests::sources::{code, source, sources};

/// Libraries with a single user in the workspace.
const SINGLE_USERS: [(&str, &str); 2] = [("sqlx", "fivefold-coordinator"), ("tch", "fivefold-train")];

/// What a crate must not depend on. `bench` and `tests` have no rules.
const CRATES: [(&str, &[&str]); 13] = [
    ("fivefold-common", &["async-trait", "axum", "clap", "image", "prost", "sqlx", "tch", "tokio", "tonic", "tracing"]),
    ("fivefold-proto", &["clap", "sqlx", "tch", "fivefold-client", "fivefold-train"]),
    ("fivefold-client", &["clap", "sqlx", "tch", "fivefold-train"]),
    ("fivefold-program", &["sqlx", "tch", "tonic", "fivefold-client", "fivefold-proto", "fivefold-train"]),
    (
        "fivefold-images",
        &["clap", "prost", "sqlx", "tch", "tokio", "tonic", "fivefold-client", "fivefold-proto", "fivefold-train"],
    ),
    ("fivefold-train", &["clap", "prost", "sqlx", "tokio", "tonic", "fivefold-client", "fivefold-proto"]),
    ("fivefold-worker", &["sqlx", "tch", "fivefold-coordinator"]),
    ("fivefold-coordinator", &["tch", "fivefold-client", "fivefold-train", "fivefold-worker"]),
    (
        "fivefold-report",
        &[
            "axum",
            "clap",
            "prost",
            "sqlx",
            "tch",
            "tokio",
            "tonic",
            "fivefold-client",
            "fivefold-images",
            "fivefold-proto",
        ],
    ),
    ("fivefold-synth", &["axum", "clap", "sqlx", "tch", "tokio", "tonic", "fivefold-proto"]),
    (
        "fivefold-onnx",
        &[
            "axum",
            "clap",
            "image",
            "sqlx",
            "tch",
            "tokio",
            "tonic",
            "fivefold-client",
            "fivefold-proto",
            "fivefold-train",
        ],
    ),
    (
        "fivefold-pack",
        &[
            "clap",
            "png",
            "prost",
            "sqlx",
            "tch",
            "tokio",
            "tonic",
            "fivefold-images",
            "fivefold-proto",
            "fivefold-train",
        ],
    ),
    ("fivefold-cli", &["image", "sqlx", "tch", "fivefold-coordinator", "fivefold-train", "fivefold-worker"]),
];

/// A module, and what its code may and must not use.
struct ModuleRule {
    /// A file or a folder, relative to the crate's `src`.
    path: &'static str,
    /// Other modules of the crate, by their first name.
    modules: &'static [&'static str],
    /// Libraries.
    not: &'static [&'static str],
}

const FRAMEWORKS: &[&str] = &["axum", "prost", "sqlx", "tonic", "fivefold_proto"];

/// `queue/sqlite` and `state_folder.rs` may use sqlx; no other file may. The rule of a folder does not cover its subfolder that
/// has a rule of its own.
const COORDINATOR: [ModuleRule; 10] = [
    ModuleRule { path: "app", modules: &["blobs", "clock", "error", "queue"], not: FRAMEWORKS },
    ModuleRule { path: "queue", modules: &["clock", "error"], not: FRAMEWORKS },
    ModuleRule {
        path: "queue/sqlite",
        modules: &["clock", "error", "queue"],
        not: &["axum", "prost", "tonic", "fivefold_proto"],
    },
    ModuleRule { path: "blobs", modules: &["error"], not: FRAMEWORKS },
    ModuleRule { path: "clock.rs", modules: &[], not: FRAMEWORKS },
    ModuleRule { path: "error.rs", modules: &[], not: FRAMEWORKS },
    ModuleRule { path: "grpc", modules: &["access", "app", "blobs", "clock", "error", "queue"], not: &["sqlx"] },
    ModuleRule { path: "web", modules: &["access", "app", "clock", "error", "queue"], not: &["sqlx", "tonic"] },
    ModuleRule { path: "access.rs", modules: &["error", "listener", "queue"], not: &["sqlx"] },
    ModuleRule { path: "listener", modules: &[], not: &["sqlx"] },
];

/// Files of the coordinator that wire or administrate, and have no rule on modules.
const COORDINATOR_PROGRAM: [&str; 6] =
    ["lib.rs", "main.rs", "serve_command.rs", "state_argument.rs", "state_folder.rs", "token_command.rs"];

const TRAIN: [ModuleRule; 6] = [
    ModuleRule { path: "torch", modules: &[], not: &[] },
    ModuleRule { path: "data", modules: &["torch"], not: &[] },
    ModuleRule { path: "transform", modules: &["torch"], not: &[] },
    ModuleRule { path: "models", modules: &["torch"], not: &[] },
    ModuleRule { path: "checkpoint.rs", modules: &["torch"], not: &[] },
    ModuleRule { path: "engine", modules: &["checkpoint", "data", "models", "torch", "transform"], not: &[] },
];

const COMMAND: [ModuleRule; 1] =
    [ModuleRule { path: "render", modules: &[], not: &["clap", "fivefold_client", "indicatif", "tokio", "tonic"] }];

/// For each crate of the workspace, the crates that it or its build script depends on directly; tests aside.
fn direct_dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata reads this workspace");
    let packages = metadata.workspace_packages().into_iter();
    packages
        .map(|package| {
            let built = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
            (package.name.to_string(), built.map(|dependency| dependency.name.clone()).collect())
        })
        .collect()
}

/// Whether `name` occurs in code as a word.
fn uses(code: &str, name: &str) -> bool {
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    code.match_indices(name)
        .any(|(at, _)| !code[..at].ends_with(is_word) && !code[at + name.len()..].starts_with(is_word))
}

/// The first names of the paths below `crate::`.
fn modules_used(code: &str) -> BTreeSet<&str> {
    let is_end = |char: char| !char.is_alphanumeric() && char != '_';
    code.split("crate::").skip(1).map(|path| path.split(is_end).next().unwrap_or_default()).collect()
}

/// The first rule that a module's files break.
fn check_modules(src: &str, rules: &[ModuleRule]) -> Result<(), String> {
    for rule in rules {
        let own_name = rule.path.split(['/', '.']).next().unwrap_or_default();
        let inner: Vec<PathBuf> = rules
            .iter()
            .filter(|other| other.path != rule.path && Path::new(other.path).starts_with(rule.path))
            .map(|other| Path::new(src).join(other.path))
            .collect();
        for (file, text) in sources(Path::new(src).join(rule.path)) {
            if inner.iter().any(|path| file.starts_with(path)) {
                continue;
            }
            let code = code(&text);
            if let Some(module) =
                modules_used(&code).into_iter().find(|module| *module != own_name && !rule.modules.contains(module))
            {
                return Err(format!(
                    "{} uses crate::{module}; {} may use {:?}",
                    file.display(),
                    rule.path,
                    rule.modules
                ));
            }
            if let Some(library) = rule.not.iter().find(|library| uses(&code, library)) {
                return Err(format!("{} uses {library}, which {} must not", file.display(), rule.path));
            }
        }
    }
    Ok(())
}

/// The names directly below a folder that neither a rule nor `exempt` names.
fn without_rule(src: &str, rules: &[ModuleRule], exempt: &[&str]) -> Vec<PathBuf> {
    let named: BTreeSet<&str> = rules.iter().map(|rule| rule.path).chain(exempt.iter().copied()).collect();
    let mut names: BTreeSet<PathBuf> = BTreeSet::new();
    for (file, _) in sources(src) {
        let below = file.strip_prefix(src).expect("it is below").components().next().expect("it has a name");
        names.insert(PathBuf::from(below.as_os_str()));
    }
    names.into_iter().filter(|name| !named.contains(name.to_string_lossy().as_ref())).collect()
}

#[test]
fn crates_do_not_depend_on_what_their_rule_forbids() {
    let dependencies = direct_dependencies();
    for (name, forbidden) in CRATES {
        let found = dependencies.get(name).unwrap_or_else(|| panic!("there is no crate {name}"));
        for library in forbidden {
            assert!(!found.contains(*library), "{name} must not depend on {library}");
        }
    }
    for name in dependencies.keys().filter(|name| !["fivefold-bench", "fivefold-tests"].contains(&name.as_str())) {
        assert!(CRATES.iter().any(|(crate_name, _)| crate_name == name), "{name} has no rule in CRATES");
    }
}

#[test]
fn some_libraries_have_a_single_user() {
    for (name, dependencies) in direct_dependencies() {
        for (library, user) in SINGLE_USERS {
            assert!(name == user || !dependencies.contains(library), "{name} depends on {library}; only {user} may");
        }
    }
}

#[test]
fn the_worker_does_not_reach_tensors_through_the_training_library() {
    for (file, text) in sources("worker/src") {
        assert!(!uses(&code(&text), "tch"), "{} uses tch", file.display());
    }
}

#[test]
fn modules_of_the_coordinator_use_what_their_rule_allows() {
    check_modules("coordinator/src", &COORDINATOR).unwrap_or_else(|problem| panic!("{problem}"));
    let left = without_rule("coordinator/src", &COORDINATOR, &COORDINATOR_PROGRAM);
    assert!(left.is_empty(), "no rule in COORDINATOR for {left:?}");
}

#[test]
fn modules_of_the_training_library_use_what_their_rule_allows() {
    check_modules("train/src", &TRAIN).unwrap_or_else(|problem| panic!("{problem}"));
    let left = without_rule("train/src", &TRAIN, &["lib.rs"]);
    assert!(left.is_empty(), "no rule in TRAIN for {left:?}");
}

#[test]
fn modules_of_the_command_use_what_their_rule_allows() {
    check_modules("cli/src", &COMMAND).unwrap_or_else(|problem| panic!("{problem}"));
}

#[test]
fn only_the_sqlite_queue_and_the_state_folder_use_the_database() {
    for (file, text) in sources("coordinator/src") {
        let may = file.starts_with("coordinator/src/queue/sqlite") || file.ends_with("state_folder.rs");
        assert!(may || !uses(&code(&text), "sqlx"), "{} uses sqlx", file.display());
    }
}

#[test]
fn the_coordinator_has_three_ports() {
    let mut traits = Vec::new();
    for (file, text) in sources("coordinator/src") {
        for line in code(&text).lines().filter(|line| line.starts_with("pub trait ")) {
            traits.push(format!("{}: {line}", file.display()));
        }
    }
    assert_eq!(traits.len(), 3, "the ports are Queue, Blobs and Clock: {traits:#?}");
}

#[test]
fn docker_builds_see_every_crate() {
    let ignored = source(".dockerignore");
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata reads this workspace");
    for package in metadata.workspace_packages() {
        let folder =
            package.manifest_path.parent().and_then(|folder| folder.file_name()).expect("a crate has a folder");
        assert!(ignored.lines().any(|line| line == format!("!{folder}")), ".dockerignore lacks the line !{folder}");
    }
}
