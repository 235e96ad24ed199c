//! Whole tokenizers on small vocabularies: encoding, the way back, streams, and hostile files.

use std::path::Path;

use bytes::Bytes;
use serde_json::{Value, json};

use super::Tokenizer;
use super::vocabulary::Vocabulary;
use crate::error::{Code, Error};

fn open(file: &Value) -> Result<Tokenizer, Error> {
    Tokenizer::from_json(file.to_string().as_bytes(), Path::new("t.json"), Bytes::new())
}

fn special(id: u32, content: &str) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
        "normalized": false, "special": true})
}

fn words() -> Value {
    json!({
        "version": "1.0",
        "truncation": {"max_length": 2, "strategy": "LongestFirst", "stride": 5, "direction": "Right"},
        "padding": {"strategy": {"Fixed": 1u64 << 40}, "direction": "Right",
            "pad_to_multiple_of": null, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]"), special(2, "[CLS]"),
            special(3, "[SEP]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
            "pair": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 1}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 1}}],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}}},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "un": 4, "##do": 5, "it": 6,
                ".": 7, "cafe": 8}}
    })
}

/// A byte-level vocabulary: all bytes, two merges, one control token.
fn bytes() -> Value {
    let mut vocab = serde_json::Map::new();
    for byte in 0..=255u8 {
        vocab.insert(super::spelling::printable(byte).to_string(), json!(byte));
    }
    vocab.insert("Ġt".into(), json!(256));
    vocab.insert("Ġth".into(), json!(257));
    json!({
        "added_tokens": [special(258, "<|end|>")],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "behavior": "Isolated", "invert": false,
                "pattern": {"Regex": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}|\s+(?!\S)|\s+"}},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false,
                "use_regex": false}]},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
            "use_regex": true},
        "model": {"type": "BPE", "vocab": vocab, "merges": ["Ġ t", "Ġt h"]}
    })
}

/// A unigram model, which runs on the library.
fn unigram() -> Value {
    json!({
        "added_tokens": [special(0, "<unk>"), special(1, "</s>"), special(6, "<mask>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]},
        "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
            "split": true},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "</s>", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}},
                {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
        "decoder": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
            "split": true},
        "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0], ["</s>", 0.0],
            ["▁", -3.0], ["▁a", -1.0], ["b", -2.0], ["ab", -1.5]]}
    })
}

/// A SentencePiece vocabulary with a token for every byte.
fn scored() -> (Vec<String>, Vec<f32>, Vec<i32>) {
    let mut tokens: Vec<String> = ["<unk>", "<s>", "</s>"].map(str::to_string).to_vec();
    let mut types = vec![2, 3, 3];
    for byte in 0..=255 {
        tokens.push(format!("<0x{byte:02X}>"));
        types.push(6);
    }
    for piece in ["▁", "a", "b", "▁a", "ab", "▁ab", "中"] {
        tokens.push(piece.into());
        types.push(1);
    }
    tokens.push("▁▁".into());
    types.push(4);
    let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
    (tokens, scores, types)
}

fn gguf<'a>(tokens: &'a [String], scores: &[f32], types: &[i32]) -> Vocabulary<'a> {
    Vocabulary {
        model: "llama",
        tokens: tokens.iter().map(String::as_str).collect(),
        scores: Some(scores.to_vec()),
        types: Some(types.to_vec()),
        ..Vocabulary::default()
    }
}

fn build(vocabulary: Vocabulary<'_>) -> Result<Tokenizer, Error> {
    Tokenizer::from_vocabulary(vocabulary, Path::new("t.gguf"), Bytes::new())
}

