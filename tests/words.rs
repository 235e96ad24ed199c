//! Word vectors: what gensim, fastText, model2vec and sentence-transformers answer for the same
//! files (`tests/golden/record/record_words.py`).
//!
//! Numbers that are a copy are compared to the last bit; means and cosines, which the libraries
//! sum in another order, to 1e-6 of the larger of 1 and the largest number.

use std::collections::BTreeMap;
use std::path::PathBuf;

use emberform::{Code, Model, Neighbor, Unknown, WordOptions, WordVectors};
use emberform_tests::{Recorded, difference, recorded, recorded_json, reference};
use serde_json::Value;

/// The most that a computed number may differ by, of the larger of 1 and the largest number.
const BAR: f32 = 1e-6;

fn file(name: &str) -> PathBuf {
    reference("words").join(name)
}

fn open(name: &str) -> WordVectors {
    WordVectors::open(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What was recorded of a file: texts and lists, and numbers.
fn answers(name: &str) -> (Value, BTreeMap<String, Recorded>) {
    let numbers = recorded(&file(&format!("{name}.safetensors")));
    (recorded_json(&file(&format!("{name}.json"))), numbers)
}

fn strings(value: &Value) -> Vec<&str> {
    let list = value.as_array().expect("a list").iter();
    list.map(|text| text.as_str().expect("a text")).collect()
}

fn close(found: &[f32], wanted: &[f32], what: &str) {
    let largest = wanted.iter().fold(1.0f32, |most, x| most.max(x.abs()));
    let off = difference(found, wanted) / largest;
    println!("{what}: {off:e}");
    assert!(off <= BAR, "{what}: off by {off:e}");
}

fn vectors(words: &WordVectors, list: &[&str]) -> Vec<f32> {
    list.iter().flat_map(|word| words.vector(word).expect("a vector")).collect()
}

/// The recorded words in the recorded order; of equal cosines any order would do, but there are
/// none in these files.
fn same(found: &[Neighbor], wanted: &Value, cosines: &Recorded, what: &str) {
    let names: Vec<&str> = found.iter().map(|near| near.word.as_str()).collect();
    assert_eq!(names, strings(wanted), "{what}");
    let found: Vec<f32> = found.iter().map(|near| near.cosine).collect();
    close(&found, &cosines.f32(), what);
}

/// Nearest words and analogies as recorded.
fn searches(words: &WordVectors, text: &Value, numbers: &BTreeMap<String, Recorded>, name: &str) {
    let nearest = text["nearest"].as_object().expect("an object");
    assert!(nearest.len() >= 2);
    for (word, wanted) in nearest {
        let found = words.nearest(word, 5).expect("neighbors");
        same(&found, wanted, &numbers[&format!("nearest.{word}")], &format!("{name} {word}"));
    }
    for (i, entry) in text["analogies"].as_array().expect("a list").iter().enumerate() {
        let word = |k: usize| entry[k].as_str().expect("a word");
        let found = words.analogy(word(0), word(1), word(2), 4).expect("neighbors");
        same(&found, &entry[3], &numbers[&format!("analogy.{i}")], &format!("{name} {entry}"));
    }
}

#[test]
fn word2vec_and_glove_files_give_gensims_answers() {
    let (text, numbers) = answers("word2vec");
    for (name, format) in [
        ("word2vec.bin", "word2vec binary"),
        ("word2vec-newlines.bin", "word2vec binary"),
        ("word2vec.txt", "word2vec text"),
        ("glove.txt", "GloVe text"),
        ("word2vec.bin.gz", "word2vec binary"),
        ("word2vec.txt.gz", "word2vec text"),
    ] {
        let words = open(name);
        let list = strings(&text["words"]);
        assert_eq!((words.len(), words.width(), words.format()), (list.len(), 17, format));
        for (i, word) in list.iter().enumerate() {
            assert_eq!((words.index(word), words.word(i).as_deref()), (Some(i), Some(*word)));
        }
        assert_eq!((words.index("xyzzy"), words.word(list.len())), (None, None));
        assert_eq!(vectors(&words, &list), numbers["vectors"].f32(), "{name}: a copy");
        searches(&words, &text, &numbers, name);

        let texts = strings(&text["texts"]);
        let found = words.embed(&texts).expect("embeddings");
        close(found.as_slice(), &numbers["means"].f32(), &format!("{name} means"));
        let known: Vec<usize> = texts
            .iter()
            .zip(found.cut())
            .map(|(text, cut)| text.split_whitespace().count() - cut)
            .collect();
        let wanted: Vec<usize> = text["known"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|count| count.as_u64().expect("a number") as usize)
            .collect();
        assert_eq!(known, wanted, "{name}: words left out");
        let unit = words.embed_with(&texts, &WordOptions::default().unit_words(true));
        let unit = unit.expect("embeddings");
        close(unit.as_slice(), &numbers["unit_means"].f32(), &format!("{name} unit means"));
        let folded = words.embed(&strings(&text["folded"])).expect("embeddings");
        close(folded.as_slice(), &numbers["folded"].f32(), &format!("{name} folded"));
        let pairs = [("king", "queen"), ("river", "walks")];
        let found = pairs.map(|(a, b)| words.similarity(a, b).expect("a cosine"));
        close(&found, &numbers["similarity"].f32(), &format!("{name} similarity"));
    }
}

#[test]
fn fasttext_files_give_fasttexts_answers_for_words_never_seen_too() {
    for (name, subwords) in
        [("fasttext", true), ("fasttext-whole", false), ("fasttext-labels", true)]
    {
        let (text, numbers) = answers(name);
        let words = open(&format!("{name}.bin"));
        let list = strings(&text["words"]);
        assert_eq!((words.len(), words.has_subwords()), (list.len(), subwords), "{name}");
        assert_eq!(words.word(list.len() - 1).as_deref(), list.last().copied());
        assert_eq!(vectors(&words, &list), numbers["vectors"].f32(), "{name}: to the last bit");
        let unknown = strings(&text["unknown"]);
        if subwords {
            let found = vectors(&words, &unknown);
            assert_eq!(found, numbers["unknown"].f32(), "{name}: to the last bit");
        } else {
            let error = words.vector(unknown[0]).expect_err("no pieces, no vector");
            assert_eq!(error.code(), Code::Argument);
        }
        searches(&words, &text, &numbers, name);
        let texts = strings(&text["texts"]);
        if let Some(wanted) = numbers.get("unit_means") {
            let options = WordOptions::default().unit_words(true).exact(true);
            let found = words.embed_with(&texts, &options).expect("embeddings");
            close(found.as_slice(), &wanted.f32(), &format!("{name} sentence vectors"));
        }
    }
    // The text beside it is rounded to five digits.
    let (text, numbers) = answers("fasttext");
    let words = open("fasttext.vec");
    let found = vectors(&words, &strings(&text["words"]));
    let wanted: Vec<f32> = (numbers["vectors"].f32().iter())
        .map(|x| format!("{x:.4e}").parse().expect("a number"))
        .collect();
    assert_eq!(found, wanted, "a copy of five digits");
}

#[test]
fn folders_give_the_embeddings_of_model2vec_and_sentence_transformers() {
    for (name, width) in [
        ("model2vec", 13),
        ("model2vec-plain", 9),
        ("model2vec-shared", 19),
        ("model2vec-half", 130),
        ("static-embedding", 21),
        ("static-embedding-prompt", 21),
    ] {
        let (text, numbers) = answers(name);
        let words = open(name);
        let tokens = text["tokens"].as_u64().expect("a number") as usize;
        assert_eq!((words.len(), words.width(), words.format()), (tokens, width, "token"));
        let texts = strings(&text["texts"]);
        let embed = |options: WordOptions| {
            words.embed_with(&texts, &options).expect("embeddings").into_vec()
        };
        close(&embed(WordOptions::default()), &numbers["embeddings"].f32(), name);
        if let Some(wanted) = numbers.get("plain") {
            let found = embed(WordOptions::default().normalize(false));
            close(&found, &wanted.f32(), &format!("{name}, not normalized"));
        }
        if let Some(wanted) = numbers.get("first") {
            let found = embed(WordOptions::default().dimensions(8));
            close(&found, &wanted.f32(), &format!("{name}, first numbers"));
        }
    }
    let words = open("model2vec");
    let king = words.index("king").expect("a token");
    assert_eq!(words.word(king).as_deref(), Some("king"));
    let near = words.nearest_to(&words.vector("king").expect("a vector"), 2).expect("neighbors");
    assert_eq!(near[0].index, king, "nothing is nearer than the word itself");
    assert!((near[0].cosine - 1.0).abs() < BAR);
    assert_eq!(words.nearest("king", 1).expect("neighbors")[0], near[1]);
    // A text of several tokens is asked for by their mean.
    let pieces = words.vector("queen's river").expect("a vector");
    let mean = words
        .embed_with(&["queen's river"], &WordOptions::default().normalize(false))
        .expect("an embedding");
    assert_eq!(pieces, mean.into_vec());
}

/// A table of 276,326 tokens that share 10,000 rows of bytes, with a weight each.
#[test]
fn a_real_table_gives_model2vecs_embeddings() {
    let (text, numbers) = answers("real");
    let path = emberform_tests::model("static");
    let words = WordVectors::open(path).expect("the real table");
    assert_eq!(
        (words.len() as u64, words.width()),
        (text["tokens"].as_u64().expect("a count"), 64)
    );
    let texts = strings(&text["texts"]);
    let found = words.embed(&texts).expect("embeddings");
    assert!(texts.len() > 50);
    close(found.as_slice(), &numbers["embeddings"].f32(), "the real table");
}

#[test]
fn unknown_words_are_what_the_caller_wants_them_to_be() {
    let words = open("word2vec.txt");
    let embed = |text: &str, unknown: Unknown| {
        words.embed_with(&[text], &WordOptions::default().unknown(unknown))
    };
    let king = words.vector("king").expect("a vector");
    let skipped = embed("king xyzzy", Unknown::Skip).expect("an embedding");
    assert_eq!((skipped.as_slice(), skipped.cut()), (&king[..], &[1][..]));
    let halved: Vec<f32> = king.iter().map(|x| x / 2.0).collect();
    let zero = embed("king xyzzy", Unknown::Zero).expect("an embedding");
    assert_eq!((zero.as_slice(), zero.cut()), (&halved[..], &[0][..]));
    let error = embed("king xyzzy", Unknown::Error).expect_err("an unknown word");
    assert_eq!(error.code(), Code::Argument);
    assert!(error.to_string().contains("`texts` hold `xyzzy`"), "{error}");
    let error = embed("king", Unknown::Subwords).expect_err("a file without pieces");
    assert_eq!(error.code(), Code::Missing);
    assert!(error.to_string().contains("word2vec text"), "{error}");
    assert!(embed("xyzzy", Unknown::Skip).expect("zeros").as_slice().iter().all(|x| *x == 0.0));
    let exact = words.embed_with(&["King"], &WordOptions::default().exact(true)).expect("zeros");
    assert_eq!(exact.cut(), [1], "a capital letter is another word");

    let pieces = open("fasttext.bin");
    let left_out = WordOptions::default().unknown(Unknown::Skip);
    let found = pieces.embed_with(&["king kingly"], &left_out).expect("an embedding");
    assert_eq!(found.into_vec(), pieces.vector("king").expect("a vector"));
    let found = pieces.embed(&["kingly"]).expect("an embedding");
    assert_eq!(found.into_vec(), pieces.vector("kingly").expect("a vector"));

    let tokens = open("model2vec");
    let of = |unknown: Unknown| {
        let options = WordOptions::default().unknown(unknown).normalize(false);
        tokens.embed_with(&["한국어 king"], &options)
    };
    let king = tokens.vector("king").expect("a vector");
    assert_eq!(of(Unknown::Skip).expect("an embedding").into_vec(), king);
    let halved: Vec<f32> = king.iter().map(|x| x / 2.0).collect();
    assert_eq!(of(Unknown::Zero).expect("an embedding").into_vec(), halved);
    assert_ne!(of(Unknown::Subwords).expect("an embedding").into_vec(), king);
    let error = of(Unknown::Error).expect_err("an unknown token");
    assert!(error.to_string().contains("`한국어`"), "{error}");
    let error = "drop".parse::<Unknown>().expect_err("no policy");
    assert!(error.to_string().contains("error, skip, zero, subwords"), "{error}");
}

#[test]
fn wrong_arguments_are_named() {
    let words = open("word2vec.bin");
    let argument = |result: Result<Vec<Neighbor>, emberform::Error>, name: &str| {
        let error = result.expect_err(name);
        assert_eq!(error.code(), Code::Argument);
        assert!(error.to_string().starts_with(&format!("`{name}` ")), "{error}");
    };
    argument(words.nearest("xyzzy", 3), "word");
    argument(words.nearest_to(&[1.0; 16], 3), "vector");
    argument(words.analogy("king", "xyzzy", "man", 3), "b");
    argument(words.analogy("king", "man", "", 3), "c");
    assert_eq!(words.nearest_to(&[f32::NAN; 17], 3).expect_err("NaN").code(), Code::NotFinite);
    for dimensions in [0, 18] {
        let options = WordOptions::default().dimensions(dimensions);
        let error = words.embed_with(&["king"], &options).expect_err("no such width");
        assert!(error.to_string().contains("from 1 to 17"), "{error}");
    }
    assert_eq!(words.nearest("king", 1000).expect("all").len(), words.len() - 1);
    assert!(words.nearest("king", 0).expect("none").is_empty());
    assert!(words.embed(&[]).expect("no text").is_empty());
    assert_eq!(words.to_string(), "word2vec binary vectors \"word2vec.bin\": 30 words of width 17");
    let error = Model::open(file("static-embedding")).expect_err("no network");
    assert!(error.to_string().contains("WordVectors::open"), "{error}");
}

#[test]
fn one_set_of_vectors_serves_many_threads() {
    let words = open("fasttext.bin");
    let alone = words.nearest("walker", 31).expect("neighbors");
    let words = open("fasttext.bin"); // the table of all words is not made yet
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(words.nearest("walker", 31).expect("neighbors"), alone));
        }
    });
}
