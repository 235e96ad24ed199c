//! Encoder-decoders from their checkpoints, and beam search for these and for decoders: the
//! reference's logits, and its sequences beam for beam.
//!
//! `tests/golden/record/seq2seq.py` made the checkpoints and recorded what transformers and torch compute.
#![allow(clippy::neg_cmp_op_on_partial_ord, reason = "a difference that is no number must fail")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::slice::from_ref;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Bool, Device as On, Int, Tensor, TensorData};
use emberform::nn::{Cache, Seq2Seq, Spec};
use emberform::{
    BeamOptions, CancelToken, Device, EarlyStopping, Error, ForwardOptions, GenerateOptions, Model,
};
use emberform_tests::{
    Recorded, Scratch, devices, difference, golden, open_exact, recorded, recorded_json,
    weight_shapes,
};
use serde_json::Value;

/// Against the reference, which sums in another order.
const REFERENCE: f32 = 1e-4;
/// Between two ways of this crate.
const SELF: f32 = 1e-5;

/// A recorded encoder-decoder.
struct Case {
    name: String,
    folder: PathBuf,
    sources: Vec<Vec<u32>>,
    targets: Vec<Vec<u32>>,
    logits: Recorded,
}

fn rows(ids: &Recorded, mask: &Recorded) -> Vec<Vec<u32>> {
    let (width, ids, mask) = (mask.shape[1], ids.i64(), mask.i64());
    let rows = ids.chunks_exact(width).zip(mask.chunks_exact(width));
    let real = |(ids, mask): (&[i64], &[i64])| {
        ids.iter().zip(mask).filter(|(_, mask)| **mask == 1).map(|(id, _)| *id as u32).collect()
    };
    rows.map(real).collect()
}

impl Case {
    fn all() -> Vec<Case> {
        let folders = std::fs::read_dir(golden("")).expect("tests/golden/checkpoints");
        let mut folders: Vec<PathBuf> =
            folders.map(|entry| entry.expect("an entry").path()).collect();
        folders.sort();
        let case = |folder: PathBuf| {
            let path = folder.join("expected.safetensors");
            let mut tensors = path.exists().then(|| recorded(&path))?;
            let logits = tensors.remove("target_logits")?;
            Some(Case {
                name: folder.file_name()?.to_string_lossy().into_owned(),
                sources: rows(&tensors["ids"], &tensors["mask"]),
                targets: rows(&tensors["decoder_ids"], &tensors["decoder_mask"]),
                folder,
                logits,
            })
        };
        let cases: Vec<Case> = folders.into_iter().filter_map(case).collect();
        assert!(cases.len() >= 7, "only {} encoder-decoders", cases.len());
        cases
    }

    /// The recorded logits of the real tokens of row `b`.
    fn wanted(&self, b: usize) -> Vec<f32> {
        let [_, t, v] = self.logits.shape[..] else { panic!("[B, T, V]") };
        self.logits.f32()[b * t * v..b * t * v + self.targets[b].len() * v].to_vec()
    }
}

/// The logits of each target's tokens, run together.
fn logits(model: &Model, sources: &[Vec<u32>], targets: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let options = ForwardOptions::default().decoder_ids(targets.iter().cloned());
    let output = model.forward_with(sources, &options).expect("a forward pass");
    let row = |b: usize| {
        let tokens = (0..targets[b].len()).map(|t| output.at(b, t).expect("a token"));
        tokens.flatten().copied().collect()
    };
    (0..targets.len()).map(row).collect()
}

fn scale(values: &[f32]) -> f32 {
    values.iter().fold(1.0, |most, value| most.max(value.abs()))
}

#[test]
fn targets_get_the_references_logits() {
    let (mut failed, mut files) = (Vec::new(), 0);
    for (device_name, device) in devices() {
        for case in Case::all() {
            let gguf = case.folder.with_extension("gguf");
            for path in [&case.folder, &gguf].into_iter().filter(|path| path.exists()) {
                let kind = if path.is_dir() { "folder" } else { "gguf" };
                files += usize::from(path.is_file());
                let model = open_exact(path, &device);
                let found = logits(&model, &case.sources, &case.targets);
                let worst = (0..found.len())
                    .map(|b| difference(&found[b], &case.wanted(b)))
                    .fold(0.0, f32::max);
                println!("{:24} {device_name:12} {kind:6} {worst:.1e}", case.name);
                if !(worst <= REFERENCE) {
                    failed.push(format!("{} {kind} on {device_name}: {worst}", case.name));
                }
            }
        }
    }
    assert!(failed.is_empty(), "beyond {REFERENCE}: {failed:#?}");
    assert!(files >= 4, "only {files} GGUF files");
}

