//! What encoders with a head say of texts: the labels, spans and scores of the pipelines of
//! transformers and of sentence-transformers, on CPU and GPU.
//!
//! `tests/golden/record/tasks.py` made the folders and recorded their answers.

use emberform::{
    Aggregation, AnswerOptions, CancelToken, Class, ClassifyOptions, Code, Error, FillOptions,
    Model, RunOptions, Scoring, TextRole, TokenOptions, ZeroShotOptions, char_range,
};
use emberform_tests::{devices, golden, open, recorded_json};
use serde_json::Value;

/// Of scores against the reference's.
const SCORE: f64 = 1e-4;

fn texts(value: &Value) -> Vec<&str> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|text| text.as_str().expect("text")).collect()
}

fn run() -> RunOptions {
    RunOptions::default()
}

fn role(name: &str) -> TextRole {
    match name {
        "query" => TextRole::Query,
        _ => TextRole::Document,
    }
}

fn number(value: &Value) -> Option<usize> {
    value.as_u64().map(|number| number as usize)
}

/// What is wrong with one recorded case, or the largest difference of scores.
fn check(model: &Model, case: &Value) -> Result<f64, String> {
    let text = |key: &str| case[key].as_str().unwrap_or_default();
    let list = case["result"].as_array().cloned().unwrap_or_default();
    let mut worst = 0f64;
    let mut near = |found: f32, wanted: &Value| {
        worst = worst.max((f64::from(found) - wanted.as_f64().expect("a score")).abs());
    };
    let same = |what: &str, found: String, wanted: String| match found == wanted {
        true => Ok(()),
        false => Err(format!("{what}: {found:?}, not {wanted:?}")),
    };
    let failed = |error: Error| error.to_string();
    let numbers = |key: &str| -> Vec<usize> {
        let list = case["result"][key].as_array().map(Vec::as_slice).unwrap_or_default();
        list.iter().filter_map(number).collect()
    };
    let weights = case["result"]["weights"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut classes = |found: &[Class], wanted: &[Value]| {
        same("classes", found.len().to_string(), wanted.len().to_string())?;
        found.iter().zip(wanted).try_for_each(|(found, wanted)| {
            near(found.score, &wanted["score"]);
            same("label", found.label.clone(), wanted["label"].as_str().unwrap_or("").into())
        })
    };
    match text("call") {
        "fill_mask" => {
            let options = FillOptions::default().targets(texts(&case["targets"]));
            let options = match number(&case["top_k"]) {
                Some(count) => options.top_k(count),
                None => options,
            };
            let found = model.fill_mask(text("text"), &options).map_err(failed)?;
            same("masks", found.len().to_string(), list.len().to_string())?;
            for (found, wanted) in found.iter().zip(&list) {
                let wanted = wanted.as_array().expect("tokens");
                same("tokens", found.len().to_string(), wanted.len().to_string())?;
                for (found, wanted) in found.iter().zip(wanted) {
                    near(found.score, &wanted["score"]);
                    same("id", found.id.to_string(), wanted["token"].to_string())?;
                    let token = wanted["token_str"].as_str().unwrap_or_default();
                    same("token", found.token.clone(), token.into())?;
                    let sequence = wanted["sequence"].as_str().unwrap_or_default();
                    same("text", found.text.clone(), sequence.into())?;
                }
            }
        }
        call @ ("classify" | "classify_pairs") => {
            let options = match case["scoring"].as_str() {
                None => ClassifyOptions::default(),
                Some(name) => {
                    ClassifyOptions::default().scoring(name.parse::<Scoring>().map_err(failed)?)
                }
            };
            let found = match call {
                "classify" => model.classify(&[text("text")], &options),
                _ => model.classify_pairs(&[(text("text"), text("pair"))], &options),
            };
            classes(&found.map_err(failed)?[0].classes, &list)?;
        }
        "zero_shot" => {
            let options = ZeroShotOptions::default();
            let options = options.multi_label(case["multi_label"].as_bool().unwrap_or(false));
            let options = match case["template"].as_str() {
                Some(template) => options.template(template),
                None => options,
            };
            let labels = texts(&case["labels"]);
            let found = model.zero_shot(text("text"), &labels, &options).map_err(failed)?;
            let (names, scores) = (&case["result"]["labels"], &case["result"]["scores"]);
            for (i, class) in found.classes.iter().enumerate() {
                near(class.score, &scores[i]);
                same("label", class.label.clone(), names[i].as_str().unwrap_or_default().into())?;
            }
        }
        "token_classify" => {
            let kind: Aggregation = text("aggregation").parse().map_err(failed)?;
            let options = TokenOptions::default().aggregation(kind);
            let options = match case["ignore"].is_array() {
                true => options.ignore(texts(&case["ignore"])),
                false => options,
            };
            let options = match number(&case["stride"]) {
                Some(stride) => options.stride(stride),
                None => options,
            };
            let found = model.token_classify(&[text("text")], &options).map_err(failed)?;
            same("entities", found[0].len().to_string(), list.len().to_string())?;
            for (found, wanted) in found[0].iter().zip(&list) {
                near(found.score, &wanted["score"]);
                same("label", found.label.clone(), wanted["label"].as_str().unwrap_or("").into())?;
                let place = char_range(text("text"), found.start..found.end).map_err(failed)?;
                let wanted = format!("{}..{}", wanted["start"], wanted["end"]);
                same("span", format!("{place:?}"), wanted)?;
            }
        }
        "answer" => {
            let mut options = AnswerOptions::default();
            options.top_k = number(&case["top_k"]);
            options.no_answer = case["handle_impossible_answer"].as_bool().unwrap_or(false);
            options.max_answer_tokens = number(&case["max_answer_len"]);
            options.stride = number(&case["doc_stride"]);
            options.tokens = case["align_to_words"].as_bool() == Some(false);
            options.run.max_tokens = number(&case["max_seq_len"]);
            let found = model.answer(text("question"), text("passage"), &options);
            let found = found.map_err(failed)?;
            same("answers", found.len().to_string(), list.len().to_string())?;
            for (found, wanted) in found.iter().zip(&list) {
                near(found.score, &wanted["score"]);
                let answer = wanted["answer"].as_str().unwrap_or_default();
                same("answer", found.text.clone(), answer.into())?;
                let place = char_range(text("passage"), found.start..found.end).map_err(failed)?;
                let wanted = format!("{}..{}", wanted["start"], wanted["end"]);
                same("span", format!("{place:?}"), wanted)?;
            }
        }
        "rerank" => {
            let documents = texts(&case["documents"]);
            let found = model.rerank(text("text"), &documents, &RunOptions::default());
            let found = found.map_err(failed)?;
            same("documents", found.len().to_string(), list.len().to_string())?;
            for (found, wanted) in found.iter().zip(&list) {
                near(found.score, &wanted["score"]);
                same("document", found.index.to_string(), wanted["index"].to_string())?;
            }
        }
        "sparse" => {
            let found = model.sparse(&[text("text")], &RunOptions::default()).map_err(failed)?;
            same("ids", format!("{:?}", found[0].ids), format!("{:?}", numbers("ids")))?;
            for (found, wanted) in found[0].weights.iter().zip(weights) {
                near(*found, wanted);
            }
        }
        "embed_tokens" => {
            let found = model.embed_tokens(&[text("text")], role(text("role")), &run());
            let found = &found.map_err(failed)?[0];
            same("vectors", found.len().to_string(), list.len().to_string())?;
            for (found, wanted) in found.rows().zip(&list) {
                let wanted = wanted.as_array().expect("a vector");
                same("width", found.len().to_string(), wanted.len().to_string())?;
                found.iter().zip(wanted).for_each(|(found, wanted)| near(*found, wanted));
            }
        }
        "max_sim" => {
            let side = |key: &str, role: TextRole| {
                model.embed_tokens(&texts(&case[key]), role, &run()).map_err(failed)
            };
            let queries = side("queries", TextRole::Query)?;
            let documents = side("documents", TextRole::Document)?;
            for (query, scores) in queries.iter().zip(&list) {
                for (j, document) in documents.iter().enumerate() {
                    near(query.max_sim(document), &scores[j]);
                }
            }
        }
        "follows" => {
            let pair = (text("text"), text("pair"));
            let found = model.follows(&[pair], &RunOptions::default()).map_err(failed)?;
            near(found[0], &case["result"]);
        }
        other => return Err(format!("no such call: {other}")),
    }
    match worst <= SCORE {
        true => Ok(worst),
        false => Err(format!("scores differ by {worst}")),
    }
}

#[test]
fn tasks_give_the_pipelines_answers() {
    let (mut failed, mut seen) = (Vec::new(), 0);
    for (device_name, device) in devices() {
        let mut folders: Vec<_> = std::fs::read_dir(golden(""))
            .expect("tests/golden/checkpoints")
            .map(|entry| entry.expect("an entry").path())
            .filter(|folder| folder.join("tasks.json").exists())
            .collect();
        folders.sort();
        for folder in folders {
            let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
            let model = open(&folder, &device);
            let cases = recorded_json(&folder.join("tasks.json"));
            let mut worst = 0f64;
            for case in cases.as_array().expect("cases") {
                // The GPU computes the same: a few cases show it.
                if device_name != "cpu" && case["ignore"].is_array() {
                    continue;
                }
                seen += 1;
                match check(&model, case) {
                    Ok(difference) => worst = worst.max(difference),
                    Err(problem) => {
                        let mut case = case.clone();
                        case["result"] = Value::Null;
                        failed.push(format!("{name} on {device_name}: {problem}; {case}"));
                    }
                }
            }
            println!("{name:28} {device_name:12} {worst:.1e}");
        }
    }
    assert!(failed.is_empty(), "{} of {seen}: {failed:#?}", failed.len());
    assert!(seen >= 300, "only {seen} cases");
}

fn cpu(name: &str) -> Model {
    open(&golden(name), &emberform::Device::Cpu)
}

#[test]
fn a_batch_changes_nothing() {
    let model = cpu("task-bert-classes");
    let texts = ["The cat sat.", "", "Dogs ate 12 red apples, quickly!", "it is far", "a"];
    let options = ClassifyOptions::default();
    let together = model.classify(&texts, &options).expect("classes");
    let small = ClassifyOptions::default().run(RunOptions::default().batch_tokens(1));
    for (i, text) in texts.iter().enumerate() {
        let alone = &model.classify(&[text], &small).expect("classes")[0];
        for (a, b) in alone.classes.iter().zip(&together[i].classes) {
            assert_eq!(a.label, b.label, "{text}");
            assert!((a.score - b.score).abs() <= 1e-6, "{text}: {} and {}", a.score, b.score);
        }
    }
}

#[test]
fn wrong_use_is_an_error_that_says_what_would_be_right() {
    let (words, classes) = (cpu("task-bert-words"), cpu("task-bert-classes"));
    let fill = FillOptions::default;
    let says = |error: Error, code: Code, part: &str| {
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    says(classes.fill_mask("a", &fill()).unwrap_err(), Code::Missing, "one for classes of texts");
    says(words.fill_mask("the cat", &fill()).unwrap_err(), Code::Argument, "`[MASK]`");
    says(words.fill_mask("[MASK]", &fill().top_k(0)).unwrap_err(), Code::Argument, "top_k");
    let target = fill().targets(["no such token"]);
    says(words.fill_mask("[MASK]", &target).unwrap_err(), Code::Argument, "no such token");
    let long = format!("[MASK] {}", "cat ".repeat(99));
    says(words.fill_mask(&long, &fill()).unwrap_err(), Code::TooLong, "48");
    let zero = ZeroShotOptions::default;
    says(classes.zero_shot("a", &["b"], &zero()).unwrap_err(), Code::Missing, "entail");
    let entails = cpu("task-deberta-entailment");
    says(entails.zero_shot("a", &[], &zero()).unwrap_err(), Code::Argument, "labels");
    let blank = zero().template("no place");
    says(entails.zero_shot("a", &["b"], &blank).unwrap_err(), Code::Argument, "`{}`");
    says(classes.rerank("a", &["b"], &run()).unwrap_err(), Code::Missing, "3");
    let tokens = cpu("task-bert-tokens");
    let strided = TokenOptions::default().stride(3);
    says(tokens.token_classify(&["a"], &strided).unwrap_err(), Code::Argument, "aggregation");
    let answers = cpu("task-bert-answers");
    let plain = AnswerOptions::default;
    says(answers.answer("a", "", &plain()).unwrap_err(), Code::Argument, "passage");
    says(answers.answer(&long, "a", &plain()).unwrap_err(), Code::Argument, "question");
    let wide = ClassifyOptions::default().run(run().max_tokens(49));
    says(classes.classify(&["a"], &wide).unwrap_err(), Code::Argument, "48");
    let late = classes.embed_tokens(&["a"], TextRole::Query, &run());
    says(late.unwrap_err(), Code::Missing, "MultiVectorMask");
    let late = cpu("task-bert-late").embed_tokens(&["a"], TextRole::Query, &run().max_tokens(1));
    says(late.unwrap_err(), Code::Argument, "max_tokens");
    let cancel = CancelToken::new();
    cancel.cancel();
    let stopped = ClassifyOptions::default().run(run().cancel(cancel));
    says(classes.classify(&["a"], &stopped).unwrap_err(), Code::Cancelled, "cancelled");
    assert_eq!(classes.classify(&[], &ClassifyOptions::default()).expect("none"), vec![]);
    assert!(char_range("é", 1..2).is_err());
}
