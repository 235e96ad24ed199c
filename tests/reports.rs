//! What went wrong elsewhere, tried here: public reports of answers that were silently wrong because
//! a fast way of computing did not know of a mask, a cache, a padding side or an idea of attention.
//!
//! Each test names its report and brings a small model into the same situation. What it answers is
//! compared with the same computed otherwise: in doubles by plain loops ([`loops`]), alone instead
//! of in a batch, without a cache, by tensors instead of slices. Where a report is of something left
//! out, the loops also leave it out, to show that this would be seen.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Device, Gradients, Int, Tensor, TensorData};
use emberform::nn::spec::{
    HeadShape, Layer, LayerRope, Mlp, Norm, OutputGate, Pairing, Position, QkNorm, Rope, Scaling,
    Span,
};
use emberform::nn::{BertEncoder, Cache, FeedForward, GptDecoder, Proj, Seq2Seq, Spec, Weight};
use emberform::{BeamOptions, Device as Choice, EmbedOptions, GenerateOptions};
use emberform_tests::{difference, golden, open, open_exact};

/// Largest difference of two answers that must be the same.
const SAME: f32 = 1e-5;
/// Least difference of an answer from one that leaves something out.
const OTHER: f32 = 1e-2;
/// Tokens in the vocabulary.
const VOCAB: usize = 50;

fn values<const N: usize>(tensor: Tensor<N>) -> Vec<f32> {
    tensor.into_data().try_into_vec().expect("floats")
}

fn ids(rows: &[&[i32]], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), rows[0].len()]), device)
}

fn marks(rows: &[&[bool]], device: &Device) -> Tensor<2, Bool> {
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), rows[0].len()]), device)
}

/// Tokens that differ from each other, and with `seed`.
fn text(len: usize, seed: i32) -> Vec<i32> {
    (0..len as i32).map(|i| (i * 17 + i * i * 5 + seed * 11 + 3) % VOCAB as i32).collect()
}

/// Numbers large enough that every part matters: scores far apart, scales that are not 1.
struct Fill(u64);

impl Fill {
    /// Of mean 0 and deviation 1, the sum of twelve even ones.
    fn number(&mut self) -> f64 {
        let even = |state: &mut u64| {
            *state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (*state >> 33) as f64 / (1u64 << 31) as f64
        };
        (0..12).map(|_| even(&mut self.0)).sum::<f64>() - 6.0
    }
}

impl ModuleMapper for Fill {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let tensor = param.val();
        let (shape, device) = (tensor.dims(), tensor.device());
        let (start, spread) = match D {
            1 => (values(tensor), 0.3),
            _ => (vec![0.0; shape.iter().product()], (shape[D - 1] as f64).powf(-0.5)),
        };
        let mut near = |start: f32| start + (spread * self.number()) as f32;
        let numbers: Vec<f32> = start.into_iter().map(&mut near).collect();
        Param::from_tensor(Tensor::from_data(TensorData::new(numbers, shape), &device))
    }
}

/// Where gradients can be asked for, so that burn's tensors compute all of a model.
fn tensors() -> Device {
    Device::flex().autodiff()
}

