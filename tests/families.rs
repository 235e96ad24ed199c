//! Every family from its checkpoints: the reference's numbers, from both formats, on CPU and GPU;
//! a cache changes nothing, a batch changes nothing.
//!
//! `tests/golden/record/record.py` made the checkpoints and recorded what transformers computes.
#![allow(clippy::neg_cmp_op_on_partial_ord, reason = "a difference that is no number must fail")]

use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use emberform::nn::Weight;
use emberform::nn::spec::Scaling;
use emberform::{CancelToken, Code, Device, Error, Model, Precision};
use emberform_tests::{
    Recorded, Scratch, devices, difference, golden, open, open_exact, recorded, weight_shapes,
};
use serde_json::{Value, json};

/// Against the reference, which sums in another order.
const REFERENCE: f32 = 1e-4;
/// Between two ways of this crate.
const SELF: f32 = 1e-5;
/// Of the largest number, between activations in floats and in 16 bits.
const ROUNDED: f32 = 1e-3;

/// A recorded checkpoint.
struct Case {
    name: String,
    folder: PathBuf,
    gguf: Option<PathBuf>,
    rows: Vec<Vec<u32>>,
    types: Option<Vec<Vec<u32>>>,
    wanted: Recorded,
    wanted_typed: Option<Recorded>,
    /// Of models that rotate by the length of a sequence: logits of the first row, 16 tokens read at
    /// once and the others one by one.
    stepwise: Option<Recorded>,
}

impl Case {
    fn open_all() -> Vec<Case> {
        let mut folders: Vec<PathBuf> = std::fs::read_dir(golden(""))
            .expect("tests/golden/checkpoints")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.join("expected.safetensors").exists())
            .collect();
        folders.sort();
        folders.iter().filter_map(|folder| Case::read(folder)).collect()
    }

    /// `None` for a recording of something else than logits or hidden states.
    fn read(folder: &Path) -> Option<Case> {
        let mut tensors = recorded(&folder.join("expected.safetensors"));
        let mask = tensors.get("mask")?.i64();
        let width = tensors["mask"].shape[1];
        let rows = |values: Vec<i64>| -> Vec<Vec<u32>> {
            let rows = values.chunks_exact(width).zip(mask.chunks_exact(width));
            rows.map(|(ids, mask)| {
                let real = ids.iter().zip(mask).filter(|(_, mask)| **mask == 1);
                real.map(|(id, _)| *id as u32).collect()
            })
            .collect()
        };
        let gguf = folder.with_extension("gguf");
        let wanted = tensors.remove("logits").or(tensors.remove("hidden"))?;
        Some(Case {
            name: folder.file_name()?.to_string_lossy().into_owned(),
            folder: folder.to_path_buf(),
            gguf: gguf.exists().then_some(gguf),
            rows: rows(tensors["ids"].i64()),
            types: tensors.get("type_ids").map(|types| rows(types.i64())),
            wanted,
            wanted_typed: tensors.remove("hidden_typed"),
            stepwise: tensors.remove("stepwise"),
        })
    }

    /// The recorded numbers of the real tokens of row `b`.
    fn row(&self, wanted: &Recorded, b: usize) -> Vec<f32> {
        let [_, t, d] = wanted.shape[..] else { panic!("[B, T, D]") };
        let values = wanted.f32();
        values[b * t * d..b * t * d + self.rows[b].len() * d].to_vec()
    }
}

/// The model's numbers of the real tokens of each row, rows run together.
fn batch(model: &Model, rows: &[Vec<u32>]) -> Vec<Vec<f32>> {
    let output = model.forward(rows).expect("a forward pass");
    let row = |b: usize| {
        let tokens = (0..rows[b].len()).map(|t| output.at(b, t).expect("a token"));
        tokens.flatten().copied().collect()
    };
    (0..rows.len()).map(row).collect()
}

#[test]
fn families_give_the_references_numbers() {
    let cases = Case::open_all();
    assert!(cases.len() >= 15, "only {} recorded checkpoints", cases.len());
    are_the_references_numbers(&cases, &devices());
}

/// What `tests/run --quick` runs while someone works: a checkpoint of each kind of block and of each
/// kind of file on the CPU, two of them on the GPU.
#[test]
fn one_of_each_kind_gives_the_references_numbers() {
    let read = |name: &str| Case::read(&golden(name)).expect("a recording");
    let [cpu, gpu] = devices();
    are_the_references_numbers(&ONE_OF_EACH_KIND.map(read), &[cpu]);
    are_the_references_numbers(&["bert-plain", "llama-mqa"].map(read), &[gpu]);
}

