//! The rules between crates: common/ is pure, only coordinator/ depends on sqlx, only train/ on tch.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

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

/// The files below a path of this repository, with their text.
fn sources(path: &str) -> Vec<(PathBuf, String)> {
    let mut waiting = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)];
    let mut sources = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).expect("the folder can be read");
            waiting.extend(entries.map(|entry| entry.expect("the folder can be read").path()));
        } else {
            let text = std::fs::read_to_string(&path).expect("the file can be read");
            sources.push((path, text));
        }
    }
    assert!(!sources.is_empty(), "there is no {path}");
    sources
}

/// Whether a source names a crate or a module of this crate.
fn names(text: &str, name: &str) -> bool {
    let path = format!("{name}::");
    let is_word = |char: char| char.is_alphanumeric() || char == '_';
    text.match_indices(&path).any(|(at, _)| !text[..at].ends_with(is_word))
}

#[test]
fn the_use_cases_of_the_coordinator_know_no_frameworks() {
    let inner = ["app", "queue/mod.rs", "queue/job_set.rs", "queue/change.rs", "blobs", "clock.rs", "error.rs"];
    for (file, text) in inner.iter().flat_map(|path| sources(&format!("coordinator/src/{path}"))) {
        for name in ["tonic", "prost", "sqlx", "axum", "fivefold_proto", "grpc", "access", "listener", "state_folder"] {
            assert!(!names(&text, name), "{} knows {name}", file.display());
        }
    }
}

#[test]
fn only_the_sqlite_queue_and_the_state_folder_know_the_database() {
    for (file, text) in sources("coordinator/src") {
        let is_adapter = file.components().any(|part| part.as_os_str() == "sqlite");
        let is_allowed = is_adapter || file.ends_with("state_folder.rs");
        assert!(is_allowed || !names(&text, "sqlx"), "{} knows sqlx", file.display());
    }
}

#[test]
fn the_coordinator_has_three_ports() {
    let is_port = |line: &&str| line.trim_start().starts_with("pub trait ");
    let ports: Vec<String> = sources("coordinator/src")
        .iter()
        .flat_map(|(_, text)| text.lines().filter(is_port).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(ports.len(), 3, "{ports:#?}");
}
