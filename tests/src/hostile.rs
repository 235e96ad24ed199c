//! Small valid models built in code, piece by piece, so that a test can bend any one piece.
//!
//! [`GgufFile`] and [`Folder`] hold a model as the pieces of its files; `llama_gguf`, `bpe_gguf`,
//! `llama_folder` and `bert_folder` make models that open and compute. A test changes a field and
//! writes the result.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// Width of the models (D).
pub const WIDTH: usize = 32;
/// Size between of the models' feed-forward part (F).
pub const FFN: usize = 64;
/// Query heads of the models (H); key and value heads are half as many in the llama models.
pub const HEADS: usize = 2;
/// Window of the models in tokens.
pub const WINDOW: usize = 64;
/// Width of the sentence vector of [`bert_folder`], after its dense layer.
pub const DENSE: usize = 16;

/// Numbers of the types of metadata values in GGUF files.
pub mod kind {
    /// Unsigned, 8 bits.
    pub const U8: u32 = 0;
    /// Signed, 8 bits.
    pub const I8: u32 = 1;
    /// Unsigned, 16 bits.
    pub const U16: u32 = 2;
    /// Unsigned, 32 bits.
    pub const U32: u32 = 4;
    /// Signed, 32 bits.
    pub const I32: u32 = 5;
    /// Float, 32 bits.
    pub const F32: u32 = 6;
    /// A byte that is 0 or 1.
    pub const BOOL: u32 = 7;
    /// A length of 64 bits and that many bytes.
    pub const STRING: u32 = 8;
    /// The items' type, their number, the items.
    pub const ARRAY: u32 = 9;
    /// Unsigned, 64 bits.
    pub const U64: u32 = 10;
}

/// The bytes of a GGUF string: its length and itself.
pub fn text(text: impl AsRef<[u8]>) -> Vec<u8> {
    let bytes = text.as_ref();
    [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat()
}

/// The bytes of a GGUF array whose header says `count` items of type `item`.
pub fn list(item: u32, count: u64, items: &[u8]) -> Vec<u8> {
    [&item.to_le_bytes()[..], &count.to_le_bytes(), items].concat()
}

/// The bytes of a GGUF array of strings.
pub fn texts<T: AsRef<[u8]>>(items: &[T]) -> Vec<u8> {
    let bytes: Vec<u8> = items.iter().flat_map(text).collect();
    list(kind::STRING, items.len() as u64, &bytes)
}

/// The bytes of a GGUF array of floats.
pub fn floats(items: &[f32]) -> Vec<u8> {
    list(kind::F32, items.len() as u64, bytemuck::cast_slice(items))
}

/// The bytes of a GGUF array of signed numbers.
pub fn ints(items: &[i32]) -> Vec<u8> {
    list(kind::I32, items.len() as u64, bytemuck::cast_slice(items))
}

/// `count` small numbers, the same for the same `seed`.
pub fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..count)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1_u64 << 24) as f32 * 0.4 - 0.2
        })
        .collect()
}

/// A key of a GGUF file's metadata.
#[derive(Clone)]
pub struct Key {
    /// The name, text or not.
    pub name: Vec<u8>,
    /// The number of the value's type, one of [`kind`] or not.
    pub kind: u32,
    /// The bytes of the value.
    pub value: Vec<u8>,
}

/// A tensor of a GGUF file.
#[derive(Clone)]
pub struct GgufTensor {
    /// The name, text or not.
    pub name: Vec<u8>,
    /// Fastest first.
    pub dims: Vec<u64>,
    /// What the file says is the number of dims, when that is another one.
    pub n_dims: Option<u32>,
    /// The number of the type.
    pub kind: u32,
    /// What the file says is the offset, when that is not where the data is.
    pub offset: Option<u64>,
    /// The bytes.
    pub data: Vec<u8>,
}

/// A GGUF file in pieces.
#[derive(Clone)]
pub struct GgufFile {
    /// The first four bytes.
    pub magic: [u8; 4],
    /// The version.
    pub version: u32,
    /// What the file says is the number of tensors, when that is another one.
    pub tensor_count: Option<u64>,
    /// What the file says is the number of keys, when that is another one.
    pub key_count: Option<u64>,
    /// The metadata.
    pub keys: Vec<Key>,
    /// The tensors.
    pub tensors: Vec<GgufTensor>,
    /// What the data is aligned to, whatever `general.alignment` says.
    pub alignment: usize,
}

