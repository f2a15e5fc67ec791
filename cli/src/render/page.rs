//! What text is made for: a terminal of some width, or a file.

use jiff::ZonedDateTime;

/// The place that text goes to, and the time there.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// Characters per line; longer lines are cut. Without a terminal there is no limit.
    pub(crate) width: usize,
    /// Lines that can be seen at once.
    pub(crate) height: usize,
    pub(crate) paint: Paint,
    /// The time now, in the local time zone.
    pub(crate) now: ZonedDateTime,
}

/// Whether text is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    Coloured,
}

/// What a colour says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Done.
    Good,
    /// At work.
    Busy,
    /// Waiting.
    Faint,
    /// Stopped by a user, or slow.
    Odd,
    /// Failed.
    Bad,
    /// A heading.
    Head,
}

impl Paint {
    /// `text` in the colour of `tone`.
    pub(crate) fn apply(self, tone: Option<Tone>, text: &str) -> String {
        let (Self::Coloured, Some(tone)) = (self, tone) else { return text.to_owned() };
        let code = match tone {
            Tone::Good => "32",
            Tone::Busy => "36",
            Tone::Faint => "2",
            Tone::Odd => "33",
            Tone::Bad => "31",
            Tone::Head => "1",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

/// `text` in at most `width` characters; what is cut is shown by `…`.
pub(crate) fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.truncate(cut.trim_end().len());
    if width > 0 {
        cut.push('…');
    }
    cut
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A terminal without colours, at 22:30 in UTC.
    pub(crate) fn terminal(width: usize, height: usize) -> Page {
        let now = "2026-11-29T22:30:00+00:00[UTC]".parse().unwrap();
        Page { width, height, paint: Paint::Plain, now }
    }

    #[test]
    fn what_is_cut_is_shown() {
        assert_eq!(cut("gpu1-cuda0", 10), "gpu1-cuda0");
        assert_eq!(cut("gpu1-cuda0", 5), "gpu1…");
        assert_eq!(cut("one two", 5), "one…");
        assert_eq!((cut("é", 1).as_str(), cut("éé", 1).as_str(), cut("é", 0).as_str()), ("é", "…", ""));
    }

    #[test]
    fn colours_are_codes_around_the_text() {
        assert_eq!(Paint::Coloured.apply(Some(Tone::Bad), "failed"), "\u{1b}[31mfailed\u{1b}[0m");
        assert_eq!(Paint::Coloured.apply(None, "failed"), "failed");
        assert_eq!(Paint::Plain.apply(Some(Tone::Bad), "failed"), "failed");
    }
}
