//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{Args, Parser, Subcommand};
use fivefold_client::Credentials;
use fivefold_common::size::parse_size;
use fivefold_common::spec::Precision;
use fivefold_program::log::LogFormat;
use fivefold_program::number::whole_number;
use fivefold_train::DeviceChoice;
use fivefold_worker::cache_folder::CacheFolders;

/// Leases jobs from a Fivefold coordinator and trains them on this machine
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) daemon: Option<DaemonArguments>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DaemonArguments {
    /// Address of the coordinator
    #[arg(long, env = "FIVEFOLD_COORDINATOR", value_name = "URL")]
    pub(crate) coordinator: String,
    /// Folder of the images, with train/, hpa/ and test/ [default: none, and only pushed data sets are trained here]
    #[arg(long, env = "FIVEFOLD_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// auto, cpu or cuda:N; auto uses every CUDA device, or the CPU if there is none
    #[arg(long, env = "FIVEFOLD_DEVICE", value_name = "DEVICE", default_value = "auto")]
    pub(crate) device: DeviceChoice,
    /// Name of this worker, unique among the coordinator's workers [default: host and device, and a number if that is taken]
    #[arg(long, env = "FIVEFOLD_NAME", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Folder for downloads and checkpoints [default: fivefold/ in the system's temporary folder]
    #[arg(long, env = "FIVEFOLD_SCRATCH", value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// File with the token; takes precedence over FIVEFOLD_TOKEN, which may hold the token itself (other users of this
    /// machine can read flags)
    #[arg(long, env = "FIVEFOLD_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// PEM file of the authority that signed the coordinator's certificate [default: the system's authorities]
    #[arg(long, env = "FIVEFOLD_CA_CERT", value_name = "FILE")]
    pub(crate) ca_cert: Option<PathBuf>,
    /// PEM file of this worker's certificate, if the coordinator asks for one
    #[arg(long, env = "FIVEFOLD_CLIENT_CERT", value_name = "FILE")]
    pub(crate) client_cert: Option<PathBuf>,
    /// PEM file of the certificate's private key
    #[arg(long, env = "FIVEFOLD_CLIENT_KEY", value_name = "FILE")]
    pub(crate) client_key: Option<PathBuf>,
    /// Longest time in seconds to save and release the current job after Ctrl-C or SIGTERM; then the worker ends anyway
    #[arg(long, env = "FIVEFOLD_LEAVE_SECONDS", value_name = "N", default_value_t = 150, value_parser = whole_number::<u32>(..))]
    pub(crate) leave_seconds: u32,
    /// Threads that decode images [default: one per core]
    #[arg(long, env = "FIVEFOLD_DECODE_THREADS", value_name = "N", value_parser = whole_number::<usize>(..))]
    pub(crate) decode_threads: Option<usize>,
    /// Folder for packed images, which workers of a machine may share: those decoded from --data, so that each is decoded once,
    /// and those of pushed data sets; or off, to keep none of the former [default: fivefold/images in the user's cache folder]
    #[arg(long, env = "FIVEFOLD_CACHE", value_name = "DIR|off")]
    pub(crate) cache: Option<CacheChoice>,
    /// Most disk space of this folder, such as 50GB; what was not used for the longest time goes first [default: no limit in a
    /// named folder; otherwise decoded images take a tenth of the free space, and those of pushed data sets leave a tenth free]
    #[arg(long, env = "FIVEFOLD_CACHE_SIZE", value_name = "SIZE", value_parser = cache_bytes)]
    pub(crate) cache_size: Option<u64>,
    /// Format of the log on standard error
    #[arg(long, env = "FIVEFOLD_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
}

/// The least size of a cache: some segments.
const LEAST_CACHE_BYTES: u64 = 1_000_000_000;

fn cache_bytes(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    if bytes < LEAST_CACHE_BYTES { Err("expected 1GB or more".to_owned()) } else { Ok(bytes) }
}

/// Where packed images are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CacheChoice {
    Folder(PathBuf),
    /// Decoded ones nowhere, those of pushed data sets in the usual folder.
    Off,
}

const OFF: &str = "off";

impl From<OsString> for CacheChoice {
    fn from(argument: OsString) -> Self {
        if argument == OFF { Self::Off } else { Self::Folder(argument.into()) }
    }
}

