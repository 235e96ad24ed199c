//! Opens small checkpoints, embeds and generates: `consumer CHECKPOINTS`.

use std::path::Path;

use emberform::{Device, GenerateOptions, Model, Result};

fn main() -> Result<()> {
    let checkpoints = std::env::args().nth(1).expect("consumer CHECKPOINTS");
    let open = |name: &str| {
        Model::options().device(Device::Cpu).open(Path::new(&checkpoints).join(name))
    };

    let encoder = open("st-prompts")?;
    let vectors = encoder.embed(&["a cat sat", "a dog lay", "a cat sat"])?;
    assert_eq!((vectors.len(), vectors.width()), (3, encoder.width()));
    assert!(vectors.cosine(0, 2) > 0.9999 && vectors.cosine(0, 1) < 0.9999);

    let decoder = open("st-decoder")?;
    let options = GenerateOptions::default().max_tokens(4).greedy().ignore_eos(true);
    let mut stream = decoder.generate("a cat", &options)?;
    let mut tokens = 0;
    for piece in &mut stream {
        tokens += usize::from(piece?.token.is_some());
    }
    assert_eq!(tokens, 4);
    let devices = Device::list().len();
    println!("{encoder}; {decoder}; {devices} devices");
    Ok(())
}
