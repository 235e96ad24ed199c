//! Chat templates against jinja2, hostile templates, and conversations with their cache.

use std::time::{Duration, Instant};

use emberform::{Device, Error, FinishReason, GenerateOptions, Message, Model, Result, Role};
use emberform_tests::hostile::{Folder, bert_folder, kind, llama_folder, llama_gguf, text};
use emberform_tests::{Scratch, difference, golden, model, open, recorded_json, reference};
use serde_json::{Value, json};

/// A tiny llama model with this chat template; its `bos_token` is `<s>`, its `eos_token` `</s>`.
fn with_template(template: &str) -> Model {
    let scratch = Scratch::new().expect("a folder");
    let path = scratch.path().join("tiny.gguf");
    let mut file = llama_gguf();
    file.set("tokenizer.chat_template", kind::STRING, text(template));
    std::fs::write(&path, file.bytes()).expect("a file");
    // The file stays mapped after its folder is gone.
    open(&path, &Device::Cpu)
}

fn messages(recorded: &Value) -> Vec<Message> {
    let message = |m: &Value| {
        let role: Role = m["role"].as_str().expect("a role").parse().expect("a role");
        Message::new(role, m["content"].as_str().expect("a text"))
    };
    recorded.as_array().expect("messages").iter().map(message).collect()
}

/// Checks a prompt against the recorded text, which is null where the reference refuses.
fn check(found: &Result<String>, wanted: &Value, what: &str) {
    match (found, wanted.as_str()) {
        (Ok(found), Some(wanted)) => assert_eq!(found, wanted, "{what}"),
        (Err(Error::Format { .. } | Error::Unsupported { .. } | Error::Argument { .. }), None) => {}
        (found, wanted) => panic!("{what}: {found:?} where {wanted:?} was recorded"),
    }
}

fn check_conversations(model: &Model, cases: &Value, what: &str) {
    for case in cases.as_array().expect("cases") {
        let mut chat = model.chat().expect("a chat");
        messages(&case["messages"]).into_iter().for_each(|message| chat.push(message));
        chat.set("add_generation_prompt", case["add_generation_prompt"] == true);
        check(&chat.prompt(), &case["text"], &format!("{what}: {}", case["messages"]));
        if case["add_generation_prompt"] == true {
            let prompt = model.chat_prompt(chat.messages());
            check(&prompt, &case["text"], &format!("{what}: {}", case["messages"]));
        }
    }
}

#[test]
fn templates_give_what_jinja2_gives() {
    let recorded = recorded_json(&reference("text/chat.json"));
    let prelude = recorded["prelude"].as_str().expect("a prelude");
    let mut count = 0;
    for (list, begin, end) in [("expressions", "{{ ", " }}"), ("statements", "", "")] {
        for case in recorded[list].as_array().expect("cases") {
            let source = case[0].as_str().expect("a template");
            let model = with_template(&format!("{prelude}{begin}{source}{end}"));
            check(&model.chat_prompt(&[]), &case[1], source);
            count += 1;
        }
    }
    assert!(count > 500, "{count} cases");
}

#[test]
fn families_give_what_jinja2_gives() {
    let recorded = recorded_json(&reference("text/chat.json"));
    for family in recorded["families"].as_array().expect("families") {
        let model = with_template(family["template"].as_str().expect("a template"));
        check_conversations(&model, &family["cases"], family["name"].as_str().expect("a name"));
    }
    let qwen = open(&model("qwen25-coder-0.5b-q4_k_m.gguf"), &Device::Cpu);
    check_conversations(&qwen, &recorded["qwen"], "qwen");
}