impl GgufFile {
    /// Sets a key, in its place when it is there.
    pub fn set(&mut self, name: &str, kind: u32, value: impl AsRef<[u8]>) {
        let key = Key { name: name.into(), kind, value: value.as_ref().to_vec() };
        match self.keys.iter_mut().find(|key| key.name == name.as_bytes()) {
            Some(place) => *place = key,
            None => self.keys.push(key),
        }
    }

    /// Removes a key.
    ///
    /// # Panics
    /// When there is no such key: a test that removes nothing would test nothing.
    pub fn remove(&mut self, name: &str) {
        let before = self.keys.len();
        self.keys.retain(|key| key.name != name.as_bytes());
        assert_ne!(before, self.keys.len(), "no key {name}");
    }

    /// A tensor by its name.
    ///
    /// # Panics
    /// When there is no such tensor.
    pub fn tensor(&mut self, name: &str) -> &mut GgufTensor {
        let found = self.tensors.iter_mut().find(|tensor| tensor.name == name.as_bytes());
        found.unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// Adds a tensor of 32-bit floats.
    pub fn add(&mut self, name: &str, dims: &[usize]) {
        let values = noise(self.tensors.len() as u64 + 1, dims.iter().product());
        self.tensors.push(GgufTensor {
            name: name.into(),
            dims: dims.iter().map(|&dim| dim as u64).collect(),
            n_dims: None,
            kind: 0,
            offset: None,
            data: bytemuck::cast_slice(&values).to_vec(),
        });
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        self.write().0
    }

    /// Where in the file one piece ends and the next begins.
    pub fn boundaries(&self) -> Vec<usize> {
        self.write().1
    }

    fn write(&self) -> (Vec<u8>, Vec<usize>) {
        let mut out = self.magic.to_vec();
        let mut ends = vec![0, out.len()];
        let mut put = |out: &mut Vec<u8>, bytes: &[u8]| {
            out.extend_from_slice(bytes);
            ends.push(out.len());
        };
        put(&mut out, &self.version.to_le_bytes());
        let count = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        put(&mut out, &count.to_le_bytes());
        put(&mut out, &self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for key in &self.keys {
            put(&mut out, &text(&key.name));
            put(&mut out, &key.kind.to_le_bytes());
            put(&mut out, &key.value);
        }
        let mut offset = 0;
        for tensor in &self.tensors {
            put(&mut out, &text(&tensor.name));
            let n_dims = tensor.n_dims.unwrap_or(tensor.dims.len() as u32);
            put(&mut out, &n_dims.to_le_bytes());
            for dim in &tensor.dims {
                put(&mut out, &dim.to_le_bytes());
            }
            put(&mut out, &tensor.kind.to_le_bytes());
            put(&mut out, &tensor.offset.unwrap_or(offset as u64).to_le_bytes());
            offset = (offset + tensor.data.len()).next_multiple_of(self.alignment);
        }
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment), 0);
            ends.push(out.len());
            out.extend_from_slice(&tensor.data);
            ends.push(out.len());
        }
        ends.sort_unstable();
        ends.dedup();
        (out, ends)
    }
}

