//! Checkpoints of real sizes with random weights, as GGUF files.

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

use emberform::Model;
use half::f16;

/// How matrices are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    F32,
    F16,
    Q8_0,
    Q4K,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Format::F32 => "F32",
            Format::F16 => "F16",
            Format::Q8_0 => "Q8_0",
            Format::Q4K => "Q4_K",
        }
    }

    /// ggml's number of the type, weights of a block, bytes of a block.
    fn layout(self) -> (u32, usize, usize) {
        match self {
            Format::F32 => (0, 1, 4),
            Format::F16 => (1, 1, 2),
            Format::Q8_0 => (8, 32, 34),
            Format::Q4K => (12, 256, 144),
        }
    }

    fn bytes(self, count: usize) -> usize {
        let (_, block, bytes) = self.layout();
        count / block * bytes
    }
}

/// A network's sizes, and how much of it is measured.
pub struct Shape {
    pub name: &'static str,
    /// BERT's block; else Llama's.
    pub encoder: bool,
    pub vocab: usize,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub ffn: usize,
    pub formats: &'static [Format],
    pub prompt: usize,
    pub tokens: usize,
    pub texts: usize,
    pub runs: usize,
}

const DECODER: Shape = Shape {
    name: "",
    encoder: false,
    vocab: 0,
    width: 0,
    layers: 0,
    heads: 0,
    kv_heads: 8,
    head_dim: 128,
    ffn: 0,
    formats: &[Format::F16, Format::Q8_0, Format::Q4K],
    prompt: 512,
    tokens: 128,
    texts: 0,
    runs: 3,
};

const MINILM: Shape = Shape {
    name: "MiniLM",
    encoder: true,
    vocab: 30_522,
    width: 384,
    layers: 6,
    heads: 12,
    kv_heads: 12,
    head_dim: 32,
    ffn: 1536,
    // Rows of 384 are no multiple of Q4_K's 256.
    formats: &[Format::F32, Format::F16, Format::Q8_0],
    prompt: 0,
    tokens: 0,
    texts: 2048,
    runs: 3,
};

/// MiniLM, and the blocks of Qwen 3 0.6B (without its norms of queries), Llama 3.2 1B and
/// Mistral 7B.
pub fn shapes(quick: bool) -> Vec<Shape> {
    if quick {
        return vec![
            Shape { name: "MiniLM-2", layers: 2, vocab: 1000, texts: 4, runs: 1, ..MINILM },
            Shape {
                name: "tiny",
                vocab: 4096,
                width: 256,
                layers: 2,
                heads: 4,
                kv_heads: 2,
                head_dim: 64,
                ffn: 512,
                prompt: 64,
                tokens: 9,
                runs: 1,
                ..DECODER
            },
        ];
    }
    vec![
        MINILM,
        Shape {
            name: "0.6B",
            vocab: 151_936,
            width: 1024,
            layers: 28,
            heads: 16,
            ffn: 3072,
            ..DECODER
        },
        Shape {
            name: "1B",
            vocab: 128_256,
            width: 2048,
            layers: 16,
            heads: 32,
            head_dim: 64,
            ffn: 8192,
            ..DECODER
        },
        Shape {
            name: "7B",
            vocab: 32_000,
            width: 4096,
            layers: 32,
            heads: 32,
            ffn: 14_336,
            ..DECODER
        },
    ]
}

impl Shape {
    /// Weights of a block's matrices.
    fn block(&self) -> usize {
        let attention = 2 * self.width * (self.heads + self.kv_heads) * self.head_dim;
        attention + self.width * self.ffn * if self.encoder { 2 } else { 3 }
    }

    /// Operations that a token costs in a row of `length` tokens: products of matrices, and of
    /// queries with keys and of weights with values, half of which a causal mask saves.
    pub fn flops(&self, length: usize) -> f64 {
        let seen = if self.encoder { length } else { length / 2 };
        let scores = 2 * self.heads * self.head_dim * seen;
        2.0 * (self.layers * (self.block() + scores)) as f64
    }

    /// Bytes that a step of generation reads: all blocks and the head's matrix.
    pub fn read_bytes(&self, model: &Model) -> f64 {
        // The head is the embedding's matrix, read once.
        model.memory().weights as f64
    }
}