#[test]
fn words_are_framed_cut_and_joined() {
    let tokenizer = open(&words()).unwrap();
    let all = tokenizer.encode("Undo it. Café!", true).unwrap();
    assert_eq!(all.ids, [2, 4, 5, 6, 7, 8, 1, 3]);
    assert_eq!(all.offsets[1..7], [(0, 2), (2, 4), (5, 7), (7, 8), (9, 14), (14, 15)]);
    assert_eq!(all.special, [true, false, false, false, false, false, false, true]);
    assert_eq!(tokenizer.decode(&all.ids, true).unwrap(), "undo it. cafe");
    assert_eq!(tokenizer.decode(&all.ids[1..4], false).unwrap(), "undo it");
    let bare = tokenizer.encode("undo[SEP]it", false).unwrap();
    assert_eq!(bare.ids, [4, 5, 3, 6]);
    let pair = tokenizer.encode_pair("it", "undo", true).unwrap();
    assert_eq!((pair.ids, pair.type_ids), (vec![2, 6, 3, 4, 5, 3], vec![0, 0, 0, 1, 1, 1]));
    let cut = tokenizer.encode_limited("undo it.", true, 4).unwrap();
    assert_eq!((cut.ids, cut.cut), (vec![2, 4, 5, 3], 2));
    let none = tokenizer.encode_limited("undo it.", true, 2).unwrap();
    assert_eq!((none.ids, none.cut), (vec![2, 3], 4));
    let error = tokenizer.encode_limited("undo", true, 1).unwrap_err();
    assert!(error.to_string().contains("`limit`"), "{error}");
    assert_eq!(tokenizer.count("it", true).unwrap(), 3);
    assert_eq!((tokenizer.len(), tokenizer.id("##do")), (9, Some(5)));
    assert_eq!((tokenizer.token(5).as_deref(), tokenizer.token(9)), (Some("##do"), None));
    assert!(tokenizer.is_special(2) && !tokenizer.is_special(4));
    let error = tokenizer.decode(&[4, 9], false).unwrap_err();
    assert_eq!(error.code(), Code::Argument);
    let texts = ["it", "undo", "", "it it it"];
    let batch = tokenizer.encode_batch(&texts, true, Some(4)).unwrap();
    for (text, found) in texts.iter().zip(&batch) {
        assert_eq!(found, &tokenizer.encode_limited(text, true, 4).unwrap());
    }
}

#[test]
fn windows_that_no_memory_holds_are_an_error() {
    let tokenizer = open(&words()).unwrap();
    let windows = tokenizer.encode_windows("it undo it undo", true, 5, 1).unwrap();
    let ids: Vec<_> = windows.iter().map(|window| &window.ids[..]).collect();
    assert_eq!(ids, [&[2, 6, 4, 5, 3][..], &[2, 5, 6, 4, 3], &[2, 4, 5, 3]]);
    // Each token but the first ones begins a window of its own: some hundred terabytes.
    let text = "it ".repeat(6_000_000);
    let error = tokenizer.encode_windows(&text, true, 3_000_000, 2_999_997).unwrap_err();
    assert_eq!(error.code(), Code::Memory, "{error}");
}

#[test]
fn bytes_come_back_as_they_were() {
    let tokenizer = open(&bytes()).unwrap();
    assert_eq!(tokenizer.encode(" the", true).unwrap().ids, [257, u32::from(b'e')]);
    assert_eq!(tokenizer.id("Ġth"), Some(257));
    assert_eq!(tokenizer.token(257).as_deref(), Some("Ġth"));
    for text in ["", "a<|end|>b", " \n\t x", "中文 😀", "\0\u{85}", "one 123"] {
        let found = tokenizer.encode(text, false).unwrap();
        assert_eq!(tokenizer.decode(&found.ids, false).unwrap(), text);
        assert!(found.offsets.iter().all(|&(start, end)| text.get(start..end).is_some()));
    }
    assert_eq!(tokenizer.decode(&[97, 258, 98], true).unwrap(), "ab");
    // Composed first, as the file says; the place is that of the source.
    let found = tokenizer.encode("e\u{301}", false).unwrap();
    assert_eq!((found.ids, found.offsets), (vec![0xc3, 0xa9], vec![(0, 3); 2]));
}

