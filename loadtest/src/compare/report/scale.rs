//! Where a value stands on an axis, and which values the axis names.

/// An axis from one value to another, in pixels.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Scale {
    /// Zero at pixel `from`, at least `high` at pixel `to`.
    pub fn linear(high: f64, from: f64, to: f64) -> Self {
        let high = if high.is_finite() && high > 0.0 { high } else { 1.0 };
        Self { low: 0.0, high, from, to, logarithmic: false }
    }

    /// Powers of ten around the values at both ends; values that are not above zero have no place.
    pub fn logarithmic(values: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values.into_iter().filter(|value| value.is_finite() && *value > 0.0) {
            (low, high) = (low.min(value), high.max(value));
        }
        if high == 0.0 {
            (low, high) = (1.0, 10.0);
        }
        let (low, mut high) = (10_f64.powf(low.log10().floor()), 10_f64.powf(high.log10().ceil()));
        if high <= low {
            high = low * 10.0;
        }
        Self { low, high, from, to, logarithmic: true }
    }

    /// The pixel of a value; what is beyond an end stands there.
    pub fn pixel(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + part.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Values to name, ascending.
    pub fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let decades = (self.high / self.low).log10().round() as i32;
            return (0..=decades).map(|n| self.low * 10_f64.powi(n)).collect();
        }
        let step = 10_f64.powf((self.high / 2.0).log10().floor());
        let step = [1.0, 2.0, 5.0].map(|n| n * step).into_iter().find(|step| self.high / step <= 6.0);
        let step = step.unwrap_or(self.high);
        (0..).map(|n| f64::from(n) * step).take_while(|tick| *tick <= self.high * 1.000_001).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_linear_axis_begins_at_zero() {
        let scale = Scale::linear(9.8, 100.0, 200.0);
        assert_eq!(scale.pixel(0.0), 100.0);
        assert_eq!(scale.pixel(4.9), 150.0);
        assert_eq!(scale.pixel(50.0), 200.0);
        assert_eq!(scale.ticks(), [0.0, 2.0, 4.0, 6.0, 8.0]);
        for high in [0.003, 0.9, 1.0, 7.0, 1e6, f64::NAN, 0.0] {
            let ticks = Scale::linear(high, 0.0, 1.0).ticks();
            assert!((2..=8).contains(&ticks.len()), "{high}: {ticks:?}");
        }
    }

    #[test]
    fn a_logarithmic_axis_has_whole_decades() {
        let scale = Scale::logarithmic([30.0, 2_000.0, 0.0, f64::NAN], 0.0, 300.0);
        assert_eq!(scale.ticks(), [10.0, 100.0, 1_000.0, 10_000.0]);
        assert!((scale.pixel(100.0) - 100.0).abs() < 1e-9);
        assert_eq!(scale.pixel(0.0), 0.0);
        assert_eq!(Scale::logarithmic([], 0.0, 1.0).ticks().len(), 2);
        assert_eq!(Scale::logarithmic([10.0], 0.0, 1.0).ticks(), [10.0, 100.0]);
    }

    #[test]
    fn an_axis_may_run_upwards() {
        assert_eq!(Scale::linear(10.0, 200.0, 100.0).pixel(10.0), 100.0);
    }
}
