//! Token ids against the reference tokenizers, on a corpus of many scripts, code and odd spaces:
//! `tokenizer.json`, and the ones rebuilt from GGUF metadata.

use emberform::{Device, Tokenizer};
use emberform_tests::{model, open, recorded, reference};

/// The corpus, with `\n`, `\r`, `\t`, `\\` and `\u{..}` read as the characters they stand for.
fn corpus() -> Vec<String> {
    let text = std::fs::read_to_string(reference("text/corpus.txt")).expect("the corpus");
    text.lines().map(unescape).collect()
}

fn unescape(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match (c, c == '\\') {
            (c, false) => text.push(c),
            _ => match rest.next() {
                Some('n') => text.push('\n'),
                Some('r') => text.push('\r'),
                Some('t') => text.push('\t'),
                Some('\\') => text.push('\\'),
                Some('u') => {
                    let digits: String =
                        rest.by_ref().skip(1).take_while(|digit| *digit != '}').collect();
                    let code = u32::from_str_radix(&digits, 16).expect("hexadecimal digits");
                    text.push(char::from_u32(code).expect("a character"));
                }
                other => panic!("`{line}` has an escape {other:?}"),
            },
        }
    }
    text
}

/// FNV-1a over the bytes of little-endian ids.
fn hash(ids: &[u32]) -> u64 {
    ids.iter().flat_map(|id| id.to_le_bytes()).fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn compare(tokenizer: &Tokenizer, recording: &str) {
    let tensors = recorded(&reference(recording));
    let (hashes, counts) = (tensors["hash"].u64(), tensors["count"].ids());
    let corpus = corpus();
    assert!(corpus.len() >= 2000 && corpus.len() == hashes.len());
    let texts: Vec<&str> = corpus.iter().map(String::as_str).collect();
    let encoded = tokenizer.encode_batch(&texts, true, None).expect("tokens");
    let mut wrong = Vec::new();
    for (i, encoding) in encoded.iter().enumerate() {
        if hash(&encoding.ids) != hashes[i] {
            wrong.push(format!(
                "line {}: {:?}: {} tokens, not {}",
                i + 1,
                texts[i],
                encoding.ids.len(),
                counts[i]
            ));
        }
        assert_eq!(encoding.offsets.len(), encoding.ids.len());
        for (start, end) in &encoding.offsets {
            assert!(
                start <= end && *end <= texts[i].len(),
                "line {}: offset {start}..{end}",
                i + 1
            );
        }
    }
    assert!(
        wrong.is_empty(),
        "{} lines differ:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
}

#[test]
fn tokenizer_json_gives_the_references_ids() {
    let tokenizer = Tokenizer::open(model("minilm").join("tokenizer.json")).expect("a tokenizer");
    compare(&tokenizer, "text/ids-minilm.safetensors");
}

#[test]
fn sentencepiece_rebuilt_from_gguf_gives_the_references_ids() {
    let model = open(&model("gemma3-270m-q4_k_m.gguf"), &Device::Cpu);
    compare(model.tokenizer().expect("a tokenizer"), "text/ids-gemma3-270m.safetensors");
}

#[test]
fn byte_level_bpe_rebuilt_from_gguf_gives_the_references_ids() {
    let model = open(&model("qwen25-coder-0.5b-q4_k_m.gguf"), &Device::Cpu);
    compare(model.tokenizer().expect("a tokenizer"), "text/ids-qwen25-coder-0.5b.safetensors");
}

#[test]
fn a_stream_of_pieces_is_the_decoded_text() {
    for name in ["gemma3-270m-q4_k_m.gguf", "qwen25-coder-0.5b-q4_k_m.gguf"] {
        let model = open(&model(name), &Device::Cpu);
        let tokenizer = model.tokenizer().expect("a tokenizer");
        for text in corpus().iter().take(400) {
            let ids = tokenizer.encode(text, false).expect("tokens").ids;
            let whole = tokenizer.decode(&ids, true).expect("text");
            let mut stream = tokenizer.stream(true);
            let mut pieces = String::new();
            for id in ids {
                pieces.push_str(&stream.push(id).expect("a piece").unwrap_or_default());
            }
            pieces.push_str(&stream.finish().unwrap_or_default());
            assert_eq!(pieces, whole, "{text:?}");
        }
    }
}
