//! Lines of logs.

use fivefold_common::job::JobKind;
use fivefold_common::log_line::LogLevel;
use fivefold_common::one_line::one_line;
use fivefold_proto::convert::{job_kind_from_wire, log_line_from_wire};
use fivefold_proto::v1::{LogLine, StoredLogLine};

use super::page::{Page, Tone};
use super::text::time;

/// Time, fold and attempt, level and text in one line. The level is left out for what is usual.
pub(crate) fn log_line(stored: &StoredLogLine, page: &Page) -> String {
    let line = stored.line.clone().unwrap_or_default();
    let at = line.time.map_or(String::new(), |at| time(at) + "  ");
    let prediction = if job_kind_from_wire(stored.kind) == Ok(JobKind::Predict) { "predict " } else { "" };
    let (mark, tone) = match level(&line) {
        Some(LogLevel::Error) => ("ERROR ", Some(Tone::Bad)),
        Some(LogLevel::Warn) => ("WARN ", Some(Tone::Odd)),
        Some(LogLevel::Info) | None => ("", None),
    };
    let text = format!("{mark}{}", one_line(&line.message));
    let StoredLogLine { fold, attempt, .. } = stored;
    let worker = one_line(&stored.worker_name);
    format!("{at}{prediction}fold {fold}, attempt {attempt}, {worker}  {}\n", page.paint.apply(tone, &text))
}

/// How serious a line is; `None` if only a newer version knows.
pub(crate) fn level(line: &LogLine) -> Option<LogLevel> {
    log_line_from_wire(line.clone()).ok().map(|line| line.level)
}

#[cfg(test)]
mod tests {
    use fivefold_proto::v1;

    use super::*;
    use crate::render::page::tests::terminal;

    #[test]
    fn a_line_says_where_it_is_from() {
        let line = |level: v1::LogLevel| LogLine {
            number: 1,
            time: Some(Default::default()),
            level: level.into(),
            message: "epoch 1/3\nforged".to_owned(),
        };
        let stored = |kind: v1::JobKind, level| StoredLogLine {
            kind: kind.into(),
            fold: 2,
            attempt: 1,
            worker_name: "gpu1".to_owned(),
            line: Some(line(level)),
            ..StoredLogLine::default()
        };
        let page = terminal(80, 24);
        let usual = log_line(&stored(v1::JobKind::Train, v1::LogLevel::Info), &page);
        assert!(usual.ends_with("  fold 2, attempt 1, gpu1  epoch 1/3\\nforged\n"), "{usual}");
        let odd = log_line(&stored(v1::JobKind::Predict, v1::LogLevel::Warn), &page);
        assert!(odd.contains("predict fold 2, attempt 1, gpu1  WARN epoch"), "{odd}");
    }
}
