//! Text of others, made safe for a line of a log or a terminal.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` on one line: control characters, line breaks among them, and characters that reorder a line become escapes such as
/// `\n` and `\u{1b}`.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if is_one_line(text) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if needs_escape(char) {
            // Writing into a string does not fail.
            let _ = write!(line, "{}", char.escape_default());
        } else {
            line.push(char);
        }
    }
    line.into()
}

/// Whether `text` can be shown on one line as it is.
pub fn is_one_line(text: &str) -> bool {
    !text.chars().any(needs_escape)
}

fn needs_escape(char: char) -> bool {
    // Separators of lines and paragraphs, and marks of direction.
    let is_layout = matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    char.is_control() || is_layout
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_breaks_a_line_is_escaped() {
        assert!(matches!(one_line("Größe 512 px, 日本 \\n"), Cow::Borrowed(_)));
        assert_eq!(one_line("a\r\nb\tc\u{1b}[2J\u{85}\u{202e}d"), r"a\r\nb\tc\u{1b}[2J\u{85}\u{202e}d");
    }
}