#[test]
fn the_library_runs_what_has_no_model_of_ours() {
    let tokenizer = open(&unigram()).unwrap();
    let all = tokenizer.encode("a  ab", true).unwrap();
    assert_eq!(all.ids, [3, 3, 4, 1]);
    assert_eq!(tokenizer.decode(&all.ids, true).unwrap(), "a ab");
    let cut = tokenizer.encode_limited("a ab", true, 3).unwrap();
    assert_eq!((cut.ids, cut.cut, cut.special), (vec![3, 3, 1], 1, vec![false, false, true]));
    assert_eq!(tokenizer.encode("a<mask>b", false).unwrap().ids, [3, 6, 2, 4]);
    assert_eq!(tokenizer.id("▁a"), Some(3));
}

#[test]
fn sentencepiece_from_metadata() {
    let (tokens, scores, types) = scored();
    let tokenizer = build(gguf(&tokens, &scores, &types)).unwrap();
    let first = 259;
    assert_eq!(tokenizer.encode("ab", true).unwrap().ids, [1, first + 5]);
    assert_eq!(tokenizer.encode("ab", false).unwrap().ids, [first + 5]);
    // Before the text goes a space; what has no piece goes as bytes.
    let found = tokenizer.encode("é中", false).unwrap();
    assert_eq!(found.ids, [first, 3 + 0xc3, 3 + 0xa9, first + 6]);
    assert_eq!(found.offsets, [(0, 0), (0, 2), (0, 2), (2, 5)]);
    assert_eq!(tokenizer.decode(&found.ids, true).unwrap(), "é中");
    assert_eq!(tokenizer.encode("b</s>  a", false).unwrap().ids.len(), 5);
    assert_eq!(tokenizer.id("▁▁"), Some(first + 7));
    assert_eq!(tokenizer.id("<0x0A>"), Some(3 + 10));
    assert_eq!(tokenizer.token(first + 5).as_deref(), Some("▁ab"));
}

#[test]
fn a_stream_gives_what_decode_gives() {
    let (tokens, scores, types) = scored();
    let all = [
        build(gguf(&tokens, &scores, &types)).unwrap(),
        open(&bytes()).unwrap(),
        open(&words()).unwrap(),
        open(&unigram()).unwrap(),
    ];
    let mut state = 7u64;
    let mut random = move |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for round in 0..2000 {
        let tokenizer = &all[round % all.len()];
        let skip = round % 3 == 0;
        // Bytes of characters, in order, in wrong order, and cut off.
        let mut ids = Vec::new();
        for _ in 0..random(12) {
            if random(3) == 0 {
                ids.extend(tokenizer.encode("é中😀", false).unwrap().ids);
                ids.truncate(ids.len() - random(3).min(ids.len()));
            } else {
                ids.push(random(tokenizer.len()) as u32);
            }
        }
        let mut stream = tokenizer.stream(skip);
        for _ in 0..2 {
            let mut text = String::new();
            for &id in &ids {
                text.extend(stream.push(id).unwrap());
            }
            text.extend(stream.finish());
            assert_eq!(text, tokenizer.decode(&ids, skip).unwrap(), "{ids:?}");
        }
        assert!(stream.push(tokenizer.len() as u32).is_err());
    }
}

/// A change of a file and what the error must say.
type Case = (&'static str, fn(&mut Value), &'static str);

fn refused(base: &Value, cases: &[Case]) {
    for (name, change, says) in cases {
        let mut file = base.clone();
        change(&mut file);
        match open(&file) {
            Ok(_) => panic!("{name}: was accepted"),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(says), "{name}: `{text}` does not say `{says}`");
                assert!(text.len() < 2000, "{name}: an error of {} bytes", text.len());
            }
        }
    }
}

fn chain(count: usize, key: &str, part: &Value) -> Value {
    json!({"type": "Sequence", key: vec![part.clone(); count]})
}

