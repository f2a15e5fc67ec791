//! `fivefold doctor` against what it is there to find, with the real programs.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use fivefold_tests::{Site, coordinator, programs, tiny_data};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// The lines that doctor prints with these arguments. It may fail, as on a machine with little space.
fn doctor(url: &str, arguments: &[&str]) -> Vec<String> {
    let mut command = Command::new(programs().unwrap().join("fivefold"));
    command.args(["doctor", "--coordinator", url]).args(arguments).stdin(Stdio::null());
    let output = command.output().unwrap();
    let lines: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    let is_bad = lines.iter().any(|line| line.starts_with("bad "));
    assert_eq!(output.status.code(), Some(i32::from(is_bad)), "{lines:#?}");
    lines
}

/// Checks that one of the lines begins with the rating and has the words.
#[track_caller]
fn expect(lines: &[String], rating: &str, words: &str) {
    assert!(lines.iter().any(|line| line.starts_with(rating) && line.contains(words)), "{rating} {words}: {lines:#?}");
}

fn rename_all(folder: &Path, from: &str, to: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if let Some(stem) = name.strip_suffix(from) {
            fs::rename(&path, folder.join(format!("{stem}{to}"))).unwrap();
        }
    }
}

/// What the worker refuses, doctor calls bad, in the worker's words.
#[test]
fn images_that_the_worker_refuses_are_bad() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let (site, _coordinator) = Site::start(&folder.path().join("site"), &data, 30).unwrap();
    let train = data.join("train");
    let shown = data.display().to_string();
    let list = |name: &str| data.join(name).display().to_string();
    let (train_csv, test_csv) = (list("train.csv"), list("sample_submission.csv"));
    let of_folder = || doctor(&site.url, &["--data", &shown, "--image-size", "32"]);
    let of_lists = || {
        let lists = ["--train-csv", train_csv.as_str(), "--test-csv", &test_csv];
        doctor(&site.url, &[&["--data", &shown, "--image-size", "32"], &lists[..]].concat())
    };
    for (lines, count) in [(of_folder(), 3), (of_lists(), 2)] {
        expect(&lines, "good ", "train: 60 images");
        expect(&lines, "good ", "test: 10 images");
        assert_eq!(lines.iter().filter(|line| line.contains(" images of ")).count(), count, "{lines:#?}");
    }
    expect(&doctor(&site.url, &["--data", &shown]), "bad ", "32 x 32 pixels, but 512 x 512 are expected (image_size)");

    let images = fs::read_dir(&train).unwrap().count();
    let colours = 180;
    assert!(images >= colours);
    for (from, to, found) in [
        (".png", ".jpg", "found 180 .jpg by these names: images in train/ have to be .png"),
        (".jpg", ".tif", "found 180 .tif by these names: images in train/ have to be .png"),
    ] {
        rename_all(&train, from, to);
        for lines in [of_folder(), of_lists()] {
            expect(&lines, "bad ", "train: 180 image files are missing");
            expect(&lines, "bad ", found);
        }
    }
    rename_all(&train, ".tif", ".png");
    rename_all(&train, "_red.png", "_red.PNG");
    expect(&of_folder(), "bad ", "found 60 .PNG by these names: images in train/ have to be .png");
    rename_all(&train, "_red.PNG", "_red.png");

    let some = fs::read_dir(&train).unwrap().map(|entry| entry.unwrap().path());
    let green = some.filter(|path| path.to_str().unwrap().ends_with("_green.png")).min().unwrap();
    let whole = fs::read(&green).unwrap();
    fs::write(&green, "").unwrap();
    expect(&of_lists(), "bad ", "_green.png: is empty");
    fs::write(&green, &whole[..whole.len() / 2]).unwrap();
    expect(&of_lists(), "bad ", "_green.png: is damaged or truncated");
    // Whole by its header and its end; only decoding finds the rest.
    let mut damaged = whole.clone();
    let middle = damaged.windows(4).position(|four| four == b"IDAT").unwrap() + 4;
    damaged[middle..middle + 8].fill(0xff);
    fs::write(&green, damaged).unwrap();
    expect(&of_folder(), "bad ", "of 16 images that were decoded cannot be used");
    fs::write(&green, whole).unwrap();
    expect(&of_folder(), "good ", "train: 60 images");

    fs::remove_dir_all(&train).unwrap();
    expect(&of_folder(), "bad ", "train has no images");
    expect(&doctor(&site.url, &["--data", "/nowhere"]), "bad ", "cannot read the image folder /nowhere");
}

/// What the coordinator refuses at its start, doctor calls bad, in the coordinator's words.
#[test]
fn folders_that_a_coordinator_does_not_start_on_are_bad() {
    let folder = tempfile::tempdir().unwrap();
    let [file, other, new] = ["file", "other", "new"].map(|name| folder.path().join(name));
    fs::write(&file, "text").unwrap();
    fs::create_dir(&other).unwrap();
    fs::write(other.join("notes.txt"), "text").unwrap();
    for (state, words) in [(&file, "file is no folder: name the state folder"), (&other, "other is not a state folder")]
    {
        let state = state.display().to_string();
        let lines = doctor("http://127.0.0.1:1", &["--state", &state]);
        let refused = coordinator(&["--listen", "127.0.0.1:0", "--state", &state]).unwrap_err().to_string();
        let message = refused.lines().find_map(|line| line.strip_prefix("error: ")).unwrap();
        assert!(message.contains(words), "{refused}");
        expect(&lines, "bad ", &format!("a coordinator cannot start here: {message}"));
    }
    let lines = doctor("http://127.0.0.1:1", &["--state", &new.display().to_string()]);
    assert!(lines.iter().any(|line| line.contains("new has ")), "{lines:#?}");
    assert!(!new.exists());
}