/// Norms before and after, rotations and biases by distance, windows, experts, latent attention,
/// an encoder of a pair, 16 bits, blocks of 4 to 8 bits.
const ONE_OF_EACH_KIND: [&str; 14] = [
    "bert-plain",
    "modernbert-words",
    "deberta-words",
    "gpt2-untied",
    "llama-mqa",
    "llama-llama3-bf16",
    "llama-q8_0",
    "llama-k-mix",
    "gemma3-pattern",
    "bloom",
    "phi",
    "mixtral",
    "deepseek-v3",
    "t5-gguf",
];

/// Each case from each of its files on each device.
fn are_the_references_numbers(cases: &[Case], devices: &[(&str, Device)]) {
    let mut failed = Vec::new();
    for (device_name, device) in devices {
        for case in cases {
            for path in [Some(&case.folder), case.gguf.as_ref()].into_iter().flatten() {
                // Files of K-quants have no folder of weights, only what was recorded.
                if path.is_dir() && !has_weights(path) {
                    continue;
                }
                let model = open_exact(path, device);
                let found = batch(&model, &case.rows);
                let worst = (0..case.rows.len())
                    .map(|b| difference(&found[b], &case.row(&case.wanted, b)))
                    .fold(0.0, f32::max);
                println!("{:24} {device_name:12} {:6} {worst:.1e}", case.name, kind(path));
                if !(worst <= REFERENCE) {
                    failed.push(format!("{} {} on {device_name}: {worst}", case.name, kind(path)));
                }
            }
        }
    }
    assert!(failed.is_empty(), "beyond {REFERENCE}: {failed:#?}");
}

/// Where a gradient is wanted every operation is one of tensors, on GPUs too, whose kernels else
/// compute most of a pass: the reference's numbers as well.
#[test]
fn passes_with_a_gradient_give_the_references_numbers() {
    let mut seen = 0;
    let mut failed = Vec::new();
    for (device_name, device) in devices() {
        for case in Case::open_all() {
            if !has_weights(&case.folder) {
                continue;
            }
            let model = open_exact(&case.folder, &device);
            let transformer = match (model.decoder(), model.encoder()) {
                (Some(decoder), _) => &decoder.transformer,
                (_, Some(encoder)) => &encoder.transformer,
                _ => continue,
            };
            // What is multiplied as the file has it is not trained.
            if !matches!(transformer.tokens, Some(Weight::Full(_))) {
                continue;
            }
            let on = transformer.devices()[0].clone().autodiff();
            let longest = case.rows.iter().map(Vec::len).max().expect("rows");
            let padded = case
                .rows
                .iter()
                .flat_map(|row| (0..longest).map(|t| row.get(t).map_or(0, |id| *id as i32)));
            let kept = case.rows.iter().flat_map(|row| (0..longest).map(|t| t < row.len()));
            let shape = [case.rows.len(), longest];
            let ids = TensorData::new(padded.collect::<Vec<i32>>(), shape);
            let ids = Tensor::<2, Int>::from_data(ids, &on);
            let kept = TensorData::new(kept.collect::<Vec<bool>>(), shape);
            let kept = Some(Tensor::<2, Bool>::from_data(kept, &on));
            let output = match (model.decoder(), model.encoder()) {
                (Some(decoder), _) => decoder.clone().train().forward(ids, kept),
                (_, Some(encoder)) => encoder.clone().train().forward(ids, None, kept),
                _ => continue,
            };
            assert!(output.is_autodiff(), "{} on {device_name}: no gradient", case.name);
            seen += 1;
            let [_, t, d] = output.dims();
            let values = output.into_data().try_into_vec::<f32>().expect("floats");
            for (b, row) in case.rows.iter().enumerate() {
                let found = &values[b * t * d..b * t * d + row.len() * d];
                let worst = difference(found, &case.row(&case.wanted, b));
                if !(worst <= REFERENCE) {
                    failed.push(format!("{} on {device_name}, row {b}: {worst}", case.name));
                }
            }
        }
    }
    assert!(failed.is_empty(), "beyond {REFERENCE}: {failed:#?}");
    assert!(seen >= 40, "only {seen} checkpoints of floats");
}