#[test]
fn hostile_models_are_refused_by_name() {
    refused(
        &bytes(),
        &[
            ("merge of no tokens", |f| f["model"]["merges"] = json!(["Ġ t", "xyz q"]), "merges[1]"),
            ("merge that makes no token", |f| f["model"]["merges"] = json!(["a b"]), "merges[0]"),
            (
                "merge longer than any token",
                |f| {
                    f["model"]["merges"] = json!([format!("a {}", "b".repeat(100))]);
                },
                "merges[0]",
            ),
            ("merge of one", |f| f["model"]["merges"] = json!(["ab"]), "model.merges"),
            ("merge of three", |f| f["model"]["merges"] = json!([["a", "b", "c"]]), "model.merges"),
            ("merge of numbers", |f| f["model"]["merges"] = json!([1]), "model.merges"),
            (
                "prefix longer than a half",
                |f| {
                    f["pre_tokenizer"] = json!({"type": "Whitespace"});
                    f["model"]["continuing_subword_prefix"] = json!("####");
                },
                "merges[0]",
            ),
            ("dropout", |f| f["model"]["dropout"] = json!(0.5), "model.dropout"),
            ("unknown token", |f| f["model"]["unk_token"] = json!("nope"), "model.unk_token"),
            ("id twice", |f| f["model"]["vocab"]["zz"] = json!(5), "model.vocab"),
            ("id too large", |f| f["model"]["vocab"]["zz"] = json!(1u64 << 40), "model.vocab"),
            ("id far away", |f| f["model"]["vocab"]["zz"] = json!(4_000_000), "model.vocab"),
            ("id below zero", |f| f["model"]["vocab"]["zz"] = json!(-1), "invalid value"),
            ("long token", |f| f["model"]["vocab"]["z".repeat(70_000)] = json!(300), "model.vocab"),
            ("no vocabulary", |f| f["model"]["vocab"] = Value::Null, "model.vocab"),
            ("no model", |f| f["model"] = Value::Null, "invalid type"),
            ("model of another type", |f| f["model"]["type"] = json!("Magic"), "model.type"),
            ("no type", |f| f["model"]["type"] = Value::Null, "model.type"),
            (
                "added token elsewhere",
                |f| {
                    f["added_tokens"][0]["id"] = json!(3);
                },
                "added_tokens[0].id",
            ),
            (
                "added token empty",
                |f| {
                    f["added_tokens"][0]["content"] = json!("");
                },
                "added_tokens[0].content",
            ),
            (
                "added token long",
                |f| {
                    f["added_tokens"][0]["content"] = json!("x".repeat(2000));
                },
                "added_tokens[0].content",
            ),
            (
                "added token far",
                |f| f["added_tokens"][0]["id"] = json!(4_000_000_000u32),
                "ids up to",
            ),
        ],
    );
    refused(
        &words(),
        &[
            (
                "word length",
                |f| {
                    f["model"]["max_input_chars_per_word"] = json!(u64::MAX);
                },
                "model.max_input_chars_per_word",
            ),
            ("unknown token", |f| f["model"]["unk_token"] = json!("zz"), "model.unk_token"),
            (
                "template token",
                |f| {
                    f["post_processor"]["single"][0]["SpecialToken"]["id"] = json!("[X]");
                },
                "post_processor",
            ),
            (
                "template id",
                |f| {
                    f["post_processor"]["special_tokens"]["[CLS]"]["ids"] = json!([99]);
                },
                "post_processor.special_tokens",
            ),
            (
                "template without text",
                |f| f["post_processor"]["single"] = json!([]),
                "post_processor",
            ),
        ],
    );
    refused(
        &unigram(),
        &[
            ("unknown id", |f| f["model"]["unk_id"] = json!(6), "model.unk_id"),
            ("no unknown id", |f| f["model"]["unk_id"] = Value::Null, "model.unk_id"),
            ("score", |f| f["model"]["vocab"][3][1] = json!(1e300), "model.vocab"),
            ("score of a string", |f| f["model"]["vocab"][3][1] = json!("NaN"), "invalid type"),
            ("token twice", |f| f["model"]["vocab"][4][0] = json!("ab"), "`ab` twice"),
            ("long piece", |f| f["model"]["vocab"][4][0] = json!("b".repeat(2000)), "model.vocab"),
        ],
    );
}

