//! A property: whatever a [`Spec`] says, every way of computing it gives what tensors give.
//!
//! Specs are drawn at random from fixed seeds (`properties/specs.rs`). Each is built once, with
//! gradients, where burn's tensors compute all of it: that is the reference. The same numbers
//! without gradients take the ways that the crate has of its own: slices on the CPU, kernels on a
//! GPU, launches that are recorded and played. Asked are a text alone, texts padded and side by
//! side, a text read in two parts and then token by token through a cache, and a cache that goes
//! back. The reference is also compared with itself: padded or in parts, an answer is the same.
//!
//! `EMBERFORM_CASES=10` draws ten times as many.

#[path = "properties/specs.rs"]
mod specs;

use std::panic::{AssertUnwindSafe, catch_unwind};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Gradients, Int, Tensor, TensorData};
use emberform::nn::spec::Scaling;
use emberform::nn::{BertEncoder, Cache, FeedForward, GptDecoder, Proj, Seq2Seq, Spec};
use emberform::{Device as Choice, DeviceKind, GpuChoice};
use emberform_tests::{difference, golden, open};
use specs::{Dice, IDEAS, Kind, Seen, Taste, WINDOW, draw};

/// Largest difference between two ways, relative to the largest number of the answer.
const SAME: f32 = 1e-4;
/// Of a derivative by differences, relative: see [`slope`].
const SLOPE: f64 = 1e-2;

/// How many specs of each set are run.
const SETS: [(Kind, Taste, usize); 4] = [
    (Kind::Decoder, Taste::Any, 120),
    (Kind::Decoder, Taste::Usual, 40),
    (Kind::Encoder, Taste::Any, 80),
    (Kind::Seq2Seq, Taste::Any, 60),
];
/// How often each idea must be among them.
const LEAST: usize = 6;

/// The cases of a set: `count` of them, or as many times more as the environment says.
fn cases(count: usize) -> u64 {
    let times = std::env::var("EMBERFORM_CASES").ok().and_then(|times| times.parse().ok());
    count as u64 * times.unwrap_or(1)
}

fn dice(kind: Kind, taste: Taste, case: u64) -> Dice {
    Dice::new(10 * kind as u64 + taste as u64, case)
}

/// Runs cases, and says of all that fail what and with which spec; one that panics fails.
fn run((kind, taste, count): (Kind, Taste, usize), test: impl Fn(&Spec, &mut Dice) -> Vec<String>) {
    let mut failed = vec![];
    for case in 0..cases(count) {
        let mut dice = dice(kind, taste, case);
        let spec = draw(kind, taste, &mut dice);
        let found = catch_unwind(AssertUnwindSafe(|| test(&spec, &mut dice)));
        let wrong = found.unwrap_or_else(|error| {
            let text = error.downcast_ref::<String>().cloned();
            vec![format!("panics: {}", text.unwrap_or_default())]
        });
        if !wrong.is_empty() {
            let wrong = wrong.join("\n  ");
            failed.push(format!("{kind:?}, {taste:?}, case {case}:\n  {wrong}\n{spec:?}"));
        }
    }
    let count = cases(count);
    assert!(failed.is_empty(), "{} of {count} cases\n{}", failed.len(), failed.join("\n\n"));
}

/// Ends the name of an answer to what had padding beside it.
const PADDED: &str = ", padded";

/// What a model answered, by what it was asked.
#[derive(Default)]
struct Answers(Vec<(String, Vec<f32>)>);

impl Answers {
    fn put<const N: usize>(&mut self, name: impl Into<String>, answer: Tensor<N>) {
        self.0.push((name.into(), values(answer)));
    }

    fn get(&self, name: &str) -> Option<&[f32]> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, answer)| &answer[..])
    }

    /// Those of several questions, one after another.
    fn all(&self, names: &[&str]) -> Vec<f32> {
        names.iter().filter_map(|name| self.get(name)).flatten().copied().collect()
    }
}

/// What of `found` is not as `wanted` has it.
fn compare(way: &str, found: &Answers, wanted: &Answers) -> Vec<String> {
    let mut wrong = vec![];
    for (name, found) in &found.0 {
        // A cache may go back in one way where another's has let go of what it held.
        let Some(wanted) = wanted.get(name) else { continue };
        wrong.extend(unlike(&format!("{way}, {name}"), found, wanted));
    }
    wrong
}

fn unlike(what: &str, found: &[f32], wanted: &[f32]) -> Option<String> {
    let worst = apart(found, wanted);
    (worst.is_nan() || worst > SAME).then(|| format!("{what}: {worst:.1e}"))
}

/// The largest difference, relative to the largest number.
fn apart(found: &[f32], wanted: &[f32]) -> f32 {
    let most = wanted.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    difference(found, wanted) / most.max(f32::MIN_POSITIVE)
}

