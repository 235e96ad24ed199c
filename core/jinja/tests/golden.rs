//! Templates against the recorded text of jinja2.

mod common;

use common::recorded;
use emberform_jinja::{Budget, Clock, Error, Input, Template};
use serde_json::Value;

fn render(source: &str, variables: &[(&str, Input<'_>)]) -> Result<String, Error> {
    Template::parse(source)?.render(variables, Budget::new(), Clock::now())
}

/// Checks a text against the recorded one, which is null where the reference refuses.
fn check(found: &Result<String, Error>, wanted: &Value, what: &str) {
    assert_eq!(found.as_deref().ok(), wanted.as_str(), "{what}: {found:?}");
}

#[test]
fn expressions_and_statements_give_what_jinja2_gives() {
    let recorded = recorded();
    let prelude = recorded["prelude"].as_str().expect("a prelude");
    // What every template of a model gets.
    let variables = [
        ("messages", Input::List(vec![])),
        ("tools", Input::None),
        ("documents", Input::None),
        ("add_generation_prompt", Input::Bool(true)),
        ("bos_token", Input::Text("<s>")),
        ("eos_token", Input::Text("</s>")),
    ];
    let mut count = 0;
    for (list, begin, end) in [("expressions", "{{ ", " }}"), ("statements", "", "")] {
        for case in recorded[list].as_array().expect("cases") {
            let source = case[0].as_str().expect("a template");
            let found = render(&format!("{prelude}{begin}{source}{end}"), &variables);
            check(&found, &case[1], source);
            count += 1;
        }
    }
    assert!(count > 500, "{count} cases");
}

#[test]
fn families_give_what_jinja2_gives() {
    let recorded = recorded();
    for family in recorded["families"].as_array().expect("families") {
        let source = family["template"].as_str().expect("a template");
        for case in family["cases"].as_array().expect("cases") {
            let messages = case["messages"].as_array().expect("messages").iter().map(|m| {
                let entry =
                    |key: &'static str| (key, Input::Text(m[key].as_str().expect("a text")));
                Input::Dict(vec![entry("role"), entry("content")])
            });
            let variables = [
                ("messages", Input::List(messages.collect())),
                ("tools", Input::None),
                ("documents", Input::None),
                ("add_generation_prompt", Input::Bool(case["add_generation_prompt"] == true)),
                ("bos_token", Input::Text("<s>")),
                ("eos_token", Input::Text("</s>")),
            ];
            let what = format!("{}: {}", family["name"], case["messages"]);
            check(&render(source, &variables), &case["text"], &what);
        }
    }
}

#[test]
fn errors_say_what_and_where() {
    let cases = [
        ("a\nb\n{{ missing.x }}", "line 3 takes `x` of `missing`, which is undefined"),
        ("{% if %}", "line 1 has `%}` where a value belongs"),
        ("{{ raise_exception('no such role') }}", "line 1 refuses: no such role"),
        ("{{ [1]|batch(2) }}", "line 1 uses the filter `batch`, which is not known; known: abs, "),
    ];
    for (source, wanted) in cases {
        let text = render(source, &[]).expect_err(source).to_string();
        assert!(text.starts_with(wanted), "{text}");
    }
}

#[test]
fn what_is_given_is_what_python_has() {
    let variables = [
        ("none", Input::None),
        ("on", Input::Bool(true)),
        ("whole", Input::Whole(-3)),
        ("float", Input::Float(0.5)),
        ("text", Input::Text("it's")),
        ("list", Input::List(vec![Input::Whole(1), Input::Text("a")])),
        ("dict", Input::Dict(vec![("b", Input::None), ("a", Input::Float(1.0))])),
    ];
    let source = "{{ on }} {{ whole }} {{ float }} {{ text }} {{ list }} {{ dict }} {{ dict.b }}";
    let wanted = "True -3 0.5 it's [1, 'a'] {'b': None, 'a': 1.0} None";
    assert_eq!(render(source, &variables).as_deref(), Ok(wanted));
}

#[test]
fn a_budget_is_for_the_variables_too() {
    let text = "x".repeat(1000);
    let template = Template::parse("{{ text|length }}").expect("a template");
    let render = |count: usize| {
        let list = Input::List(vec![Input::Text(&text); count]);
        template.render(&[("text", list)], Budget::of(100, 10_000), Clock::now())
    };
    assert_eq!(render(8).as_deref(), Ok("8"));
    let error = render(11).expect_err("too much").to_string();
    assert_eq!(error, "line 1 makes values of more than 10000 bytes");
    let mut deep = Input::None;
    for _ in 0..100 {
        deep = Input::List(vec![deep]);
    }
    let error = template.render(&[("text", deep)], Budget::new(), Clock::now());
    let error = error.expect_err("too deep").to_string();
    assert_eq!(error, "line 1 is given values nested deeper than 64");
    let long = Template::parse("{% for i in range(1000) %}{% endfor %}").expect("a template");
    let error = long.render(&[], Budget::of(100, 1 << 20), Clock::now());
    assert_eq!(error.expect_err("too long").to_string(), "line 1 takes more than 100 steps");
}