#[test]
fn hostile_parts_are_refused_by_name() {
    refused(
        &unigram(),
        &[
            (
                "empty pattern",
                |f| {
                    f["normalizer"]["normalizers"][0]["pattern"] = json!({"String": ""});
                },
                "normalizer.normalizers[0].pattern",
            ),
            (
                "pattern that matches nothing",
                |f| {
                    f["normalizer"]["normalizers"][0]["pattern"] = json!({"Regex": "x*"});
                },
                "normalizers[0].pattern",
            ),
            (
                "back-reference",
                |f| {
                    f["normalizer"]["normalizers"][0]["pattern"] = json!({"Regex": r"(a+)+\1b"});
                },
                "back-reference",
            ),
            (
                "look-around",
                |f| {
                    f["normalizer"]["normalizers"][0]["pattern"] = json!({"Regex": "(?<=(a+)+)b"});
                },
                "(?<",
            ),
            (
                "broken pattern",
                |f| {
                    f["normalizer"]["normalizers"][0]["pattern"] = json!({"Regex": "("});
                },
                "normalizers[0].pattern",
            ),
            (
                "huge pattern",
                |f| {
                    f["normalizer"]["normalizers"][0]["pattern"] =
                        json!({"Regex": "((a{999}){999}){999}"});
                },
                "normalizers[0].pattern",
            ),
            (
                "growth",
                |f| {
                    let part =
                        json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
                    f["normalizer"] = chain(40, "normalizers", &part);
                },
                "normalizers[10].content",
            ),
            (
                "growth while decoding",
                |f| {
                    let part = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaa"});
                    f["decoder"] = chain(40, "decoders", &part);
                },
                "decoder.decoders[3].content",
            ),
            (
                "no character map",
                |f| {
                    f["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": ""});
                },
                "normalizer.precompiled_charsmap",
            ),
            (
                "size of a character map",
                |f| {
                    f["normalizer"] =
                        json!({"type": "Precompiled", "precompiled_charsmap": "/////w=="});
                },
                "normalizer.precompiled_charsmap",
            ),
            (
                "character map that leads outside",
                |f| {
                    f["normalizer"] = json!({"type": "Precompiled",
                    "precompiled_charsmap": "CAAAAAAAAAAAAAAAYQA="});
                },
                "outside",
            ),
            (
                "character map of no base64",
                |f| {
                    f["normalizer"] = json!({"type": "Precompiled", "precompiled_charsmap": "*"});
                },
                "base64",
            ),
            (
                "long prefix",
                |f| {
                    f["normalizer"] = json!({"type": "Prepend", "prepend": "x".repeat(100)});
                },
                "normalizer.prepend",
            ),
            (
                "unknown normalizer",
                |f| f["normalizer"] = json!({"type": "Magic"}),
                "normalizer.type",
            ),
            ("normalizer without type", |f| f["normalizer"] = json!({}), "normalizer.type"),
            (
                "deep nesting",
                |f| {
                    for _ in 0..20 {
                        let inner = f["normalizer"].take();
                        f["normalizer"] = json!({"type": "Sequence", "normalizers": [inner]});
                    }
                },
                "nested",
            ),
            (
                "fixed length",
                |f| {
                    f["pre_tokenizer"] = json!({"type": "FixedLength", "length": 0});
                },
                "pre_tokenizer.length",
            ),
            (
                "split by nothing",
                |f| {
                    f["pre_tokenizer"] = json!({"type": "Split", "pattern": {"String": ""},
                    "behavior": "Removed", "invert": false});
                },
                "pre_tokenizer.pattern",
            ),
            (
                "delimiter",
                |f| {
                    f["pre_tokenizer"] = json!({"type": "CharDelimiterSplit", "delimiter": "ab"});
                },
                "pre_tokenizer.delimiter",
            ),
            (
                "strip",
                |f| {
                    f["decoder"] =
                        json!({"type": "Strip", "content": " ", "start": 1u64 << 63, "stop": 0});
                },
                "decoder.start",
            ),
            (
                "strip past the start",
                |f| f["decoder"] = json!({"type": "Strip", "content": " ", "start": 0, "stop": 1}),
                "decoder.stop",
            ),
            (
                "suffix",
                |f| f["decoder"] = json!({"type": "BPEDecoder", "suffix": ""}),
                "decoder.suffix",
            ),
            (
                "template",
                |f| {
                    f["post_processor"]["pair"][0] =
                        json!({"SpecialToken": {"id": "<x>", "type_id": 0}});
                },
                "post_processor",
            ),
            (
                "separator",
                |f| {
                    f["post_processor"] = json!({"type": "BertProcessing", "sep": ["x", 77],
                    "cls": ["y", 1]});
                },
                "post_processor.sep",
            ),
            (
                "added token out of turn",
                |f| {
                    f["added_tokens"][2]["id"] = json!(9);
                },
                "added_tokens[2].id",
            ),
        ],
    );
    for bytes in [&b""[..], b"{", b"[]", b"\xff\xfe", b"null", &[b'['; 100_000]] {
        assert!(Tokenizer::from_json(bytes, Path::new("t.json"), Bytes::new()).is_err());
    }
    let folder = crate::scratch::Scratch::new().unwrap();
    std::fs::create_dir(folder.path().join("tokenizer.json")).unwrap();
    let error = Tokenizer::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("regular file"), "{error}");
}

