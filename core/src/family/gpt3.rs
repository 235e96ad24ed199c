//! GPT-3 (arXiv:2005.14165): GPT-2's block, every other one seeing a band of the tokens before. Its
//! weights were never published; the shapes were.

use super::*;

/// Name, blocks, width, heads and size of a head: table 2.1 of the paper.
///
/// For the 1.3B, the table has 24 heads of 128, which would make it 1.5B at its width; 16 heads
/// make what it says.
const SIZES: [(&str, usize, usize, usize, usize); 8] = [
    ("125M", 12, 768, 12, 64),
    ("350M", 24, 1024, 16, 64),
    ("760M", 24, 1536, 16, 96),
    ("1.3B", 24, 2048, 16, 128),
    ("2.7B", 32, 2560, 32, 80),
    ("6.7B", 32, 4096, 32, 128),
    ("13B", 40, 5140, 40, 128),
    ("175B", 96, 12_288, 96, 128),
];

impl Spec {
    /// The shape of GPT-3 in one of its published sizes (arXiv:2005.14165, table 2.1): `125M`,
    /// `350M`, `760M`, `1.3B`, `2.7B`, `6.7B`, `13B` or `175B`, with GPT-2's vocabulary and a window
    /// of 2048 tokens, to be built and trained; its weights were never published.
    ///
    /// Blocks see all tokens before and the last `band` of them by turns (Sparse Transformer,
    /// arXiv:1904.10509), the first one all; the paper does not say how wide the band was.
    ///
    /// # Errors
    /// [`Error::Argument`] for another size, or a band of no token.
    pub fn gpt3(size: &str, band: usize) -> Result<Spec> {
        let Some((_, count, width, heads, head_dim)) =
            SIZES.into_iter().find(|(name, ..)| *name == size)
        else {
            let known: Vec<&str> = SIZES.iter().map(|(name, ..)| *name).collect();
            let problem = format!("is `{size}`, not one of {}", known.join(", "));
            return Err(Error::argument("size", problem));
        };
        if band == 0 {
            return Err(Error::argument("band", "is 0; a token sees itself at least"));
        }
        let base = Spec::decoder(50_257, width, count, heads, 4 * width);
        let layer = |i: usize| Layer::new(span((i % 2 == 1).then_some(band)));
        Ok(Spec {
            window: 2048,
            position: Position::Learned { count: 2048 },
            attention: Attention {
                head_dim,
                qkv_bias: true,
                out_bias: true,
                scale: (head_dim as f64).powf(-0.5),
                ..base.attention
            },
            mlp: Mlp::Plain { ffn: 4 * width, activation: Activation::GeluTanh, bias: true },
            norm: Norm::Layer { eps: 1e-5, bias: true },
            layers: (0..count).map(layer).collect(),
            ..base
        })
    }
}