impl CacheChoice {
    fn to_argument(&self) -> OsString {
        match self {
            Self::Folder(path) => path.into(),
            Self::Off => OFF.into(),
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the devices that libtorch sees
    Devices,
    /// Train a tiny fold on a device and on the CPU, and compare the losses
    CheckDevice {
        /// cpu or cuda:N
        #[arg(long, value_name = "DEVICE")]
        device: DeviceChoice,
    },
    /// Check images as before a fold is trained, and decode some of them
    ///
    /// Prints a line per list: good, doubtful or bad, and what was found. The exit status is 1 if one is bad.
    CheckData(CheckDataArguments),
    /// Measure the training speed of the full ResNet50
    BenchStep {
        /// cpu or cuda:N
        #[arg(long, value_name = "DEVICE")]
        device: DeviceChoice,
        /// Side of an image in pixels
        #[arg(long, default_value_t = 512, value_parser = whole_number::<u32>(1..))]
        size: u32,
        /// Images per batch
        #[arg(long, default_value_t = 32, value_parser = whole_number::<u32>(2..))]
        batch: u32,
        /// Steps per measurement
        #[arg(long, default_value_t = 30, value_parser = whole_number::<u32>(1..))]
        steps: u32,
        /// fp32, bf16 or fp16
        #[arg(long, default_value = "fp32")]
        precision: Precision,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CheckDataArguments {
    /// Folder of the images, with train/, hpa/ and test/
    #[arg(long, env = "FIVEFOLD_DATA", value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Training list [default: without any list, every image in the folder is checked]
    #[arg(long, value_name = "FILE")]
    pub(crate) train_csv: Option<PathBuf>,
    /// List of external HPA images
    #[arg(long, value_name = "FILE")]
    pub(crate) hpa_csv: Option<PathBuf>,
    /// Test list
    #[arg(long, value_name = "FILE")]
    pub(crate) test_csv: Option<PathBuf>,
    /// Description of the data set (TOML), whose lists are checked
    #[arg(long, value_name = "FILE", conflicts_with = "spec")]
    pub(crate) dataset: Option<PathBuf>,
    /// Settings that will be submitted (TOML): the columns of the lists, the files and the size of the images
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Option<PathBuf>,
    /// Column of the lists with the groups [default: as in --spec or --dataset, or Group]
    #[arg(long, value_name = "COLUMN")]
    pub(crate) group_column: Option<String>,
    /// Side of the images in pixels [default: as in --spec or --dataset, or 512]
    #[arg(long, value_name = "PIXELS", value_parser = whole_number::<u32>(16..=4096))]
    pub(crate) image_size: Option<u32>,
    /// Images of each list that are decoded, evenly spread over it
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = whole_number::<usize>(..))]
    pub(crate) decode: usize,
    /// Threads that read files [default: one per core]
    #[arg(long, env = "FIVEFOLD_DECODE_THREADS", value_name = "N", value_parser = whole_number::<usize>(..))]
    pub(crate) decode_threads: Option<usize>,
}

impl DaemonArguments {
    pub(crate) fn credentials(&self) -> Credentials {
        Credentials {
            token_file: self.token_file.clone(),
            token: std::env::var("FIVEFOLD_TOKEN").ok(),
            ca_cert: self.ca_cert.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
        }
    }

    /// Where packed images are kept. A folder that is named is made.
    pub(crate) fn cache_folders(&self) -> anyhow::Result<CacheFolders> {
        let usual = || CacheFolders::usual(&self.scratch_root(), self.cache_size);
        match &self.cache {
            Some(CacheChoice::Folder(path)) => {
                let flag = || format!("--cache {}", path.display());
                ensure!(!path.is_file(), "{}: it is a file, and a folder is needed", flag());
                std::fs::create_dir_all(path).with_context(flag)?;
                Ok(CacheFolders::named(path, self.cache_size))
            }
            Some(CacheChoice::Off) => Ok(CacheFolders { decoded: None, ..usual() }),
            None => Ok(usual()),
        }
    }

    /// The folder below which each worker has one for its downloads and checkpoints.
    pub(crate) fn scratch_root(&self) -> PathBuf {
        self.scratch.clone().unwrap_or_else(|| std::env::temp_dir().join("fivefold"))
    }

    /// The arguments of the process for one of several CUDA devices. It inherits FIVEFOLD_TOKEN with the environment.
    pub(crate) fn for_cuda_device(&self, index: usize, decode_threads: usize) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--coordinator".into(), self.coordinator.clone().into()];
        for (flag, path) in [
            ("--data", self.data.as_ref()),
            ("--scratch", self.scratch.as_ref()),
            ("--token-file", self.token_file.as_ref()),
            ("--ca-cert", self.ca_cert.as_ref()),
            ("--client-cert", self.client_cert.as_ref()),
            ("--client-key", self.client_key.as_ref()),
        ] {
            if let Some(path) = path {
                arguments.extend([flag.into(), path.into()]);
            }
        }
        arguments.extend(["--decode-threads".into(), decode_threads.to_string().into()]);
        if let Some(cache) = &self.cache {
            arguments.extend(["--cache".into(), cache.to_argument()]);
        }
        if let Some(bytes) = self.cache_size {
            arguments.extend(["--cache-size".into(), bytes.to_string().into()]);
        }
        arguments.extend(["--device".into(), format!("cuda:{index}").into()]);
        if self.log_format == LogFormat::Json {
            arguments.extend(["--log-format".into(), "json".into()]);
        }
        arguments.extend(["--leave-seconds".into(), self.leave_seconds.to_string().into()]);
        if let Some(name) = &self.name {
            arguments.extend(["--name".into(), format!("{name}-cuda{index}").into()]);
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_of_a_device_has_its_own_name_and_all_the_rest() {
        let line = "fivefold-worker --coordinator http://hub:7700 --data /data --token-file /token --name gpu1 --leave-seconds 9 \
                    --cache /cache --cache-size 50GB --log-format json";
        let arguments = Arguments::parse_from(line.split(' ')).daemon.unwrap();
        let child = arguments.for_cuda_device(1, 8);
        let child = Arguments::parse_from([OsString::from("fivefold-worker")].into_iter().chain(child)).daemon.unwrap();
        assert_eq!((child.name.as_deref(), child.device), (Some("gpu1-cuda1"), DeviceChoice::Cuda(1)));
        assert_eq!((child.decode_threads, child.scratch, child.leave_seconds), (Some(8), None, 9));
        assert_eq!((child.cache, child.cache_size), (arguments.cache, Some(50_000_000_000)));
        let inherited = (child.coordinator, child.data, child.token_file);
        assert_eq!(inherited, (arguments.coordinator, arguments.data, arguments.token_file));
    }

    #[test]
    fn a_cache_has_a_folder_and_some_space() {
        assert_eq!(cache_bytes("1GB"), Ok(1_000_000_000));
        assert!(cache_bytes("999MB").is_err() && cache_bytes("big").is_err());
        let root = tempfile::tempdir().unwrap();
        let scratch = root.path().join("scratch").display().to_string();
        let line = format!("fivefold-worker --coordinator http://hub:7700 --scratch {scratch} --cache-size 2TB");
        let arguments = Arguments::parse_from(line.split(' ')).daemon.unwrap();
        assert!(arguments.data.is_none(), "it is not needed");
        let with = |cache| DaemonArguments { cache, ..arguments.clone() }.cache_folders();
        let (usual, off) = (with(None).unwrap(), with(Some(CacheChoice::from(OsString::from("off")))).unwrap());
        assert_eq!((usual.decoded.as_ref(), off.decoded), (Some(&usual.pushed), None), "one folder with one limit");
        assert!(usual.pushed == off.pushed && usual.pushed.limit_bytes == Some(2_000_000_000_000));

        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        let cache_at = |path: PathBuf| with(Some(CacheChoice::from(path.into_os_string())));
        let refused = cache_at(file.clone()).unwrap_err().to_string();
        assert_eq!(refused, format!("--cache {}: it is a file, and a folder is needed", file.display()));
        let below = cache_at(file.join("cache")).unwrap_err();
        assert!(below.to_string().starts_with("--cache "), "{below:#}");
        let named = cache_at(root.path().join("a/b")).unwrap();
        assert!(named.pushed.path.is_dir());
        assert_eq!((named.decoded.as_ref(), usual.pushed.limit_bytes), (Some(&named.pushed), named.pushed.limit_bytes));
    }
}