fn values<const N: usize>(tensor: Tensor<N>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("floats")
}

fn ids(rows: &[&[i32]], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), rows[0].len()]), device)
}

/// Two texts of different length, the shorter one with padding behind it, and which tokens are real.
fn padded([long, short]: [&[i32]; 2], device: &Device) -> (Tensor<2, Int>, Tensor<2, Bool>) {
    let filled: Vec<i32> = short.iter().copied().chain(vec![1; long.len() - short.len()]).collect();
    let real: Vec<bool> = (0..2 * long.len()).map(|i| i < long.len() + short.len()).collect();
    let kept = Tensor::from_data(TensorData::new(real, [2, long.len()]), device);
    (ids(&[long, &filled], device), kept)
}

/// The real tokens' rows of a batch of two: `[2, T, D]` -> those of either text.
fn real(x: Tensor<3>, short: usize) -> (Tensor<3>, Tensor<3>) {
    (x.clone().narrow(0, 0, 1), x.narrow(0, 1, 1).narrow(1, 0, short))
}

/// The texts of a case.
struct Asked {
    first: Vec<i32>,
    /// Shorter.
    second: Vec<i32>,
    /// As long as the first.
    third: Vec<i32>,
    /// What follows where a cache went back: three tokens and then two.
    other: Vec<i32>,
    /// The first in parts: two of some tokens, then five of one.
    parts: Vec<usize>,
    /// Tokens that the cache goes back to.
    back: usize,
    /// Sources of two lengths.
    sources: [Vec<i32>; 2],
    /// Segment types of the first text, of which those of the second are a part.
    types: Vec<i32>,
}

impl Asked {
    fn new(spec: &Spec, dice: &mut Dice) -> Asked {
        let (one, two) = (1 + dice.below(9), 2 + dice.below(9));
        let t = one + two + 5;
        let mut text = |vocab: usize, t: usize| -> Vec<i32> {
            (0..t).map(|_| dice.below(vocab) as i32).collect()
        };
        let [first, third] = [t, t].map(|t| text(spec.vocab, t));
        let other = text(spec.vocab, 5);
        let vocab = spec.encoder.as_ref().map_or(1, |encoder| encoder.vocab);
        let source = text(vocab, 12);
        let types = text(2, t);
        let short = 1 + dice.below(t - 1);
        let [a, b] = [2 + dice.below(9), 1 + dice.below(12)];
        let (long, few) = (a.max(b), a.min(b));
        let asked = Asked {
            second: third[..short].iter().map(|id| (id + 1) % spec.vocab as i32).collect(),
            first,
            third,
            other,
            parts: vec![one, two, 1, 1, 1, 1, 1],
            back: 1 + dice.below(t - 1),
            sources: [source[..long].to_vec(), source[12 - few..].to_vec()],
            types,
        };
        assert!(t + 5 <= WINDOW);
        asked
    }

    /// What is there after the cache went back.
    fn again(&self) -> Vec<i32> {
        [&self.first[..self.back], &self.other].concat()
    }
}

/// Whether the rotation of a token differs with the length of its sequence, so that a text in parts
/// is another than the whole.
fn by_length(spec: &Spec) -> bool {
    (0..spec.layers.len()).filter_map(|i| spec.rope(i)).any(|rope| match rope.scaling {
        Scaling::Dynamic { factor: _, original: _ }
        | Scaling::Long { short: _, long: _, original: _ } => true,
        Scaling::None
        | Scaling::Linear { factor: _ }
        | Scaling::Llama3 { .. }
        | Scaling::Factors(_)
        | Scaling::Yarn { .. } => false,
    })
}

/// Tokens through a cache in parts, rows beside each other; what comes out along the tokens.
fn in_parts(
    step: &mut dyn FnMut(Tensor<2, Int>) -> Tensor<3>,
    rows: &[&[i32]],
    parts: &[usize],
    device: &Device,
) -> Tensor<3> {
    let mut at = 0;
    let found = parts.iter().map(|part| {
        let rows: Vec<&[i32]> = rows.iter().map(|row| &row[at..at + part]).collect();
        at += part;
        step(ids(&rows, device))
    });
    Tensor::cat(found.collect(), 1)
}

