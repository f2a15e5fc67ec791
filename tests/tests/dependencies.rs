//! The rules between crates: common/ is pure, only coordinator/ depends on sqlx, only train/ on tch.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cargo_metadata::{DependencyKind, MetadataCommand};

/// For each crate of the workspace, the crates it depends on directly, tests and build scripts aside.
fn direct_dependencies() -> BTreeMap<String, Vec<String>> {
    let metadata = MetadataCommand::new().no_deps().exec().expect("cargo metadata reads this workspace");
    let packages = metadata.workspace_packages().into_iter();
    packages
        .map(|package| {
            let normal = package.dependencies.iter().filter(|dependency| dependency.kind == DependencyKind::Normal);
            (package.name.to_string(), normal.map(|dependency| dependency.name.clone()).collect())
        })
        .collect()
}

#[test]
fn only_the_coordinator_knows_the_database_and_only_train_knows_tensors() {
    for (package, dependencies) in direct_dependencies() {
        for (library, owner) in [("sqlx", "fivefold-coordinator"), ("tch", "fivefold-train")] {
            assert!(package == owner || !dependencies.iter().any(|name| name == library), "{package} knows {library}");
        }
    }
}

#[test]
fn the_domain_knows_no_frameworks() {
    let domain = &direct_dependencies()["fivefold-common"];
    for library in ["tokio", "tonic", "prost", "sqlx", "tch", "tracing", "image"] {
        assert!(!domain.iter().any(|name| name == library), "fivefold-common knows {library}");
    }
}

#[test]
fn the_training_library_knows_no_network_and_no_command_line() {
    let train = &direct_dependencies()["fivefold-train"];
    for library in ["tokio", "tonic", "prost", "clap", "sqlx", "fivefold-proto"] {
        assert!(!train.iter().any(|name| name == library), "fivefold-train knows {library}");
    }
}

#[test]
fn the_client_knows_no_tensors_no_database_and_no_command_line() {
    let client = &direct_dependencies()["fivefold-client"];
    for library in ["tch", "fivefold-train", "sqlx", "clap"] {
        assert!(!client.iter().any(|name| name == library), "fivefold-client knows {library}");
    }
}

/// The rooms of `fivefold-train` and the rooms that each may use.
const TRAIN_ROOMS: [(&str, &[&str]); 6] = [
    ("torch", &[]),
    ("data", &["torch"]),
    ("transform", &["torch"]),
    ("models", &["torch"]),
    ("checkpoint", &["torch"]),
    ("engine", &["torch", "data", "transform", "models", "checkpoint"]),
];

#[test]
fn the_rooms_of_the_training_library_depend_in_one_direction() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../train/src");
    let mut rooms: Vec<String> = Vec::new();
    for entry in fs::read_dir(&source).expect("train/src can be listed") {
        let path = entry.expect("train/src can be listed").path();
        rooms.push(path.file_stem().expect("a file has a name").to_string_lossy().into_owned());
    }
    rooms.retain(|room| room != "lib");
    rooms.sort();
    let mut expected: Vec<&str> = TRAIN_ROOMS.iter().map(|(room, _)| *room).collect();
    expected.sort_unstable();
    assert_eq!(rooms, expected, "a room of train/src has no rule in TRAIN_ROOMS");

    for (room, allowed) in TRAIN_ROOMS {
        for (file, text) in room_files(&source, room) {
            for used in text.split("crate::").skip(1) {
                let used =
                    used.split(|letter: char| !letter.is_alphanumeric() && letter != '_').next().unwrap_or_default();
                assert!(used == room || allowed.contains(&used), "{file}: {room} may not use {used}");
            }
        }
    }
}

/// The files of a room, with their code, without comments.
fn room_files(source: &Path, room: &str) -> Vec<(String, String)> {
    let folder = source.join(room);
    let mut paths = vec![folder.with_extension("rs")];
    if folder.is_dir() {
        paths = fs::read_dir(folder)
            .expect("a room can be listed")
            .map(|entry| entry.expect("a room can be listed").path())
            .collect();
    }
    let code = |path: &Path| {
        let text = fs::read_to_string(path).expect("a source file can be read");
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    paths.iter().map(|path| (path.display().to_string(), code(path))).collect()
}