/// Texts of 8 to 128 words, each a token.
pub fn texts(shape: &Shape) -> Vec<String> {
    let mut random = Random(7);
    (0..shape.texts)
        .map(|_| {
            let words = 8 + random.next() as usize % 121;
            let word = |_| word(5 + random.next() as usize % (shape.vocab - 5));
            (0..words).map(word).collect::<Vec<_>>().join(" ")
        })
        .collect()
}

/// The word with this id: letters alone, so that no normalizer changes it.
fn word(id: usize) -> String {
    let mut rest = id;
    let mut word = String::from("w");
    for _ in 0..4 {
        word.push(char::from(b'a' + (rest % 26) as u8));
        rest /= 26;
    }
    word
}

/// Marsaglia's xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) as u32
    }

    /// From -1 to 1.
    fn number(&mut self) -> f32 {
        self.next() as f32 / (1u32 << 31) as f32 - 1.0
    }
}

/// Some thousand blocks whose weights are about as large as a trained matrix of this width has them.
fn blocks(format: Format, width: usize) -> Vec<u8> {
    let mut random = Random(width as u64 + 1);
    let size = 1.5 / (width as f32).sqrt();
    let mut bytes = Vec::new();
    for _ in 0..4099 {
        match format {
            Format::F32 => bytes.extend((random.number() * size).to_le_bytes()),
            Format::F16 => bytes.extend(f16::from_f32(random.number() * size).to_le_bytes()),
            Format::Q8_0 => {
                bytes.extend(f16::from_f32(size / 127.0).to_le_bytes());
                bytes.extend((0..32).map(|_| random.next() as u8));
            }
            Format::Q4K => {
                // 0 to 15 times a scale of about 32, less half of that.
                let scale = size / 8.0 / 32.0;
                bytes.extend(f16::from_f32(scale).to_le_bytes());
                bytes.extend(f16::from_f32(scale * 7.5).to_le_bytes());
                // All scales and offsets alike: 32 of 63 in each 6 bits.
                bytes.extend([0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0xa0, 0, 0, 0, 0]);
                bytes.extend((0..128).map(|_| random.next() as u8));
            }
        }
    }
    bytes
}

struct Gguf {
    head: Vec<u8>,
    pairs: u64,
}

impl Gguf {
    fn key(&mut self, key: &str, kind: u32) {
        self.pairs += 1;
        string(&mut self.head, key);
        self.head.extend(kind.to_le_bytes());
    }

    fn count(&mut self, key: &str, value: usize) {
        self.key(key, 4);
        self.head.extend((value as u32).to_le_bytes());
    }

    fn number(&mut self, key: &str, value: f32) {
        self.key(key, 6);
        self.head.extend(value.to_le_bytes());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        string(&mut self.head, value);
    }

