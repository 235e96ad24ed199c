//! Who computes each block of every recorded checkpoint, and with which operations: a fold that stops
//! firing, and a block that falls to tensor operations, is a difference here.
//!
//! What is right stands in `tests/golden/plans.txt`. `EMBERFORM_WRITE_PLANS=1 cargo test --release
//! --workspace --test plans` writes it anew, for `git diff` to be looked at.

use std::fmt::Write;
use std::path::PathBuf;

use emberform::nn::Ways;
use emberform_tests::{devices, golden, open};

/// Blocks that are alike, and what they are bound to.
fn describe(text: &mut String, ways: &Ways) {
    let mut start = 0;
    while let Some(own) = ways.block(start).zip(ways.bound(start)) {
        let mut end = start + 1;
        while ways.block(end).zip(ways.bound(end)) == Some(own) {
            end += 1;
        }
        let (ways, bound) = own;
        for (i, class) in ["one", "few", "many"].into_iter().enumerate() {
            let before = i.checked_sub(1);
            if before.is_some_and(|before| ways[before] == ways[i] && bound[before] == bound[i]) {
                continue;
            }
            let blocks = format!("{start}..{end}");
            writeln!(text, "  {blocks:6} {class:4} {}", ways[i]).expect("text");
            writeln!(text, "              {}", bound[i]).expect("text");
        }
        start = end;
    }
    if let Some(why) = ways.unrecorded() {
        writeln!(text, "  not recorded: {why}").expect("text");
    }
}

#[test]
fn every_checkpoint_is_bound_as_before() {
    let mut found = String::new();
    let entries = std::fs::read_dir(golden("")).expect("the checkpoints");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    let is_checkpoint = |path: &PathBuf| {
        path.join("config.json").exists() && path.join("expected.safetensors").exists()
            || path.extension().is_some_and(|extension| extension == "gguf")
    };
    paths.retain(is_checkpoint);
    paths.sort();
    assert!(paths.len() > 80, "only {} checkpoints", paths.len());
    for path in paths {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let mut last = String::new();
        for (kind, device) in devices() {
            let model = open(&path, &device);
            let mut text = String::new();
            model.ways().into_iter().for_each(|ways| describe(&mut text, ways));
            if text != last {
                writeln!(found, "{name} on {kind}\n{text}").expect("text");
            }
            last = text;
        }
    }
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden/plans.txt");
    if std::env::var_os("EMBERFORM_WRITE_PLANS").is_some() {
        std::fs::write(&file, &found).expect("tests/golden/plans.txt");
        return;
    }
    let wanted = std::fs::read_to_string(&file).expect("tests/golden/plans.txt");
    let lines = wanted.lines().zip(found.lines()).enumerate();
    let first = lines.filter(|(_, (wanted, found))| wanted != found).map(|(i, _)| i).next();
    if let Some(i) = first {
        let around = |text: &str| {
            text.lines().skip(i.saturating_sub(3)).take(8).collect::<Vec<_>>().join("\n")
        };
        panic!("line {}: recorded\n{}\nbound\n{}", i + 1, around(&wanted), around(&found));
    }
    assert_eq!(wanted.lines().count(), found.lines().count(), "checkpoints came or went");
}
