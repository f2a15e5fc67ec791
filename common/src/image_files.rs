//! The files of an image: their paths below the folder of images, and what is taken from them.

use crate::scores::Source;
use crate::spec::{JobSetSpec, SpecError};

/// The most channels that an image can have.
pub const MOST_CHANNELS: usize = 16;
/// The longest template, in characters.
pub(crate) const LONGEST_TEMPLATE: usize = 200;
/// The channels without further settings.
const RGB: [&str; 3] = ["red", "green", "blue"];
/// Endings of the files without a template, in the order in which they are tried.
const USUAL_ENDINGS: [&str; 1] = ["png"];
/// The same for the list of external HPA images.
const HPA_ENDINGS: [&str; 2] = ["png", "jpg"];

/// The files of each image of a data set, and what is taken from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageFiles {
    template: Template,
    /// What is taken from the files.
    pub content: ImageContent,
}

/// What is taken from the files of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageContent {
    /// One channel from each of several files; the names of the channels, 1 to 16.
    FilePerChannel(Vec<String>),
    /// Red, green and blue from one file.
    Rgb,
    /// One grey channel from one file.
    Grey,
}

impl ImageContent {
    /// The names of the channels, in the order of a model's input.
    pub fn channel_names(&self) -> Vec<String> {
        match self {
            Self::FilePerChannel(names) => names.clone(),
            Self::Rgb => RGB.map(str::to_owned).to_vec(),
            Self::Grey => vec!["grey".to_owned()],
        }
    }

    /// The number of channels.
    pub fn channel_count(&self) -> usize {
        match self {
            Self::FilePerChannel(names) => names.len(),
            Self::Rgb => 3,
            Self::Grey => 1,
        }
    }

    fn of_one_file(channels: &[String]) -> Result<Self, SpecError> {
        match channels.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            [] | ["rgb"] => Ok(Self::Rgb),
            ["grey"] => Ok(Self::Grey),
            _ => {
                let problem = "without {channel} in image_files an image is one file, of which channels is rgb or grey";
                Err(SpecError { key: "channels", problem: problem.to_owned() })
            }
        }
    }

    fn of_many_files(channels: &[String]) -> Result<Self, SpecError> {
        let refuse = |problem: String| Err(SpecError { key: "channels", problem });
        if let Some(name) = channels.iter().find(|name| !is_plain(name)) {
            return refuse(format!(
                "{name:?} cannot be part of a file name: expected ASCII letters, digits, `_`, `-` or `.`, and no `.` at \
                 the start"
            ));
        }
        let mut places = channels.iter().enumerate();
        if let Some((_, name)) = places.find(|(place, name)| channels[..*place].contains(name)) {
            return refuse(format!("the channel {name:?} is named twice"));
        }
        if channels.is_empty() {
            return Ok(Self::FilePerChannel(RGB.map(str::to_owned).to_vec()));
        }
        Ok(Self::FilePerChannel(channels.to_vec()))
    }
}

impl ImageFiles {
    /// The files that a spec describes.
    ///
    /// # Errors
    /// If the template cannot give paths below the folder, or the channels do not fit it.
    pub fn of(spec: &JobSetSpec) -> Result<Self, SpecError> {
        let template =
            Template::parse(&spec.image_files).map_err(|problem| SpecError { key: "image_files", problem })?;
        let content = if template.has(&Part::Channel) {
            ImageContent::of_many_files(&spec.channels)?
        } else {
            ImageContent::of_one_file(&spec.channels)?
        };
        Ok(Self { template, content })
    }

    /// Whether the paths are those without a template: `{list}/{id}_{channel}.png`, or `.jpg` in `hpa/`.
    pub fn are_usual(&self) -> bool {
        matches!(self.template, Template::Usual)
    }

    /// Whether images of different lists with the same id have different files.
    pub fn tell_lists_apart(&self) -> bool {
        self.template.has(&Part::List)
    }

    /// The names that stand for `{channel}`, one for each file of an image; one that is not used for an image of one file.
    pub fn channels(&self) -> Vec<String> {
        match &self.content {
            ImageContent::FilePerChannel(names) => names.clone(),
            ImageContent::Rgb | ImageContent::Grey => vec![String::new()],
        }
    }

    /// The possible paths of a file below the folder of images, with `/` between the names. The first that exists is read.
    pub fn paths(&self, source: Source, id: &str, channel: &str) -> Vec<String> {
        match &self.template {
            Template::Usual => {
                let endings = if source == Source::Hpa { &HPA_ENDINGS[..] } else { &USUAL_ENDINGS };
                endings.iter().map(|ending| format!("{source}/{id}_{channel}.{ending}")).collect()
            }
            Template::Parts(parts) => vec![parts.iter().map(|part| part.text(source, id, channel)).collect()],
        }
    }
}

