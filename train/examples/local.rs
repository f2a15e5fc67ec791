//! Trains and scores one fold without a coordinator:
//!
//! `cargo run --release -p fivefold-train --example local -- --data DIR --train-csv FILE --fold 0`
//!
//! `--spec FILE` reads settings other than the defaults from a TOML file; `--out DIR` is the folder of the results.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::BufWriter;
use std::path::PathBuf;
use std::sync::Arc;

use fivefold_common::decision_rule::DecisionRule;
use fivefold_common::ids::Fold;
use fivefold_common::manifest::{FoldRows, FoldTable, Manifest};
use fivefold_common::progress::epoch_words;
use fivefold_common::spec::JobSetSpec;
use fivefold_train::torch::device::load_cuda;
use fivefold_train::{DeviceChoice, Event, FoldData, ImageFolder, Start, StopFlag, TrainOutcome, Trainer};

fn main() -> anyhow::Result<()> {
    let mut arguments = pico_args::Arguments::from_env();
    let data: PathBuf = arguments.value_from_str("--data")?;
    let train_csv: PathBuf = arguments.value_from_str("--train-csv")?;
    let fold = Fold(arguments.value_from_str("--fold")?);
    let spec: Option<PathBuf> = arguments.opt_value_from_str("--spec")?;
    let out: PathBuf = arguments.opt_value_from_str("--out")?.unwrap_or_else(|| format!("fold-{fold}").into());

    let spec = match spec {
        Some(path) => JobSetSpec::from_toml(&fs::read_to_string(path)?)?,
        None => JobSetSpec::default(),
    };
    let name = train_csv.display().to_string();
    let list = Manifest::read_labelled_csv(&name, &spec, File::open(&train_csv)?)?;
    let folds = FoldTable::split(&spec, &list, None)?;
    let rows = FoldRows::of(&spec, fold, &list, None, &folds)?;
    fs::create_dir_all(&out)?;

    load_cuda();
    let trainer = Trainer {
        spec,
        fold,
        data: FoldData {
            images: Arc::new(ImageFolder::open(&data)?).into(),
            train: rows.train.into(),
            valid: rows.valid.into(),
            decode_threads: std::thread::available_parallelism()?.get(),
        },
        device: DeviceChoice::Auto.device()?,
        folder: out.clone(),
        start: Start::Seed,
    };
    let mut newest = HashMap::new();
    let mut report = |event: Event| match event {
        Event::Progress(_) => {}
        Event::EpochEnded(epoch) => println!(
            "{}: training loss {:.4}, validation loss {:.4}, {} {:.4}",
            epoch_words(epoch.epoch, trainer.spec.epochs),
            epoch.train_loss,
            epoch.valid_loss,
            trainer.spec.objective.title(),
            trainer.spec.objective.value(&epoch).unwrap_or(f64::NAN)
        ),
        Event::CheckpointSaved(checkpoint) => {
            if let Some(older) = newest.insert(checkpoint.role, checkpoint.path) {
                let _ = fs::remove_file(older);
            }
        }
    };
    if let TrainOutcome::Finished { checkpoint, out_of_fold } = trainer.run(&mut report, &StopFlag::new())? {
        let table = out.join("oof.csv");
        out_of_fold.write_csv(BufWriter::new(File::create(&table)?))?;
        let scores: Vec<f32> = out_of_fold.rows.iter().flat_map(|row| &row.scores).copied().collect();
        let labels: Vec<_> = out_of_fold.rows.iter().map(|row| row.target.clone()).collect();
        let rule = DecisionRule::fit((&trainer.spec).into(), &scores, out_of_fold.class_count, &labels)?;
        let tally = rule.tally(&scores, out_of_fold.class_count, &labels)?;
        println!("out of fold: macro F1 {:.4}, accuracy {:.4}", tally.classes.macro_f1(), tally.accuracy());
        println!("{}\n{}", checkpoint.path.display(), table.display());
    }
    Ok(())
}