/// The default on the CPU rounds activations to 16 bits where they meet small integers: next to
/// nothing beside what storing the weights in 8 bits and less did.
#[test]
fn activations_in_16_bits_change_next_to_nothing() {
    let mut seen = 0;
    for case in Case::open_all() {
        let Some(gguf) = &case.gguf else { continue };
        if !case.name.contains("-q") && !case.name.contains("-k-") {
            continue;
        }
        seen += 1;
        let exact = batch(&open_exact(gguf, &Device::Cpu), &case.rows);
        let rounded = batch(&open(gguf, &Device::Cpu), &case.rows);
        let worst = exact
            .iter()
            .zip(&rounded)
            .map(|(exact, rounded)| difference(rounded, exact) / scale(exact))
            .fold(0.0, f32::max);
        println!("{:24} {worst:.1e} of the largest number", case.name);
        assert!(worst <= ROUNDED, "{}: {worst}", case.name);
    }
    assert!(seen >= 7, "only {seen} checkpoints of integers");
}

/// Products in 16-bit floats, where a device has them, are near; elsewhere they are the same, but for
/// the rounding of matrices.
#[test]
fn matrices_of_sixteen_bits_are_near() {
    let mut seen = 0;
    let devices = devices();
    for case in Case::open_all() {
        if !has_weights(&case.folder) {
            continue;
        }
        seen += 1;
        let exact = batch(&open_exact(&case.folder, &Device::Cpu), &case.rows);
        for (device_name, device) in &devices {
            for (precision, bound) in [(Precision::Bf16, 0.05), (Precision::F16, 0.01)] {
                let options = Model::options().device(device.clone()).precision(precision);
                let rounded = batch(&options.open(&case.folder).expect("a model"), &case.rows);
                let worst = exact
                    .iter()
                    .zip(&rounded)
                    .map(|(exact, rounded)| difference(rounded, exact) / scale(exact))
                    .fold(0.0, f32::max);
                println!(
                    "{:24} {device_name} {precision:?}: {worst:.1e} of the largest",
                    case.name
                );
                assert!(worst <= bound, "{} {device_name} {precision:?}: {worst}", case.name);
            }
        }
    }
    assert!(seen >= 40, "only {seen} checkpoints");
}

fn kind(path: &Path) -> &'static str {
    if path.is_dir() { "folder" } else { "gguf" }
}

fn has_weights(folder: &Path) -> bool {
    ["model.safetensors", "model.safetensors.index.json"]
        .iter()
        .any(|name| folder.join(name).exists())
}

#[test]
fn experts_are_counted_as_the_reference_chooses_them() {
    let mut seen = 0;
    for (device_name, device) in devices() {
        for name in ["mixtral", "mixtral-stacked-f16"] {
            let case = Case::read(&golden(name)).expect("a checkpoint");
            let recorded = recorded(&case.folder.join("expected.safetensors"));
            let wanted = &recorded["load"];
            let found = open_exact(&case.folder, &device).expert_load(&case.rows).expect("a load");
            assert_eq!([found.len(), found[0].len()], wanted.shape[..]);
            let found: Vec<i64> = found.iter().flatten().map(|count| *count as i64).collect();
            assert_eq!(found, wanted.i64(), "{name} on {device_name}");
            seen += 1;
        }
    }
    assert_eq!(seen, 4);
    // Blocks without experts have none to count.
    let dense = open_exact(&golden("llama-mqa"), &Device::Cpu);
    let counts = dense.expert_load(&[[1, 2, 3]]).expect("a load");
    assert_eq!(counts, [[0_usize; 0], [0; 0]]);
    let token = CancelToken::new();
    assert_eq!(dense.expert_load_with(&[[1, 2, 3]], &token).expect("a load"), counts);
    token.cancel();
    let stopped = dense.expert_load_with(&[[1, 2, 3]], &token);
    assert!(matches!(stopped, Err(Error::Cancelled)), "{stopped:?}");
}

