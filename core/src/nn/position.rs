//! Position encodings: sinusoidal vectors, rotary angles, biases by distance.

use burn::tensor::{Device, Tensor, TensorData};

use super::spec::{Pairing, Rope, Scaling, Temper};

/// One vector a place: sines in the even dimensions and cosines in the odd ones, or all sines first;
/// wavelengths from 2 pi to 20,000 pi (arXiv:1706.03762, section 3.5).
///
/// # Shapes
/// T places -> `[T, D]`
pub(crate) fn sinusoidal(
    places: &[usize],
    width: usize,
    pairing: Pairing,
    device: &Device,
) -> Tensor<2> {
    let mut values = Vec::with_capacity(places.len() * width);
    for place in places {
        for i in 0..width {
            let sines = width.div_ceil(2);
            let (pair, sine) = match pairing {
                Pairing::Adjacent => (i / 2, i % 2 == 0),
                Pairing::Halves => (if i < sines { i } else { i - sines }, i < sines),
            };
            let angle = *place as f64 / 10_000f64.powf((2 * pair) as f64 / width as f64);
            values.push(if sine { angle.sin() } else { angle.cos() } as f32);
        }
    }
    Tensor::from_data(TensorData::new(values, [places.len(), width]), device)
}

/// The rate of each head, `[H]`: a geometric row from `2^(-8 / n)` for the largest power of two
/// `n` that is not above `heads`, then every other rate of the row for `2 n` (arXiv:2108.12409,
/// and the authors' code for other numbers of heads).
fn slopes(heads: usize) -> Vec<f32> {
    let row = |n: usize, i: usize| 2f64.powf(-8.0 * i as f64 / n as f64) as f32;
    let n = if heads.is_power_of_two() { heads } else { heads.next_power_of_two() / 2 };
    let rest = (0..heads - n).map(|i| row(2 * n, 2 * i + 1));
    (1..=n).map(|i| row(n, i)).chain(rest).collect()
}

/// What ALiBi adds to scores: the distance from query to key, times the head's rate, below zero.
///
/// # Shapes
/// T queries, S keys -> `[1, H, T, S]`
pub(crate) fn alibi(
    heads: usize,
    scale: f64,
    queries: &[usize],
    keys: &[usize],
    device: &Device,
) -> Tensor<4> {
    let rates: Vec<f32> = slopes(heads).into_iter().map(|rate| rate * scale as f32).collect();
    let far = |query: usize| keys.iter().map(move |key| -(query.abs_diff(*key) as f32));
    let far: Vec<f32> = queries.iter().copied().flat_map(far).collect();
    let far = TensorData::new(far, [1, 1, queries.len(), keys.len()]);
    let rates = TensorData::new(rates, [1, heads, 1, 1]);
    Tensor::from_data(far, device) * Tensor::from_data(rates, device)
}

/// What queries at these places are multiplied by, `[1, 1, T, 1]`.
pub(crate) fn tempers(temper: Temper, places: &[usize], device: &Device) -> Tensor<4> {
    let t = places.len();
    let grown = |place: usize| {
        let steps = ((place as f64 + 1.0) / temper.floor).floor();
        (steps.ln_1p() * temper.scale + 1.0) as f32
    };
    let values: Vec<f32> = places.iter().copied().map(grown).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, t, 1]), device)
}

/// Cosines and sines of the angles of one forward pass, shared by all blocks with the same rope.
#[derive(Clone, Debug)]
pub(crate) struct Angles {
    /// `[1, 1, T, dims / 2]`, or `[B, 1, T, dims / 2]` where rows of a batch are rotated by their
    /// lengths.
    cos: Tensor<4>,
    /// As `cos`.
    sin: Tensor<4>,
    dims: usize,
    pairing: Pairing,
}

impl Angles {
    /// The angles of some places in sequences of so many tokens: one length for all rows, or one a
    /// row.
    pub(crate) fn new(rope: &Rope, places: &[usize], lengths: &[usize], device: &Device) -> Angles {
        let mut rows: Vec<(Vec<f32>, f32)> =
            lengths.iter().map(|length| frequencies(rope, *length)).collect();
        if rows.windows(2).all(|pair| pair[0] == pair[1]) {
            rows.truncate(1);
        }
        let places = rows.iter().flat_map(|row| places.iter().map(move |place| (*place, row)));
        Angles::of(rope, rows.len(), places, device)
    }

    /// The angles of places that each belong to a sequence of their own, in one row.
    pub(crate) fn each(
        rope: &Rope,
        places: &[usize],
        lengths: &[usize],
        device: &Device,
    ) -> Angles {
        // One length for all where it changes nothing.
        let rows: Vec<(Vec<f32>, f32)> =
            lengths.iter().map(|length| frequencies(rope, *length)).collect();
        let places = places.iter().copied().zip(rows.iter().cycle());
        Angles::of(rope, 1, places, device)
    }

    /// The angles of places, each with the waves of its sequence: those of `b` rows, one row after
    /// another.
    fn of<'a>(
        rope: &Rope,
        b: usize,
        places: impl Iterator<Item = (usize, &'a (Vec<f32>, f32))>,
        device: &Device,
    ) -> Angles {
        let half = rope.dims / 2;
        let room = places.size_hint().0 * half;
        let (mut cos, mut sin) = (Vec::with_capacity(room), Vec::with_capacity(room));
        for (place, (waves, magnitude)) in places {
            for (c, s) in turns(place, waves, *magnitude) {
                cos.push(c);
                sin.push(s);
            }
        }
        let t = cos.len() / (b * half).max(1);
        let tensor = |values| Tensor::from_data(TensorData::new(values, [b, 1, t, half]), device);
        Angles { cos: tensor(cos), sin: tensor(sin), dims: rope.dims, pairing: rope.pairing }
    }