/// What must end, and what must end in an error: one of each kind. The others are in
/// `core/jinja/tests`, which tries them without a model.
fn hostile() -> Vec<(&'static str, String)> {
    let deep = |open: &str, close: &str| {
        format!("{{{{ {}1{} }}}}", open.repeat(100_000), close.repeat(100_000))
    };
    vec![
        (
            "a text doubled",
            "{% set ns = namespace(s='x') %}{% for i in range(60) %}\
             {% set ns.s = ns.s + ns.s %}{% endfor %}{{ ns.s }}"
                .into(),
        ),
        (
            "loops in loops of nothing",
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}".into(),
        ),
        ("brackets", deep("(", ")")),
        ("if in if", "{% if 1 %}".repeat(100_000)),
        (
            "a macro of itself in brackets",
            "{% macro f() %}{% if 1 %}{% for i in [1] %}{{ ((((1 + (f()|length))))) }}{% endfor %}\
             {% endif %}{% endmacro %}{{ f() }}"
                .into(),
        ),
        ("classes", "{{ ''.__class__.__mro__[1].__subclasses__() }}".into()),
        ("include", "{% include '/etc/passwd' %}".into()),
        ("lorem ipsum", "{{ lipsum(n=10**9) }}".into()),
        ("a filter of a long name", "{{ [1]|map('x' * 1000000)|list }}".into()),
        ("a long text", "{% for i in range(1000) %}{{ 'x' * 10000 }}{% endfor %}".into()),
        ("many parts", "{{a}}".repeat(1_600_000)),
    ]
}

/// Time that this thread has computed, where the system tells; else since the first call.
fn thread_time() -> Duration {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match stat.split(' ').next().and_then(|nanos| nanos.parse().ok()) {
        Some(nanos) => Duration::from_nanos(nanos),
        None => START.elapsed(),
    }
}

#[test]
fn hostile_templates_end_in_an_error_in_time_on_a_small_stack() {
    for (name, template) in hostile() {
        let model = with_template(&template);
        let small = std::thread::Builder::new().stack_size(256 << 10);
        let run = move || {
            let start = thread_time();
            (model.chat_prompt(&[Message::user("hi")]), thread_time() - start)
        };
        let (result, time) = small.spawn(run).expect("a thread").join().expect("no panic");
        match result {
            Err(error @ (Error::Format { .. } | Error::Unsupported { .. })) => {
                let text = error.to_string();
                assert!(text.contains("line ") && text.len() < 600, "{name}: {text}");
            }
            other => panic!("{name}: {:.200?}", other),
        }
        assert!(time < Duration::from_secs(1), "{name}: {time:?}");
    }
}

#[test]
fn a_long_conversation_is_no_attack() {
    // A long conversation through a template that looks at each message several times.
    let recorded = recorded_json(&reference("text/chat.json"));
    let families = recorded["families"].as_array().expect("families");
    let thinking = families.iter().find(|family| family["name"] == "thinking").expect("thinking");
    let model = with_template(thinking["template"].as_str().expect("a template"));
    let turn = |i: usize| match i % 2 {
        0 => Message::user("word ".repeat(2000)),
        _ => Message::assistant("<think>\nhm\n</think>\n\n".to_string() + &"word ".repeat(2000)),
    };
    let conversation: Vec<Message> = (0..501).map(turn).collect();
    let prompt = model.chat_prompt(&conversation).expect("a prompt");
    assert!(prompt.len() > 5_000_000);
}

#[test]
fn errors_say_what_lacks_and_where() {
    let error = |template: &str| with_template(template).chat_prompt(&[]).expect_err("an error");
    let text = error("a\nb\n{{ missing.x }}").to_string();
    assert!(text.contains("line 3") && text.contains("`missing`") && text.contains("tiny.gguf"));
    let text = error("\n{% frobnicate %}").to_string();
    assert!(text.contains("`frobnicate`") && text.contains("line 2"), "{text}");
    match error("{{ raise_exception('no such role') }}") {
        Error::Argument { argument: "messages", problem } => {
            assert!(problem.contains("no such role"))
        }
        other => panic!("{other}"),
    }
    // A broken template does not keep the model from opening, but a chat from beginning.
    let broken = with_template("{% if %}");
    assert!(matches!(broken.chat(), Err(Error::Format { .. })));
    assert_eq!(broken.chat_template(), Some("{% if %}"));

    let none = open(&model("gemma3-270m-q4_k_m.gguf"), &Device::Cpu);
    let say = GenerateOptions::default();
    for result in [
        none.chat().map(|_| ()),
        none.chat_prompt(&[]).map(|_| ()),
        none.generate_chat(&[], &say).map(|_| ()),
    ] {
        match result {
            Err(Error::Missing { what, .. }) => assert!(what.contains("chat template")),
            other => panic!("{other:?}"),
        }
    }
    let scratch = Scratch::new().expect("a folder");
    bert_folder().write(scratch.path()).expect("files");
    assert!(matches!(open(scratch.path(), &Device::Cpu).chat(), Err(Error::Missing { .. })));
    assert!(matches!("".parse::<Role>(), Err(Error::Argument { .. })));
}