#[test]
fn segment_types_are_added() {
    let mut seen = 0;
    for (_, device) in devices() {
        for case in Case::open_all() {
            let (Some(types), Some(wanted)) = (&case.types, &case.wanted_typed) else { continue };
            seen += 1;
            let model = open_exact(&case.folder, &device);
            let encoder = model.encoder().expect("an encoder");
            let on = &encoder
                .transformer
                .embed_norm
                .as_ref()
                .expect("a norm")
                .gamma
                .as_ref()
                .expect("a scale")
                .val()
                .device();
            let longest = case.rows.iter().map(Vec::len).max().expect("rows");
            let pad = |rows: &[Vec<u32>]| {
                let padded = |row: &Vec<u32>| {
                    let mut row: Vec<i32> = row.iter().map(|id| *id as i32).collect();
                    row.resize(longest, 0);
                    row
                };
                let values: Vec<i32> = rows.iter().flat_map(padded).collect();
                Tensor::<2, Int>::from_data(TensorData::new(values, [rows.len(), longest]), on)
            };
            let kept: Vec<bool> =
                case.rows.iter().flat_map(|row| (0..longest).map(|t| t < row.len())).collect();
            let kept = TensorData::new(kept, [case.rows.len(), longest]);
            let kept = Tensor::<2, Bool>::from_data(kept, on);
            let hidden = encoder.forward(pad(&case.rows), Some(pad(types)), Some(kept));
            let [_, t, d] = hidden.dims();
            let values = hidden.into_data().try_into_vec::<f32>().expect("floats");
            for b in 0..case.rows.len() {
                let found = &values[b * t * d..b * t * d + case.rows[b].len() * d];
                let worst = difference(found, &case.row(wanted, b));
                assert!(worst <= REFERENCE, "{}, row {b}: {worst}", case.name);
            }
        }
    }
    assert!(seen > 0, "no recording has segment types");
}

#[test]
fn a_row_of_a_batch_equals_the_row_alone() {
    for (device_name, device) in devices() {
        for case in Case::open_all() {
            if !has_weights(&case.folder) {
                continue;
            }
            let model = open_exact(&case.folder, &device);
            let together = batch(&model, &case.rows);
            for (b, row) in case.rows.iter().enumerate() {
                let alone = batch(&model, std::slice::from_ref(row));
                let worst = difference(&together[b], &alone[0]);
                assert!(
                    worst <= SELF * scale(&alone[0]),
                    "{} on {device_name}, row {b}: {worst}",
                    case.name
                );
            }
        }
    }
}

/// Numbers above 1 carry their rounding with them.
fn scale(values: &[f32]) -> f32 {
    values.iter().fold(1.0, |most, value| most.max(value.abs()))
}

#[test]
fn a_cache_changes_nothing() {
    let mut seen = 0;
    for (device_name, device) in devices() {
        for case in Case::open_all() {
            let path = case.gguf.as_ref().unwrap_or(&case.folder);
            let model = open_exact(path, &device);
            if model.decoder().is_none() {
                continue;
            }
            seen += 1;
            let ids = case.rows.iter().max_by_key(|row| row.len()).expect("rows");
            let full = &batch(&model, std::slice::from_ref(ids))[0];
            let vocab = full.len() / ids.len();
            if let Some(stepwise) = &case.stepwise {
                let mut session = model.session().expect("a session");
                let mut found = session.forward(&ids[..16]).expect("logits").as_slice().to_vec();
                for id in &ids[16..] {
                    found.extend(session.forward(&[*id]).expect("logits").as_slice());
                }
                let worst = difference(&found, &stepwise.f32());
                assert!(worst <= REFERENCE, "{} on {device_name}, stepwise: {worst}", case.name);
            }
            let scaling = model.spec().rope(0).map(|rope| &rope.scaling);
            let dynamic = matches!(scaling, Some(Scaling::Dynamic { .. }));
            // A prompt in one piece and the rest one by one; and in pieces of odd sizes.
            for sizes in [
                vec![ids.len() - 5, 1, 1, 1, 1, 1],
                vec![3, 1, 7, 2, ids.len() - 13],
                vec![1; ids.len()],
            ] {
                let mut session = model.session().expect("a session");
                let mut start = 0;
                for size in sizes {
                    let output = session.forward(&ids[start..start + size]).expect("logits");
                    let end = start + size;
                    // Where a rotation goes by the length, what counts is the sequence so far.
                    let so_far = match case.stepwise {
                        Some(_) => &batch(&model, &[ids[..end].to_vec()])[0],
                        None => full,
                    };
                    let wanted = &so_far[start * vocab..end * vocab];
                    let worst = difference(output.as_slice(), wanted);
                    if dynamic && start > 0 {
                        // The reference, too, leaves older keys as they are: see above.
                        assert!(worst.is_finite());
                        start = end;
                        continue;
                    }
                    assert!(
                        worst <= SELF * scale(wanted),
                        "{} on {device_name}, token {start}: {worst}",
                        case.name
                    );
                    start += size;
                }
            }
        }
    }
    assert!(seen >= 20, "only {seen} decoders");
}

