//! Curves of one line.

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// `values` as bars from `low` to `high`, at most `width` of them: with more values, each bar is the mean of some.
pub(crate) fn sparkline(values: &[f64], (low, high): (f64, f64), width: usize) -> String {
    let bars = values.len().min(width);
    let mean_of = |bar: usize| {
        let part = &values[bar * values.len() / bars..(bar + 1) * values.len() / bars];
        part.iter().sum::<f64>() / part.len() as f64
    };
    let height = |value: f64| {
        let share = if high > low { (value - low) / (high - low) } else { 0.0 };
        (share.clamp(0.0, 1.0) * (BARS.len() - 1) as f64).round() as usize
    };
    (0..bars).map(|bar| BARS[height(mean_of(bar)).min(BARS.len() - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_and_the_highest_value_have_the_lowest_and_the_highest_bar() {
        assert_eq!(sparkline(&[0.0, 0.1, 0.5, 1.0], (0.0, 1.0), 8), "▁▂▅█");
        assert_eq!(sparkline(&[0.25, 0.25], (0.25, 0.25), 8), "▁▁");
        assert_eq!(sparkline(&[], (0.0, 1.0), 8), "");
        assert_eq!(sparkline(&[f64::NAN, 2.0], (0.0, 1.0), 8), "▁█");
    }

    #[test]
    fn long_curves_are_means() {
        let rising: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(sparkline(&rising, (0.0, 99.0), 4), "▂▄▅▇");
        assert_eq!(sparkline(&[0.0, 1.0, 1.0], (0.0, 1.0), 2), "▁█");
    }
}
