//! Sampling: from one row of logits to one token.
//!
//! Sits at the end of every step of a session: the model's last row comes in, an id goes out.
//!
//! ```text
//! logits [V] --+-- log-probabilities to report
//!              |
//!              +-- penalties --+-- arg-max                                       --> id
//!                              +-- temperature -> top-k -> top-p -> min-p -> draw --> id
//! ```
//!
//! A row may be 262,144 wide and comes once per token, so nothing here sorts it: blocks whose
//! maximum is too low are skipped, and only the few tokens that are left are put in order.

use std::collections::VecDeque;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::options::Resolved;
use crate::error::{Error, Result};
use crate::kernels::cpu::logits::{self, BLOCK, LEAST_POWER, weight};
use crate::kernels::{Cuts, Draw};

/// Tokens that a search for the likeliest collects at least before it throws out the least.
const SLACK: usize = 1024;

/// Bins of equal width, from the logarithm 0 to [`LEAST_POWER`], that top-p sums weights in to
/// find its border without an order.
const BINS: usize = 2048;

/// A token that was chosen.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability under the model's own distribution: before penalties,
    /// temperature and the rest.
    pub logprob: f32,
    /// The likeliest tokens of the same distribution and their log-probabilities, likeliest
    /// first, equal ones by id: as many as [`Resolved::logprobs`], less those whose logit is
    /// minus infinity. The chosen token need not be among them.
    pub top: Vec<(u32, f32)>,
}

/// Chooses tokens from logits.
///
/// The steps are those of transformers, in its order: repetition penalty (over prompt and
/// output), frequency and presence penalty (over the output, as OpenAI defines them),
/// temperature, top-k, top-p, min-p. Of equal logits the lower id comes first everywhere, so that
/// top-k keeps exactly `k` tokens (transformers keeps all that equal the last one).
///
/// The draws come from ChaCha12, keyed with the seed alone, one 64-bit word per sampled token
/// (greedy choices take none). Floats are made from its bits and exponentials are computed with
/// additions and multiplications only, so the same logits and seed choose the same tokens on
/// every platform. Logits of different devices differ in the last bits and may not.
///
/// After the first few tokens a choice allocates nothing but [`Choice::top`].
///
/// # Source
/// `transformers/generation/logits_process.py`; top-p: arXiv:1904.09751; min-p: arXiv:2407.01082;
/// repetition penalty: arXiv:1909.05858, section 4.1; frequency and presence penalty: OpenAI's API
/// reference, "advanced usage".
#[derive(Clone, Debug)]
pub struct Sampler {
    vocab: usize,
    cuts: Cuts,
    repetition: f32,
    frequency: f32,
    presence: f32,
    window: usize,
    logprobs: usize,
    rng: ChaCha12Rng,
    /// Numbers of its stream for the next tokens, which were taken before these were drawn.
    taken: VecDeque<f64>,
    /// Per block, the maximum of the logits.
    peaks: Vec<f32>,
    /// Per block, the sum of the weights.
    sums: Vec<f64>,
    /// Per bin of top-p, the sum of the weights.
    bins: Vec<f64>,
    /// Per token, bit 0: it is in the window; the rest: how often it was generated. All zero
    /// between calls; empty while there are no penalties.
    seen: Vec<u32>,
    /// Tokens that the penalties changed, and their logits before.
    changed: Vec<(u32, f32)>,
    /// Tokens under consideration, see [`rank`].
    ranks: Vec<u64>,
    /// Tokens that may be drawn and their weights, of which the largest is 1.
    kept: Vec<(u32, f32)>,
}

