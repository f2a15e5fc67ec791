//! Score tables: any bytes give a report or an error, and no score is outside [0, 1].
#![no_main]

use fivefold_common::classes::names_for_count;
use fivefold_common::report::build_report;
use fivefold_common::scores::ScoreTable;
use fivefold_common::threshold::EmptyRows;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(table) = ScoreTable::read_csv("oof.csv", bytes) {
        assert!(table.rows.iter().flat_map(|row| &row.scores).all(|score| (0.0..=1.0).contains(score)));
        let names = names_for_count(table.class_count);
        let _ = build_report(&table, &names, EmptyRows::Argmax);
        let _ = build_report(&table, &names, EmptyRows::Leave);
    }
});