#[test]
fn folders_have_their_template_in_one_of_three_places() {
    let prompt = |folder: &Folder| {
        let scratch = Scratch::new().expect("a folder");
        folder.write(scratch.path()).expect("files");
        let model = open(scratch.path(), &Device::Cpu);
        model.chat_prompt(&[Message::new(Role::Other("critic".into()), "hm")])
    };
    let mut folder = llama_folder();
    let template =
        "{{ bos_token }}{{ messages[0].role }}: {{ messages[0].content }}{{ eos_token }}";
    let mut config = json!({
        "bos_token": "<s>",
        "eos_token": {"content": "</s>", "lstrip": false},
        "chat_template": template,
    });
    folder.json("tokenizer_config.json", &config);
    assert_eq!(prompt(&folder).expect("a prompt"), "<s>critic: hm</s>");
    let named = |name: &str, template: &str| json!({"name": name, "template": template});
    config["chat_template"] = json!([named("tool_use", "no"), named("default", template)]);
    folder.json("tokenizer_config.json", &config);
    assert_eq!(prompt(&folder).expect("a prompt"), "<s>critic: hm</s>");
    folder.put("chat_template.jinja", "from a file: {{ messages[0].content }}\n");
    assert_eq!(prompt(&folder).expect("a prompt"), "from a file: hm");
    folder.put("chat_template.jinja", [0xff, 0xfe]);
    let scratch = Scratch::new().expect("a folder");
    folder.write(scratch.path()).expect("files");
    let opened = Model::options().device(Device::Cpu).open(scratch.path());
    assert!(matches!(opened, Err(Error::Format { .. })));
}

fn qwen() -> Model {
    open(&model("qwen25-coder-0.5b-q4_k_m.gguf"), &Device::Cpu)
}

#[test]
fn a_conversation_reads_each_turn_once() {
    let model = qwen();
    let options = GenerateOptions::default().max_tokens(24).greedy();
    let mut chat = model.chat().expect("a chat");
    chat.system("Answer in one short sentence.");
    chat.system("Answer in one word.");
    let first = chat.say("What is the capital of France?", &options).expect("a stream");
    let first = first.text().expect("text");
    assert!(first.contains("Paris"), "{first}");
    let all = chat.ids().len();
    let mut stream = chat.say("And of Italy?", &options).expect("a stream");
    let second: String = stream.by_ref().map(|piece| piece.expect("a piece").text).collect();
    let stats = stream.stats();
    assert_eq!(stream.finish_reason(), Some(FinishReason::Stop), "{second}");
    drop(stream);
    assert!(second.contains("Rome"), "{second}");
    // Beside the question, only what closes the first answer and opens the second was read.
    let tokenizer = model.tokenizer().expect("a tokenizer");
    let question = tokenizer.count("And of Italy?", false).expect("a count");
    assert!(stats.prompt_tokens < question + 16, "{stats:?} after {all} tokens");
    assert!(stats.prompt_tokens > question, "{stats:?}");

    let wanted = [
        Message::system("Answer in one word."),
        Message::user("What is the capital of France?"),
        Message::assistant(first),
        Message::user("And of Italy?"),
        Message::assistant(second.clone()),
    ];
    assert_eq!(chat.messages(), wanted);
    // The model has read just what the template makes of the messages.
    let prompt = model.chat_prompt(&wanted[..4]).expect("a prompt");
    let ids = tokenizer.encode(&prompt, false).expect("tokens").ids;
    assert_eq!(chat.ids()[..ids.len()], ids);
    // All at once gives the same answer as turn by turn.
    let stream = model.generate_chat(&wanted[..4], &options).expect("a stream");
    assert_eq!(stream.text().expect("text"), second);
}