fn decoder(model: &GptDecoder, asked: &Asked, device: &Device) -> Answers {
    let mut answers = Answers::default();
    let Asked { first, second, third, other, parts, back, .. } = asked;
    for (name, text) in [("first", first), ("second", second), ("third", third)] {
        answers.put(name, model.forward(ids(&[text], device), None));
    }
    answers.put("whole again", model.forward(ids(&[&asked.again()], device), None));
    let (both, kept) = padded([first, second], device);
    let (one, two) = real(model.forward(both, Some(kept)), second.len());
    answers.put(format!("first{PADDED}"), one);
    answers.put(format!("second{PADDED}"), two);
    answers.put("side by side", model.forward(ids(&[first, third], device), None));

    let spec = model.transformer.spec();
    let mut cache = Cache::new(spec);
    let mut step = |ids| model.step(ids, &mut cache);
    answers.put("in parts", in_parts(&mut step, &[first], parts, device));
    if cache.truncate(*back) {
        assert_eq!(cache.len(), *back);
        let mut step = |ids| model.step(ids, &mut cache);
        answers.put("again", in_parts(&mut step, &[other], &[3, 1, 1], device));
    } else {
        assert_eq!(cache.len(), first.len());
    }
    let mut cache = Cache::new(spec);
    let mut step = |ids| model.step(ids, &mut cache);
    answers.put("two in parts", in_parts(&mut step, &[first, third], parts, device));
    answers
}

/// What the tensors' answers of a decoder must have in common.
fn decoder_agrees(spec: &Spec, asked: &Asked, answers: &Answers) -> Vec<String> {
    let mut wrong = padding_is_nothing(answers);
    let mut same = |what, found: &[f32], wanted: &[f32]| wrong.extend(unlike(what, found, wanted));
    let all = |names: &[&str]| answers.all(names);
    same("tensors, side by side", &all(&["side by side"]), &all(&["first", "third"]));
    if !by_length(spec) {
        same("tensors, in parts", &all(&["in parts"]), &all(&["first"]));
        same("tensors, two in parts", &all(&["two in parts"]), &all(&["first", "third"]));
        if let Some(again) = answers.get("again") {
            let whole = all(&["whole again"]);
            same("tensors, again", again, &whole[asked.back * spec.vocab..]);
        }
    }
    wrong
}

/// What a cache that went back in another way than the tensors' must give.
fn went_back(
    way: &str,
    spec: &Spec,
    asked: &Asked,
    found: &Answers,
    wanted: &Answers,
) -> Vec<String> {
    match (found.get("again"), wanted.get("whole again")) {
        (Some(again), Some(whole)) if !by_length(spec) => {
            let whole = &whole[asked.back * spec.vocab..];
            unlike(&format!("{way}, again"), again, whole).into_iter().collect()
        }
        _ => vec![],
    }
}

fn encoder(model: &BertEncoder, asked: &Asked, device: &Device) -> Answers {
    let mut answers = Answers::default();
    let Asked { first, second, types, .. } = asked;
    let short = second.len();
    let typed = model.transformer.types.is_some();
    let typed = |rows: &[&[i32]]| typed.then(|| ids(rows, device));
    let one = model.forward(ids(&[first], device), typed(&[types]), None);
    let two = model.forward(ids(&[second], device), typed(&[&types[..short]]), None);
    let (both, kept) = padded([first, second], device);
    let beside = model.forward(both, typed(&[types, types]), Some(kept.clone()));
    let untyped = model.forward(ids(&[first, &asked.third], device), None, None);
    answers.put("without types", untyped);
    for task in model.transformer.spec().tasks() {
        let ask = |hidden: &Tensor<3>, kept: Option<Tensor<2, Bool>>| {
            model.logits(task.kind, hidden.clone(), kept).expect("a head")
        };
        let name = |text: &str, how: &str| format!("{text}, {}{how}", task.kind);
        let (one, two) = (ask(&one, None), ask(&two, None));
        let (x, y) = real(ask(&beside, Some(kept.clone())), two.dims()[1]);
        answers.put(name("first", ""), one);
        answers.put(name("second", ""), two);
        answers.put(name("first", PADDED), x);
        answers.put(name("second", PADDED), y);
    }
    if let Some(both) = model.pool(beside.clone()) {
        answers.put("first, pooled", model.pool(one.clone()).expect("a pooler"));
        answers.put("second, pooled", model.pool(two.clone()).expect("a pooler"));
        answers.put(format!("first, pooled{PADDED}"), both.clone().narrow(0, 0, 1));
        answers.put(format!("second, pooled{PADDED}"), both.narrow(0, 1, 1));
    }
    answers.put("first", one);
    answers.put("second", two);
    let (one, two) = real(beside, short);
    answers.put(format!("first{PADDED}"), one);
    answers.put(format!("second{PADDED}"), two);
    answers
}

/// What was padded must be as it is alone.
fn padding_is_nothing(answers: &Answers) -> Vec<String> {
    let mut wrong = vec![];
    for (name, found) in &answers.0 {
        if let Some(wanted) = name.strip_suffix(PADDED).and_then(|alone| answers.get(alone)) {
            wrong.extend(unlike(&format!("tensors, {name}"), found, wanted));
        }
    }
    wrong
}

