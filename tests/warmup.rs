//! What a warm-up leaves to be compiled: nothing. Alone in its program, since cubecl collects what all
//! threads launch.

use cubecl::launched::LaunchedKernels;
use emberform::{GenerateOptions, Model, Result};
use emberform_tests::{golden, open, software_gpu};

#[test]
fn calls_after_a_warmup_compile_nothing() {
    for name in ["llama-linear-f16.gguf", "gemma3-pattern"] {
        let model = open(&golden(name), &software_gpu());
        let collection = LaunchedKernels::new();
        model.warmup().expect("a warm-up");
        let known = collection.finish();
        let collection = LaunchedKernels::new();
        work(&model).expect("numbers");
        let used = collection.finish();
        assert!(!used.is_empty(), "{name}");
        let new = used.iter().filter(|kernel| !known.contains(*kernel)).count();
        assert_eq!(new, 0, "{name}: {new} of {} kernels are new", used.len());
    }
}

/// Prompts of several lengths, and some steps.
fn work(model: &Model) -> Result<()> {
    let wanted = GenerateOptions::default().max_tokens(4).ignore_eos(true).greedy();
    for length in [1, 5, 13, 40] {
        let mut session = model.session()?;
        session.feed(&vec![3; length.min(model.spec().window - 4)])?;
        for piece in session.generate(&wanted)? {
            piece?;
        }
    }
    Ok(())
}