    /// Cosines and sines `[1 or B, 1, T, dims / 2]`, and which dimensions they are for.
    pub(crate) fn parts(&self) -> (&Tensor<4>, &Tensor<4>, Pairing) {
        (&self.cos, &self.sin, self.pairing)
    }

    /// Rows of a batch that have angles of their own; 1 when all share them.
    pub(crate) fn rows(&self) -> usize {
        self.cos.dims()[0]
    }

    /// How many places there are.
    pub(crate) fn tokens(&self) -> usize {
        self.cos.dims()[2]
    }

    /// Rotates queries or keys.
    ///
    /// With [`Pairing::Adjacent`] the result has its pairs as halves: the same order for queries
    /// and keys, so that their products are right, and no second way through the kernels.
    ///
    /// # Shapes
    /// `x: [B, H, T, C]` -> `[B, H, T, C]`
    pub(crate) fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        let [b, h, t, c] = x.dims();
        let half = self.dims / 2;
        let (left, right) = match self.pairing {
            Pairing::Halves => (x.clone().narrow(3, 0, half), x.clone().narrow(3, half, half)),
            Pairing::Adjacent => {
                let pairs = x.clone().narrow(3, 0, self.dims).reshape([b, h, t, half, 2]);
                let side = |i| pairs.clone().narrow(4, i, 1).reshape([b, h, t, half]);
                (side(0), side(1))
            }
        };
        let (cos, sin) = (self.cos.clone(), self.sin.clone());
        let mut parts = vec![
            left.clone() * cos.clone() - right.clone() * sin.clone(),
            right * cos + left * sin,
        ];
        if self.dims < c {
            parts.push(x.narrow(3, self.dims, c - self.dims));
        }
        Tensor::cat(parts, 3)
    }
}

/// Cosine and sine of each wave at a place.
fn turns(place: usize, waves: &[f32], magnitude: f32) -> impl Iterator<Item = (f32, f32)> {
    waves.iter().map(move |wave| {
        // In f32, as the reference implementations multiply: at far places the rounding of this
        // product is part of what the model was trained with.
        let angle = place as f32 * wave;
        (angle.cos() * magnitude, angle.sin() * magnitude)
    })
}

/// The cosines of one place in a sequence of so many tokens, and after them the sines.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
pub(crate) fn spot(rope: &Rope, place: usize, length: usize) -> Vec<f32> {
    let (waves, magnitude) = frequencies(rope, length);
    let (mut cos, sin): (Vec<f32>, Vec<f32>) = turns(place, &waves, magnitude).unzip();
    cos.extend(sin);
    cos
}

/// Radians a place for each rotated pair, stretched as the scaling says for a sequence of so many
/// tokens, and what rotated values are multiplied by.
fn frequencies(rope: &Rope, length: usize) -> (Vec<f32>, f32) {
    let half = rope.dims / 2;
    let theta = match rope.scaling {
        Scaling::Dynamic { factor, original } => {
            let grown = factor * length.max(original) as f64 / original as f64 - (factor - 1.0);
            rope.theta * grown.powf(rope.dims as f64 / (rope.dims as f64 - 2.0))
        }
        _ => rope.theta,
    };
    let magnitude = match &rope.scaling {
        Scaling::Yarn { magnitude, .. } => *magnitude,
        Scaling::Long { short, long, original } => {
            if length > *original {
                long.magnitude
            } else {
                short.magnitude
            }
        }
        _ => 1.0,
    };
    let waves = (0..half)
        .map(|i| {
            let plain = (theta as f32).powf(2.0 * i as f32 / rope.dims as f32).recip();
            match &rope.scaling {
                Scaling::None | Scaling::Dynamic { .. } => plain,
                Scaling::Long { short, long, original } => {
                    plain / if length > *original { long.factors[i] } else { short.factors[i] }
                }
                Scaling::Yarn { factor, fast, slow, original, truncate, .. } => {
                    // The dimension whose wave turns so often within the first window.
                    let dimension = |turns: f64| {
                        let wave = original / (turns * std::f64::consts::TAU);
                        rope.dims as f64 * wave.ln() / (2.0 * rope.theta.ln())
                    };
                    let (low, high) = match truncate {
                        true => (dimension(*fast).floor(), dimension(*slow).ceil()),
                        false => (dimension(*fast), dimension(*slow)),
                    };
                    let (low, high) = (low.max(0.0), high.min(rope.dims as f64 - 1.0));
                    let width = if high == low { 0.001 } else { high - low };
                    let stretched = ((i as f64 - low) / width).clamp(0.0, 1.0);
                    let short = f64::from(plain);
                    (short / factor * stretched + short * (1.0 - stretched)) as f32
                }
                Scaling::Linear { factor } => plain / *factor as f32,
                Scaling::Factors(factors) => plain / factors[i],
                Scaling::Llama3 { factor, low, high, original } => {
                    let wavelength = std::f64::consts::TAU / f64::from(plain);
                    if wavelength < original / high {
                        plain
                    } else if wavelength > original / low {
                        plain / *factor as f32
                    } else {
                        let smooth = (original / wavelength - low) / (high - low);
                        let (long, short) = (f64::from(plain) / factor, f64::from(plain));
                        ((1.0 - smooth) * long + smooth * short) as f32
                    }
                }
            }
        })
        .collect();
    (waves, magnitude as f32)
}