fn seq2seq(model: &Seq2Seq, asked: &Asked, device: &Device) -> Answers {
    let mut answers = Answers::default();
    let Asked { first, third, other, parts, back, sources: [long, short], .. } = asked;
    let alone = |source: &[i32], target: &[i32]| {
        model.forward(ids(&[source], device), None, ids(&[target], device))
    };
    answers.put("long, first", alone(long, first));
    answers.put("long, third", alone(long, third));
    answers.put("short, third", alone(short, third));
    answers.put("whole again", alone(long, &asked.again()));
    let (both, kept) = padded([long, short], device);
    let (one, two) = real(model.encode(both.clone(), Some(kept.clone())), short.len());
    answers.put("long, states", one);
    answers.put("short, states", two);
    let targets = ids(&[first, third], device);
    answers.put("padded", model.forward(both.clone(), Some(kept.clone()), targets));

    // Each target has its source; then both continue one.
    let states = model.encode(both, Some(kept.clone()));
    let cross = model.cross_cache(states, Some(kept));
    let mut cache = Cache::new(model.spec());
    let mut step = |ids| model.step(ids, &cross, &mut cache);
    answers.put("padded, in parts", in_parts(&mut step, &[first, third], parts, device));
    let cross = model.cross_cache(model.encode(ids(&[long], device), None), None);
    let mut cache = Cache::new(model.spec());
    let mut step = |ids| model.step(ids, &cross, &mut cache);
    answers.put("one source, in parts", in_parts(&mut step, &[first, third], parts, device));
    let mut cache = Cache::new(model.spec());
    let mut step = |ids| model.step(ids, &cross, &mut cache);
    answers.put("in parts", in_parts(&mut step, &[first], parts, device));
    if cache.truncate(*back) {
        let mut step = |ids| model.step(ids, &cross, &mut cache);
        answers.put("again", in_parts(&mut step, &[other], &[3, 1, 1], device));
    }
    answers
}

fn seq2seq_agrees(spec: &Spec, asked: &Asked, answers: &Answers) -> Vec<String> {
    let mut wrong = vec![];
    let mut same = |what, found: &[f32], wanted: &[f32]| wrong.extend(unlike(what, found, wanted));
    let all = |names: &[&str]| answers.all(names);
    same("tensors, padded", &all(&["padded"]), &all(&["long, first", "short, third"]));
    if !by_length(spec) {
        let wanted = all(&["long, first", "short, third"]);
        same("tensors, padded in parts", &all(&["padded, in parts"]), &wanted);
        let wanted = all(&["long, first", "long, third"]);
        same("tensors, one source", &all(&["one source, in parts"]), &wanted);
        same("tensors, in parts", &all(&["in parts"]), &all(&["long, first"]));
        if let Some(again) = answers.get("again") {
            let whole = all(&["whole again"]);
            same("tensors, again", again, &whole[asked.back * spec.vocab..]);
        }
    }
    wrong
}

/// Numbers of a size that makes every part matter: biases that are not 0, scales that are not 1, and
/// scores far enough apart that it shows what a token sees.
struct Fill<'a>(&'a mut Dice);

impl ModuleMapper for Fill<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let tensor = param.val();
        let (shape, device) = (tensor.dims(), tensor.device());
        let spread = if D == 1 { 0.3 } else { (shape[D - 1] as f64).powf(-0.5) };
        let start = if D == 1 { values(tensor) } else { vec![0.0; shape.iter().product()] };
        let numbers: Vec<f32> =
            start.into_iter().map(|start| start + (spread * self.0.normal()) as f32).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(numbers, shape), &device))
    }
}

/// Where tensors compute everything.
fn tensors() -> Device {
    Device::flex().autodiff()
}

fn new_decoder(spec: &Spec, dice: &mut Dice) -> GptDecoder {
    GptDecoder::new(spec, &tensors()).expect("a decoder").map(&mut Fill(dice))
}

fn new_encoder(spec: &Spec, dice: &mut Dice) -> BertEncoder {
    BertEncoder::new(spec, &tensors()).expect("an encoder").map(&mut Fill(dice))
}

fn new_seq2seq(spec: &Spec, dice: &mut Dice) -> Seq2Seq {
    Seq2Seq::new(spec, &tensors()).expect("two stacks").map(&mut Fill(dice))
}

/// A decoder on the CPU, and on other devices.
fn decoder_ways(spec: &Spec, dice: &mut Dice, others: &[(&str, Device)]) -> Vec<String> {
    let model = new_decoder(spec, dice);
    let asked = Asked::new(spec, dice);
    let wanted = decoder(&model, &asked, &tensors());
    let mut wrong = decoder_agrees(spec, &asked, &wanted);
    let plain = model.valid();
    for (way, device) in others {
        let found = decoder(&plain.clone().to_device(device), &asked, device);
        wrong.extend(compare(way, &found, &wanted));
        wrong.extend(went_back(way, spec, &asked, &found, &wanted));
    }
    wrong
}

