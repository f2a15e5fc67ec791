//! Descriptions of data sets: any text gives settings and lists, or an error.
#![no_main]

use std::path::Path;

use fivefold_common::dataset_file::DatasetFile;
use fivefold_common::image_files::ImageFiles;
use fivefold_common::scores::Source;
use fivefold_common::spec::JobSetSpec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(DatasetFile { overrides, .. }) = DatasetFile::parse(text).map(|file| file.within(Path::new("/sets"))) else {
        return;
    };
    let mut spec = JobSetSpec::default();
    overrides.apply_to(&mut spec);
    if spec.check().is_ok() {
        let files = ImageFiles::of(&spec).expect("an accepted spec has its files");
        assert!((1..=16).contains(&files.content.channel_count()));
        for channel in files.channels() {
            for path in files.paths(Source::Train, "p1/a.png", &channel) {
                assert!(path.split('/').all(|part| !matches!(part, "" | "." | "..")), "{path} leaves the folder");
            }
        }
    }
});