/// A decoder of one block with the vocabulary `tokens`, all of it but the vocabulary's own keys.
fn decoder(vocab: usize) -> GgufFile {
    let mut file = GgufFile {
        magic: *b"GGUF",
        version: 3,
        tensor_count: None,
        key_count: None,
        keys: Vec::new(),
        tensors: Vec::new(),
        alignment: 32,
    };
    let number = |value: usize| (value as u32).to_le_bytes();
    file.set("general.architecture", kind::STRING, text("llama"));
    file.set("general.alignment", kind::U32, number(32));
    file.set("llama.block_count", kind::U32, number(1));
    file.set("llama.context_length", kind::U32, number(WINDOW));
    file.set("llama.embedding_length", kind::U32, number(WIDTH));
    file.set("llama.feed_forward_length", kind::U32, number(FFN));
    file.set("llama.attention.head_count", kind::U32, number(HEADS));
    file.set("llama.attention.head_count_kv", kind::U32, number(HEADS / 2));
    file.set("llama.attention.layer_norm_rms_epsilon", kind::F32, 1e-5_f32.to_le_bytes());
    file.set("llama.rope.freq_base", kind::F32, 10_000_f32.to_le_bytes());
    file.add("token_embd.weight", &[WIDTH, vocab]);
    file.add("blk.0.attn_norm.weight", &[WIDTH]);
    file.add("blk.0.attn_q.weight", &[WIDTH, WIDTH]);
    file.add("blk.0.attn_k.weight", &[WIDTH, WIDTH / 2]);
    file.add("blk.0.attn_v.weight", &[WIDTH, WIDTH / 2]);
    file.add("blk.0.attn_output.weight", &[WIDTH, WIDTH]);
    file.add("blk.0.ffn_norm.weight", &[WIDTH]);
    file.add("blk.0.ffn_gate.weight", &[WIDTH, FFN]);
    file.add("blk.0.ffn_up.weight", &[WIDTH, FFN]);
    file.add("blk.0.ffn_down.weight", &[FFN, WIDTH]);
    file.add("output_norm.weight", &[WIDTH]);
    file.add("output.weight", &[WIDTH, vocab]);
    // One packed matrix: Q8_0, a scale (2^-10 as f16) and 32 numbers a block.
    let up = file.tensor("blk.0.ffn_up.weight");
    up.kind = 8;
    up.data = (0..FFN)
        .flat_map(|row| {
            let numbers = (0..32).map(move |i| (row * 37 + i * 11) as u8);
            [0x00, 0x14].into_iter().chain(numbers)
        })
        .collect();
    file
}

/// The tokens of [`llama_gguf`]: three special ones, 256 bytes, some letters and words.
pub fn spm_tokens() -> Vec<String> {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(String::from).to_vec();
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["\u{2581}", "\u{2581}a", "\u{2581}cat", "at", "ca"].map(String::from));
    tokens.extend(('a'..='z').map(String::from));
    tokens
}

/// A llama model in a GGUF file, with a SentencePiece vocabulary.
pub fn llama_gguf() -> GgufFile {
    let tokens = spm_tokens();
    let mut file = decoder(tokens.len());
    let scores: Vec<f32> = (0..tokens.len()).map(|i| -(i as f32)).collect();
    let types: Vec<i32> = (0..tokens.len())
        .map(|i| match i {
            0 => 2,
            1 | 2 => 3,
            3..259 => 6,
            _ => 1,
        })
        .collect();
    file.set("tokenizer.ggml.model", kind::STRING, text("llama"));
    file.set("tokenizer.ggml.pre", kind::STRING, text("default"));
    file.set("tokenizer.ggml.tokens", kind::ARRAY, texts(&tokens));
    file.set("tokenizer.ggml.scores", kind::ARRAY, floats(&scores));
    file.set("tokenizer.ggml.token_type", kind::ARRAY, ints(&types));
    file.set("tokenizer.ggml.unknown_token_id", kind::U32, 0_u32.to_le_bytes());
    file.set("tokenizer.ggml.bos_token_id", kind::U32, 1_u32.to_le_bytes());
    file.set("tokenizer.ggml.eos_token_id", kind::U32, 2_u32.to_le_bytes());
    file.set("tokenizer.ggml.add_bos_token", kind::BOOL, [1]);
    file
}

/// The character that byte-level vocabularies write for a byte.
fn byte_character(byte: u8) -> char {
    let is_shown = |byte: u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    match is_shown(byte) {
        true => char::from(byte),
        false => {
            let hidden = (0..byte).filter(|&before| !is_shown(before)).count() as u32;
            char::from_u32(256 + hidden).unwrap_or('\u{fffd}')
        }
    }
}

/// The merges of the byte-level vocabularies.
pub const MERGES: [(&str, &str); 4] = [("t", "h"), ("th", "e"), ("\u{120}", "c"), ("a", "t")];