#[test]
fn a_long_row_is_read_in_chunks_that_change_nothing() {
    // The same weights with a longer window: positions that are turned have no table that ends.
    for name in ["llama-mqa", "gemma3-pattern", "qwen2-sliding-bf16"] {
        let folder = Scratch::new().expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(golden(name).join(file), folder.path().join(file)).expect("a copy");
        }
        let path = folder.path().join("config.json");
        let text = std::fs::read_to_string(&path).expect("a config");
        let mut config: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        config["max_position_embeddings"] = 2048.into();
        std::fs::write(&path, config.to_string()).expect("a config");
        for (device_name, device) in devices() {
            // Both kinds of blocks on the software GPU once: it is slow.
            if device_name != "cpu" && name != "gemma3-pattern" {
                continue;
            }
            let model = open_exact(folder.path(), &device);
            let long: Vec<u32> = (0..600).map(|i| i * 7 % 83).collect();
            let rows = [&long[..5], &long, &long[..300]];
            let output = model.forward(&rows).expect("logits");
            let decoder = model.decoder().expect("a decoder");
            let device = decoder.transformer.devices()[0].clone();
            for (b, row) in rows.iter().enumerate() {
                let ids: Vec<i32> = row.iter().map(|id| *id as i32).collect();
                let ids =
                    Tensor::<2, Int>::from_data(TensorData::new(ids, [1, row.len()]), &device);
                let wanted = decoder.forward(ids, None).into_data().try_into_vec::<f32>();
                let wanted = wanted.expect("logits");
                let found: Vec<f32> = (0..row.len())
                    .flat_map(|t| output.at(b, t).expect("logits"))
                    .copied()
                    .collect();
                let worst = difference(&found, &wanted);
                assert!(
                    worst <= SELF * scale(&wanted),
                    "{name} on {device_name}, {} tokens: {worst}",
                    row.len()
                );
            }
            assert!(output.at(0, 5).is_none());
            let padding = &output.as_slice()[5 * 83..600 * 83];
            assert!(padding.iter().all(|value| *value == 0.0), "{name}: padding");
        }
    }
}

#[test]
fn safetensors_and_gguf_agree() {
    let mut seen = 0;
    for (device_name, device) in devices() {
        for case in Case::open_all() {
            let Some(gguf) = &case.gguf else { continue };
            if !has_weights(&case.folder) || case.name.contains("-q") || case.name.contains("-k-") {
                continue; // the folder then holds the weights before they were quantized
            }
            seen += 1;
            let folder = batch(&open_exact(&case.folder, &device), &case.rows);
            let file = batch(&open_exact(gguf, &device), &case.rows);
            for (a, b) in folder.iter().zip(&file) {
                let worst = difference(a, b);
                assert!(worst <= SELF * scale(a), "{} on {device_name}: {worst}", case.name);
            }
        }
    }
    assert!(seen >= 10, "only {seen} pairs");
}

#[test]
fn a_saved_model_opens_again_and_is_the_same() {
    let mut seen = 0;
    let mut failed = Vec::new();
    for case in Case::open_all() {
        if !has_weights(&case.folder) {
            continue;
        }
        seen += 1;
        let model = open_exact(&case.folder, &Device::Cpu);
        let target = Scratch::new().expect("a folder");
        if let Err(error) = model.save(target.path()) {
            failed.push(format!("{}: {error}", case.name));
            continue;
        }
        // The checkpoint's own names and shapes.
        let (before, after) = (weight_shapes(&case.folder), weight_shapes(target.path()));
        if let Some(other) = after.iter().find(|(name, shape)| before.get(*name) != Some(shape)) {
            failed.push(format!("{}: {other:?} was not there", case.name));
        }
        match Model::options().device(Device::Cpu).precision(Precision::F32).open(target.path()) {
            Ok(again) if batch(&again, &case.rows) == batch(&model, &case.rows) => {}
            Ok(_) => failed.push(format!("{}: other numbers", case.name)),
            Err(error) => failed.push(format!("{}, again: {error}", case.name)),
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(seen >= 60, "only {seen} folders");
}

/// Halves every number, as training would change it.
struct Halve;

impl ModuleMapper for Halve {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|values| values * 0.5)
    }
}

