//! `fivefold predict`.

use std::path::PathBuf;

use clap::Args;
use fivefold_client::Connection;
use fivefold_common::job_set::JobSetState;
use fivefold_program::number::whole_number;
use fivefold_proto::convert::{job_set_state_from_wire, required, spec_from_wire};
use fivefold_proto::v1::{JobSet, PredictJobSetRequest};

use crate::commands::completions::job_set_ids;
use crate::commands::get_job_set;
use crate::commands::submit::{print_id, upload_list};
use crate::console::OutputFormat;
use crate::image_list::ImageList;
use crate::job_set_name::JobSetName;

#[derive(Debug, Args)]
pub(crate) struct PredictArgs {
    /// Job set: its id or the beginning of it, its name, or @ for the newest
    #[arg(value_name = "ID", add = job_set_ids())]
    id: JobSetName,
    /// Test list (`Id`, or the columns of a submission) [default: the one that the job set has]
    #[arg(long, alias = "test_csv", value_name = "FILE")]
    test_csv: Option<PathBuf>,
    /// Folds that predict, such as 0,2 [default: all of the fit]
    #[arg(long, value_name = "FOLDS", value_delimiter = ',', value_parser = whole_number::<u32>(0..=99))]
    folds: Vec<u32>,
    /// Drop the prediction of another list that is not finished yet
    #[arg(long)]
    replace: bool,
}

/// Uploads the test list, queues its prediction and prints the job set's id.
pub(crate) async fn run(args: PredictArgs, coordinator: &Connection, format: OutputFormat) -> anyhow::Result<()> {
    let id = args.id.resolve(coordinator).await?;
    let test = match &args.test_csv {
        Some(path) => {
            let job_set = get_job_set(coordinator, &id).await?;
            Some(ImageList::read_test(path, &spec_from_wire(required("spec", job_set.spec)?)?)?)
        }
        None => None,
    };
    let rows = test.as_ref().map(|test| test.manifest.rows.len());
    let test_digest = match test {
        Some(test) => upload_list(coordinator, test.file).await?,
        None => String::new(),
    };
    let request =
        PredictJobSetRequest { job_set_id: id.to_string(), test_digest, folds: args.folds, replace: args.replace };
    let answer = coordinator.call(request, async |c, r| c.job_sets().predict_job_set(r).await).await?;
    let job_set = required("job_set", answer.job_set)?;
    eprintln!("{}", outcome(&job_set, rows));
    print_id(&job_set, format)
}

/// What became of the request: a prediction that was made before is not queued again.
fn outcome(job_set: &JobSet, rows: Option<usize>) -> String {
    let id = &job_set.id;
    let what = rows.map_or("the test list".to_owned(), |rows| format!("{rows} images"));
    match job_set_state_from_wire(job_set.state) {
        Ok(JobSetState::Succeeded) => {
            format!("The prediction of {what} is there already: `fivefold results {id}` downloads it.")
        }
        _ => format!("Queued the prediction of {what}. Follow the job set with `fivefold watch {id}`."),
    }
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1::job_set;

    use super::*;

    #[test]
    fn a_prediction_that_is_there_is_not_called_queued() {
        let set = |state: job_set::State| JobSet { id: "js-abcdefgh".into(), state: state.into(), ..JobSet::default() };
        let queued = outcome(&set(job_set::State::Predicting), Some(3));
        assert_eq!(queued, "Queued the prediction of 3 images. Follow the job set with `fivefold watch js-abcdefgh`.");
        let present = outcome(&set(job_set::State::Succeeded), None);
        assert!(present.starts_with("The prediction of the test list is there already"), "{present}");
    }
}
