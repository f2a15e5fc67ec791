//! Sizes in bytes as text.

/// A size for people, with decimal prefixes and two significant digits or more: `950 B`, `1.2 GB`, `295 MB`.
pub fn size_text(bytes: u64) -> String {
    const PREFIXES: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut prefix = 0;
    // 999.5 would be shown as 1000.
    while value >= 999.5 && prefix + 1 < PREFIXES.len() {
        value /= 1000.0;
        prefix += 1;
    }
    let decimals = usize::from(value < 9.95);
    format!("{value:.decimals$} {}", PREFIXES[prefix])
}

/// The bytes of a size as people write it: a number, and perhaps a decimal prefix, such as `50GB`, `1.5 TB` or `800 MB`.
///
/// # Errors
/// When the text is something else, or the size has no place in 64 bits.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let expected = || format!("{text:?} is no size: expected a number and B, kB, MB, GB or TB, such as 50GB");
    let end = text.find(|char: char| !char.is_ascii_digit() && char != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 1e0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "tb" => 1e12,
        _ => return Err(expected()),
    };
    let bytes = (number.parse::<f64>().map_err(|_| expected())? * factor).round();
    if bytes < 1e18 { Ok(bytes as u64) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let cases =
            [("0", 0), ("50GB", 50_000_000_000), ("1.5 tb", 1_500_000_000_000), ("800 MB", 800_000_000), ("7B", 7)];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "GB", "-1GB", "1..5GB", "5GiB", "1e9", "nan", "9999999999TB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_decimal_prefixes() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (9_960, "10 kB"),
            (295_400_000, "295 MB"),
            (999_600_000, "1.0 GB"),
            (81_300_000_000, "81 GB"),
            (2_000_000_000_000_000, "2000 TB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size_text(bytes), text);
        }
    }
}
