//! The first program of README.md, which quotes this file: an embedding, then a text continued.

use emberform::{GenerateOptions, Model};

fn main() -> emberform::Result<()> {
    // text -> tokens -> hidden states -> embedding
    let model = Model::open("models/minilm")?;
    let vectors = model.embed(&["a cat sat", "a kitten slept", "bond yields rose"])?; // 3 rows of 384
    println!("{:.2} and {:.2}", vectors.cosine(0, 1), vectors.cosine(0, 2));

    // text -> tokens -> hidden states -> text
    let model = Model::open("models/gemma3-270m-q4_k_m.gguf")?;
    for piece in model.generate("The sky is", &GenerateOptions::default().max_tokens(16))? {
        print!("{}", piece?.text);
    }
    println!();
    Ok(())
}