#[test]
fn a_file_says_what_a_target_begins_with() {
    let folder = open_exact(&golden("t5-gated-gguf"), &Device::Cpu);
    let file = open_exact(&golden("t5-gated-gguf.gguf"), &Device::Cpu);
    let beams = |model: &Model| {
        let mut session = model.session().expect("a session");
        session.read_source(&[5, 6, 7]).expect("a source");
        let found = session.beams(
            &GenerateOptions::default().max_tokens(6),
            &BeamOptions::default().beams(2).sequences(2),
        );
        found.expect("sequences").into_iter().map(|beam| beam.ids).collect::<Vec<_>>()
    };
    let (folder, file) = (beams(&folder), beams(&file));
    assert!(folder[0].len() > 1, "{folder:?}");
    assert_eq!(folder, file);
}

#[test]
fn a_row_alone_and_a_target_in_pieces_change_nothing() {
    for (device_name, device) in devices() {
        for case in Case::all() {
            let model = open_exact(&case.folder, &device);
            let together = logits(&model, &case.sources, &case.targets);
            for (b, wanted) in together.iter().enumerate() {
                let (source, target) = (&case.sources[b], &case.targets[b]);
                let alone = &logits(&model, from_ref(source), from_ref(target))[0];
                let worst = difference(alone, wanted);
                assert!(worst <= SELF * scale(wanted), "{} {device_name} {b}: {worst}", case.name);
                // The source once, the target token by token.
                let mut session = model.session().expect("a session");
                session.read_source(source).expect("a source");
                session.truncate(0);
                let mut found = Vec::new();
                for part in target.chunks(if b == 0 { 2 } else { 1 }) {
                    found.extend(session.forward(part).expect("logits").into_vec());
                }
                let worst = difference(&found, wanted);
                assert!(worst <= SELF * scale(wanted), "{} {device_name} {b}: {worst}", case.name);
            }
        }
    }
}

#[test]
fn wrong_use_is_an_error() {
    let case = &Case::all()[0];
    let model = open_exact(&case.folder, &Device::Cpu);
    let forward = |sources: &[Vec<u32>], targets: &[Vec<u32>]| {
        model.forward_with(sources, &ForwardOptions::default().decoder_ids(targets.iter().cloned()))
    };
    let argument = |result: Result<_, Error>, name: &str| match result {
        Err(Error::Argument { argument, .. }) => assert_eq!(argument, name),
        other => panic!("{name}: {other:?}"),
    };
    argument(forward(&[vec![3]], &[]), "decoder_ids");
    argument(forward(&[vec![]], &[vec![3]]), "ids");
    argument(forward(&[vec![3]], &[vec![1 << 20]]), "ids");
    assert_eq!(forward(&[vec![3]], &[vec![]]).expect("nothing").shape()[..2], [1, 0]);
    let mut session = model.session().expect("a session");
    assert!(matches!(session.feed(&[3]), Err(Error::Argument { argument: "session", .. })));
    assert!(matches!(session.read_source(&[]), Err(Error::Argument { argument: "source", .. })));
    session.read_source(&[3, 4]).expect("a source");
    let beams = |options: &GenerateOptions, beams: &BeamOptions| {
        let mut session = model.session().expect("a session");
        session.read_source(&[3, 4]).expect("a source");
        match session.beams(options, beams) {
            Err(Error::Argument { argument, .. }) => argument,
            other => panic!("{other:?}"),
        }
    };
    let plain = GenerateOptions::default().max_tokens(3);
    assert_eq!(beams(&plain, &BeamOptions::default().beams(0)), "beams");
    assert_eq!(beams(&plain, &BeamOptions::default().beams(2).sequences(3)), "sequences");
    assert_eq!(beams(&plain, &BeamOptions::default().length_penalty(f32::NAN)), "length_penalty");
    assert_eq!(beams(&plain.clone().temperature(1.0), &BeamOptions::default()), "temperature");
    assert_eq!(beams(&plain.clone().stop(["x"]), &BeamOptions::default()), "stop");
    assert_eq!(beams(&plain.clone().suppress([9999]), &BeamOptions::default()), "suppress");
    // A model of one stack takes no decoder ids and no source.
    let decoder = open_exact(&golden("llama-mqa"), &Device::Cpu);
    let options = ForwardOptions::default().decoder_ids([vec![1]]);
    argument(decoder.forward_with(&[[1u32]], &options), "decoder_ids");
    let mut session = decoder.session().expect("a session");
    assert!(matches!(session.read_source(&[3]), Err(Error::Missing { .. })));
    // A search that is cancelled leaves nothing half done.
    let mut session = model.session().expect("a session");
    session.read_source(&[3, 4]).expect("a source");
    let token: CancelToken = session.cancel_token();
    token.cancel();
    assert!(matches!(session.beams(&plain, &BeamOptions::default()), Err(Error::Cancelled)));
    assert!(session.ids().is_empty());
}