    fn list(&mut self, key: &str, kind: u32, count: usize) {
        self.key(key, 9);
        self.head.extend(kind.to_le_bytes());
        self.head.extend((count as u64).to_le_bytes());
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// Names, sizes (output first) and whether they are matrices in the format of the file.
fn tensors(shape: &Shape) -> Vec<(String, Vec<usize>, bool)> {
    let (d, f) = (shape.width, shape.ffn);
    let (q, kv) = (shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim);
    let mut all = vec![("token_embd.weight".to_string(), vec![shape.vocab, d], true)];
    let mut add = |name: String, dims: &[usize]| all.push((name, dims.to_vec(), dims.len() == 2));
    if shape.encoder {
        add("position_embd.weight".into(), &[512, d]);
        add("token_types.weight".into(), &[2, d]);
        add("token_embd_norm.weight".into(), &[d]);
        add("token_embd_norm.bias".into(), &[d]);
    } else {
        add("output_norm.weight".into(), &[d]);
    }
    for i in 0..shape.layers {
        let mut proj = |name: &str, rows: usize, width: usize| {
            add(format!("blk.{i}.{name}.weight"), &[rows, width]);
            if shape.encoder {
                add(format!("blk.{i}.{name}.bias"), &[rows]);
            }
        };
        proj("attn_q", q, d);
        proj("attn_k", kv, d);
        proj("attn_v", kv, d);
        proj("attn_output", d, q);
        if !shape.encoder {
            proj("ffn_gate", f, d);
        }
        proj("ffn_up", f, d);
        proj("ffn_down", d, f);
        let norms = match shape.encoder {
            true => ["attn_output_norm", "layer_output_norm"],
            false => ["attn_norm", "ffn_norm"],
        };
        for norm in norms {
            add(format!("blk.{i}.{norm}.weight"), &[d]);
            if shape.encoder {
                add(format!("blk.{i}.{norm}.bias"), &[d]);
            }
        }
    }
    all
}

/// Writes the file; its bytes are the same each time.
///
/// # Errors
/// When the system does not let it.
pub fn write(path: &Path, shape: &Shape, format: Format) -> Result<()> {
    let arch = if shape.encoder { "bert" } else { "llama" };
    let key = |name: &str| format!("{arch}.{name}");
    let mut gguf = Gguf { head: Vec::new(), pairs: 0 };
    gguf.text("general.architecture", arch);
    gguf.text("general.name", shape.name);
    gguf.count(&key("block_count"), shape.layers);
    gguf.count(&key("embedding_length"), shape.width);
    gguf.count(&key("feed_forward_length"), shape.ffn);
    gguf.count(&key("attention.head_count"), shape.heads);
    if shape.encoder {
        gguf.count(&key("context_length"), 512);
        gguf.number(&key("attention.layer_norm_epsilon"), 1e-12);
        gguf.key(&key("attention.causal"), 7);
        gguf.head.push(0);
        gguf.count(&key("pooling_type"), 1);
        gguf.count("tokenizer.ggml.token_type_count", 2);
        gguf.text("tokenizer.ggml.model", "bert");
        gguf.count("tokenizer.ggml.unknown_token_id", 1);
        gguf.count("tokenizer.ggml.cls_token_id", 2);
        gguf.count("tokenizer.ggml.seperator_token_id", 3);
        gguf.list("tokenizer.ggml.tokens", 8, shape.vocab);
        for id in 0..shape.vocab {
            let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"].get(id);
            let token = special.map_or_else(|| format!("▁{}", word(id)), |name| name.to_string());
            string(&mut gguf.head, &token);
        }
        gguf.list("tokenizer.ggml.token_type", 5, shape.vocab);
        for id in 0..shape.vocab {
            gguf.head.extend((if id < 5 { 3u32 } else { 1 }).to_le_bytes());
        }
    } else {
        gguf.count(&key("context_length"), 8192);
        gguf.count(&key("attention.head_count_kv"), shape.kv_heads);
        gguf.count(&key("attention.key_length"), shape.head_dim);
        gguf.count(&key("attention.value_length"), shape.head_dim);
        gguf.count(&key("rope.dimension_count"), shape.head_dim);
        gguf.number(&key("attention.layer_norm_rms_epsilon"), 1e-5);
        gguf.number(&key("rope.freq_base"), 10_000.0);
        gguf.count(&key("vocab_size"), shape.vocab);
        // Ids go in and come out.
        gguf.text("tokenizer.ggml.model", "no_vocab");
    }

    let all = tensors(shape);
    let mut table = Vec::new();
    let mut offset = 0usize;
    let kind = |matrix: bool| if matrix { format } else { Format::F32 };
    for (name, dims, matrix) in &all {
        string(&mut table, name);
        table.extend((dims.len() as u32).to_le_bytes());
        for dim in dims.iter().rev() {
            table.extend((*dim as u64).to_le_bytes());
        }
        table.extend(kind(*matrix).layout().0.to_le_bytes());
        table.extend((offset as u64).to_le_bytes());
        offset += kind(*matrix).bytes(dims.iter().product()).next_multiple_of(32);
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    out.write_all(b"GGUF")?;
    out.write_all(&3u32.to_le_bytes())?;
    out.write_all(&(all.len() as u64).to_le_bytes())?;
    out.write_all(&gguf.pairs.to_le_bytes())?;
    out.write_all(&gguf.head)?;
    out.write_all(&table)?;
    let written = 24 + gguf.head.len() + table.len();
    out.write_all(&vec![0; written.next_multiple_of(32) - written])?;
    for (name, dims, matrix) in &all {
        let bytes = kind(*matrix).bytes(dims.iter().product());
        let pattern = match name {
            _ if *matrix => blocks(format, dims[1]),
            // Scales are ones, shifts small.
            name if name.contains("norm.weight") => 1f32.to_le_bytes().to_vec(),
            _ => 0.01f32.to_le_bytes().to_vec(),
        };
        // Long stretches: a write costs more than a copy.
        let stretch = pattern.repeat((1 << 20) / pattern.len() + 1);
        let mut left = bytes;
        while left > 0 {
            let part = left.min(stretch.len());
            out.write_all(&stretch[..part])?;
            left -= part;
        }
        out.write_all(&vec![0; bytes.next_multiple_of(32) - bytes])?;
    }
    out.flush()
}
