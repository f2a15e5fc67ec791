//! The worker's program, and through it libtorch, the cards and the images.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;

use fivefold_common::finding::Finding;
use fivefold_common::one_line::one_line;

use super::ImageArgs;
use super::program::{Program, Run, run};
use crate::console::notify;

/// The worker's program.
#[derive(Debug)]
pub(super) struct WorkerProgram(Program);

impl WorkerProgram {
    pub(super) fn find(named: Option<&Path>) -> Self {
        Self(Program::find("fivefold-worker", named))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Checks that the program runs, and that every card is seen and trains as the CPU does.
    pub(super) fn check(&self) -> Vec<Finding> {
        match (run(self.path(), ["devices"].map(OsStr::new)), &self.0) {
            (Ok(run), _) if run.succeeded => self.check_devices(&run.stdout),
            (Ok(Run { problem, .. }), _) => vec![self.does_not_run(&problem)],
            (Err(error), Program::File(_)) => vec![self.does_not_run(&error.to_string())],
            (Err(error), Program::OnPath(_)) => vec![Finding::doubtful(format!(
                "fivefold-worker is not installed here ({error}); machines that train need it: build it, or name it with \
                 --worker"
            ))],
        }
    }

    fn does_not_run(&self, problem: &str) -> Finding {
        let program = self.path().display();
        let remedy = if problem.contains("shared librar") || problem.contains("shared object") {
            "set up libtorch with `deploy/libtorch.sh` in a folder that this user can read, and build the worker again"
        } else {
            "build it again (`cargo build --release -p fivefold-worker`), or name another one with --worker"
        };
        Finding::bad(format!("{program} does not run ({problem}); {remedy}"))
    }

    fn is_another_program(&self) -> Finding {
        let program = self.path().display();
        Finding::bad(format!("{program} is not fivefold-worker: name that with --worker, or leave --worker out"))
    }

    /// The findings on the output of `fivefold-worker devices`: a line about libtorch, then one per CUDA device.
    fn check_devices(&self, output: &str) -> Vec<Finding> {
        let mut lines = output.lines();
        let Some(libtorch) = lines.next().filter(|line| line.starts_with("libtorch ")) else {
            return vec![self.is_another_program()];
        };
        let mut findings = vec![Finding::good(format!("the worker runs, with {libtorch}"))];
        let seen: Vec<&str> = lines.collect();
        let cards = cards();
        findings.extend(cards_seen(&seen, &cards, std::env::var("CUDA_VISIBLE_DEVICES").ok().as_deref()));
        if let Cards::Listed(cards) = &cards {
            findings.extend(cards.iter().filter_map(busy_card));
        }
        for (index, name) in seen.iter().enumerate() {
            findings.push(self.check_device(index, name));
        }
        findings
    }

    /// Trains a tiny fold on a CUDA device and on the CPU.
    fn check_device(&self, index: usize, name: &str) -> Finding {
        let device = format!("cuda:{index}");
        notify(&format!("comparing {device} with the CPU"));
        match run(self.path(), ["check-device", "--device", &device].map(OsStr::new)) {
            Ok(run) if run.succeeded => Finding::good(format!("{name} trains as the CPU does")),
            Ok(Run { problem, .. }) => Finding::bad(format!(
                "{name}: {problem}; look for errors of the driver with `nvidia-smi` and `dmesg`, and restart the machine"
            )),
            Err(error) => Finding::bad(format!("{name}: the worker does not run ({error})")),
        }
    }

    /// Checks the images as the worker does before it trains.
    pub(super) fn check_images(&self, data: &Path, images: &ImageArgs) -> Vec<Finding> {
        let mut arguments = vec![OsStr::new("check-data"), OsStr::new("--data"), data.as_os_str()];
        let size = images.image_size.map(|size| size.to_string());
        for (flag, value) in [
            ("--train-csv", images.train_csv.as_deref().map(Path::as_os_str)),
            ("--hpa-csv", images.hpa_csv.as_deref().map(Path::as_os_str)),
            ("--test-csv", images.test_csv.as_deref().map(Path::as_os_str)),
            ("--dataset", images.dataset.as_deref().map(Path::as_os_str)),
            ("--spec", images.spec.as_deref().map(Path::as_os_str)),
            ("--group-column", images.group_column.as_deref().map(OsStr::new)),
            ("--image-size", size.as_deref().map(OsStr::new)),
        ] {
            if let Some(value) = value {
                arguments.extend([OsStr::new(flag), value]);
            }
        }
        notify(&format!("checking the images in {}", data.display()));
        match run(self.path(), arguments) {
            Ok(Run { succeeded, stdout, problem }) => {
                let findings: Vec<Finding> = stdout.lines().filter_map(|line| line.parse().ok()).collect();
                match (findings.is_empty(), succeeded) {
                    (false, _) => findings,
                    (true, false) => vec![Finding::bad(format!("the images cannot be checked: {problem}"))],
                    (true, true) => vec![self.is_another_program()],
                }
            }
            Err(error) => vec![Finding::doubtful(format!(
                "the images cannot be checked without fivefold-worker ({error}); build it, or name it with --worker"
            ))],
        }
    }
}

/// The NVIDIA cards of the machine, as the driver lists them.
enum Cards {
    Listed(Vec<Card>),
    /// There is no driver.
    NoDriver,
    /// The driver does not work.
    Faulty(String),
}

struct Card {
    name: String,
    driver: String,
    used_mb: u64,
    total_mb: u64,
}

fn cards() -> Cards {
    let query = ["--query-gpu=name,driver_version,memory.used,memory.total", "--format=csv,noheader,nounits"];
    match run(Path::new("nvidia-smi"), query.map(OsStr::new)) {
        Ok(run) if run.succeeded => Cards::Listed(run.stdout.lines().filter_map(card).collect()),
        Ok(run) => Cards::Faulty(run.problem),
        Err(error) if error.kind() == ErrorKind::NotFound => Cards::NoDriver,
        Err(error) => Cards::Faulty(error.to_string()),
    }
}

/// A card by its line of `nvidia-smi`. Figures that a card does not have are 0.
fn card(line: &str) -> Option<Card> {
    let mut fields = line.split(", ");
    let (name, driver) = (fields.next()?.to_owned(), fields.next()?.to_owned());
    let mut number = || fields.next().and_then(|field| field.trim().parse().ok()).unwrap_or_default();
    Some(Card { name, driver, used_mb: number(), total_mb: number() })
}

/// What the comparison of the devices that libtorch sees with the driver's cards gives.
fn cards_seen(seen: &[&str], cards: &Cards, visible: Option<&str>) -> Option<Finding> {
    match cards {
        Cards::Faulty(problem) => Some(Finding::bad(format!(
            "the NVIDIA driver does not work: {}; install it again, and restart the machine",
            one_line(problem)
        ))),
        Cards::Listed(cards) if seen.len() < cards.len() => {
            let (count, all) = (seen.len(), cards.len());
            let driver = cards.first().map_or("", |card| &card.driver);
            if let Some(visible) = visible {
                let message = format!("CUDA_VISIBLE_DEVICES={visible} hides {} of {all} CUDA cards", all - count);
                return Some(Finding::doubtful(message));
            }
            Some(Finding::bad(format!(
                "libtorch sees {count} of {all} CUDA cards, with driver {driver}; run `deploy/libtorch.sh --cuda`, or set \
                 LD_LIBRARY_PATH=.../site-packages/torch/lib of an installed PyTorch 2.11.0"
            )))
        }
        Cards::Listed(cards) => cards
            .first()
            .map(|card| Finding::good(format!("libtorch sees every CUDA card, with driver {}", card.driver))),
        Cards::NoDriver if seen.is_empty() => Some(Finding::doubtful(
            "there is no CUDA card, or no NVIDIA driver (`nvidia-smi` is not there); training on the CPU is slow",
        )),
        Cards::NoDriver => None,
    }
}

/// A card whose memory is mostly taken by another program.
fn busy_card(Card { name, used_mb, total_mb, .. }: &Card) -> Option<Finding> {
    (used_mb * 2 > *total_mb).then(|| {
        Finding::doubtful(format!(
            "another program uses {used_mb} of {total_mb} MB of the {name}: training may run out of memory; `nvidia-smi` \
             names the program"
        ))
    })
}

#[cfg(test)]
mod tests {
    use fivefold_common::finding::Rating;