fn ids(value: &Value) -> Vec<u32> {
    let list = value.as_array().expect("ids").iter();
    list.map(|id| id.as_u64().expect("an id") as u32).collect()
}

/// The options of a recorded call of `generate`.
fn options(case: &Value) -> (GenerateOptions, BeamOptions) {
    let (mut generate, mut beams) = (GenerateOptions::default(), BeamOptions::default());
    for (key, value) in case["options"].as_object().expect("options") {
        let count = value.as_u64().map(|count| count as usize);
        let number = value.as_f64().map(|number| number as f32);
        match key.as_str() {
            "num_beams" => beams.beams = count,
            "num_return_sequences" => beams.sequences = count,
            "length_penalty" => beams.length_penalty = number,
            "early_stopping" => {
                beams.early_stopping = Some(match value {
                    Value::Bool(true) => EarlyStopping::Full,
                    Value::Bool(false) => EarlyStopping::Likely,
                    _ => EarlyStopping::Never,
                });
            }
            "max_new_tokens" => generate.max_tokens = count,
            "min_new_tokens" => generate.min_tokens = count,
            "no_repeat_ngram_size" => generate.no_repeat_ngram = count,
            "repetition_penalty" => generate.repetition_penalty = number,
            "suppress_tokens" => generate.suppress = Some(ids(value)),
            "bad_words_ids" => {
                generate.bad_words =
                    Some(value.as_array().expect("words").iter().map(ids).collect());
            }
            other => panic!("{other}"),
        }
    }
    if let Some(end) = case["eos"].as_u64() {
        (generate.ignore_eos, generate.stop_ids) = (true, vec![end as u32]);
    }
    (generate, beams)
}

#[test]
fn beams_are_the_references() {
    let recorded = recorded_json(&golden("beams.json"));
    let (mut seen, mut ended, mut worst) = (0, 0, 0f32);
    for (device_name, device) in devices() {
        for (name, cases) in recorded.as_object().expect("checkpoints") {
            let model = open_exact(&golden(name), &device);
            // The software GPU is slow: one prompt, and not all options.
            let step = if device_name == "cpu" { 1 } else { 7 };
            for case in cases.as_array().expect("cases").iter().step_by(step) {
                let (generate, beams) = options(case);
                let prompt = ids(&case["prompt"]);
                let mut session = model.session().expect("a session");
                match model.seq2seq() {
                    Some(_) => session.read_source(&prompt).expect("a source"),
                    None => session.feed(&prompt).expect("a prompt"),
                }
                let before = session.ids().to_vec();
                let found = session.beams(&generate, &beams).expect("beams");
                let rows: Vec<Vec<u32>> = found.iter().map(|beam| beam.ids.clone()).collect();
                let wanted: Vec<Vec<u32>> =
                    case["sequences"].as_array().expect("rows").iter().map(ids).collect();
                assert_eq!(rows, wanted, "{name} on {device_name}: {case}");
                seen += rows.len();
                ended += wanted.iter().filter(|row| row.len() < 11).count();
                if let Some(scores) = case["scores"].as_array() {
                    for (beam, score) in found.iter().zip(scores) {
                        let score = score.as_f64().expect("a score") as f32;
                        worst = worst.max((beam.score - score).abs());
                    }
                } else {
                    // One beam is the stream.
                    let mut session = model.session().expect("a session");
                    match model.seq2seq() {
                        Some(_) => session.read_source(&prompt).expect("a source"),
                        None => session.feed(&prompt).expect("a prompt"),
                    }
                    let stream = session.generate(&generate.clone().greedy()).expect("a stream");
                    let made: Vec<u32> = stream
                        .filter_map(|piece| piece.expect("a piece").token.map(|token| token.id))
                        .collect();
                    assert_eq!(made, wanted[0], "{name} on {device_name}, a stream: {case}");
                }
                // The session goes on from where it stood, where no window let go of it.
                if !session.ids().is_empty() {
                    assert_eq!(session.ids(), before);
                    let again = session.beams(&generate, &beams).expect("beams");
                    assert!(
                        again.iter().zip(&found).all(|(a, b)| a.ids == b.ids),
                        "{name}: {case}"
                    );
                }
            }
        }
    }
    println!("{seen} rows, {ended} of them ended; scores to {worst:.1e}");
    assert!(seen > 500 && ended > 50 && worst <= REFERENCE, "{seen}, {ended}, {worst}");
}

/// Puts recorded tensors in the place of a module's parameters, by their path.
struct Put<'a> {
    from: &'a BTreeMap<String, Recorded>,
    path: Vec<String>,
    used: Vec<String>,
}