#[test]
fn a_reply_that_was_cut_short_joins_the_messages() {
    let model = qwen();
    let options = GenerateOptions::default().max_tokens(40).greedy();
    let mut chat = model.chat().expect("a chat");
    let token = chat.cancel_token();
    let mut stream = chat.say("Count from one to twenty.", &options).expect("a stream");
    let mut text = String::new();
    for _ in 0..5 {
        text.push_str(&stream.next().expect("a piece").expect("a piece").text);
    }
    token.cancel();
    for piece in stream.by_ref() {
        text.push_str(&piece.expect("a piece").text);
    }
    assert_eq!(stream.finish_reason(), Some(FinishReason::Cancelled));
    drop(stream);
    assert!(!text.is_empty());
    assert_eq!(chat.messages()[1], Message::assistant(text));

    // A stream that is dropped, without the borrow and with it.
    let mut generation = chat.start("Go on.", &options).expect("a generation");
    let piece = chat.next(&mut generation).expect("a piece").expect("a piece");
    assert_eq!(chat.messages().len(), 3, "the reply goes on");
    let mut stream = chat.say("And on.", &options).expect("a stream");
    stream.next().expect("a piece").expect("a piece");
    drop(stream);
    let roles: Vec<&str> = chat.messages().iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["user", "assistant", "user", "assistant", "user", "assistant"]);
    assert_eq!(chat.messages()[3].content, piece.text);

    // Cancelled while the prompt is read: nothing was said, and the next turn is as good as any.
    let question = "What is the capital of France? ".repeat(40);
    let mut stream = chat.say(question, &options).expect("a stream");
    stream.cancel_token().cancel();
    assert!(stream.next().is_none());
    drop(stream);
    assert_eq!(chat.messages()[7], Message::assistant(""));
    let last = chat.say("What is the capital of France?", &options).expect("a stream");
    assert!(last.text().expect("text").contains("Paris"));
}

#[test]
fn a_later_message_ends_a_reply() {
    let model = with_template("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}");
    let options = GenerateOptions::default().max_tokens(4).greedy().ignore_eos(true);
    let refused = |piece: Option<emberform::Result<emberform::Piece>>| match piece {
        Some(Err(Error::Argument { argument: "generation", problem })) => {
            assert!(problem.contains("later message"), "{problem}");
        }
        other => panic!("{other:?}"),
    };
    let mut chat = model.chat().expect("a chat");
    let mut first = chat.start("a cat", &options).expect("a generation");
    let mut second = chat.start("a dog", &options).expect("a generation");
    // The earlier one neither reads its prompt now nor harms the later one.
    refused(chat.next(&mut first));
    assert!(chat.next(&mut first).is_none());
    let mut text = String::new();
    while let Some(piece) = chat.next(&mut second) {
        text.push_str(&piece.expect("a piece").text);
    }
    let turns = [
        Message::user("a cat"),
        Message::assistant(""),
        Message::user("a dog"),
        Message::assistant(text),
    ];
    assert_eq!(chat.messages(), turns);
    assert!(chat.next(&mut second).is_none());

    // Ended by hand, and by a message that asks for no reply.
    let mut chat = model.chat().expect("a chat");
    let earlier = chat.start("go", &options).expect("a generation");
    let mut third = chat.start("a", &options).expect("a generation");
    chat.end(&earlier);
    assert_eq!(chat.messages().len(), 3, "an earlier one ends nothing");
    let piece = chat.next(&mut third).expect("a piece").expect("a piece");
    chat.end(&third);
    assert_eq!(chat.messages()[3], Message::assistant(piece.text));
    refused(chat.next(&mut third));
    let mut fourth = chat.start("b", &options).expect("a generation");
    chat.push(Message::user("c"));
    refused(chat.next(&mut fourth));
    assert_eq!(chat.messages().len(), 7);
}