    use super::*;

    fn listed(lines: &[&str]) -> Cards {
        Cards::Listed(lines.iter().filter_map(|line| card(line)).collect())
    }

    #[test]
    fn cards_that_libtorch_does_not_see_are_found() {
        let two = listed(&["NVIDIA H200, 570.10, 3, 143771", "NVIDIA H200, 570.10, 120000, 143771"]);
        let rating = |seen: &[&str], cards, visible| cards_seen(seen, cards, visible).map(|finding| finding.rating);
        assert_eq!(rating(&["a", "b"], &two, None), Some(Rating::Good));
        let one = cards_seen(&["a"], &two, None).unwrap();
        assert!(one.rating == Rating::Bad && one.message.contains("1 of 2 CUDA cards, with driver 570.10"), "{one}");
        assert_eq!(rating(&["a"], &two, Some("0")), Some(Rating::Doubtful));
        assert_eq!(rating(&[], &Cards::NoDriver, None), Some(Rating::Doubtful));
        assert_eq!(rating(&[], &Cards::Faulty("no devices were found".into()), None), Some(Rating::Bad));
        let Cards::Listed(cards) = two else { panic!() };
        assert!(busy_card(&cards[0]).is_none() && busy_card(&cards[1]).is_some());
        assert!(busy_card(&card("Orin, 540.4, [N/A], [N/A]").unwrap()).is_none());
    }

    #[test]
    fn a_worker_that_does_not_run_is_found() {
        let worker = WorkerProgram::find(Some(Path::new("/nowhere/fivefold-worker")));
        let found = worker.check();
        assert!(found[0].rating == Rating::Bad && found[0].message.contains("does not run"), "{found:?}");
        let other = WorkerProgram::find(Some(Path::new("true")));
        for found in [other.check(), other.check_images(Path::new("data"), &ImageArgs::default())] {
            assert_eq!((found.len(), found[0].rating), (1, Rating::Bad), "{found:?}");
            assert!(found[0].message.starts_with("true is not fivefold-worker: name that with --worker"), "{found:?}");
        }
    }
}