fn encoder_ways(spec: &Spec, dice: &mut Dice, others: &[(&str, Device)]) -> Vec<String> {
    let model = new_encoder(spec, dice);
    let asked = Asked::new(spec, dice);
    let wanted = encoder(&model, &asked, &tensors());
    let mut wrong = padding_is_nothing(&wanted);
    let plain = model.valid();
    for (way, device) in others {
        let found = encoder(&plain.clone().to_device(device), &asked, device);
        wrong.extend(compare(way, &found, &wanted));
    }
    wrong
}

fn seq2seq_ways(spec: &Spec, dice: &mut Dice, others: &[(&str, Device)]) -> Vec<String> {
    let model = new_seq2seq(spec, dice);
    let asked = Asked::new(spec, dice);
    let wanted = seq2seq(&model, &asked, &tensors());
    let mut wrong = seq2seq_agrees(spec, &asked, &wanted);
    let plain = model.valid();
    for (way, device) in others {
        let found = seq2seq(&plain.clone().to_device(device), &asked, device);
        wrong.extend(compare(way, &found, &wanted));
        wrong.extend(went_back(way, spec, &asked, &found, &wanted));
    }
    wrong
}

fn cpu() -> [(&'static str, Device); 1] {
    [("CPU", Device::flex())]
}

#[test]
fn every_idea_is_drawn() {
    let mut seen = Seen::default();
    for (kind, taste, count) in SETS {
        for case in 0..count as u64 {
            seen.count(&draw(kind, taste, &mut dice(kind, taste, case)));
        }
    }
    let mut rare = vec![];
    for (idea, variants) in IDEAS {
        for variant in *variants {
            let name = format!("{idea}: {variant}");
            let count = seen.0.get(&name).copied().unwrap_or(0);
            println!("{count:5} {name}");
            if count < LEAST {
                rare.push(format!("{name} ({count})"));
            }
        }
    }
    assert!(rare.is_empty(), "drawn fewer than {LEAST} times: {}", rare.join(", "));
}

#[test]
fn decoders_of_all_kinds_are_the_same_on_the_cpu() {
    run(SETS[0], |spec, dice| decoder_ways(spec, dice, &cpu()));
}

#[test]
fn usual_decoders_are_the_same_on_the_cpu() {
    run(SETS[1], |spec, dice| decoder_ways(spec, dice, &cpu()));
}

#[test]
fn encoders_are_the_same_on_the_cpu() {
    run(SETS[2], |spec, dice| encoder_ways(spec, dice, &cpu()));
}

#[test]
fn encoder_decoders_are_the_same_on_the_cpu() {
    run(SETS[3], |spec, dice| seq2seq_ways(spec, dice, &cpu()));
}

/// The software GPU, or where there is none the first other.
///
/// # Panics
/// Where there is neither: a test that quietly leaves the GPU out proves nothing.
fn gpu() -> [(&'static str, Device); 1] {
    let all = Choice::list();
    let software = all.iter().find(|info| info.kind == DeviceKind::Software);
    let info = software.or_else(|| all.iter().find(|info| info.index.is_some()));
    let info = info.expect("no GPU; install Debian's mesa-vulkan-drivers for one in software");
    let choice = Choice::Gpu(GpuChoice::Index(info.index.expect("a GPU has a number")));
    // A model's modules are where it was opened.
    let model = open(&golden("bert-plain"), &choice);
    let devices = model.encoder().expect("an encoder").devices();
    [("GPU", devices.first().expect("a device").clone())]
}

#[test]
fn usual_decoders_are_the_same_on_a_gpu() {
    let gpu = gpu();
    run((Kind::Decoder, Taste::Few, 8), |spec, dice| decoder_ways(spec, dice, &gpu));
}

#[test]
fn all_kinds_are_the_same_on_a_gpu() {
    let gpu = gpu();
    run((Kind::Decoder, Taste::Any, 8), |spec, dice| decoder_ways(spec, dice, &gpu));
    run((Kind::Encoder, Taste::Any, 5), |spec, dice| encoder_ways(spec, dice, &gpu));
    run((Kind::Seq2Seq, Taste::Any, 4), |spec, dice| seq2seq_ways(spec, dice, &gpu));
}

/// Gradients of all parameters, in the module's order; empty where there is none.
struct Found<'a> {
    gradients: &'a Gradients,
    all: Vec<Vec<f32>>,
}

impl ModuleVisitor for Found<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.all.push(param.val().grad(self.gradients).map(values).unwrap_or_default());
    }
}

fn gradients<M: Module>(model: &M, loss: &Tensor<1>) -> Vec<Vec<f32>> {
    let mut found = Found { gradients: &loss.backward(), all: vec![] };
    model.visit(&mut found);
    found.all
}

