//! The rules between crates: common/ is pure, only coordinator/ depends on sqlx, only train/ on tch.

use std::collections::BTreeMap;

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