/// All numbers of a module, in its own order.
#[derive(Default)]
struct Numbers(Vec<Vec<f32>>);

impl ModuleVisitor for Numbers {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.val().into_data().try_into_vec().expect("floats"));
    }
}

#[test]
fn a_changed_module_is_saved_with_its_own_numbers() {
    // Matrices that are turned and split, and rows that are dropped, are put back on the way.
    for (device_name, device) in devices() {
        for name in ["gpt2-untied", "roberta-words", "llama-mqa"] {
            let model = open_exact(&golden(name), &device);
            let target = Scratch::new().expect("a folder");
            let (mut wanted, mut found) = (Numbers::default(), Numbers::default());
            match (model.encoder().cloned(), model.decoder().cloned()) {
                (Some(encoder), _) => {
                    let encoder = encoder.map(&mut Halve);
                    encoder.visit(&mut wanted);
                    model.save_module(&encoder, target.path()).expect("a folder");
                    let again = open_exact(target.path(), &device);
                    again.encoder().expect("an encoder").visit(&mut found);
                }
                (_, Some(decoder)) => {
                    let decoder = decoder.map(&mut Halve);
                    decoder.visit(&mut wanted);
                    model.save_module(&decoder, target.path()).expect("a folder");
                    let again = open_exact(target.path(), &device);
                    again.decoder().expect("a decoder").visit(&mut found);
                }
                (None, None) => panic!("{name} is neither"),
            }
            assert!(wanted.0.len() > 10, "{name}");
            assert!(wanted.0 == found.0, "{name} on {device_name}");
        }
    }
}

#[test]
fn saving_refuses_what_it_cannot_do() {
    let case = golden("bert-mlm");
    let model = open(&case, &Device::Cpu);
    for folder in [case.clone(), case.join("inside"), case.join("inside/../more")] {
        let error = model.save(&folder).expect_err("its own folder");
        assert_eq!(error.code(), Code::Argument, "{error}");
    }
    assert!(!case.join("inside").exists() && !case.join("more").exists());
    let target = Scratch::new().expect("a folder");
    let gguf = open(&golden("bert-plain.gguf"), &Device::Cpu);
    let error = gguf.save(target.path()).expect_err("no config");
    assert_eq!(error.code(), Code::Missing, "{error}");
    let rounded = Model::options().device(Device::Cpu).precision(Precision::Int8);
    let rounded = rounded.open(golden("gpt-oss-mxfp4")).expect("a model");
    let error = rounded.save(target.path()).expect_err("rounded weights");
    assert_eq!(error.code(), Code::Unsupported, "{error}");
    // A module without the model's parameters.
    let other = open(&golden("bert-order"), &Device::Cpu);
    let error = model.save_module(other.encoder().expect("an encoder"), target.path());
    assert_eq!(error.expect_err("other parameters").code(), Code::Argument);
    // Nothing was written until all was known to be right; and a folder is no file.
    assert_eq!(std::fs::read_dir(target.path()).expect("a folder").count(), 0);
    let file = target.path().join("file");
    std::fs::write(&file, "kept").expect("a file");
    let error = model.save(&file).expect_err("a file");
    assert_eq!(error.to_string(), format!("cannot write `{}`", file.display()));
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "kept");
}

/// A copy of a recorded folder.
fn copy(name: &str) -> Scratch {
    let folder = Scratch::new().expect("a folder");
    for file in ["config.json", "model.safetensors"] {
        std::fs::copy(golden(name).join(file), folder.path().join(file)).expect("a copy");
    }
    folder
}