/// The tokens of the byte-level vocabularies: 256 bytes, the merges' products, an end.
pub fn bpe_tokens() -> Vec<String> {
    let mut tokens: Vec<String> = (0..=255).map(|byte| byte_character(byte).into()).collect();
    tokens.extend(MERGES.map(|(left, right)| format!("{left}{right}")));
    tokens.push("<|end|>".into());
    tokens
}

/// A llama model in a GGUF file, with a byte-level vocabulary.
pub fn bpe_gguf() -> GgufFile {
    let tokens = bpe_tokens();
    let mut file = decoder(tokens.len());
    let end = tokens.len() as u32 - 1;
    let types: Vec<i32> = (0..=end).map(|i| if i == end { 3 } else { 1 }).collect();
    let merges = MERGES.map(|(left, right)| format!("{left} {right}"));
    file.set("tokenizer.ggml.model", kind::STRING, text("gpt2"));
    file.set("tokenizer.ggml.pre", kind::STRING, text("gpt-2"));
    file.set("tokenizer.ggml.tokens", kind::ARRAY, texts(&tokens));
    file.set("tokenizer.ggml.token_type", kind::ARRAY, ints(&types));
    file.set("tokenizer.ggml.merges", kind::ARRAY, texts(&merges));
    file.set("tokenizer.ggml.eos_token_id", kind::U32, end.to_le_bytes());
    file.set("tokenizer.ggml.add_bos_token", kind::BOOL, [0]);
    file
}

/// A safetensors file in pieces.
#[derive(Clone, Default)]
pub struct Safetensors {
    /// Name, type, shape, bytes, in the order of the data.
    pub tensors: Vec<(String, &'static str, Vec<usize>, Vec<u8>)>,
}

impl Safetensors {
    /// Adds a tensor of 32-bit floats.
    pub fn add(&mut self, name: &str, shape: &[usize]) {
        let values = noise(self.tensors.len() as u64 + 100, shape.iter().product());
        let data = bytemuck::cast_slice(&values).to_vec();
        self.tensors.push((name.into(), "F32", shape.to_vec(), data));
    }

    /// The header, one tensor after the other.
    pub fn header(&self) -> String {
        let mut at = 0;
        let tensors = self.tensors.iter().map(|(name, dtype, shape, data)| {
            let from = at;
            at += data.len();
            let name = json!(name);
            format!(
                r#"{name}:{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{from},{at}]}}"#
            )
        });
        format!("{{{}}}", tensors.collect::<Vec<_>>().join(","))
    }

    /// The data.
    pub fn data(&self) -> Vec<u8> {
        self.tensors.iter().flat_map(|(.., data)| data.iter().copied()).collect()
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        safetensors(self.header(), &self.data())
    }
}

/// A safetensors file of a header and data.
pub fn safetensors(header: impl AsRef<[u8]>, data: &[u8]) -> Vec<u8> {
    let header = header.as_ref();
    [&(header.len() as u64).to_le_bytes()[..], header, data].concat()
}

/// A model's folder: files by their path in it, and the weights in pieces.
#[derive(Clone, Default)]
pub struct Folder {
    /// All files but `model.safetensors`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// `model.safetensors`, unless `files` holds one.
    pub weights: Safetensors,
}

impl Folder {
    /// Puts a JSON file.
    pub fn json(&mut self, path: &str, value: &Value) {
        self.files.insert(path.into(), value.to_string().into());
    }

    /// Puts a file of text or bytes.
    pub fn put(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.files.insert(path.into(), bytes.into());
    }

    /// Changes a JSON file.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn edit(&mut self, path: &str, change: impl FnOnce(&mut Value)) {
        let file = self.files.get(path).unwrap_or_else(|| panic!("no file {path}"));
        let mut value = serde_json::from_slice(file).unwrap_or_else(|_| panic!("{path}: no JSON"));
        change(&mut value);
        self.json(path, &value);
    }

    /// Puts `model.safetensors` with a changed header.
    ///
    /// # Panics
    /// When the change changes nothing.
    pub fn header(&mut self, change: impl FnOnce(&str) -> String) {
        let old = self.weights.header();
        let new = change(&old);
        assert_ne!(old, new, "the header is the same");
        self.put("model.safetensors", safetensors(new, &self.weights.data()));
    }