/// Which parameters' gradients differ, relative to the largest number of each.
///
/// Where a gradient is nothing but what is left of a sum (that of keys' biases, which a softmax does
/// not see), its rounding is that of the others: so a thousandth of the largest of all is as large.
fn unlike_gradients(what: &str, found: &[Vec<f32>], wanted: &[Vec<f32>]) -> Vec<String> {
    let most = |all: &[f32]| all.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let largest = wanted.iter().map(|own| most(own)).fold(0.0, f32::max);
    assert!(largest > 0.0 && found.len() == wanted.len(), "gradients");
    let differ = |(i, (found, wanted)): (usize, (&Vec<f32>, &Vec<f32>))| {
        let size = found.len().max(wanted.len());
        let [found, wanted] = [found, wanted].map(|own| match own.is_empty() {
            true => vec![0.0; size],
            false => own.clone(),
        });
        let worst = difference(&found, &wanted) / most(&wanted).max(1e-3 * largest);
        (worst.is_nan() || worst > SAME)
            .then(|| format!("{what}, gradient of parameter {i}: {worst:.1e}"))
    };
    found.iter().zip(wanted).enumerate().filter_map(differ).collect()
}

/// A weight for each number of an answer.
struct Weighed(Vec<f32>);

impl Weighed {
    fn new(size: usize, dice: &mut Dice) -> Weighed {
        let spread = (size as f64).powf(-0.5);
        Weighed((0..size).map(|_| (spread * dice.normal()) as f32).collect())
    }

    /// The sum of an answer's numbers by their weights, as a tensor.
    fn loss(&self, answer: Tensor<3>) -> Tensor<1> {
        let weights = TensorData::new(self.0.clone(), answer.dims());
        (answer.clone() * Tensor::from_data(weights, &answer.device())).sum()
    }

    /// The same in 64 bits.
    fn sum(&self, answer: &[f32]) -> f64 {
        assert_eq!(answer.len(), self.0.len());
        answer.iter().zip(&self.0).map(|(a, w)| f64::from(*a) * f64::from(*w)).sum()
    }
}

#[test]
fn gradients_are_the_same_however_a_text_is_read() {
    for (kind, taste, count) in [SETS[0], SETS[1]] {
        run((kind, taste, count / 4), |spec, dice| {
            let device = tensors();
            let model = new_decoder(spec, dice);
            let asked = Asked::new(spec, dice);
            let Asked { first, second, parts, .. } = &asked;
            let [one, two] =
                [first, second].map(|text| Weighed::new(text.len() * spec.vocab, dice));
            let alone = |text: &Vec<i32>| model.forward(ids(&[text], &device), None);
            let second_alone = || two.loss(alone(second));
            let wanted = gradients(&model, &(one.loss(alone(first)) + second_alone()));

            let (both, kept) = padded([first, second], &device);
            let (x, y) = real(model.forward(both, Some(kept)), second.len());
            let found = gradients(&model, &(one.loss(x) + two.loss(y)));
            let mut wrong = unlike_gradients("padded", &found, &wanted);
            if !by_length(spec) {
                let mut cache = Cache::new(spec);
                let mut step = |ids| model.step(ids, &mut cache);
                let found = in_parts(&mut step, &[first], parts, &device);
                let found = gradients(&model, &(one.loss(found) + second_alone()));
                wrong.extend(unlike_gradients("in parts", &found, &wanted));
            }
            wrong
        });
    }
}

#[test]
fn gradients_of_padded_texts_are_those_of_each_alone() {
    let device = tensors();
    let (kind, taste, count) = SETS[2];
    run((kind, taste, count / 4), |spec, dice| {
        let model = new_encoder(spec, dice);
        let asked = Asked::new(spec, dice);
        let [one, two] = [&asked.first, &asked.second];
        let (both, kept) = padded([one, two], &device);
        let (x, y) = real(model.forward(both, None, Some(kept)), two.len());
        let weighed = [one, two].map(|text| Weighed::new(text.len() * spec.width, dice));
        let found = gradients(&model, &(weighed[0].loss(x) + weighed[1].loss(y)));
        let [x, y] = [one, two].map(|text| model.forward(ids(&[text], &device), None, None));
        let wanted = gradients(&model, &(weighed[0].loss(x) + weighed[1].loss(y)));
        unlike_gradients("padded", &found, &wanted)
    });
    let (kind, taste, count) = SETS[3];
    run((kind, taste, count / 4), |spec, dice| {
        let model = new_seq2seq(spec, dice);
        let asked = Asked::new(spec, dice);
        let (targets, [long, short]) = ([&asked.first, &asked.third], &asked.sources);
        let (both, kept) = padded([long, short], &device);
        let all = ids(&targets.map(Vec::as_slice), &device);
        let (x, y) = real(model.forward(both, Some(kept), all), targets[1].len());
        let weighed = targets.map(|text| Weighed::new(text.len() * spec.vocab, dice));
        let found = gradients(&model, &(weighed[0].loss(x) + weighed[1].loss(y)));
        let alone = |source: &[i32], target: &[i32]| {
            model.forward(ids(&[source], &device), None, ids(&[target], &device))
        };
        let (x, y) = (alone(long, targets[0]), alone(short, targets[1]));
        let wanted = gradients(&model, &(weighed[0].loss(x) + weighed[1].loss(y)));
        unlike_gradients("padded", &found, &wanted)
    });
}

