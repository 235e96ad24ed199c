//! Makes `include/emberform.h`: for each source file, in reading order, its first comment as a
//! heading, its types, the starting values of its options, and its functions.
//!
//! ```text
//! cargo run --manifest-path bindings-c/header/Cargo.toml            writes the header
//! cargo run --manifest-path bindings-c/header/Cargo.toml -- check   fails when it is not current
//! ```

use std::error::Error;
use std::fs;
use std::path::Path;

use cbindgen::{Builder, Config, DocumentationStyle, Language, Style};

/// The files in the order in which the header is read.
const SECTIONS: &[&str] = &[
    "status",
    "log",
    "device",
    "cancel",
    "model",
    "output",
    "tokenizer",
    "embed",
    "task",
    "generate",
    "session",
    "batch",
    "beam",
    "chat",
    "words",
];

/// The starting values of structs of options, and after which type they stand.
const STARTS: &[(&str, &str)] = &[
    (
        "} ember_open_options;\n",
        "#define EMBER_OPEN_OPTIONS_INIT \\\n    { sizeof(ember_open_options), NULL, NULL, (size_t)EMBER_UNSET }\n",
    ),
    (
        "} ember_forward_options;\n",
        "#define EMBER_FORWARD_OPTIONS_INIT \\\n    { sizeof(ember_forward_options), NULL, NULL, NULL, 0, NULL, 0, NULL, 0 }\n",
    ),
    (
        "} ember_embed_options;\n",
        "#define EMBER_EMBED_OPTIONS_INIT \\\n    { sizeof(ember_embed_options), EMBER_UNSET, NULL, NULL, NULL, (size_t)EMBER_UNSET, \\\n      \
         (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, NULL, NULL, NULL }\n",
    ),
    (
        "} ember_run_options;\n",
        "#define EMBER_RUN_OPTIONS_INIT \\\n    { sizeof(ember_run_options), (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, NULL, NULL, NULL }\n",
    ),
    (
        "} ember_fill_options;\n",
        "#define EMBER_FILL_OPTIONS_INIT \\\n    { sizeof(ember_fill_options), (size_t)EMBER_UNSET, NULL, 0, NULL }\n",
    ),
    (
        "} ember_classify_options;\n",
        "#define EMBER_CLASSIFY_OPTIONS_INIT \\\n    { sizeof(ember_classify_options), (size_t)EMBER_UNSET, NULL, NULL }\n",
    ),
    (
        "} ember_token_options;\n",
        "#define EMBER_TOKEN_OPTIONS_INIT \\\n    { sizeof(ember_token_options), NULL, NULL, 0, (size_t)EMBER_UNSET, NULL }\n",
    ),
    (
        "} ember_answer_options;\n",
        "#define EMBER_ANSWER_OPTIONS_INIT \\\n    { sizeof(ember_answer_options), (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, \\\n      \
         (size_t)EMBER_UNSET, EMBER_UNSET, EMBER_UNSET, NULL }\n",
    ),
    (
        "} ember_zero_shot_options;\n",
        "#define EMBER_ZERO_SHOT_OPTIONS_INIT \\\n    { sizeof(ember_zero_shot_options), NULL, EMBER_UNSET, NULL }\n",
    ),
    (
        "} ember_word_options;\n",
        "#define EMBER_WORD_OPTIONS_INIT \\\n    { sizeof(ember_word_options), NULL, EMBER_UNSET, EMBER_UNSET, EMBER_UNSET, \\\n      \
         (size_t)EMBER_UNSET, (size_t)EMBER_UNSET }\n",
    ),
    (
        "} ember_generate_options;\n",
        "#define EMBER_GENERATE_OPTIONS_INIT \\\n    { sizeof(ember_generate_options), (size_t)EMBER_UNSET, EMBER_UNSET, (size_t)EMBER_UNSET, \\\n      \
         EMBER_UNSET, EMBER_UNSET, EMBER_UNSET, 0, 0, (size_t)EMBER_UNSET, \\\n      \
         (uint64_t)EMBER_UNSET, NULL, 0, NULL, 0, (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, 0, \\\n      \
         (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, NULL, NULL, 0, NULL, 0, EMBER_UNSET }\n",
    ),
    (
        "} ember_beam_options;\n",
        "#define EMBER_BEAM_OPTIONS_INIT \\\n    { sizeof(ember_beam_options), (size_t)EMBER_UNSET, (size_t)EMBER_UNSET, NULL, NULL, NULL }\n",
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    let binding = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let header = make(&binding)?;
    let place = binding.join("include/emberform.h");
    if std::env::args().any(|argument| argument == "check") {
        if fs::read_to_string(&place)? != header {
            return Err(
                "include/emberform.h is not current; run the generator and commit it".into()
            );
        }
        return Ok(());
    }
    Ok(fs::write(place, header)?)
}

fn make(binding: &Path) -> Result<String, Box<dyn Error>> {
    let root = fs::read_to_string(binding.join("../Cargo.toml"))?;
    let version = root
        .lines()
        .find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'))
        .ok_or("the workspace has no version")?;
    let source = fs::read_to_string(binding.join("src/status.rs"))?;
    let abi = source
        .lines()
        .find_map(|line| line.strip_prefix("const ABI: u32 = ")?.strip_suffix(';'))
        .ok_or("status.rs has no ABI")?;
    let mut header =
        include_str!("conventions.h").replace("@VERSION@", version).replace("@ABI@", abi);
    let mut numbers = version.split('.');
    for part in ["@MAJOR@", "@MINOR@", "@PATCH@"] {
        header = header.replace(part, numbers.next().ok_or("the version has three parts")?);
    }
    for section in SECTIONS {
        let path = binding.join(format!("src/{section}.rs"));
        header.push_str(&heading(&fs::read_to_string(&path)?));
        header.push_str(&declarations(&path)?);
    }
    for (after, start) in STARTS {
        let at = header.find(after).ok_or_else(|| format!("`{after}` is not in the header"))?;
        header.insert_str(at + after.len(), &format!("\n/* Everything unset. */\n{start}"));
    }
    header.push_str(
        "\n#ifdef __cplusplus\n} /* extern \"C\" */\n#endif\n\n#endif /* EMBERFORM_H */\n",
    );
    Ok(header)
}

/// The comment that a file opens with, as a heading.
fn heading(source: &str) -> String {
    let lines: Vec<&str> = source
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let (title, text) = lines.split_first().unwrap_or((&"", &[]));
    let title = title.to_uppercase();
    format!("\n/* ---- {title} {}\n * {}\n */\n", "-".repeat(88 - title.len()), text.join("\n * "))
}

/// The types and functions of one file.
fn declarations(path: &Path) -> Result<String, Box<dyn Error>> {
    let mut config = Config {
        language: Language::C,
        style: Style::Both,
        usize_is_size_t: true,
        documentation_style: DocumentationStyle::C99,
        line_length: 100,
        no_includes: true,
        ..Config::default()
    };
    config.function.args = cbindgen::Layout::Auto;
    // Types that no function of the same file names are part of the header too.
    let source = fs::read_to_string(path)?;
    let named = |line: &str| {
        let name = line.strip_prefix("pub struct ").or(line.strip_prefix("pub enum "))?;
        Some(name.split(' ').next()?.to_string())
    };
    config.export.include = source.lines().filter_map(named).collect();
    let mut text = Vec::new();
    Builder::new().with_src(path).with_config(config).generate()?.write(&mut text);
    Ok(String::from_utf8(text)?)
}
