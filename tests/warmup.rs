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
        let [first, second] = [(); 2].map(|()| {
            let collection = LaunchedKernels::new();
            work(&model).expect("numbers");
            collection.finish()
        });
        assert!(!first.is_empty(), "{name}");
        // One run in ten, a kernel of burn's has another number than before, and each time another
        // one: what the warm-up has left out has the same number twice.
        let both = first.intersection(&second);
        let new: Vec<_> = both.filter(|kernel| !known.contains(*kernel)).collect();
        assert!(new.is_empty(), "{name}: of {} kernels these are new: {new:?}", first.len());
    }
}

/// Prompts of several lengths, and some steps, whose tokens are chosen in every way.
fn work(model: &Model) -> Result<()> {
    let some = GenerateOptions::default().max_tokens(4).ignore_eos(true);
    let drawn = some.clone().temperature(0.8);
    let ways = [some.greedy(), drawn.clone().top_k(0).top_p(1.0), drawn.clone(), drawn.top_p(0.9)];
    for (length, wanted) in [1, 5, 13, 40].into_iter().zip(ways) {
        let mut session = model.session()?;
        session.feed(&vec![3; length.min(model.spec().window - 4)])?;
        for piece in session.generate(&wanted)? {
            piece?;
        }
    }
    Ok(())
}