/// Moves one parameter.
struct Nudge<'a> {
    /// Parameters before it.
    left: usize,
    by: &'a [f32],
}

impl ModuleMapper for Nudge<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if self.left > 0 {
            self.left -= 1;
            return param;
        }
        self.left = usize::MAX;
        param.map(|old| {
            let by = TensorData::new(self.by.to_vec(), old.dims());
            let by = Tensor::from_data(by, &old.device());
            old + by
        })
    }
}

/// Whether a loss climbs along a parameter's gradient as steeply as the gradient is long.
///
/// Along `g / |g|` the derivative is `|g|`, the largest there is, so rounding weighs least. With the
/// step chosen so that the loss moves by some 1e-2 of the answers' size, rounding (some 1e-6 of it)
/// is below 1e-3 of the difference, and what a central difference leaves out is of the square of the
/// step. Where a rectifier's corner, or an expert that comes or goes, lies within the step, a
/// shorter one is needed, with more rounding; where the loss bends much, two steps together say what one
/// leaves out. One that fits is enough, since a wrong gradient is wrong by more than 1e-2 at every
/// step.
fn slope(gradient: &[f32], size: f64, loss: impl Fn(&[f32]) -> f64) -> Option<f64> {
    let length = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    // What hardly moves the loss cannot be told from rounding.
    if length < 1e-3 * size {
        return None;
    }
    let slope = |part: &f64| {
        let step = part * size / length;
        let [up, down] = [step, -step].map(|step| {
            let by = gradient.iter().map(|g| (f64::from(*g) * step / length) as f32);
            loss(&by.collect::<Vec<f32>>())
        });
        (up - down) / (2.0 * step) / length
    };
    let parts = [1e-2, 3e-3, 1e-3, 3e-4];
    let slopes = parts.each_ref().map(slope);
    // Of two steps, what leaves out the square of the step (Richardson).
    let pairs = parts.windows(2).zip(slopes.windows(2)).map(|(parts, slopes)| {
        let ratio = (parts[0] / parts[1]).powi(2);
        (ratio * slopes[1] - slopes[0]) / (ratio - 1.0)
    });
    let errors = slopes.iter().copied().chain(pairs).map(|slope| (slope - 1.0).abs());
    Some(errors.fold(f64::INFINITY, f64::min))
}

#[test]
fn gradients_are_slopes_of_what_the_cpu_computes() {
    for (kind, taste, count) in [SETS[0], SETS[1]] {
        run((kind, taste, count / 5), |spec, dice| {
            let model = new_decoder(spec, dice);
            let Asked { first, .. } = Asked::new(spec, dice);
            let weighed = Weighed::new(first.len() * spec.vocab, dice);
            let loss = weighed.loss(model.forward(ids(&[&first], &tensors()), None));
            let all = gradients(&model, &loss);
            let (plain, cpu) = (model.valid(), Device::flex());
            let answer = values(plain.forward(ids(&[&first], &cpu), None));
            let squares: f64 = answer.iter().map(|x| f64::from(*x).powi(2)).sum();
            let size = (squares / answer.len() as f64).sqrt();
            let mut wrong = vec![];
            let mut held = 0;
            for _ in 0..6 {
                let i = dice.below(all.len());
                let found = slope(&all[i], size, |by| {
                    let moved = plain.clone().map(&mut Nudge { left: i, by });
                    weighed.sum(&values(moved.forward(ids(&[&first], &cpu), None)))
                });
                let Some(error) = found else { continue };
                held += 1;
                if error.is_nan() || error > SLOPE {
                    wrong.push(format!("slope along parameter {i} of {}: {error:.1e}", all.len()));
                }
            }
            if held == 0 {
                wrong.push("no parameter moves the loss".to_string());
            }
            wrong
        });
    }
}