    /// Writes all files into `folder`.
    ///
    /// # Errors
    /// What the system says.
    pub fn write(&self, folder: &Path) -> std::io::Result<PathBuf> {
        for (path, bytes) in &self.files {
            let path = folder.join(path);
            path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::write(path, bytes)?;
        }
        if !self.files.contains_key("model.safetensors") && !self.weights.tensors.is_empty() {
            std::fs::write(folder.join("model.safetensors"), self.weights.bytes())?;
        }
        Ok(folder.to_path_buf())
    }
}

/// A `tokenizer.json` of byte-level pairs.
pub fn bpe_json() -> Value {
    let tokens = bpe_tokens();
    let vocab: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let merges: Vec<Value> = MERGES.map(|(left, right)| json!([left, right])).to_vec();
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [{
            "id": tokens.len() - 1, "content": "<|end|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true
        }],
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": byte_level,
        "decoder": byte_level,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": vocab, "merges": merges
        }
    })
}

/// A llama model as a folder.
pub fn llama_folder() -> Folder {
    let vocab = bpe_tokens().len();
    let mut folder = Folder::default();
    folder.json(
        "config.json",
        &json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": WIDTH, "intermediate_size": FFN, "num_hidden_layers": 1,
            "num_attention_heads": HEADS, "num_key_value_heads": HEADS / 2,
            "max_position_embeddings": WINDOW, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": false, "vocab_size": vocab, "eos_token_id": vocab - 1
        }),
    );
    folder.json("tokenizer.json", &bpe_json());
    let weights = &mut folder.weights;
    weights.add("model.embed_tokens.weight", &[vocab, WIDTH]);
    weights.add("model.layers.0.input_layernorm.weight", &[WIDTH]);
    weights.add("model.layers.0.self_attn.q_proj.weight", &[WIDTH, WIDTH]);
    weights.add("model.layers.0.self_attn.k_proj.weight", &[WIDTH / 2, WIDTH]);
    weights.add("model.layers.0.self_attn.v_proj.weight", &[WIDTH / 2, WIDTH]);
    weights.add("model.layers.0.self_attn.o_proj.weight", &[WIDTH, WIDTH]);
    weights.add("model.layers.0.post_attention_layernorm.weight", &[WIDTH]);
    weights.add("model.layers.0.mlp.gate_proj.weight", &[FFN, WIDTH]);
    weights.add("model.layers.0.mlp.up_proj.weight", &[FFN, WIDTH]);
    weights.add("model.layers.0.mlp.down_proj.weight", &[WIDTH, FFN]);
    weights.add("model.norm.weight", &[WIDTH]);
    weights.add("lm_head.weight", &[vocab, WIDTH]);
    folder
}