impl Sampler {
    /// A sampler for `options`, whose draws `seed` fixes ([`Resolved::seed`], or another one for
    /// each of several texts from one prompt).
    pub fn new(options: &Resolved, seed: u64) -> Self {
        // Not `seed_from_u64`, whose expansion the trait leaves open.
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(seed.to_le_bytes()) {
            *to = from;
        }
        let mut cuts = options.cuts;
        if cuts.top_k >= options.vocab {
            // As many as there are is no limit, and the whole row needs no search.
            cuts.top_k = 0;
        }
        Sampler {
            vocab: options.vocab,
            cuts,
            repetition: options.repetition_penalty,
            frequency: options.frequency_penalty,
            presence: options.presence_penalty,
            window: options.penalty_window.unwrap_or(usize::MAX),
            logprobs: options.logprobs.unwrap_or(0),
            rng: ChaCha12Rng::from_seed(key),
            taken: VecDeque::new(),
            peaks: Vec::new(),
            sums: Vec::new(),
            bins: Vec::new(),
            seen: Vec::new(),
            changed: Vec::new(),
            ranks: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// Chooses the token that follows `prompt` and `output`, the tokens generated so far.
    ///
    /// `logits` is `[V]`. It holds the penalized logits afterwards; temperature and the cuts leave
    /// it alone. Minus infinity forbids a token. Tokens of `prompt` and `output` that are outside
    /// the vocabulary are ignored.
    ///
    /// # Errors
    /// [`Error::NotFinite`] when a logit is NaN or plus infinity, or all are minus infinity;
    /// [`Error::Argument`] when there are not as many logits as tokens in the vocabulary.
    pub fn sample(&mut self, logits: &mut [f32], prompt: &[u32], output: &[u32]) -> Result<Choice> {
        if logits.len() != self.vocab {
            let problem =
                format!("has {} values; the vocabulary has {} tokens", logits.len(), self.vocab);
            return Err(Error::argument("logits", problem));
        }
        let mut peak = self.scan(logits)?;
        let (own_peak, own_mass) = (peak, self.weigh(logits, peak, 1.0));
        let logprob = |logit: f32| {
            let nats = f64::from(logit) - f64::from(own_peak) - own_mass.ln();
            nats.min(0.0) as f32
        };
        let mut top = Vec::new();
        if self.logprobs > 0 {
            self.likeliest(logits, self.logprobs);
            top.extend(self.ranks.iter().map(|&rank| (id(rank), logprob(logit(rank)))));
        }
        self.penalize(logits, prompt, output);
        // The weights of the row at temperature 1 are there already.
        let mut mass = (self.cuts.temperature == 1.0).then_some(own_mass);
        if !self.changed.is_empty() {
            peak = self.scan(logits)?;
            mass = None;
        }
        let id = if self.cuts.is_greedy() {
            self.first_peak(logits, peak)
        } else {
            self.draw(logits, peak, mass)
        };
        let own = match self.changed.iter().find(|(changed, _)| *changed == id) {
            Some((_, before)) => *before,
            None => logits.get(id as usize).copied().unwrap_or(f32::NEG_INFINITY),
        };
        Ok(Choice { id, logprob: logprob(own), top })
    }

    /// Whether logits are not changed before the choice, and nothing but the token and its
    /// probability is asked for.
    pub(super) fn is_plain(&self) -> bool {
        self.repetition == 1.0
            && self.frequency == 0.0
            && self.presence == 0.0
            && self.logprobs == 0
    }

    /// How the token with this number is drawn where its logits are, 0 for the next; `None` for the
    /// likeliest.
    pub(super) fn draw_ahead(&mut self, number: usize) -> Option<Draw> {
        if self.cuts.is_greedy() {
            return None;
        }
        while self.taken.len() <= number {
            let next = self.fresh();
            self.taken.push_back(next);
        }
        let uniform = *self.taken.get(number)? as f32;
        Some(Draw { cuts: self.cuts, uniform })
    }

    /// The next token was drawn by [`draw_ahead`](Self::draw_ahead).
    pub(super) fn drawn_ahead(&mut self) {
        self.taken.pop_front();
    }

    /// Fills `peaks`; gives the row's maximum.
    fn scan(&mut self, logits: &[f32]) -> Result<f32> {
        let fine = logits::peaks(logits, &mut self.peaks);
        let peak = self.peaks.iter().fold(f32::NEG_INFINITY, |a, &b| a.max(b));
        if fine && peak > f32::NEG_INFINITY {
            Ok(peak)
        } else {
            Err(Error::NotFinite { what: "logits" })
        }
    }

    /// Fills `sums` with the weights `exp((logit - peak) / temperature)`; gives their sum.
    fn weigh(&mut self, logits: &[f32], peak: f32, temperature: f32) -> f64 {
        logits::weigh(logits, peak, temperature, &mut self.sums);
        self.sums.iter().sum()
    }

    /// Applies the penalties in place; fills `changed`.
    pub(super) fn penalize(&mut self, logits: &mut [f32], prompt: &[u32], output: &[u32]) {
        self.changed.clear();
        let repeats = self.repetition != 1.0;
        if !repeats && self.frequency == 0.0 && self.presence == 0.0 {
            return;
        }
        if self.seen.is_empty() {
            self.seen.resize(self.vocab, 0);
        }
        let output = last(output, self.window);
        let left = self.window.saturating_sub(output.len());
        let prompt = if repeats { last(prompt, left) } else { &[] };
        let tokens = prompt.iter().map(|&id| (id, 0)).chain(output.iter().map(|&id| (id, 2)));
        for (id, more) in tokens {
            let (Some(seen), Some(&logit)) =
                (self.seen.get_mut(id as usize), logits.get(id as usize))
            else {
                continue;
            };
            if *seen == 0 {
                *seen = 1;
                self.changed.push((id, logit));
            }
            *seen = seen.saturating_add(more);
        }
        for &(id, before) in &self.changed {
            let (Some(seen), Some(logit)) =
                (self.seen.get_mut(id as usize), logits.get_mut(id as usize))
            else {
                continue;
            };
            let times = std::mem::take(seen) >> 1;
            if before == f32::NEG_INFINITY {
                continue;
            }
            let mut x = before;
            if repeats {
                x = if x < 0.0 { x * self.repetition } else { x / self.repetition };
            }
            x -= times as f32 * self.frequency + if times > 0 { self.presence } else { 0.0 };
            // An absurd factor is no reason to report the model's logits as infinite.
            *logit = x.clamp(f32::MIN, f32::MAX);
        }
    }

    /// The lowest id whose logit is `peak`.
    fn first_peak(&self, logits: &[f32], peak: f32) -> u32 {
        let block = self.peaks.iter().position(|&most| most == peak).unwrap_or(0);
        let start = block * BLOCK;
        let inside = logits.iter().skip(start).position(|&x| x == peak).unwrap_or(0);
        (start + inside) as u32
    }

    /// Fills `ranks` with the `count` likeliest tokens, in order; fewer when the rest is minus
    /// infinity.
    fn likeliest(&mut self, logits: &[f32], count: usize) {
        let ranks = &mut self.ranks;
        ranks.clear();
        let full = count.saturating_add(count.max(SLACK));
        // The logit of the last of `count` tokens that are there already: a later one that only
        // equals it has a higher id and comes behind.
        let mut floor = f32::NEG_INFINITY;
        for ((block, &peak), start) in
            logits.chunks(BLOCK).zip(&self.peaks).zip((0..).step_by(BLOCK))
        {
            if peak <= floor {
                continue;
            }
            for (&x, id) in block.iter().zip(start..) {
                if x <= floor {
                    continue;
                }
                ranks.push(rank(x, id));
                if ranks.len() == full {
                    let (_, &mut worst, _) = ranks.select_nth_unstable(count - 1);
                    floor = logit(worst);
                    ranks.truncate(count);
                }
            }
        }
        if ranks.len() > count {
            ranks.select_nth_unstable(count - 1);
            ranks.truncate(count);
        }
        ranks.sort_unstable();
    }

    /// Draws a token; `mass` is the row's if `sums` is right for this peak and temperature.
    fn draw(&mut self, logits: &[f32], peak: f32, mass: Option<f64>) -> u32 {
        if self.cuts.keeps_all() {
            let mass = mass.unwrap_or_else(|| self.weigh(logits, peak, self.cuts.temperature));
            return self.draw_from_all(logits, peak, mass);
        }
        self.cut(logits, peak, mass);
        let mass: f64 = self.kept.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let target = self.uniform() * mass;
        pick(self.kept.iter().copied(), target)
    }

    /// Draws from the whole row, in the order of the ids.
    fn draw_from_all(&mut self, logits: &[f32], peak: f32, mass: f64) -> u32 {
        let mut target = self.uniform() * mass;
        // The last block that holds anything, if rounding carries the target past the end.
        let mut chosen = 0;
        for (block, &sum) in self.sums.iter().enumerate() {
            if sum > 0.0 {
                chosen = block;
                if target < sum {
                    break;
                }
                target -= sum;
            }
        }
        let start = chosen * BLOCK;
        let block = logits.iter().skip(start).take(BLOCK);
        let weights = block.map(|&x| weight(x, peak, self.cuts.temperature));
        pick((start as u32..).zip(weights), target)
    }

    /// Fills `kept` with the tokens that top-k, top-p and min-p leave.
    ///
    /// Each of the three keeps a beginning of the tokens in order of their logits, and min-p
    /// compares with the first alone: whatever the others cut, the outcome is the shortest of the
    /// beginnings. Only top-p looks at a mass, that of what top-k left.
    fn cut(&mut self, logits: &[f32], peak: f32, mass: Option<f64>) {
        let Cuts { temperature, top_k, top_p, min_p } = self.cuts;
        self.kept.clear();
        if top_k > 0 {
            self.likeliest(logits, top_k);
            let weighed =
                self.ranks.iter().map(|&rank| (id(rank), weight(logit(rank), peak, temperature)));
            self.kept.extend(weighed);
            if top_p < 1.0 {
                let mass: f64 = self.kept.iter().map(|&(_, weight)| f64::from(weight)).sum();
                let enough = f64::from(top_p) * mass;
                let mut sum = 0.0;
                let end = self.kept.iter().position(|&(_, weight)| {
                    sum += f64::from(weight);
                    sum >= enough
                });
                self.kept.truncate(end.map_or(usize::MAX, |end| end + 1));
            }
            let end = self.kept.partition_point(|&(_, weight)| weight > 0.0 && weight >= min_p);
            self.kept.truncate(end);
            return;
        }
        let mut least = min_p;
        let mut enough = None;
        if top_p < 1.0 {
            let mass = mass.unwrap_or_else(|| self.weigh(logits, peak, temperature));
            enough = Some(f64::from(top_p) * mass);
            // All tokens below (1 - p) / V together have less than 1 - p, so top-p keeps none of
            // them; half of it leaves room for rounding.
            let tail = 0.5 * (1.0 - f64::from(top_p)) * mass / self.vocab as f64;
            least = least.max(tail as f32);
        }
        // The logit of the weight `least` and a little lower: it only saves exponentials, whose
        // outcome decides.
        let span = (f64::from(least).ln() - 0.01) * f64::from(temperature) * 1.000_01;
        let floor = (f64::from(peak) + span - f64::from(peak).abs() * 1e-6) as f32;
        let heavy = |(id, logit): (u32, f32)| {
            let weight = weight(logit, peak, temperature);
            (weight > 0.0 && weight >= least).then_some((id, weight))
        };
        let Some(enough) = enough else {
            self.kept.extend(above(logits, &self.peaks, floor).filter_map(heavy));
            return;
        };
        // Where the running mass passes `enough`: the bin first, then the token in it.
        let bin = |logit: f32| {
            let bin = (peak - logit) / temperature * (BINS as f32 / -LEAST_POWER);
            (bin as usize).min(BINS - 1)
        };
        self.bins.clear();
        self.bins.resize(BINS, 0.0);
        for (id, logit) in above(logits, &self.peaks, floor) {
            if let (Some((_, weight)), Some(mass)) =
                (heavy((id, logit)), self.bins.get_mut(bin(logit)))
            {
                *mass += f64::from(weight);
            }
        }
        let mut sum = 0.0;
        let crossed = self.bins.iter().position(|&mass| {
            let crossed = sum + mass >= enough;
            if !crossed {
                sum += mass;
            }
            crossed
        });
        self.ranks.clear();
        let inside = above(logits, &self.peaks, floor)
            .filter(|&(_, logit)| Some(bin(logit)) == crossed)
            .map(|(id, logit)| rank(logit, id));
        self.ranks.extend(inside);
        self.ranks.sort_unstable();
        let end = self.ranks.iter().find(|&&rank| {
            sum += f64::from(weight(logit(rank), peak, temperature));
            sum >= enough
        });
        // Rounding may keep the sum below: then the whole bin, or all tokens.
        let last = end.or(self.ranks.last()).copied().unwrap_or(u64::MAX);
        let front = above(logits, &self.peaks, floor.max(logit(last)))
            .filter(|&(id, logit)| rank(logit, id) <= last)
            .filter_map(heavy);
        self.kept.extend(front);
    }

    /// The number for the next token.
    fn uniform(&mut self) -> f64 {
        self.taken.pop_front().unwrap_or_else(|| self.fresh())
    }

    /// The next number of the stream, from 0 up to but without 1, a multiple of 2^-53.
    fn fresh(&mut self) -> f64 {
        (self.rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }
}

/// The tokens with logits of `floor` or more, in order of their ids; `peaks` are the maxima of the
/// blocks.
fn above(logits: &[f32], peaks: &[f32], floor: f32) -> impl Iterator<Item = (u32, f32)> {
    let blocks = logits.chunks(BLOCK).zip(peaks).zip((0u32..).step_by(BLOCK));
    blocks.filter(move |((_, peak), _)| **peak >= floor).flat_map(move |((block, _), start)| {
        let tokens = block.iter().zip(start..).map(|(&logit, id)| (id, logit));
        tokens.filter(move |&(_, logit)| logit >= floor)
    })
}

/// The last `count` tokens of `tokens`, or all.
fn last(tokens: &[u32], count: usize) -> &[u32] {
    tokens.get(tokens.len().saturating_sub(count)..).unwrap_or(tokens)
}

/// The token at which the running sum of weights passes `target`; the last one with a weight if
/// rounding keeps the sum below.
fn pick(tokens: impl Iterator<Item = (u32, f32)>, target: f64) -> u32 {
    let (mut sum, mut chosen) = (0.0, 0);
    for (id, weight) in tokens {
        if weight > 0.0 {
            chosen = id;
            sum += f64::from(weight);
            if target < sum {
                break;
            }
        }
    }
    chosen
}

/// A token as one number, smaller for a higher logit and then for a lower id.
fn rank(logit: f32, id: u32) -> u64 {
    // Adding 0 makes both zeros equal.
    let bits = (logit + 0.0).to_bits();
    // Of negative floats the bits grow downwards.
    let falling = if bits >> 31 == 1 { bits } else { !bits & 0x7fff_ffff };
    u64::from(falling) << 32 | u64::from(id)
}

/// The token of a [`rank`].
fn id(rank: u64) -> u32 {
    rank as u32
}

/// The logit of a [`rank`].
fn logit(rank: u64) -> f32 {
    let falling = (rank >> 32) as u32;
    f32::from_bits(if falling >> 31 == 1 { falling } else { !falling & 0x7fff_ffff })
}

#[cfg(test)]
mod tests {
    use super::super::defaults::Defaults;
    use super::super::options::GenerateOptions;
    use super::*;

    /// Numbers for tests: the upper half of a linear congruence.
    struct Draw(u64);

    impl Draw {
        fn below(&mut self, end: usize) -> usize {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (self.0 >> 33) as usize % end
        }

        fn unit(&mut self) -> f32 {
            self.below(1 << 24) as f32 / (1 << 24) as f32
        }

        /// Peaked like a model's logits; `ties` rounds them so that many are equal.
        fn logits(&mut self, vocab: usize, ties: bool) -> Vec<f32> {
            let row = (0..vocab).map(|_| {
                let x = (0..4).map(|_| self.unit()).sum::<f32>() * 6.0 - 12.0;
                if ties { (x * 2.0).round() / 2.0 } else { x }
            });
            row.collect()
        }
    }

    fn options() -> GenerateOptions {
        GenerateOptions::default()
    }

    fn sampler(options: &GenerateOptions, vocab: usize) -> Sampler {
        let resolved = options.resolve(&Defaults::default(), vocab).unwrap();
        Sampler::new(&resolved, resolved.seed)
    }

    /// The tokens of a row, likeliest first, and their weights, in full.
    fn sorted(logits: &[f32], temperature: f32) -> Vec<(u32, f64)> {
        let mut order: Vec<u32> = (0..logits.len() as u32).collect();
        order.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        let peak = f64::from(logits[order[0] as usize]);
        let weigh =
            |id: u32| ((f64::from(logits[id as usize]) - peak) / f64::from(temperature)).exp();
        order.into_iter().map(|id| (id, weigh(id))).collect()
    }

    /// What top-k, top-p and min-p leave, one after the other; `None` where a border is so close
    /// that rounding decides.
    fn naive(
        logits: &[f32],
        temperature: f32,
        top_k: usize,
        top_p: f32,
        min_p: f32,
    ) -> Option<Vec<u32>> {
        let mut tokens = sorted(logits, temperature);
        if top_k > 0 {
            tokens.truncate(top_k);
        }
        tokens.retain(|&(_, weight)| weight > 0.0);
        if top_p < 1.0 {
            let mass: f64 = tokens.iter().map(|token| token.1).sum();
            let (mut sum, mut end) = (0.0, 0);
            for (_, weight) in &tokens {
                sum += weight;
                if (sum / mass - f64::from(top_p)).abs() < 1e-6 {
                    return None;
                }
                end += 1;
                if sum >= f64::from(top_p) * mass {
                    break;
                }
            }
            tokens.truncate(end);
        }
        let mass: f64 = tokens.iter().map(|token| token.1).sum();
        let least = f64::from(min_p) * tokens[0].1 / mass;
        if tokens.iter().any(|token| token.1 != 1.0 && (token.1 / mass / least - 1.0).abs() < 1e-5)
        {
            return None;
        }
        Some(tokens.iter().filter(|token| token.1 / mass >= least).map(|token| token.0).collect())
    }

    /// The tokens that `sampler` would draw from.
    fn kept(sampler: &mut Sampler, logits: &[f32]) -> Vec<u32> {
        let peak = sampler.scan(logits).unwrap();
        sampler.cut(logits, peak, None);
        sampler.kept.iter().map(|token| token.0).collect()
    }

    #[test]
    fn cuts_are_those_of_a_full_sort() {
        let mut draw = Draw(7);
        let (mut compared, mut widest) = (0, 0);
        for round in 0..600 {
            let vocab = [5, 100, 1024, 5000][round % 4] + draw.below(20);
            let mut logits = draw.logits(vocab, round % 3 == 0);
            if round % 5 == 0 {
                for _ in 0..vocab / 2 {
                    let at = draw.below(vocab);
                    logits[at] = f32::NEG_INFINITY;
                }
                logits[vocab - 1] = 1.0;
            }
            let temperature = [0.3, 1.0, 1.7, 20.0][draw.below(4)];
            let top_k = [0, 0, 1, 7, 64, 2000, 100_000][draw.below(7)];
            let top_p = [1.0, 0.1, 0.5, 0.9, 0.999][draw.below(5)];
            let min_p = [0.0, 0.001, 0.1, 1.0][draw.below(4)];
            let all = options().temperature(temperature).top_k(top_k).top_p(top_p).min_p(min_p);
            let Some(mut right) = naive(&logits, temperature, top_k, top_p, min_p) else {
                continue;
            };
            let mut found = kept(&mut sampler(&all, vocab), &logits);
            found.sort_unstable();
            right.sort_unstable();
            assert_eq!(found, right, "{vocab} {all:?}");
            compared += 1;
            widest = widest.max(right.len());
        }
        assert!(compared > 450 && widest > 4000, "{compared} {widest}");
    }

    #[test]
    fn cuts_at_exact_borders() {
        let row = [1.0f32, 0.0, 1.0, 1.0, f32::NEG_INFINITY, 1.0];
        let ln2 = std::f32::consts::LN_2;
        let halves = [0.0f32, -ln2, -2.0 * ln2, -3.0 * ln2];
        let case = |all: GenerateOptions, logits: &[f32]| {
            kept(&mut sampler(&all.temperature(1.0), logits.len()), logits)
        };
        // Of equal logits the lower ids stay.
        assert_eq!(case(options().top_k(1), &row), [0]);
        assert_eq!(case(options().top_k(2), &row), [0, 2]);
        assert_eq!(case(options().top_k(5), &row), [0, 2, 3, 5, 1]);
        assert_eq!(case(options().min_p(1.0), &row), [0, 2, 3, 5]);
        // Half of four equal ones is exactly two.
        assert_eq!(case(options().top_p(0.5), &[3.0; 4]), [0, 1]);
        assert_eq!(case(options().top_p(0.51), &[3.0; 4]), [0, 1, 2]);
        assert_eq!(case(options().top_p(1e-30), &halves), [0]);
        // 1, 1/2, 1/4, 1/8: top-p counts what top-k left, and min-p does not change it.
        assert_eq!(case(options().top_p(0.55), &halves), [0, 1]);
        assert_eq!(case(options().top_p(0.55).top_k(2), &halves), [0]);
        assert_eq!(case(options().top_p(0.55).min_p(0.6), &halves), [0]);
        assert_eq!(case(options().top_p(0.9).min_p(0.2), &halves), [0, 1, 2]);
        assert_eq!(case(options().min_p(0.01).top_k(3), &halves), [0, 1, 2]);
    }

    #[test]
    fn draws_follow_the_distribution() {
        let mut draw = Draw(3);
        let logits: Vec<f32> = draw.logits(24, false).iter().map(|x| x / 3.0).collect();
        let cases = [
            options().temperature(1.0),
            options().temperature(0.7),
            options().temperature(3.0).top_k(9),
            options().temperature(1.0).top_p(0.8),
            options().temperature(1.3).min_p(0.1),
            options().temperature(1.0).top_k(15).top_p(0.93).min_p(0.02),
        ];
        for all in cases {
            let all = all.seed(11);
            let mut sampler = sampler(&all, logits.len());
            let temperature = all.temperature.unwrap();
            let left = naive(
                &logits,
                temperature,
                all.top_k.unwrap_or(0),
                all.top_p.unwrap_or(1.0),
                all.min_p.unwrap_or(0.0),
            );
            let mut right: Vec<(u32, f64)> = sorted(&logits, temperature);
            let left = left.unwrap();
            right.retain(|token| left.contains(&token.0));
            let mass: f64 = right.iter().map(|token| token.1).sum();
            let mut counts = vec![0u32; logits.len()];
            let draws = 100_000;
            for _ in 0..draws {
                counts[sampler.sample(&mut logits.clone(), &[], &[]).unwrap().id as usize] += 1;
            }
            let mut chi = 0.0;
            let mut total = 0;
            for (id, weight) in &right {
                let expected = weight / mass * f64::from(draws);
                chi += (f64::from(counts[*id as usize]) - expected).powi(2) / expected;
                total += counts[*id as usize];
            }
            assert_eq!(total, draws, "a token that was cut was drawn: {all:?}");
            // Mean and spread of the statistic, and five of the latter.
            let freedom = (right.len() - 1) as f64;
            assert!(right.len() > 3);
            assert!(chi < freedom + 5.0 * (2.0 * freedom).sqrt(), "{chi} of {freedom}: {all:?}");
        }
    }

    #[test]
    fn wide_rows_are_drawn_from_everywhere() {
        // Uniform over many blocks, the last one not full.
        let vocab = 10 * BLOCK + 77;
        let mut sampler = sampler(&options().temperature(1.0).seed(5), vocab);
        let mut row = vec![2.0f32; vocab];
        row[3 * BLOCK..4 * BLOCK].fill(f32::NEG_INFINITY);
        let (mut blocks, mut sum) = (vec![0u32; 11], 0.0);
        for _ in 0..20_000 {
            let id = sampler.sample(&mut row, &[], &[]).unwrap().id as usize;
            blocks[id / BLOCK] += 1;
            sum += (id % BLOCK) as f64 * if id < 10 * BLOCK { 1.0 } else { 0.0 };
        }
        assert_eq!(blocks[3], 0);
        let each = 20_000.0 * BLOCK as f64 / (9 * BLOCK + 77) as f64;
        for block in [0, 1, 2, 4, 5, 6, 7, 8, 9] {
            assert!((f64::from(blocks[block]) - each).abs() < 5.0 * each.sqrt(), "{blocks:?}");
        }
        assert!((100..240).contains(&blocks[10]), "{blocks:?}");
        let mean = sum / f64::from(20_000 - blocks[10]);
        assert!((mean - 511.5).abs() < 5.0 * 295.6 / 20_000f64.sqrt(), "{mean}");
    }

    #[test]
    fn penalties_are_the_formulas() {
        let mut draw = Draw(9);
        for round in 0..200 {
            let vocab = 30;
            let logits = draw.logits(vocab, round % 2 == 0);
            let (repetition, frequency, presence) = (
                [1.0, 1.3, 0.8][draw.below(3)],
                [0.0, 0.5, -0.5][draw.below(3)],
                [0.0, 0.7][draw.below(2)],
            );
            let window = [None, Some(0), Some(3), Some(12)][draw.below(4)];
            let mut ids = |longest: usize| -> Vec<u32> {
                (0..draw.below(longest)).map(|_| draw.below(vocab + 5) as u32).collect()
            };
            let (prompt, output) = (ids(12), ids(20));
            let mut all = options()
                .repetition_penalty(repetition)
                .frequency_penalty(frequency)
                .presence_penalty(presence);
            all.penalty_window = window;
            let mut right = logits.clone();
            let history = [prompt.as_slice(), &output].concat();
            let from = history.len().saturating_sub(window.unwrap_or(usize::MAX));
            for (id, x) in right.iter_mut().enumerate() {
                let id = id as u32;
                if history[from..].contains(&id) {
                    *x = if *x < 0.0 { *x * repetition } else { *x / repetition };
                }
                let generated = history.iter().enumerate().skip(from.max(prompt.len()));
                let times = generated.filter(|(_, seen)| **seen == id).count() as f32;
                *x -= times * frequency + if times > 0.0 { presence } else { 0.0 };
            }
            let mut sampler = sampler(&all, vocab);
            for _ in 0..2 {
                let mut found = logits.clone();
                let choice = sampler.sample(&mut found, &prompt, &output).unwrap();
                for (a, b) in found.iter().zip(&right) {
                    assert!((a - b).abs() < 1e-5, "{all:?} {prompt:?} {output:?}");
                }
                let best = (0..vocab).find(|&at| found.iter().all(|x| *x <= found[at])).unwrap();
                assert_eq!(choice.id as usize, best);
                // The log-probability is that of the logits as they came.
                let mass: f64 = logits.iter().map(|&x| f64::from(x).exp()).sum();
                let own = f64::from(logits[best]) - mass.ln();
                assert!((f64::from(choice.logprob) - own).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn greedy_takes_the_lowest_of_equals() {
        let mut row = vec![-1.0f32; 3000];
        let mut greedy = sampler(&options(), row.len());
        assert_eq!(greedy.sample(&mut row, &[], &[]).unwrap().id, 0);
        (row[2500], row[2047], row[2048]) = (0.0, -0.0, 0.0);
        assert_eq!(greedy.sample(&mut row, &[], &[]).unwrap().id, 2047);
        row[2999] = 0.5;
        assert_eq!(greedy.sample(&mut row, &[], &[]).unwrap().id, 2999);
        // A forbidden token stays so under any penalty.
        let all = options().repetition_penalty(1e-38).presence_penalty(-2.0);
        let mut row = [f32::NEG_INFINITY, 5.0, -4.0];
        let choice = sampler(&all, 3).sample(&mut row, &[0, 1], &[0, 2]).unwrap();
        assert_eq!((choice.id, row), (1, [f32::NEG_INFINITY, f32::MAX, 2.0]));
    }

    #[test]
    fn alternatives_and_their_log_probabilities() {
        let mut draw = Draw(21);
        let mut row = draw.logits(4000, true);
        row[17] = f32::NEG_INFINITY;
        let right = sorted(&row, 1.0);
        let mass: f64 = right.iter().map(|token| token.1).sum();
        let all = options().temperature(2.0).top_p(0.3).presence_penalty(1.0).logprobs(50).seed(1);
        let choice = sampler(&all, 4000).sample(&mut row, &[], &[right[0].0, 5]).unwrap();
        assert_eq!(choice.top.len(), 50);
        for (found, right) in choice.top.iter().zip(&right) {
            assert_eq!(found.0, right.0);
            assert!((f64::from(found.1) - (right.1 / mass).ln()).abs() < 1e-5);
        }
        let own = right.iter().find(|token| token.0 == choice.id).unwrap().1;
        assert!((f64::from(choice.logprob) - (own / mass).ln()).abs() < 1e-5);
        // Fewer than asked for where the rest is forbidden, and none unless asked for.
        let mut row = [f32::NEG_INFINITY, 1.0, f32::NEG_INFINITY];
        let choice = sampler(&options().logprobs(3), 3).sample(&mut row, &[], &[]).unwrap();
        assert_eq!(choice, Choice { id: 1, logprob: 0.0, top: vec![(1, 0.0)] });
        assert_eq!(sampler(&options(), 3).sample(&mut row, &[], &[]).unwrap().top, []);
    }

    #[test]
    fn what_is_not_finite_is_refused() {
        for wrong in [f32::NAN, -f32::NAN, f32::INFINITY] {
            for at in [0, 7, 1023, 1024, 2050] {
                for all in [options(), options().temperature(1.0).top_k(5)] {
                    let mut row = vec![1.0f32; 2051];
                    row[at] = wrong;
                    let result = sampler(&all, 2051).sample(&mut row, &[], &[]);
                    assert!(matches!(result, Err(Error::NotFinite { what: "logits" })), "{at}");
                }
            }
        }
        let mut row = [f32::NEG_INFINITY; 9];
        assert!(matches!(
            sampler(&options(), 9).sample(&mut row, &[], &[]),
            Err(Error::NotFinite { .. })
        ));
        for length in [0, 8, 10] {
            let mut row = vec![1.0; length];
            assert!(matches!(
                sampler(&options(), 9).sample(&mut row, &[], &[]),
                Err(Error::Argument { argument: "logits", .. })
            ));
        }
    }

    #[test]
    fn extreme_numbers_still_choose() {
        let tiny = f32::from_bits(1);
        let mut row = [f32::MAX, f32::MIN, 0.0, f32::NEG_INFINITY];
        for temperature in [tiny, 1e-20, 1.0, 1e20, f32::MAX] {
            for all in [options(), options().top_k(2), options().top_p(0.5), options().min_p(tiny)]
            {
                let all = all.temperature(temperature);
                let choice = sampler(&all, 4).sample(&mut row, &[], &[]).unwrap();
                assert!(choice.id != 3 && choice.logprob <= 0.0, "{all:?} {choice:?}");
                if temperature <= 1.0 {
                    assert_eq!((choice.id, choice.logprob), (0, 0.0));
                }
            }
        }
    }

    #[test]
    fn a_seed_fixes_the_stream() {
        let all = options().temperature(1.0);
        let run = |seed: u64, all: &GenerateOptions| -> Vec<u32> {
            let mut draw = Draw(1);
            let mut sampler = sampler(&all.clone().seed(seed), 500);
            let next = |_| sampler.sample(&mut draw.logits(500, false), &[], &[]).unwrap().id;
            (0..50).map(next).collect()
        };
        for all in [all.clone(), all.clone().top_k(40), all.clone().top_p(0.9).min_p(0.01)] {
            assert_eq!(run(1, &all), run(1, &all));
            assert_ne!(run(1, &all), run(2, &all));
        }
        // The stream itself, from the definition of ChaCha12 with an all-zero key and then with
        // the seed 1: another version of the generator must not change what a seed gives.
        let mut zero = sampler(&all.clone().seed(0), 1);
        assert_eq!(zero.uniform(), (0x53f9_5507_6a9a_f49bu64 >> 11) as f64 / (1u64 << 53) as f64);
        assert_eq!(run(1, &all)[..8], [413, 42, 51, 117, 434, 495, 478, 315]);
    }

    #[test]
    fn weights_are_exponentials() {
        let mut worst = 0.0f64;
        for step in 0..200_000 {
            let x = -87.0 * step as f32 / 200_000.0;
            let right = f64::from(x).exp();
            worst = worst.max((f64::from(weight(x, 0.0, 1.0)) - right).abs() / right);
        }
        assert!(worst < 3e-7, "{worst}");
        assert_eq!(weight(4.0, 4.0, 0.3), 1.0);
        assert_eq!(weight(f32::NEG_INFINITY, 4.0, 0.3), 0.0);
        assert_eq!(weight(-87.5, 0.0, 1.0), 0.0);
        let around = [f32::MIN, -1.5, -f32::MIN_POSITIVE, 0.0, f32::MIN_POSITIVE, 2.5, f32::MAX];
        for pair in around.windows(2) {
            assert!(rank(pair[0], 9) > rank(pair[1], 9));
            assert_eq!((logit(rank(pair[0], 9)), id(rank(pair[0], 9))), (pair[0], 9));
        }
        assert_eq!(rank(-0.0, 1), rank(0.0, 1));
        assert!(rank(1.0, 1) < rank(1.0, 2) && rank(f32::NEG_INFINITY, 0) > rank(f32::MIN, 9));
    }
}