/// A module with gradients whose caller puts ids where there are none.
#[test]
fn a_trained_decoder_takes_ids_of_a_plain_device() {
    for (kind, taste, count) in [SETS[0], SETS[1]] {
        run((kind, taste, count / 5), |spec, dice| {
            let model = new_decoder(spec, dice);
            let asked = Asked::new(spec, dice);
            let wanted = decoder(&model, &asked, &tensors());
            let mut wrong = compare("trained", &decoder(&model, &asked, &Device::flex()), &wanted);
            let frozen = model.clone().no_grad();
            let found = decoder(&frozen, &asked, &Device::flex());
            wrong.extend(compare("frozen", &found, &wanted));

            let weighed = Weighed::new(asked.first.len() * spec.vocab, dice);
            let on = |device: &Device| {
                let answer = model.forward(ids(&[&asked.first], device), None);
                gradients(&model, &weighed.loss(answer))
            };
            wrong.extend(unlike_gradients("trained", &on(&Device::flex()), &on(&tensors())));
            wrong
        });
    }
}

#[test]
fn a_trained_encoder_takes_ids_of_a_plain_device() {
    let (kind, taste, count) = SETS[2];
    run((kind, taste, count / 4), |spec, dice| {
        let model = new_encoder(spec, dice);
        let asked = Asked::new(spec, dice);
        let wanted = encoder(&model, &asked, &tensors());
        compare("trained", &encoder(&model, &asked, &Device::flex()), &wanted)
    });
}

#[test]
fn a_trained_encoder_decoder_takes_ids_of_a_plain_device() {
    let (kind, taste, count) = SETS[3];
    run((kind, taste, count / 4), |spec, dice| {
        let model = new_seq2seq(spec, dice);
        let asked = Asked::new(spec, dice);
        let wanted = seq2seq(&model, &asked, &tensors());
        compare("trained", &seq2seq(&model, &asked, &Device::flex()), &wanted)
    });
}

#[test]
fn a_trained_decoder_on_a_gpu_takes_ids_of_a_plain_device() {
    let [(way, device)] = gpu();
    run((Kind::Decoder, Taste::Few, 3), |spec, dice| {
        let model = new_decoder(spec, dice);
        let asked = Asked::new(spec, dice);
        let wanted = decoder(&model, &asked, &tensors());
        let trained = model.to_device(&device.clone().autodiff());
        compare(way, &decoder(&trained, &asked, &device), &wanted)
    });
}

/// The other way round: what has no gradients, with ids beside those that have.
#[test]
fn a_plain_decoder_takes_ids_of_a_device_with_gradients() {
    for (kind, taste, count) in [SETS[0], SETS[1]] {
        run((kind, taste, count / 8), |spec, dice| {
            let model = new_decoder(spec, dice);
            let asked = Asked::new(spec, dice);
            let wanted = decoder(&model, &asked, &tensors());
            compare("plain", &decoder(&model.valid(), &asked, &tensors()), &wanted)
        });
    }
}

/// One projection is trained and the others are not, as where something small is fitted to a large
/// model: the states before it have no gradient, those after it have.
#[test]
fn a_decoder_of_which_one_projection_is_trained() {
    for (kind, taste, count) in [SETS[0], SETS[1]] {
        run((kind, taste, count / 2), |spec, dice| {
            let model = new_decoder(spec, dice);
            let asked = Asked::new(spec, dice);
            let wanted = decoder(&model, &asked, &tensors());
            let mut mixed = model.valid();
            let block = dice.below(mixed.transformer.blocks.len());
            let part = dice.below(6);
            let own = projection(&model, block, part).clone();
            *projection_mut(&mut mixed, block, part) = own;
            let way = format!("trained projection {part} of block {block}");
            compare(&way, &decoder(&mixed, &asked, &Device::flex()), &wanted)
        });
    }
}

/// A projection of a block: of queries, keys or values, out of the attention, up or down.
fn projection(model: &GptDecoder, block: usize, part: usize) -> &Proj {
    let block = &model.transformer.blocks[block];
    let attn = [&block.attn.q, &block.attn.k, &block.attn.v, &block.attn.out];
    match (part, &block.mlp) {
        (4, FeedForward::Dense(mlp)) => &mlp.up,
        (5, FeedForward::Dense(mlp)) => &mlp.down,
        (4, FeedForward::Experts(experts)) => &experts.router,
        (5, FeedForward::Experts(experts)) => &experts.experts[0].down,
        (part, _) => attn[part],
    }
}

fn projection_mut(model: &mut GptDecoder, block: usize, part: usize) -> &mut Proj {
    let block = &mut model.transformer.blocks[block];
    match (part, &mut block.mlp) {
        (0, _) => &mut block.attn.q,
        (1, _) => &mut block.attn.k,
        (2, _) => &mut block.attn.v,
        (3, _) => &mut block.attn.out,
        (4, FeedForward::Dense(mlp)) => &mut mlp.up,
        (_, FeedForward::Dense(mlp)) => &mut mlp.down,
        (4, FeedForward::Experts(experts)) => &mut experts.router,
        (_, FeedForward::Experts(experts)) => &mut experts.experts[0].down,
    }
}