/// A decoder where tensors compute it, and the same where the CPU's own code does.
fn decoders(spec: &Spec) -> [(&'static str, Device, GptDecoder); 2] {
    let model = GptDecoder::new(spec, &tensors()).expect("a decoder").map(&mut Fill(1));
    [("slices", Device::flex(), model.valid()), ("tensors", tensors(), model)]
}

fn small() -> Spec {
    Spec::decoder(VOCAB, 24, 2, 4, 30)
}

/// Logits of every token of a text alone.
fn alone(model: &GptDecoder, text: &[i32], device: &Device) -> Vec<f32> {
    values(model.forward(ids(&[text], device), None))
}

/// Logits of every token of a text that is read in parts through a cache.
fn in_parts(
    model: &GptDecoder,
    text: &[i32],
    parts: &[usize],
    cache: &mut Cache,
    device: &Device,
) -> Vec<f32> {
    let mut at = 0;
    let mut found = vec![];
    for part in parts {
        found.extend(values(model.step(ids(&[&text[at..at + part]], device), cache)));
        at += part;
    }
    assert_eq!(at, text.len());
    found
}

fn same(what: &str, found: &[f32], wanted: &[f32]) {
    let worst = difference(found, wanted);
    assert!(worst <= SAME, "{what}: {worst:.1e}");
}

fn other(what: &str, found: &[f32], without: &[f32]) {
    let worst = difference(found, without);
    assert!(worst.is_finite() && worst >= OTHER, "{what} changes nothing: {worst:.1e}");
}

/// `x` times a matrix, and what is added.
fn times(proj: &Proj, x: &[f64]) -> Vec<f64> {
    let mut y = product(&proj.weight, x);
    if let Some(bias) = &proj.bias {
        y.iter_mut().zip(values(bias.val())).for_each(|(y, b)| *y += f64::from(b));
    }
    y
}

fn product(weight: &Weight, x: &[f64]) -> Vec<f64> {
    let Weight::Full(weight) = weight else { panic!("floats") };
    let dot = |row: &[f32]| row.iter().zip(x).map(|(w, x)| f64::from(*w) * x).sum();
    values(weight.val()).chunks_exact(x.len()).map(dot).collect()
}

/// A norm of `x`; its scale where there is one.
fn normed(kind: Norm, norm: Option<&emberform::nn::Norm>, x: &[f64]) -> Vec<f64> {
    let n = x.len() as f64;
    let mean = if kind.is_centered() { x.iter().sum::<f64>() / n } else { 0.0 };
    let square = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
    let root = (square + kind.eps()).sqrt();
    let scale = norm.and_then(|norm| norm.gamma.as_ref()).map(|gamma| values(gamma.val()));
    assert_eq!(scale.is_some(), kind.is_scaled());
    let scale = |i: usize| scale.as_ref().map_or(1.0, |scale| f64::from(scale[i]));
    x.iter().enumerate().map(|(i, x)| (x - mean) / root * scale(i)).collect()
}

/// Turns the halves of a head by its place.
fn rotated(rope: &Rope, place: usize, head: &mut [f64]) {
    assert!(rope.pairing == Pairing::Halves && rope.scaling == Scaling::None);
    let half = rope.dims / 2;
    for i in 0..half {
        let angle = place as f64 * rope.theta.powf(-2.0 * i as f64 / rope.dims as f64);
        let (sin, cos) = angle.sin_cos();
        let (x, y) = (head[i], head[i + half]);
        (head[i], head[i + half]) = (x * cos - y * sin, y * cos + x * sin);
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// A decoder's logits `[T, V]` in doubles, a number after the other, with neither cache nor batch:
/// pre-norm blocks of all that the reports are about. `spec` may leave out what the model has.
fn loops(spec: &Spec, model: &GptDecoder, tokens: &[i32]) -> Vec<f32> {
    let body = &model.transformer;
    let Some(Weight::Full(table)) = &body.tokens else { panic!("a table") };
    let table = values(table.val());
    let token = |id: &i32| table[*id as usize * spec.width..][..spec.width].iter();
    let mut states: Vec<Vec<f64>> =
        tokens.iter().map(|id| token(id).map(|x| f64::from(*x)).collect()).collect();
    for (i, (block, layer)) in body.blocks.iter().zip(&spec.layers).enumerate() {
        let own = spec.attention_of(i);
        let (heads, c) = (own.heads, own.head_dim);
        let group = heads / own.kv_heads;
        let input: Vec<Vec<f64>> =
            states.iter().map(|x| normed(spec.norm, block.attn_norm.as_ref(), x)).collect();
        let turn = |x: &[f64], place: usize, norm: Option<&emberform::nn::Norm>| {
            let heads = x.chunks_exact(c).flat_map(|head| {
                let mut head = match own.qk_norm {
                    Some(QkNorm::Shared(kind)) => normed(kind, norm, head),
                    None => head.to_vec(),
                    other => panic!("{other:?}"),
                };
                spec.rope(i).into_iter().for_each(|rope| rotated(rope, place, &mut head));
                head
            });
            heads.collect::<Vec<f64>>()
        };
        let attn = &block.attn;
        let each = |proj: &Proj| input.iter().map(|x| times(proj, x)).collect::<Vec<_>>();
        let (q, k, v) = (each(&attn.q), each(&attn.k), each(&attn.v));
        let at = |rows: &[Vec<f64>], norm: &Option<emberform::nn::Norm>| {
            let row = |(place, row): (usize, &Vec<f64>)| turn(row, place, norm.as_ref());
            rows.iter().enumerate().map(row).collect::<Vec<_>>()
        };
        let (q, k) = (at(&q, &attn.q_norm), at(&k, &attn.k_norm));
        for (t, state) in states.iter_mut().enumerate() {
            let mut given = vec![];
            for head in 0..heads {
                let key = head / group * c;
                let seen: Vec<usize> =
                    (0..tokens.len()).filter(|s| layer.span.sees(t, *s)).collect();
                let score = |s: &usize| {
                    let (q, k) = (&q[t][head * c..][..c], &k[*s][key..][..c]);
                    let score = q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() * own.scale;
                    own.softcap.map_or(score, |cap| cap * (score / cap).tanh())
                };
                let odds: Vec<f64> = seen.iter().map(|s| score(s).exp()).collect();
                let all: f64 = odds.iter().sum();
                given.extend((0..c).map(|j| {
                    let part = |(s, odds): (&usize, &f64)| v[*s][key + j] * odds / all;
                    seen.iter().zip(&odds).map(part).sum::<f64>()
                }));
            }
            if let Some(kind) = own.gate {
                let gate = times(attn.gate.as_ref().expect("a gate"), &input[t]);
                for (j, x) in given.iter_mut().enumerate() {
                    *x *= sigmoid(match kind {
                        OutputGate::Full => gate[j],
                        OutputGate::Heads => gate[j / c],
                    });
                }
            }
            let add = |state: &mut Vec<f64>, y: Vec<f64>| {
                state.iter_mut().zip(y).for_each(|(x, y)| *x += y);
            };
            add(state, times(&attn.out, &given));
            let x = normed(spec.norm, block.mlp_norm.as_ref(), state);
            let (FeedForward::Dense(mlp), Mlp::Gated { .. }) = (&block.mlp, &spec.mlp) else {
                panic!("a gated MLP")
            };
            let gate = times(mlp.gate.as_ref().expect("a gate"), &x);
            let up = times(&mlp.up, &x);
            let inner: Vec<f64> = gate.iter().zip(up).map(|(g, up)| g * sigmoid(*g) * up).collect();
            add(state, times(&mlp.down, &inner));
        }
    }
    let logits = |x: Vec<f64>| {
        let x = normed(spec.norm, body.norm.as_ref(), &x);
        product(body.tokens.as_ref().expect("a table"), &x)
    };
    states.into_iter().flat_map(logits).map(|x| x as f32).collect()
}

/// huggingface/candle#1798: a BERT without an attention mask gave a text another embedding as soon
/// as a longer one stood in the batch. Here a text's states must not depend on what stands beside
/// it, on how much padding follows it, or on what is written there.
#[test]
fn candle_1798_a_text_in_a_batch_is_the_text_alone() {
    let spec = Spec::encoder(VOCAB, 24, 2, 4, 30);
    let trained = BertEncoder::new(&spec, &tensors()).expect("an encoder").map(&mut Fill(2));
    for (device, model) in [(Device::flex(), trained.valid()), (tensors(), trained)] {
        let (long, short) = (text(9, 1), text(4, 2));
        let alone = |text: &[i32]| values(model.forward(ids(&[text], &device), None, None));
        let (wanted_long, wanted) = (alone(&long), alone(&short));
        for filler in [0, 7] {
            let mut filled = short.clone();
            filled.resize(9, filler);
            let real: Vec<bool> = (0..9).map(|i| i < 4).collect();
            let kept = Some(marks(&[&[true; 9], &real], &device));
            let both = values(model.forward(ids(&[&long, &filled], &device), None, kept));
            same("the long text", &both[..9 * 24], &wanted_long);
            same("the short text", &both[9 * 24..13 * 24], &wanted);
            let unmasked = values(model.forward(ids(&[&long, &filled], &device), None, None));
            other("the mask", &unmasked[9 * 24..13 * 24], &wanted);
        }
    }
}

/// huggingface/text-embeddings-inference#648: a causal embedder that reads its last token gave one
/// vector for a text alone and another for it in a batch, since only one of both ways had a mask and
/// the last place of a padded row was not the last token. Here both are the same however texts are
/// put together.
#[test]
fn text_embeddings_inference_648_an_embedding_does_not_depend_on_its_batch() {
    let texts = [
        "cat",
        "The dogs ate 12 red apples, quickly!",
        "a cat sat on the mat",
        "a b c d e f g h i j k l m n o p q r s t",
        "dogs",
    ];
    for name in ["st-decoder", "st-decoder-mean", "st-last"] {
        let model = open(&golden(name), &Choice::Cpu);
        let wanted: Vec<Vec<f32>> =
            texts.iter().map(|text| model.embed(&[text]).expect("a vector").into_vec()).collect();
        for tokens in [1, 24, 4096] {
            let options = EmbedOptions::default().batch_tokens(tokens);
            let found = model.embed_with(&texts, &options).expect("vectors");
            for (i, found) in found.rows().enumerate() {
                same(&format!("{name}, text {i} by {tokens}"), found, &wanted[i]);
            }
        }
        other(name, &wanted[0], &wanted[4]);
    }
}

/// huggingface/optimum-habana#623: with padding on the left, as batches of prompts have it, a fast
/// attention that only knew a triangle gave rubbish. Rotations say distances alone, so that a text
/// after padding must have the logits that it has without.
#[test]
fn optimum_habana_623_padding_on_the_left_is_not_seen() {
    let mut spec = small();
    spec.layers[1] = Layer::new(Span::Sliding { window: 4 });
    for (way, device, model) in decoders(&spec) {
        let (long, short) = (text(9, 3), text(5, 4));
        let filled = [&[0; 4], &short[..]].concat();
        let real: Vec<bool> = (0..9).map(|i| i >= 4).collect();
        let both = ids(&[&filled, &long], &device);
        let kept = marks(&[&real, &[true; 9]], &device);
        let found = values(model.forward(both.clone(), Some(kept)));
        let [one, two] = [&short, &long].map(|text| loops(&spec, &model, text));
        same(way, &found[4 * VOCAB..9 * VOCAB], &one);
        same(way, &found[9 * VOCAB..], &two);
        let unmasked = values(model.forward(both, None));
        other("the mask", &unmasked[4 * VOCAB..9 * VOCAB], &one);
    }
}

/// huggingface/transformers#37574: a cache of a sliding window was rolled one token too early, when
/// the sequence was just as long as the window, and lost a token that was still in sight. Here every
/// length around a window and its multiples is as without a cache.
#[test]
fn transformers_37574_a_window_rolls_when_it_is_full() {
    for window in 1..6 {
        let mut spec = small();
        spec.layers[0] = Layer::new(Span::Sliding { window });
        let text = text(14, 5);
        for (way, device, model) in decoders(&spec) {
            let wanted = loops(&spec, &model, &text);
            for prompt in [1, window.saturating_sub(1).max(1), window, window + 1] {
                let mut parts = vec![1; 14 - prompt];
                parts.insert(0, prompt);
                let mut cache = Cache::new(&spec);
                let found = in_parts(&model, &text, &parts, &mut cache, &device);
                same(&format!("{way}, window {window}, prompt {prompt}"), &found, &wanted);
            }
            let mut near = spec.clone();
            near.layers[0] = Layer::new(Span::Sliding { window: window + 1 });
            other("one token more in sight", &wanted, &loops(&near, &model, &text));
        }
    }
}

/// lablup/mlxcel#413: a further part of a prompt, longer than the window and with tokens before it,
/// met a mask cut to the window's size, and its first tokens saw nothing of what they should. Here a
/// text may come in parts of any size; and in blocks without a window, where the triangle of such a
/// part begins at its lower right corner (as in pytorch/executorch#21749).
#[test]
fn mlxcel_413_a_later_part_may_be_longer_than_the_window() {
    let mut spec = small();
    spec.attention.kv_heads = 2;
    spec.layers[0] = Layer::new(Span::Sliding { window: 3 });
    let text = text(16, 6);
    for (way, device, model) in decoders(&spec) {
        let wanted = loops(&spec, &model, &text);
        for parts in [vec![2, 9, 5], vec![5, 7, 1, 3], vec![1, 1, 14], vec![4, 4, 4, 4]] {
            let mut cache = Cache::new(&spec);
            let found = in_parts(&model, &text, &parts, &mut cache, &device);
            same(&format!("{way}, {parts:?}"), &found, &wanted);
        }
    }
}

/// microsoft/onnxruntime-genai#2334: going back in a cache whose window had let tokens go would have
/// read keys of other places. Here going back either says no and changes nothing, or what follows is
/// as if the taken back tokens had never been.
#[test]
fn onnxruntime_genai_2334_going_back_is_right_or_refused() {
    let (text, then) = (text(11, 7), text(3, 8));
    for window in [None, Some(3)] {
        let mut spec = small();
        let span = window.map_or(Span::Causal, |window| Span::Sliding { window });
        spec.layers[1] = Layer::new(span);
        for (way, device, model) in decoders(&spec) {
            let (mut went, mut stayed) = (0, 0);
            for seen in [2, 3, 4, 7, 11] {
                for back in 1..seen {
                    let mut cache = Cache::new(&spec);
                    let parts = [seen / 2, 1, seen - seen / 2 - 1];
                    let parts: Vec<usize> = parts.into_iter().filter(|part| *part > 0).collect();
                    in_parts(&model, &text[..seen], &parts, &mut cache, &device);
                    let left = if cache.truncate(back) { back } else { seen };
                    assert_eq!(cache.len(), left);
                    if left == back {
                        went += 1
                    } else {
                        stayed += 1
                    }
                    let found = in_parts(&model, &then, &[2, 1], &mut cache, &device);
                    let whole = loops(&spec, &model, &[&text[..left], &then].concat());
                    let what = format!("{way}, window {window:?}, {seen} back to {back}");
                    same(&what, &found, &whole[left * VOCAB..]);
                }
            }
            assert!(went > 2 && (stayed > 2) == window.is_some(), "{way}: {went}, {stayed}");
        }
    }
}

/// sgl-project/sglang#33915: the cap of attention's scores was handed to a kernel that took it and
/// did not use it, so Gemma 2 ran without. Here prompt and steps have it, with grouped heads and
/// beside a window.
#[test]
fn sglang_33915_capped_scores_are_capped_in_every_way() {
    let mut spec = small();
    spec.attention.kv_heads = 2;
    spec.attention.softcap = Some(0.4);
    spec.layers[0] = Layer::new(Span::Sliding { window: 5 });
    let mut without = spec.clone();
    without.attention.softcap = None;
    everywhere(&spec, &[("the cap", without)]);
}

/// A decoder of a spec gives what the loops give: a prompt, its parts, steps, two texts side by
/// side in one cache. Without each idea the loops give something else.
fn everywhere(spec: &Spec, without: &[(&str, Spec)]) {
    let [one, two] = [text(12, 9), text(12, 10)];
    for (way, device, model) in decoders(spec) {
        let wanted = loops(spec, &model, &one);
        same(way, &alone(&model, &one, &device), &wanted);
        for parts in [vec![7, 1, 1, 1, 1, 1], vec![3, 4, 5]] {
            let mut cache = Cache::new(spec);
            let found = in_parts(&model, &one, &parts, &mut cache, &device);
            same(&format!("{way}, {parts:?}"), &found, &wanted);
        }
        let both = [wanted.clone(), loops(spec, &model, &two)].concat();
        let found = values(model.forward(ids(&[&one, &two], &device), None));
        same(&format!("{way}, side by side"), &found, &both);
        let mut cache = Cache::new(spec);
        let mut stepped = [vec![], vec![]];
        for part in [0..8, 8..9, 9..12] {
            let rows = ids(&[&one[part.clone()], &two[part]], &device);
            let found = values(model.step(rows, &mut cache));
            let (x, y) = found.split_at(found.len() / 2);
            stepped[0].extend_from_slice(x);
            stepped[1].extend_from_slice(y);
        }
        same(&format!("{way}, side by side in parts"), &stepped.concat(), &both);
        for (idea, without) in without {
            other(idea, &wanted, &loops(without, &model, &one));
        }
    }
}

/// kekzl/imp#1279: where the gate of attention's output stands in a matrix was noted wrongly, and
/// its buffer was one that could be too small; a wrong layout breaks such a model without an error.
/// Here each number of the output, or each head, meets its own gate, with grouped heads too.
#[test]
fn imp_1279_each_number_meets_its_own_gate() {
    for gate in [OutputGate::Full, OutputGate::Heads] {
        let mut spec = small();
        spec.attention.kv_heads = 2;
        // Wider than the hidden states.
        (spec.attention.head_dim, spec.attention.scale) = (10, 10f64.powf(-0.5));
        spec.position = Position::Rope(rope(10));
        spec.attention.gate = Some(gate);
        let mut without = spec.clone();
        without.attention.gate = None;
        everywhere(&spec, &[("the gate", without)]);
    }
}

fn rope(dims: usize) -> Rope {
    Rope { theta: 100.0, dims, pairing: Pairing::Halves, scaling: Scaling::None }
}

/// EricLBuehler/mistral.rs#1952: a cache made for the first layer's key heads was given to layers
/// that had more. Here each block of one cache has key heads and a head's size of its own, beside a
/// window and without.
#[test]
fn mistral_rs_1952_blocks_have_heads_of_their_own_in_one_cache() {
    let mut spec = Spec::decoder(VOCAB, 24, 3, 4, 30);
    for (i, (kv_heads, head_dim)) in [(1, 10), (2, 4), (4, 8)].into_iter().enumerate() {
        spec.layers[i].heads = Some(HeadShape { kv_heads, head_dim });
        spec.layers[i].rope = LayerRope::Own(rope(head_dim));
        spec.layers[i].scale = Some((head_dim as f64).powf(-0.5));
    }
    spec.layers[0].span = Span::Sliding { window: 4 };
    let mut scaled = spec.clone();
    scaled.layers[0].scale = None;
    everywhere(&spec, &[("a block's own scale", scaled)]);
}

/// Samsung/TICO#778: a norm without a scale was given one of ones, which a later step made nearly
/// nothing of, since it had never been measured. Here such norms of states, and of queries and keys,
/// have no parameter and give what their formula says.
#[test]
fn tico_778_a_norm_without_a_scale_has_none() {
    for centered in [false, true] {
        let mut spec = small();
        spec.norm = Norm::Plain { eps: 1e-5, centered };
        spec.attention.qk_norm = Some(QkNorm::Shared(Norm::Plain { eps: 1e-5, centered: false }));
        let mut without = spec.clone();
        without.attention.qk_norm = None;
        let mut turned = spec.clone();
        turned.norm = Norm::Plain { eps: 1e-5, centered: !centered };
        everywhere(&spec, &[("norms of queries and keys", without), ("the mean", turned)]);
        let mut scaled = spec.clone();
        scaled.norm = Norm::Rms { eps: 1e-5 };
        let size =
            |spec: &Spec| GptDecoder::new(spec, &Device::flex()).expect("a decoder").num_params();
        assert_eq!(size(&scaled), size(&spec) + 5 * spec.width);
    }
}

/// pytorch/pytorch#103749: a row of which all is padding gave a softmax of nothing, and so NaN, which
/// then reached all others. Here the rows beside it are as they are alone.
#[test]
fn pytorch_103749_a_row_of_padding_spoils_no_other() {
    let spec = small();
    let real = text(6, 11);
    for (way, device, model) in decoders(&spec) {
        let rows = ids(&[&[0; 6], &real, &[1; 6]], &device);
        let kept = marks(&[&[false; 6], &[true; 6], &[false; 6]], &device);
        let found = values(model.forward(rows, Some(kept)));
        same(way, &found[6 * VOCAB..12 * VOCAB], &loops(&spec, &model, &real));
    }
    let spec = Spec::encoder(VOCAB, 24, 2, 4, 30);
    let model = BertEncoder::new(&spec, &tensors()).expect("an encoder").map(&mut Fill(3));
    for (device, model) in [(Device::flex(), model.valid()), (tensors(), model)] {
        let wanted = values(model.forward(ids(&[&real], &device), None, None));
        let kept = marks(&[&[false; 6], &[true; 6]], &device);
        let found = model.forward(ids(&[&[0; 6], &real], &device), None, Some(kept));
        same("an encoder", &values(found)[6 * 24..], &wanted);
    }
}

/// speechbrain/speechbrain#1107: step by step a decoder looked at the padding of shorter sources,
/// since only the pass over whole targets had a mask of them. Here targets of padded sources, two
/// for each, are step by step what they are alone.
#[test]
fn speechbrain_1107_padding_of_a_source_is_not_seen_by_steps() {
    let spec = Spec::seq2seq(VOCAB, 24, 2, 4, 30);
    let model = Seq2Seq::new(&spec, &tensors()).expect("two stacks").map(&mut Fill(4));
    let (long, short) = (text(8, 12), text(3, 13));
    let targets: Vec<Vec<i32>> = (14..18).map(|seed| text(6, seed)).collect();
    for (way, device, model) in
        [("slices", Device::flex(), model.valid()), ("tensors", tensors(), model)]
    {
        let mut filled = short.clone();
        filled.resize(8, 1);
        let real: Vec<bool> = (0..8).map(|i| i < 3).collect();
        let sources = ids(&[&long, &filled], &device);
        let read = |kept: Option<Tensor<2, Bool>>| {
            let memory = model.cross_cache(model.encode(sources.clone(), kept.clone()), kept);
            let mut cache = Cache::new(&spec);
            let mut found = vec![vec![]; 4];
            for part in [0..3, 3..4, 4..5, 5..6] {
                let rows: Vec<&[i32]> = targets.iter().map(|row| &row[part.clone()]).collect();
                let logits = values(model.step(ids(&rows, &device), &memory, &mut cache));
                let size = logits.len() / 4;
                for (found, new) in found.iter_mut().zip(logits.chunks_exact(size)) {
                    found.extend_from_slice(new);
                }
            }
            found
        };
        let kept = marks(&[&[true; 8], &real], &device);
        let (found, unmasked) = (read(Some(kept)), read(None));
        for (i, target) in targets.iter().enumerate() {
            let source = if i < 2 { &long } else { &short };
            let (source, target) = (ids(&[source], &device), ids(&[target], &device));
            let wanted = values(model.forward(source, None, target));
            same(&format!("{way}, row {i}"), &found[i], &wanted);
            if i >= 2 {
                other("the mask", &unmasked[i], &wanted);
            }
        }
    }
}

/// huggingface/transformers#46612: beam search went on without reordering caches of kinds that it
/// did not know by name, and continued rows with another row's past. Here beams over sliding and
/// other caches are those of a search that reads every row anew.
#[test]
fn transformers_46612_beams_take_their_caches_along() {
    let (beams, steps) = (3, 7);
    let mut changed = 0;
    for name in ["mistral-window", "gemma3-pattern", "gpt-oss-bf16", "deepseek-v3"] {
        let model = open_exact(&golden(name), &Choice::Cpu);
        let vocab = model.spec().vocab as u32;
        let prompt: Vec<u32> = (0..9).map(|i| (i * 7 + 5) % vocab).collect();
        let mut session = model.session().expect("a session");
        session.feed(&prompt).expect("a prompt");
        let generate = GenerateOptions::default().max_tokens(steps).ignore_eos(true);
        let options = BeamOptions::default().beams(beams).sequences(beams).length_penalty(1.0);
        let found = session.beams(&generate, &options).expect("beams");

        let mut rows: Vec<(Vec<u32>, f64)> = vec![(prompt.clone(), 0.0)];
        for _ in 0..steps {
            let mut next = vec![];
            for (i, (row, sum)) in rows.iter().enumerate() {
                let logits = model.forward(&[row]).expect("logits");
                let last = logits.at(0, row.len() - 1).expect("the last token");
                let all = last.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln();
                next.extend(
                    last.iter()
                        .enumerate()
                        .map(|(id, x)| (i, id as u32, sum + f64::from(*x) - all)),
                );
            }
            next.sort_by(|a, b| b.2.total_cmp(&a.2));
            next.truncate(beams);
            changed += next.iter().enumerate().filter(|(i, (from, ..))| i != from).count();
            let longer =
                |(from, id, sum): (usize, u32, f64)| ([&rows[from].0[..], &[id]].concat(), sum);
            rows = next.into_iter().map(longer).collect();
        }
        assert_eq!(found.len(), beams);
        for (found, (row, sum)) in found.iter().zip(&rows) {
            assert_eq!(found.ids, row[prompt.len()..], "{name}");
            same(name, &[found.score], &[(sum / steps as f64) as f32]);
        }
    }
    assert!(changed > 20, "only {changed} rows changed their place");
}

/// huggingface/nanoVLM#204: texts that were packed into one row saw each other and counted places
/// on from one another; counting anew alone did not help. Here texts that are computed together
/// without padding are each as alone: decoders, learned places, rotations with near and far sight.
#[test]
fn nano_vlm_204_packed_texts_neither_see_each_other_nor_share_places() {
    let names = ["modernbert-words", "bert-plain", "nomic-words", "mistral-window", "gpt2-untied"];
    for name in names {
        let model = open_exact(&golden(name), &Choice::Cpu);
        let vocab = model.spec().vocab as u32;
        let row = |(i, len): (u32, u32)| -> Vec<u32> {
            (0..len).map(|t| (t * 13 + i * 5 + 3) % vocab).collect()
        };
        let rows: Vec<Vec<u32>> = (0..).zip([11, 3, 14, 1, 7]).map(row).collect();
        let together = model.forward(&rows).expect("numbers");
        let mut spoiled = rows.clone();
        spoiled[0].reverse();
        let beside = model.forward(&spoiled).expect("numbers");
        for (i, row) in rows.iter().enumerate() {
            let alone = model.forward(&[row]).expect("numbers");
            for t in 0..row.len() {
                let wanted = alone.at(0, t).expect("a token");
                let what = format!("{name}, row {i}, token {t}");
                same(&what, together.at(i, t).expect("a token"), wanted);
                if i > 0 {
                    same(&what, beside.at(i, t).expect("a token"), wanted);
                }
            }
            assert!(together.at(i, row.len()).is_none());
        }
    }
}

/// Gradients of all parameters, in the module's order; empty where there is none.
struct Found<'a>(&'a Gradients, Vec<Vec<f32>>);

impl ModuleVisitor for Found<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.1.push(param.val().grad(self.0).map(values).unwrap_or_default());
    }
}

