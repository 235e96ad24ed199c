//! The pre-tokenizers that GGUF files name in `tokenizer.ggml.pre`: the split of each, and what
//! else the name implies.
//!
//! Patterns are those of the models' own `tokenizer.json`; where only a converted file exists,
//! those of llama.cpp (`src/llama-vocab.cpp`).

use super::split::{Keep, Pattern, Splitter};

/// What the name of a pre-tokenizer implies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pre {
    names: &'static [&'static str],
    /// The stages of the split.
    stages: &'static [&'static str],
    /// A word that is a token is not merged.
    pub whole_words: bool,
    /// The default of `tokenizer.ggml.add_bos_token`.
    pub add_bos: bool,
    /// A pair has a separator between its texts.
    pub add_sep: bool,
    /// Text is composed first (NFC).
    pub compose: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TURKISH: &str =
    r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const BAILING: &str = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
const BLOOM: &str = r" ?[^(\s|.,!?…。，、।۔،)]+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
const DEEPSEEK_LETTERS: &str = r"\s?[A-Za-z\x{b5}\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{1ba}\x{1bc}-\x{1bf}\x{1c4}-\x{293}\x{295}-\x{2af}\x{370}-\x{373}\x{376}\x{377}\x{37b}-\x{37d}\x{37f}\x{386}\x{388}-\x{38a}\x{38c}\x{38e}-\x{3a1}\x{3a3}-\x{3f5}\x{3f7}-\x{481}\x{48a}-\x{52f}\x{531}-\x{556}\x{10a0}-\x{10c5}\x{13a0}-\x{13f5}\x{13f8}-\x{13fd}\x{1c90}-\x{1cba}\x{1cbd}-\x{1cbf}\x{1d00}-\x{1d2b}\x{1d6b}-\x{1d77}\x{1d79}-\x{1d9a}\x{1e00}-\x{1f15}\x{1f18}-\x{1f1d}\x{1f20}-\x{1f45}\x{1f48}-\x{1f4d}\x{1f50}-\x{1f57}\x{1f59}\x{1f5b}\x{1f5d}\x{1f5f}-\x{1f7d}\x{1f80}-\x{1fb4}\x{1fb6}-\x{1fbc}\x{1fbe}\x{1fc2}-\x{1fc4}\x{1fc6}-\x{1fcc}\x{1fd0}-\x{1fd3}\x{1fd6}-\x{1fdb}\x{1fe0}-\x{1fec}\x{1ff2}-\x{1ff4}\x{1ff6}-\x{1ffc}\x{2102}\x{2107}\x{210a}-\x{2113}\x{2115}\x{2119}-\x{211d}\x{2124}\x{2126}\x{2128}\x{212a}-\x{212d}\x{212f}-\x{2134}\x{2139}\x{213c}-\x{213f}\x{2145}-\x{2149}\x{214e}\x{2183}\x{2184}\x{2c00}-\x{2c7b}\x{2c7e}-\x{2ce4}\x{2ceb}-\x{2cee}\x{2cf2}\x{2cf3}\x{a640}-\x{a66d}\x{a680}-\x{a69b}\x{a722}-\x{a76f}\x{a771}-\x{a787}\x{a78b}-\x{a78e}\x{ab70}-\x{abbf}\x{fb00}-\x{fb06}\x{fb13}-\x{fb17}\x{ff21}-\x{ff3a}\x{ff41}-\x{ff5a}\x{10400}-\x{1044f}\x{104b0}-\x{104d3}\x{104d8}-\x{104fb}\x{10c80}-\x{10cb2}\x{10cc0}-\x{10cf2}\x{118a0}-\x{118df}\x{1e900}-\x{1e943}]+";

/// GPT-2's split, with nothing else implied: the base of the table.
const BASE: Pre = Pre {
    names: &["default", "gpt-2", "gpt2"],
    stages: &[GPT2],
    whole_words: false,
    add_bos: false,
    add_sep: false,
    compose: false,
};