#[test]
fn hostile_metadata_is_refused_by_name() {
    type Case = (&'static str, fn(&mut Vocabulary<'static>), &'static str);
    let base = || Vocabulary {
        model: "llama",
        tokens: vec!["<unk>", "<s>", "a", "b"],
        scores: Some(vec![0.0; 4]),
        types: Some(vec![2, 3, 1, 1]),
        ..Vocabulary::default()
    };
    assert!(build(base()).is_ok());
    let cases: [Case; 26] = [
        ("model", |v| v.model = "magic", "`magic`"),
        ("no tokens", |v| v.tokens.clear(), "tokens"),
        ("no scores", |v| v.scores = None, "scores"),
        ("few scores", |v| v.scores = Some(vec![0.0; 3]), "scores"),
        ("not a number", |v| v.scores = Some(vec![0.0, 0.0, f32::NAN, 0.0]), "scores` [2]"),
        ("infinite", |v| v.scores = Some(vec![f32::INFINITY; 4]), "scores` [0]"),
        ("few types", |v| v.types = Some(vec![1]), "token_type"),
        ("type", |v| v.types = Some(vec![1, 1, 1, 7]), "token_type` [3]"),
        ("type below", |v| v.types = Some(vec![1, 1, -1, 1]), "token_type` [2]"),
        ("byte", |v| v.types = Some(vec![2, 3, 6, 1]), "token_type` [2]"),
        ("twice", |v| v.tokens[3] = "a", "`a` twice"),
        (
            "control twice",
            |v| {
                v.tokens[1] = "<unk>";
            },
            "`<unk>` twice",
        ),
        ("bos", |v| v.bos = Some(4), "bos_token_id"),
        ("eos", |v| v.eos = Some(u32::MAX), "eos_token_id"),
        ("unk", |v| v.unk = Some(4), "unknown_token_id"),
        ("pad", |v| v.pad = Some(4), "padding_token_id"),
        ("sep", |v| v.sep = Some(4), "seperator_token_id"),
        (
            "eos that is not there",
            |v| {
                v.model = "gpt2";
                v.add_eos = Some(true);
            },
            "add_eos_token",
        ),
        ("charsmap", |v| v.charsmap = Some(b"\xff\xff\xff\xff"), "precompiled_charsmap"),
        (
            "merge",
            |v| {
                v.model = "gpt2";
                v.merges = vec!["a c"];
            },
            "merges` [0]",
        ),
        (
            "merge of one",
            |v| {
                v.model = "gpt2";
                v.merges = vec!["ab"];
            },
            "merges` [0]",
        ),
        (
            "merge of nothing",
            |v| {
                v.model = "gpt2";
                v.merges = vec![" "];
            },
            "merges` [0]",
        ),
        (
            "pre",
            |v| {
                v.model = "gpt2";
                v.pre = Some("magic");
            },
            "llama-bpe",
        ),
        (
            "no unknown",
            |v| {
                v.model = "bert";
                v.types = Some(vec![1; 4]);
            },
            "unknown_token_id",
        ),
        ("long control token", |v| v.tokens[1] = Box::leak("x".repeat(2000).into()), "tokens` [1]"),
        (
            "unigram without scores",
            |v| {
                v.model = "t5";
                v.scores = None;
            },
            "scores",
        ),
    ];
    for (name, change, says) in cases {
        let mut vocabulary = base();
        change(&mut vocabulary);
        match build(vocabulary) {
            Ok(_) => panic!("{name}: was accepted"),
            Err(error) => assert!(error.to_string().contains(says), "{name}: {error}"),
        }
    }
}