#[test]
fn variables_of_a_template() {
    let model =
        with_template("{{ messages[0].content }} {{ kind }} {{ count + 1 }} {{ thinking }}");
    let variables: [(String, emberform::Variable); 3] = [
        ("kind".to_string(), "plain".into()),
        ("count".to_string(), 41.into()),
        ("thinking".to_string(), false.into()),
    ];
    let messages = [Message::user("a cat")];
    let prompt = model.chat_prompt_with(&messages, &variables).expect("a prompt");
    assert_eq!(prompt, "a cat plain 42 False");
    let options = GenerateOptions::default().max_tokens(4).greedy();
    let stream = model.generate_chat_with(&messages, &variables, &options).expect("a stream");
    let mut session = model.session().expect("a session");
    let ids = model.tokenizer().expect("a tokenizer").encode(&prompt, false).expect("tokens").ids;
    session.feed(&ids).expect("tokens");
    let wanted = session.generate(&options).expect("a stream").text().expect("text");
    assert_eq!(stream.text().expect("text"), wanted);
    assert!(model.chat_prompt(&messages).is_err(), "`count` is not there");
}

#[test]
fn a_turn_that_fails_leaves_no_trace() {
    let model = with_template("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}");
    let options = GenerateOptions::default().max_tokens(4).greedy();
    let mut chat = model.chat().expect("a chat");
    chat.say("a cat", &options).expect("a stream").text().expect("text");
    let before = chat.messages().to_vec();
    match chat.say("cat ".repeat(100), &options).map(|_| ()) {
        Err(Error::TooLong { tokens, window }) => assert!(tokens > window && window == 64),
        other => panic!("{other:?}"),
    }
    assert_eq!(chat.messages(), before);
    let wrong = GenerateOptions::default().temperature(f32::NAN);
    assert!(matches!(chat.say("a cat", &wrong).map(|_| ()), Err(Error::Argument { .. })));
    assert_eq!(chat.messages(), before);
    chat.say("at", &options).expect("a stream").text().expect("text");
    assert_eq!(chat.messages().len(), before.len() + 2);
    let empty = with_template("");
    let nothing = empty.generate_chat(&[], &options).map(|_| ());
    assert!(matches!(nothing, Err(Error::Argument { argument: "messages", .. })));
}

/// Logits after `ids`, by a session that first went on with `other` and came back to `len`.
fn after_truncation(model: &Model, ids: &[u32], len: usize, other: &[u32]) -> (usize, Vec<f32>) {
    let mut session = model.session().expect("a session");
    session.feed(&ids[..len]).expect("tokens");
    // One by one, so that a sliding window moves.
    for id in other {
        session.feed(&[*id]).expect("a token");
    }
    session.truncate(len);
    let left = session.ids().len();
    assert!(session.logits().is_empty());
    assert!(session.start(&GenerateOptions::default()).is_err(), "nothing to go on from");
    // Token by token and in a chunk: both write where the forgotten tokens stood.
    session.feed(&ids[left..left + 1]).expect("a token");
    session.feed(&ids[left + 1..]).expect("tokens");
    (left, session.logits().to_vec())
}

#[test]
fn a_session_goes_back_to_what_it_still_holds() {
    let whole = |model: &Model, ids: &[u32]| {
        let mut session = model.session().expect("a session");
        session.feed(ids).expect("tokens");
        session.logits().to_vec()
    };
    let ids: Vec<u32> = (0..14).map(|i| 3 + i * 5).collect();
    let full = open(&golden("llama-bias"), &Device::Cpu);
    let (left, logits) = after_truncation(&full, &ids, 9, &[1, 2, 3, 4]);
    assert_eq!(left, 9);
    assert!(difference(&logits, &whole(&full, &ids)) < 1e-5);

    // A window of 5: what it has let go of does not come back.
    let sliding = open(&golden("gemma3-pattern"), &Device::Cpu);
    let (left, logits) = after_truncation(&sliding, &ids, 2, &[1, 2]);
    assert_eq!(left, 2);
    assert!(difference(&logits, &whole(&sliding, &ids)) < 1e-5);
    let (left, logits) = after_truncation(&sliding, &ids, 9, &[1, 2, 3, 4]);
    assert_eq!(left, 0);
    assert!(difference(&logits, &whole(&sliding, &ids)) < 1e-5);
    let mut session = full.session().expect("a session");
    session.feed(&ids).expect("tokens");
    session.truncate(100);
    assert_eq!((session.ids().len(), session.logits().is_empty()), (14, false));
}