/// All that are known; the first is the one of files that name none.
static KNOWN: &[Pre] = &[
    BASE,
    Pre {
        names: &[
            "phi-2",
            "jina-es",
            "jina-de",
            "gigachat",
            "jina-v2-es",
            "jina-v2-de",
            "a.x-4.0",
            "mellum",
            "exaone4",
            "jais",
            "trillion",
            "granite-docling",
        ],
        ..BASE
    },
    Pre { names: &["modern-bert", "mpt", "olmo"], compose: true, ..BASE },
    Pre { names: &["roberta-bpe", "jina-v1-en", "jina-v2-code"], add_sep: true, ..BASE },
    Pre {
        names: &[
            "llama-bpe",
            "llama3",
            "llama-v3",
            "falcon3",
            "falcon-h1",
            "pixtral",
            "midm-2.0",
            "lfm2",
            "jina-v5-nano",
        ],
        stages: &[LLAMA3],
        whole_words: true,
        add_bos: true,
        ..BASE
    },
    Pre { names: &["dbrx", "smaug-bpe", "glm4", "chatglm-bpe"], stages: &[LLAMA3], ..BASE },
    Pre {
        names: &["minicpm5"],
        stages: &[
            r"\p{N}{1,3}",
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        ],
        whole_words: true,
        ..BASE
    },
    Pre { names: &["qwen2"], stages: &[QWEN2], compose: true, ..BASE },
    Pre {
        names: &[
            "deepseek-r1-qwen",
            "kormo",
            "f2llmv2",
            "stablelm2",
            "hunyuan",
            "solar-open",
            "megrez",
            "grok-2",
        ],
        stages: &[QWEN2],
        ..BASE
    },
    Pre { names: &["qwen35"], stages: &[QWEN35], compose: true, ..BASE },
    Pre { names: &["ufakzeka"], stages: &[TURKISH], ..BASE },
    Pre {
        names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
        stages: &[GPT4O],
        ..BASE
    },
    Pre { names: &["tekken"], stages: &[TEKKEN], whole_words: true, add_bos: true, ..BASE },
    Pre {
        names: &["starcoder", "refact", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        stages: &[r"\p{N}", GPT2],
        ..BASE
    },
    Pre { names: &["command-r"], stages: &[r"\p{N}", GPT2], compose: true, ..BASE },
    Pre {
        names: &["falcon"],
        stages: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
        ..BASE
    },
    Pre {
        names: &["deepseek-llm"],
        stages: &[
            r"[\r\n]",
            DEEPSEEK_LETTERS,
            r"\s?[!-/:-~\x{ff01}-\x{ff0f}\x{ff1a}-\x{ff5e}\x{2018}-\x{201f}\x{3000}-\x{3002}]+",
            r"\s+$",
            r"[\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+",
            r"\p{N}+",
        ],
        ..BASE
    },
    Pre {
        names: &["deepseek-coder"],
        stages: &[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            r"[\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+",
            r"\p{N}",
        ],
        ..BASE
    },
    Pre {
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
        stages: &[
            r"\p{N}{1,3}",
            r"[\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+",
            DEEPSEEK3,
        ],
        ..BASE
    },
    Pre { names: &["bloom", "poro-chat", "gpt3-finnish"], stages: &[BLOOM], ..BASE },
    Pre { names: &["viking"], stages: &[BLOOM, r"\p{N}"], ..BASE },
    Pre { names: &["bailingmoe", "bailingmoe2", "llada-moe"], stages: &[BAILING], ..BASE },
    Pre { names: &["seed-coder"], stages: &[SEED], ..BASE },
];

/// The pre-tokenizer called `name`; files without a name have GPT-2's.
pub(crate) fn find(name: Option<&str>) -> Option<&'static Pre> {
    match name {
        None | Some("") => KNOWN.first(),
        Some(name) => KNOWN.iter().find(|pre| pre.names.contains(&name)),
    }
}

/// All names, for messages.
pub(crate) fn names() -> String {
    let names: Vec<&str> = KNOWN.iter().flat_map(|pre| pre.names.iter().copied()).collect();
    names.join(", ")
}

/// GPT-2's split.
pub(crate) fn gpt2() -> &'static str {
    GPT2
}

impl Pre {
    /// The compiled split.
    pub(crate) fn splitter(&self) -> Result<Splitter, String> {
        let mut splitter = Splitter::whole();
        for stage in self.stages {
            splitter.push(Pattern::parse(stage)?, Keep::Both);
        }
        Ok(splitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_split_compiles_and_names_are_unique() {
        let text = "It's 12345 Größe, don'T!\r\n\n  中文テスト한국 \u{301}x¿  \t😀 end  ";
        let mut seen = std::collections::HashSet::new();
        for pre in KNOWN {
            let splitter = pre.splitter().unwrap();
            let (mut at, mut words) = (0, 0);
            let each = &mut |start, end| {
                assert!(start == at && end > start);
                at = end;
                words += 1;
            };
            splitter.words(text, each).unwrap();
            assert!(at == text.len() && words > 5, "{:?}", pre.names);
            assert!(pre.names.iter().all(|name| seen.insert(*name)));
        }
        assert_eq!(find(None).unwrap().names, find(Some("gpt-2")).unwrap().names);
        assert!(find(Some("nonsense")).is_none());
    }
}