/// A llama model as a folder whose weights are in two shards with an index.
pub fn sharded_folder() -> Folder {
    let mut folder = llama_folder();
    let all = std::mem::take(&mut folder.weights).tensors;
    let (first, second) = all.split_at(5);
    let mut map = serde_json::Map::new();
    for (number, part) in [(1, first), (2, second)] {
        let name = format!("model-0000{number}-of-00002.safetensors");
        map.extend(part.iter().map(|(tensor, ..)| (tensor.clone(), json!(name))));
        folder.put(&name, Safetensors { tensors: part.to_vec() }.bytes());
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": map});
    folder.json("model.safetensors.index.json", &index);
    folder
}

/// A sentence encoder as a folder: one BERT block, mean pooling, a dense layer, length 1.
pub fn bert_folder() -> Folder {
    let mut tokens: Vec<String> =
        ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "sat", "##s"]
            .map(String::from)
            .into();
    tokens.extend(('a'..='z').map(String::from));
    tokens.extend(('a'..='r').map(|letter| format!("##{letter}")));
    let vocab = tokens.len();
    let added: Vec<Value> = tokens[..5]
        .iter()
        .enumerate()
        .map(|(id, token)| {
            json!({
                "id": id, "content": token, "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true
            })
        })
        .collect();
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let special = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let mut folder = Folder::default();
    folder.json(
        "tokenizer.json",
        &json!({
            "version": "1.0",
            "truncation": {
                "max_length": 32, "strategy": "LongestFirst", "stride": 0, "direction": "Right"
            },
            "padding": {
                "strategy": "BatchLongest", "direction": "Right", "pad_to_multiple_of": null,
                "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"
            },
            "added_tokens": added,
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": null, "lowercase": true
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    special("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, special("[SEP]")
                ],
                "pair": [
                    special("[CLS]"), {"Sequence": {"id": "A", "type_id": 0}}, special("[SEP]"),
                    {"Sequence": {"id": "B", "type_id": 1}}, special("[SEP]")
                ],
                "special_tokens": {
                    "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                    "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}
                }
            },
            "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocabulary
            }
        }),
    );
    folder.json(
        "config.json",
        &json!({
            "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu",
            "hidden_size": WIDTH, "intermediate_size": FFN, "num_hidden_layers": 1,
            "num_attention_heads": HEADS, "max_position_embeddings": WINDOW,
            "layer_norm_eps": 1e-12, "type_vocab_size": 2, "vocab_size": vocab,
            "position_embedding_type": "absolute", "pad_token_id": 0
        }),
    );
    let module = |number: usize, path: &str, kind: &str| {
        json!({
            "idx": number, "name": number.to_string(), "path": path,
            "type": format!("sentence_transformers.models.{kind}")
        })
    };
    folder.json(
        "modules.json",
        &json!([
            module(0, "", "Transformer"),
            module(1, "1_Pooling", "Pooling"),
            module(2, "2_Dense", "Dense"),
            module(3, "3_Normalize", "Normalize")
        ]),
    );
    folder
        .json("sentence_bert_config.json", &json!({"max_seq_length": 32, "do_lower_case": false}));
    folder.json(
        "1_Pooling/config.json",
        &json!({
            "word_embedding_dimension": WIDTH, "pooling_mode_cls_token": false,
            "pooling_mode_mean_tokens": true, "pooling_mode_max_tokens": false,
            "pooling_mode_mean_sqrt_len_tokens": false
        }),
    );
    folder.json(
        "2_Dense/config.json",
        &json!({
            "in_features": WIDTH, "out_features": DENSE, "bias": true,
            "activation_function": "torch.nn.modules.linear.Identity"
        }),
    );
    let mut dense = Safetensors::default();
    dense.add("linear.weight", &[DENSE, WIDTH]);
    dense.add("linear.bias", &[DENSE]);
    folder.put("2_Dense/model.safetensors", dense.bytes());

    let weights = &mut folder.weights;
    weights.add("embeddings.word_embeddings.weight", &[vocab, WIDTH]);
    weights.add("embeddings.position_embeddings.weight", &[WINDOW, WIDTH]);
    weights.add("embeddings.token_type_embeddings.weight", &[2, WIDTH]);
    let mut both = |name: &str, shape: &[usize]| {
        weights.add(&format!("{name}.weight"), shape);
        weights.add(&format!("{name}.bias"), &shape[..1]);
    };
    both("embeddings.LayerNorm", &[WIDTH]);
    for part in ["self.query", "self.key", "self.value", "output.dense"] {
        both(&format!("encoder.layer.0.attention.{part}"), &[WIDTH, WIDTH]);
    }
    both("encoder.layer.0.attention.output.LayerNorm", &[WIDTH]);
    both("encoder.layer.0.intermediate.dense", &[FFN, WIDTH]);
    both("encoder.layer.0.output.dense", &[WIDTH, FFN]);
    both("encoder.layer.0.output.LayerNorm", &[WIDTH]);
    folder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_add_up_to_a_file() {
        let file = llama_gguf();
        let (bytes, ends) = (file.bytes(), file.boundaries());
        assert_eq!(ends.first(), Some(&0));
        assert_eq!(ends.last(), Some(&bytes.len()));
        assert!(ends.len() > 4 + file.keys.len() * 3 + file.tensors.len() * 6);
        assert_eq!(bpe_tokens()[usize::from(b' ')], "\u{120}");
        assert_eq!(bpe_tokens()[0xad], "\u{143}");
        let folder = bert_folder();
        let header: Value = serde_json::from_str(&folder.weights.header()).unwrap();
        assert_eq!(header.as_object().map(serde_json::Map::len), Some(21));
    }
}
