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

#[cfg(test)]
mod tests {
    use super::*;

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