#[test]
fn the_other_kinds_of_metadata() {
    let vocabulary = Vocabulary {
        model: "bert",
        tokens: vec!["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁un", "do", "▁it"],
        types: Some(vec![3, 3, 3, 3, 1, 1, 1]),
        ..Vocabulary::default()
    };
    let tokenizer = build(vocabulary).unwrap();
    assert_eq!(tokenizer.encode("Undo it x", true).unwrap().ids, [2, 4, 5, 6, 1, 3]);
    assert_eq!(tokenizer.token(5).as_deref(), Some("##do"));
    let vocabulary = Vocabulary {
        model: "t5",
        tokens: vec!["<pad>", "</s>", "<unk>", "▁", "▁a", "b", "ab"],
        scores: Some(vec![0.0, 0.0, 0.0, -3.0, -1.0, -2.0, -1.5]),
        types: Some(vec![3, 3, 2, 1, 1, 1, 1]),
        add_space_prefix: Some(true),
        remove_extra_whitespaces: Some(true),
        ..Vocabulary::default()
    };
    let tokenizer = build(vocabulary).unwrap();
    let found = tokenizer.encode(" a  abxy", true).unwrap();
    assert_eq!(found.ids, [4, 4, 5, 2, 1]);
    assert_eq!(found.offsets, [(1, 2), (2, 5), (5, 6), (6, 8), (0, 0)]);
    assert_eq!(tokenizer.decode(&found.ids, true).unwrap(), "a ab");
    let byte = |byte: u8| super::spelling::printable(byte).to_string();
    let mut tokens: Vec<String> = (0..=255).map(byte).collect();
    tokens.extend(["Ġa".into(), "Ġab".into(), "<|eot|>".into(), "[PAD259]".into()]);
    let mut types = vec![1; tokens.len()];
    (types[258], types[259]) = (3, 5);
    let vocabulary = Vocabulary {
        model: "gpt2",
        pre: Some("llama-bpe"),
        tokens: tokens.iter().map(String::as_str).collect(),
        types: Some(types),
        merges: vec!["Ġ a"],
        bos: Some(258),
        ..Vocabulary::default()
    };
    let tokenizer = build(vocabulary).unwrap();
    // This split takes whole words that are tokens, merges or not, and starts with a token.
    assert_eq!(tokenizer.encode(" ab<|eot|> a", true).unwrap().ids, [258, 257, 258, 256]);
    assert_eq!(tokenizer.encode("[PAD259]", false).unwrap().ids.len(), 8);
    assert_eq!(tokenizer.decode(&[257, 258, 259], true).unwrap(), " ab[PAD259]");
}