#[test]
fn a_data_set_that_cannot_be_submitted_is_bad() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    tiny_data(&data).unwrap();
    let toml = data.join("dataset.toml");
    fs::write(&toml, "preset = \"generic\"\n[lists]\ntrain = \"train.csv\"\n").unwrap();
    let (data, toml) = (data.display().to_string(), toml.display().to_string());
    let lines = doctor("http://127.0.0.1:1", &["--data", &data, "--dataset", &toml]);
    expect(&lines, "bad ", "image_files: the preset generic needs it, such as images/{id}.jpg");
}

/// A coordinator with TLS, and the files of its certificates.
struct Encrypted {
    program: Child,
    port: String,
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

impl Encrypted {
    fn start(folder: &Path) -> Encrypted {
        let log = folder.join("log");
        let mut command = Command::new(programs().unwrap().join("fivefold-coordinator"));
        command.args(["--listen", "127.0.0.1:0", "--state"]).arg(folder.join("state"));
        command.arg("--tls-cert").arg(folder.join("hub.pem")).arg("--tls-key").arg(folder.join("hub.key"));
        let output = File::create(&log).unwrap();
        let mut program = command.stdin(Stdio::null()).stderr(output).spawn().unwrap();
        loop {
            let lines = BufReader::new(File::open(&log).unwrap()).lines().map_while(Result::ok);
            if let Some(port) =
                lines.filter_map(|line| line.split("https://127.0.0.1:").nth(1).map(str::to_owned)).next()
            {
                return Encrypted { program, port };
            }
            assert_eq!(program.try_wait().unwrap(), None, "{}", fs::read_to_string(&log).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn authority(folder: &Path, name: &str) -> (CertifiedIssuer<'static, KeyPair>, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let path = folder.join(name);
    fs::write(&path, issuer.pem()).unwrap();
    (issuer, path.display().to_string())
}

fn token(folder: &Path, role: &str) -> String {
    let state = folder.join("state").display().to_string();
    let printed = coordinator(&["token", "create", "--state", &state, "--name", role, "--role", role]).unwrap();
    let path: PathBuf = folder.join(format!("{role}.token"));
    fs::write(&path, printed).unwrap();
    path.display().to_string()
}

#[test]
fn problems_of_the_connection_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ((issuer, ca), (_, other_ca)) = (authority(folder, "ca.pem"), authority(folder, "other-ca.pem"));
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    fs::write(folder.join("hub.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("hub.key"), key.serialize_pem()).unwrap();
    let (user, worker) = (token(folder, "user"), token(folder, "worker"));
    let forged = folder.join("forged.token").display().to_string();
    fs::write(&forged, format!("ffv1_{}", "0".repeat(64))).unwrap();
    let hub = Encrypted::start(folder);
    let https = format!("https://localhost:{}", hub.port);
    let data = folder.display().to_string();

    let good = doctor(&https, &["--ca-cert", &ca, "--token-file", &user]);
    expect(&good, "good ", "answers, and accepts this machine's calls");
    expect(&good, "doubtful ", "this machine cannot train with the token, which is not a worker's");
    expect(&good, "good ", "the clocks agree");
    let trains = ["--ca-cert", &ca, "--data", &data, "--token-file"];
    let good = doctor(&https, &[&trains[..], &[&worker]].concat());
    expect(&good, "good ", "answers, and the token is a worker's");
    // The time comes from the header of a refusal.
    expect(&good, "good ", "the clocks agree");
    expect(&doctor(&https, &[&trains[..], &[&user]].concat()), "bad ", "needs one of the role worker");
    let with_worker = doctor(&https, &["--ca-cert", &ca, "--token-file", &worker]);
    expect(&with_worker, "doubtful ", "other commands need one of the role user");

    let bad = |url: &str, arguments: &[&str], words: &str| expect(&doctor(url, arguments), "bad ", words);
    bad(&https, &["--ca-cert", &ca, "--token-file", &forged], "the token is unknown or was revoked: ask for a new one");
    bad(&https, &["--ca-cert", &ca], "a token is needed: name its file with --token-file");
    bad(
        &https,
        &["--ca-cert", &other_ca],
        "not signed by an authority trusted here: name the authority's file with --ca-cert",
    );
    bad(&https, &["--ca-cert", &folder.join("hub.key").display().to_string()], "holds no certificate");
    let by_address = format!("https://127.0.0.1:{}", hub.port);
    bad(&by_address, &["--ca-cert", &ca], "its certificate is for another host");
    bad(&format!("http://localhost:{}", hub.port), &[], "the server uses TLS: use https:// in the address");
    bad(&format!("http://hub:{}", hub.port), &["--token-file", &user], "the token would cross the network unencrypted");

    let (plain, _coordinator) = Site::start(&folder.join("plain"), folder, 30).unwrap();
    let encrypted = plain.url.replace("http://127.0.0.1", "https://localhost");
    bad(&encrypted, &["--ca-cert", &ca], "the server does not use TLS: use http:// in the address");
    expect(&doctor(&plain.url, &[]), "good ", "answers, and accepts this machine's calls");
    // The port was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    bad(&format!("http://{free}"), &[], "connection refused; no program listens there");
    bad("http://host.invalid:7700", &[], "check the name of the host in the address");
}