/// What opening says that must fail.
fn refusal(path: &Path) -> String {
    match Model::options().device(Device::Cpu).open(path) {
        Ok(model) => panic!("{} opened as {model}", path.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_a_config_says_and_nobody_knows_is_an_error_with_what_is_known() {
    let scalings = ["default", "dynamic", "linear", "llama3", "longrope", "yarn"];
    let warp = json!({"rope_type": "warp", "factor": 2.0});
    let cases: &[(&str, &str, Value, &str, &[&str])] = &[
        ("llama-mqa", "model_type", json!("llama9"), "llama9", &["llama", "bert", "jina_bert"]),
        ("llama-mqa", "rope_scaling", warp.clone(), "warp", &scalings),
        ("llama-bias", "rope_parameters", warp, "warp", &scalings),
        ("llama-mqa", "hidden_act", json!("swash"), "swash", &["gelu", "relu", "silu", "tanh"]),
        ("bert-plain", "hidden_act", json!("swash"), "swash", &["gelu", "relu", "silu", "tanh"]),
        (
            "gpt-oss-bf16",
            "layer_types",
            json!(["ring_attention", "full_attention"]),
            "ring_attention",
            &["full_attention", "sliding_attention"],
        ),
        ("bert-plain", "position_embedding_type", json!("relative"), "relative", &["absolute"]),
        ("jina-bert", "position_embedding_type", json!("relative"), "relative", &["absolute"]),
        ("jina-bert", "feed_forward_type", json!("reglu"), "reglu", &["geglu"]),
        ("jina-bert", "attn_implementation", json!("magic"), "magic", &["torch", "sdpa"]),
        ("jina-bert", "emb_pooler", json!("max"), "max", &["mean"]),
        ("t5", "feed_forward_proj", json!("gated-swash"), "swash", &["gelu", "relu"]),
        ("deepseek-v3", "scoring_func", json!("softplus"), "softplus", &["sigmoid"]),
        ("deepseek-v2-lite", "topk_method", json!("all"), "all", &["group_limited_greedy"]),
        ("gpt-oss-mxfp4", "quantization_config", json!({"quant_method": "x9"}), "x9", &["mxfp4"]),
    ];
    for (name, key, value, said, known) in cases {
        let folder = copy(name);
        let path = folder.path().join("config.json");
        let text = std::fs::read_to_string(&path).expect("a config");
        let mut config: Value = serde_json::from_str(&text).expect("JSON");
        config[key] = value.clone();
        std::fs::write(&path, config.to_string()).expect("a config");
        let error = refusal(folder.path());
        for word in known.iter().chain([said]) {
            assert!(error.contains(word), "{name}, {key}: no `{word}` in: {error}");
        }
    }
}

#[test]
fn an_architecture_that_nobody_knows_is_an_error_with_those_that_are() {
    let bytes = std::fs::read(golden("llama-mqa.gguf")).expect("a file");
    let folder = Scratch::new().expect("a folder");
    let path = folder.path().join("model.gguf");
    let bent: Vec<u8> = {
        let mut bent = bytes.clone();
        let places = bytes.windows(5).enumerate().filter(|(_, part)| *part == b"llama");
        places.for_each(|(i, _)| bent[i..i + 5].copy_from_slice(b"alpha"));
        bent
    };
    std::fs::write(&path, bent).expect("a file");
    let error = refusal(&path);
    for word in ["alpha", "llama", "gemma3", "deepseek2", "t5", "jina-bert-v2"] {
        assert!(error.contains(word), "no `{word}` in: {error}");
    }
}

#[test]
fn a_tensor_that_nobody_expects_is_an_error_that_names_it() {
    for (name, tensor) in [
        ("llama-mqa", "model.layers.0.self_attn.k_gate.weight"),
        ("jina-bert", "encoder.layer.0.attention.self.layer_norm_q.weight"),
        ("opt-350m", "model.decoder.project_mid.weight"),
        ("t5-gguf", "decoder.block.0.layer.1.EncDecAttention.k.bias"),
    ] {
        let folder = copy(name);
        let path = folder.path().join("model.safetensors");
        let bytes = std::fs::read(&path).expect("weights");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("a length")) as usize;
        let mut header: Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
        let end = bytes.len() - 8 - length;
        header[tensor] = json!({"dtype": "F32", "shape": [1], "data_offsets": [end, end + 4]});
        let header = header.to_string().into_bytes();
        let mut bent = (header.len() as u64).to_le_bytes().to_vec();
        bent.extend(&header);
        bent.extend(&bytes[8 + length..]);
        bent.extend(1f32.to_le_bytes());
        std::fs::write(&path, bent).expect("weights");
        let error = refusal(folder.path());
        assert!(error.contains(tensor), "{name}: {error}");
    }
}