impl ModuleMapper for Put<'_> {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let parts = self.path.iter().filter(|part| {
            // Not the variants of enums, nor what the decoder is inside of.
            !part.starts_with(char::is_uppercase)
                && !["decoder", "transformer"].contains(&&part[..])
        });
        let parts: Vec<&str> = parts.map(String::as_str).collect();
        let name = parts.join(".");
        let name = match &name[..] {
            "tokens" => "embed.tokens.weight".to_string(),
            name => name.replace("gamma", "weight").replace("beta", "bias"),
        };
        let stored = self.from.get(&name).unwrap_or_else(|| panic!("{name}: {:?}", self.path));
        self.used.push(name);
        let shape: [usize; D] = stored.shape.clone().try_into().expect("as many dimensions");
        let device = param.val().device();
        Param::from_tensor(Tensor::from_data(TensorData::new(stored.f32(), shape), &device))
    }
}

#[test]
fn the_transformer_of_2017_is_torchs() {
    let tensors = recorded(&golden("transformer-2017.safetensors"));
    for on in [On::flex(), On::flex().autodiff()] {
        let spec = Spec::seq2seq(41, 20, 2, 5, 27);
        let model = Seq2Seq::new(&spec, &on).expect("a model");
        let mut put = Put { from: &tensors, path: vec![], used: vec![] };
        let model = model.map(&mut put);
        // All weights but the five that are no weights.
        assert_eq!(put.used.len(), tensors.len() - 5, "{:?}", put.used);
        let int = |name: &str| {
            let stored = &tensors[name];
            let values: Vec<i32> = stored.i64().iter().map(|id| *id as i32).collect();
            let shape = [stored.shape[0], stored.shape[1]];
            Tensor::<2, Int>::from_data(TensorData::new(values, shape), &on)
        };
        let mask = &tensors["mask"];
        let kept: Vec<bool> = mask.i64().iter().map(|kept| *kept == 1).collect();
        let kept = TensorData::new(kept, [mask.shape[0], mask.shape[1]]);
        let kept = Tensor::<2, Bool>::from_data(kept, &on);
        let floats = |tensor: Tensor<3>| tensor.into_data().try_into_vec::<f32>().expect("floats");
        let [_, t, d] = tensors["states"].shape[..] else { panic!("[B, T, D]") };
        let states = floats(model.encode(int("ids"), Some(kept.clone())));
        for (b, length) in [21, 1, 13].into_iter().enumerate() {
            let part = b * t * d..b * t * d + length * d;
            let worst = difference(&states[part.clone()], &tensors["states"].f32()[part]);
            assert!(worst <= REFERENCE, "states of {b}: {worst}");
        }
        let wanted = tensors["logits"].f32();
        let found = floats(model.forward(int("ids"), Some(kept.clone()), int("decoder_ids")));
        let worst = difference(&found, &wanted);
        println!("logits {worst:.1e}");
        assert!(worst <= REFERENCE, "{worst}");
        // Step by step with two rows for each source.
        let cross = model.cross_cache(model.encode(int("ids"), Some(kept.clone())), Some(kept));
        let twice = |ids: Tensor<2, Int>| {
            let [b, t] = ids.dims();
            ids.reshape([b, 1, t]).expand([b, 2, t]).reshape([2 * b, t])
        };
        let (mut cache, targets) = (Cache::new(&spec), twice(int("decoder_ids")));
        let [r, t] = targets.dims();
        let steps = (0..t).map(|i| model.step(targets.clone().narrow(1, i, 1), &cross, &mut cache));
        let found = floats(Tensor::cat(steps.collect(), 1));
        let row = t * 41;
        for i in 0..r {
            let part = &found[i * row..(i + 1) * row];
            let worst = difference(part, &wanted[i / 2 * row..(i / 2 + 1) * row]);
            assert!(worst <= REFERENCE, "row {i} in steps: {worst}");
        }
    }
}

#[test]
fn a_saved_model_opens_again_and_is_the_same() {
    for case in Case::all() {
        let model = open_exact(&case.folder, &Device::Cpu);
        let target = Scratch::new().expect("a folder");
        model.save(target.path()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let (before, after) = (weight_shapes(&case.folder), weight_shapes(target.path()));
        for (name, shape) in &after {
            assert_eq!(before.get(name), Some(shape), "{}: `{name}`", case.name);
        }
        // Tables that both stacks share stand wherever they stood.
        let tables = |names: &BTreeMap<String, Vec<usize>>| -> Vec<String> {
            let part = |name: &&String| name.contains("shared") || name.contains("embed_tokens");
            names.keys().filter(part).cloned().collect()
        };
        assert_eq!(tables(&after), tables(&before), "{}", case.name);
        let again = open_exact(target.path(), &Device::Cpu);
        let (wanted, found) = (
            logits(&model, &case.sources, &case.targets),
            logits(&again, &case.sources, &case.targets),
        );
        assert!(wanted == found, "{}: other numbers", case.name);
    }
}