fn gradients<M: Module>(module: &M, gradients: &Gradients) -> Vec<Vec<f32>> {
    let mut found = Found(gradients, vec![]);
    module.visit(&mut found);
    found.1
}

/// huggingface/candle#2168: a faster norm, taken for its memory's layout, had no backward pass, and
/// whatever stood before it was silently never trained. Here a gradient reaches every parameter,
/// also with ids of a plain device, and where a model is trained in part its gradients are those
/// of the whole.
#[test]
fn candle_2168_no_fast_way_stops_a_gradient() {
    let mut spec = Spec::decoder(VOCAB, 24, 3, 4, 30);
    spec.attention.kv_heads = 2;
    spec.attention.qk_norm = Some(QkNorm::Shared(spec.norm));
    spec.attention.gate = Some(OutputGate::Full);
    let [(_, plain, frozen), (_, device, model)] = decoders(&spec);
    let row = text(9, 19);
    let loss = |model: &GptDecoder, device: &Device| {
        let logits = model.forward(ids(&[&row], device), None);
        let weights: Vec<f32> = (0..9 * VOCAB).map(|i| ((i * 7) % 11) as f32 / 50.0).collect();
        let weights = TensorData::new(weights, [1, 9, VOCAB]);
        (logits.clone() * Tensor::from_data(weights, &logits.device())).sum()
    };
    let backward = loss(&model, &device).backward();
    let wanted = gradients(&model, &backward);
    for (i, gradient) in wanted.iter().enumerate() {
        assert!(gradient.iter().any(|x| x.abs() > 1e-4), "parameter {i} of {}", wanted.len());
    }
    let backward = loss(&model, &plain).backward();
    for (found, wanted) in gradients(&model, &backward).iter().zip(&wanted) {
        same("ids of a plain device", found, wanted);
    }

    // All but one block on a plain device.
    let answer = loops(&spec, &model, &row);
    for i in 0..3 {
        let mut mixed = frozen.clone();
        mixed.transformer.blocks[i] = model.transformer.blocks[i].clone();
        for (what, ids) in [("plain", &plain), ("trained", &device)] {
            let what = format!("block {i}, ids of the {what} device");
            same(&what, &alone(&mixed, &row, ids), &answer);
            let block = &mixed.transformer.blocks[i];
            let found = gradients(block, &loss(&mixed, ids).backward());
            let own = gradients(&model.transformer.blocks[i], &loss(&model, &device).backward());
            assert_eq!(found.len(), own.len());
            for (found, wanted) in found.iter().zip(&own) {
                same(&what, found, wanted);
            }
        }
    }
}
