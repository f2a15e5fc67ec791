//! The programs' command lines with every environment variable set, as README says to export them.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use fivefold_tests::{Site, programs, tiny_data};

const COORDINATOR: [&[&str]; 5] = [
    &["token", "create", "--name", "x", "--role", "user"],
    &["token", "list"],
    &["token", "revoke", "x"],
    &["check"],
    &["backup", "--out", "COPY"],
];

const WORKER: [&[&str]; 4] = [
    &["devices"],
    &["check-data", "--image-size", "32"],
    &["check-device", "--device", "cpu"],
    &["bench-step", "--device", "cpu", "--size", "32", "--batch", "2", "--steps", "1"],
];

const COMMAND: [&[&str]; 3] = [&["doctor", "--image-size", "32"], &["workers"], &["status"]];

fn run(program: &str, arguments: &[&str], variables: &BTreeMap<String, String>) -> Output {
    let mut command = Command::new(programs().unwrap().join(program));
    command.args(arguments).envs(variables).stdin(Stdio::null()).output().unwrap()
}

/// The variables that a program reads, and its subcommands, as its help lists them.
fn of_help(program: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let help = String::from_utf8(run(program, &["--help"], &BTreeMap::new()).stdout).unwrap();
    let variable = |text: &str| text.trim_start().chars().take_while(|c| c.is_ascii_uppercase() || *c == '_').collect();
    let variables = help.split("[env:").skip(1).map(variable).collect();
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let names = commands.lines().take_while(|line| !line.is_empty());
    let name =
        |line: &str| line.strip_prefix("  ").and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
    let names = names.map(name).filter(|name| !name.is_empty() && name != "help").collect();
    (variables, names)
}

/// A value for every variable.
fn values(names: &BTreeSet<String>, site: &Site, folder: &Path) -> BTreeMap<String, String> {
    let file = |name: &str| {
        let path = folder.join(name);
        std::fs::write(&path, "ffv1_0\n").unwrap();
        path.display().to_string()
    };
    let value = |name: &String| {
        let value = match name.as_str() {
            "FIVEFOLD_COORDINATOR" => site.url.clone(),
            "FIVEFOLD_DATA" => site.data.display().to_string(),
            "FIVEFOLD_DEVICE" => "cpu".into(),
            "FIVEFOLD_NAME" => "gpu1".into(),
            "FIVEFOLD_CACHE" => folder.join("cache").display().to_string(),
            "FIVEFOLD_CACHE_SIZE" => "1GB".into(),
            "FIVEFOLD_SCRATCH" => folder.display().to_string(),
            "FIVEFOLD_DECODE_THREADS" => "1".into(),
            "FIVEFOLD_LEAVE_SECONDS" => "30".into(),
            "FIVEFOLD_LISTEN" => "127.0.0.1:0".into(),
            "FIVEFOLD_WEB" => "off".into(),
            "FIVEFOLD_LOG_FORMAT" => "json".into(),
            "FIVEFOLD_STATE" => folder.join("site/state").display().to_string(),
            "FIVEFOLD_LEASE_SECONDS" | "FIVEFOLD_STALL_SECONDS" | "FIVEFOLD_RETAIN_DAYS" => "60".into(),
            "FIVEFOLD_TOKEN_FILE"
            | "FIVEFOLD_CA_CERT"
            | "FIVEFOLD_CLIENT_CERT"
            | "FIVEFOLD_CLIENT_KEY"
            | "FIVEFOLD_TLS_CERT"
            | "FIVEFOLD_TLS_KEY"
            | "FIVEFOLD_TLS_CLIENT_CA" => file(name),
            other => panic!("give {other} a value here"),
        };
        (name.clone(), value)
    };
    names.iter().map(value).collect()
}

#[test]
fn every_subcommand_runs_with_every_variable_set() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let (site, _coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
    let mut names = BTreeSet::new();
    for (program, commands) in [("fivefold-coordinator", &COORDINATOR[..]), ("fivefold-worker", &WORKER)] {
        let (variables, subcommands) = of_help(program);
        assert!(variables.len() > 6, "{variables:?}");
        let run: BTreeSet<String> = commands.iter().map(|arguments| arguments[0].to_owned()).collect();
        assert_eq!(subcommands, run, "the subcommands of {program}");
        names.extend(variables);
    }
    names.extend(of_help("fivefold").0);
    let variables = values(&names, &site, folder.path());
    let copy = folder.path().join("copy").display().to_string();
    // The coordinator's subcommands come last: from its first token on, the coordinator refuses the made-up one.
    for (program, commands) in
        [("fivefold", &COMMAND[..]), ("fivefold-worker", &WORKER), ("fivefold-coordinator", &COORDINATOR)]
    {
        for arguments in commands {
            let arguments: Vec<&str> =
                arguments.iter().map(|word| if *word == "COPY" { &copy } else { *word }).collect();
            let output = run(program, &arguments, &variables);
            let shown = format!(
                "{program} {}: {}{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            // The machine of the test may have little space, which doctor calls bad.
            assert!(output.status.success() || arguments[0] == "doctor", "{shown}");
            for words in ["the coordinator at http", "the worker runs", "train: 60 images of the folder can be used"] {
                assert!(arguments[0] != "doctor" || shown.contains(words), "{words}: {shown}");
            }
        }
    }
}