/// How the paths of files are made.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Template {
    /// `{list}/{id}_{channel}.png`, and `.jpg` in `hpa/` too.
    Usual,
    Parts(Vec<Part>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Id,
    Channel,
    List,
}

impl Part {
    fn text(&self, source: Source, id: &str, channel: &str) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Id => id.to_owned(),
            Self::Channel => channel.to_owned(),
            Self::List => source.to_string(),
        }
    }
}

impl Template {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::Usual);
        }
        if text.starts_with('/') || text.contains('\\') {
            return Err(format!("{text:?} should be a path below the folder of images, with / between its parts"));
        }
        if let Some(part) = text.split('/').find(|part| matches!(*part, "" | "." | "..")) {
            return Err(format!("{text:?} has {part:?} as a part, and may not leave the folder of images"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, after)) = after.split_once('}') else {
                return Err(format!("{text:?} has a {{ without its }}"));
            };
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match name {
                "id" => Part::Id,
                "channel" => Part::Channel,
                "list" => Part::List,
                _ => return Err(format!("{{{name}}} is unknown: expected {{id}}, {{channel}} or {{list}}")),
            });
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if !parts.contains(&Part::Id) {
            return Err(format!("{text:?} lacks {{id}}: every image would have the same file"));
        }
        Ok(Self::Parts(parts))
    }

    fn has(&self, part: &Part) -> bool {
        match self {
            Self::Usual => true,
            Self::Parts(parts) => parts.contains(part),
        }
    }
}

/// Whether a name can be part of a file name as it is.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    !name.starts_with('.') && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(template: &str, channels: &[&str]) -> Result<ImageFiles, String> {
        let channels = channels.iter().map(|&name| name.to_owned()).collect();
        let spec = JobSetSpec { image_files: template.to_owned(), channels, ..JobSetSpec::default() };
        ImageFiles::of(&spec).map_err(|error| error.to_string())
    }

    #[test]
    fn without_a_template_there_is_a_file_for_each_colour() {
        let usual = files("", &[]).unwrap();
        assert!(usual.are_usual() && usual.tell_lists_apart());
        assert_eq!(usual.content.channel_names(), RGB);
        assert_eq!(usual.paths(Source::Train, "a", "red"), ["train/a_red.png"]);
        assert_eq!(usual.paths(Source::Hpa, "a", "red"), ["hpa/a_red.png", "hpa/a_red.jpg"]);
        let four = files("", &["red", "green", "blue", "yellow"]).unwrap();
        assert_eq!(four.content.channel_count(), 4);
    }

    #[test]
    fn a_template_gives_one_file_or_a_file_for_each_channel() {
        let one = files("images/{id}", &[]).unwrap();
        assert_eq!((one.content.clone(), one.channels()), (ImageContent::Rgb, vec![String::new()]));
        assert_eq!(one.paths(Source::Test, "p1/a.jpg", ""), ["images/p1/a.jpg"]);
        assert!(!one.tell_lists_apart() && !one.are_usual());
        assert_eq!(files("{id}.png", &["rgb"]).unwrap().content, ImageContent::Rgb);
        assert_eq!(files("{id}.png", &["grey"]).unwrap().content, ImageContent::Grey);
        let many = files("{list}/{channel}/{id}.tif", &["nir", "rgb"]).unwrap();
        assert_eq!(many.content.channel_names(), ["nir", "rgb"]);
        assert_eq!(many.paths(Source::Hpa, "a", "nir"), ["hpa/nir/a.tif"]);
    }

    #[test]
    fn templates_and_channels_that_cannot_work_are_refused() {
        for (template, channels, wanted) in [
            ("/data/{id}.png", &[][..], "image_files: \"/data/{id}.png\" should be a path below"),
            ("..\\{id}.png", &[], "should be a path below"),
            ("../{id}.png", &[], "may not leave the folder"),
            ("a//{id}.png", &[], "may not leave the folder"),
            ("a/{name}.png", &[], "{name} is unknown: expected {id}, {channel} or {list}"),
            ("a/{id.png", &[], "has a { without its }"),
            ("a/b.png", &[], "lacks {id}"),
            ("{id}.png", &["red", "green"], "channels: without {channel} in image_files an image is one file"),
            ("{id}_{channel}.png", &["red", "red"], "channels: the channel \"red\" is named twice"),
            ("{id}_.{channel}.png", &[".."], "channels: \"..\" cannot be part of a file name"),
            ("", &["a/b"], "channels: \"a/b\" cannot be part of a file name"),
        ] {
            let message = files(template, channels).unwrap_err();
            assert!(message.contains(wanted), "{template}: {message}");
        }
    }
}
