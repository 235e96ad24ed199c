//! Hidden states and attention weights of every layer: transformers' `output_hidden_states` and
//! `output_attentions`, on CPU and GPU. `tests/golden/record/encoders.py` recorded them.

use emberform::{Code, Device, ForwardOptions, Output};
use emberform_tests::{Scratch, devices, difference, golden, open_exact, recorded};

/// Against the reference, which sums in another order.
const REFERENCE: f32 = 1e-4;
/// Between two ways of this crate.
const SELF: f32 = 1e-5;

/// The real tokens of the recorded rows: all but the first of the checkpoint's.
fn rows(name: &str) -> Vec<Vec<u32>> {
    let tensors = recorded(&golden(name).join("expected.safetensors"));
    let (ids, mask) = (tensors["ids"].i64(), tensors["mask"].i64());
    let width = tensors["mask"].shape[1];
    let rows = ids.chunks_exact(width).zip(mask.chunks_exact(width)).skip(1);
    rows.map(|(ids, mask)| {
        let real = ids.iter().zip(mask).filter(|(_, mask)| **mask == 1);
        real.map(|(id, _)| *id as u32).collect()
    })
    .collect()
}

#[test]
fn states_and_maps_of_every_layer_are_the_references() {
    let mut names: Vec<String> = std::fs::read_dir(golden(""))
        .expect("tests/golden/checkpoints")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("layers.safetensors").exists())
        .map(|path| path.file_name().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(names.len() >= 10, "only {} recordings of layers", names.len());
    let mut failed = Vec::new();
    for (device_name, device) in devices() {
        for name in &names {
            let rows = rows(name);
            let model = open_exact(&golden(name), &device);
            let wanted = recorded(&golden(name).join("layers.safetensors"));
            let (states, maps) = (&wanted["states"], &wanted["maps"]);
            let [count, b, t, d] = states.shape[..] else { panic!("[L + 1, B, T, D]") };
            let [layers, _, h, _, _] = maps.shape[..] else { panic!("[L, B, H, T, T]") };
            assert_eq!([b, count], [rows.len(), model.spec().layers.len() + 1], "{name}");
            let options = ForwardOptions::default().hidden_states(0..count).attentions(0..layers);
            let output = model.forward_with(&rows, &options).expect("a forward pass");
            let (states, maps) = (states.f32(), maps.f32());
            let (mut worst_state, mut worst_map) = (0f32, 0f32);
            for layer in 0..count {
                let found = output.hidden_states(layer).expect("states");
                for (row, ids) in rows.iter().enumerate() {
                    for token in 0..ids.len() {
                        let start = ((layer * b + row) * t + token) * d;
                        let found = found.at(row, token).expect("a token");
                        let wanted = &states[start..start + d];
                        worst_state = worst_state.max(difference(found, wanted));
                    }
                }
            }
            for layer in 0..layers {
                let found = output.attentions(layer).expect("maps");
                assert_eq!(found.shape(), [b, h, t, t], "{name}");
                for (row, ids) in rows.iter().enumerate() {
                    for (head, token) in (0..h).flat_map(|h| (0..ids.len()).map(move |t| (h, t))) {
                        let start = (((layer * b + row) * h + head) * t + token) * t;
                        let found = found.at(row, head, token).expect("weights");
                        let wanted = &maps[start..start + ids.len()];
                        worst_map = worst_map.max(difference(found, wanted));
                    }
                }
            }
            println!("{name:20} {device_name:12} states {worst_state:.1e} maps {worst_map:.1e}");
            if !(worst_state <= REFERENCE && worst_map <= REFERENCE) {
                failed.push(format!("{name} on {device_name}: {worst_state}, {worst_map}"));
            }
        }
    }
    assert!(failed.is_empty(), "beyond {REFERENCE}: {failed:#?}");
}

#[test]
fn only_what_was_asked_for_is_there_and_the_output_is_the_same() {
    for name in ["bert-mlm", "gemma3-pattern"] {
        let (rows, model) = (rows(name), open_exact(&golden(name), &Device::Cpu));
        let plain = model.forward(&rows).expect("a forward pass");
        assert!(plain.hidden_states(0).is_none() && plain.attentions(0).is_none());
        let options = ForwardOptions::default().hidden_states([1, 1]).attentions([1]);
        let output = model.forward_with(&rows, &options).expect("a forward pass");
        assert!(difference(output.as_slice(), plain.as_slice()) <= SELF * 10.0, "{name}");
        assert!(output.hidden_states(0).is_none() && output.hidden_states(2).is_none());
        assert!(output.hidden_states(1).is_some());
        assert!(output.attentions(0).is_none());
        let maps = output.attentions(1).expect("maps");
        let [_, h, _, _] = maps.shape();
        assert!(maps.at(0, h, 0).is_none() && maps.at(rows.len(), 0, 0).is_none());
        assert!(maps.at(0, 0, rows[0].len()).is_none());
        let layers = model.spec().layers.len();
        for options in [
            ForwardOptions::default().hidden_states([layers + 1]),
            ForwardOptions::default().attentions([0, layers]),
        ] {
            let error = model.forward_with(&rows, &options).expect_err("no such layer");
            assert_eq!(error.code(), Code::Argument, "{error}");
        }
        let output = model
            .forward_with(&rows, &ForwardOptions::default().hidden_states([layers]))
            .expect("states");
        if model.encoder().is_some() {
            let last = output.hidden_states(layers).expect("the last states");
            assert_eq!(last.as_slice(), output.as_slice(), "{name}");
        }
    }
}

#[test]
fn a_row_read_in_chunks_shows_the_same() {
    // A long row of a decoder is read through a cache, unless attention weights are wanted. The same
    // weights with a longer window: positions that are turned have no table that ends.
    let folder = Scratch::new().expect("a folder");
    let from = golden("gemma3-pattern");
    std::fs::copy(from.join("model.safetensors"), folder.path().join("model.safetensors"))
        .expect("a copy");
    let config = std::fs::read_to_string(from.join("config.json")).expect("a config");
    let mut config: serde_json::Value = serde_json::from_str(&config).expect("JSON");
    config["max_position_embeddings"] = 2048.into();
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("a config");
    let model = open_exact(folder.path(), &Device::Cpu);
    let long: Vec<u32> = (0..300).map(|i| i * 7 % 83).collect();
    let rows = [&long[..], &long[..5]];
    let options = ForwardOptions::default().hidden_states([3, 7]);
    let chunks = model.forward_with(&rows, &options).expect("states");
    let whole = model.forward_with(&rows, &options.attentions([6])).expect("states");
    for layer in [3, 7] {
        let states = |output: &Output| output.hidden_states(layer).expect("states").clone();
        let worst = difference(states(&chunks).as_slice(), states(&whole).as_slice());
        let most = states(&whole).as_slice().iter().fold(1f32, |most, x| most.max(x.abs()));
        assert!(worst <= SELF * most, "layer {layer}: {worst}");
    }
    // Of 300 tokens a full layer's last sees all; each row's weights sum to 1.
    let maps = whole.attentions(6).expect("maps");
    for token in [0, 4, 299] {
        let sum: f32 = maps.at(0, 2, token).expect("weights").iter().sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }
}
