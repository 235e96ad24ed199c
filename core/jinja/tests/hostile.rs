//! Hostile templates: each ends in an error, in time, in bounded memory, on a small stack.

mod common;

use std::time::Duration;

use common::{Counted, hostile, measured};
use emberform_jinja::{Budget, Clock, Error, Input, Problem, Template};

#[global_allocator]
static ALLOCATOR: Counted = Counted;

fn render(source: &str) -> Result<String, Error> {
    let message = [("role", Input::Text("user")), ("content", Input::Text("hi"))];
    let messages = Input::List(vec![Input::Dict(message.into())]);
    let template = Template::parse(source)?;
    template.render(&[("messages", messages)], Budget::new(), Clock::now())
}

/// Runs where there is little stack.
fn on_a_small_stack<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let small = std::thread::Builder::new().stack_size(256 << 10);
    small.spawn(run).expect("a thread").join().expect("no panic")
}

#[test]
fn hostile_templates_end_in_an_error_in_time_and_memory_on_a_small_stack() {
    for (name, template) in hostile() {
        let (result, time, bytes) = on_a_small_stack(move || measured(|| render(&template)));
        match result {
            Err(error) => {
                let text = error.to_string();
                assert!(text.len() < 600, "{name}: {text:.600}");
                assert!(!matches!(error.problem, Problem::Raised(_)), "{name}: {text}");
            }
            Ok(text) => panic!("{name}: {text:.200?}"),
        }
        assert!(time < Duration::from_secs(1), "{name}: {time:?}");
        assert!(bytes < 800 << 20, "{name}: {bytes} bytes");
    }
}

#[test]
fn what_is_only_large_is_no_attack() {
    let deep =
        |open: &str, close: &str| format!("{{{{ {}1{} }}}}", open.repeat(60), close.repeat(60));
    let sets: String = (0..100_000).map(|i| format!("{{% set a{i} = {i} %}}")).collect();
    let cases = [
        (deep("(", ")"), "1"),
        (deep("- ", ""), "1"),
        (deep("1 if 0 else ", ""), "1"),
        (format!("{{{{ {}1 }}}}", "1 + ".repeat(100_000)), "100001"),
        (format!("{{{{ 1{} }}}}", "|string".repeat(100_000)), "1"),
        ("{% if 1 %}".repeat(60) + "x" + &"{% endif %}".repeat(60), "x"),
        (format!("{{% if 0 %}}{}{{% endif %}}y", "{% elif 0 %}".repeat(100_000)), "y"),
        (
            "{% macro f(n) %}{% if n %}{{ n }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(12) }}"
                .into(),
            "121110987654321",
        ),
        (sets + "{{ a99999 }}", "99999"),
    ];
    for (template, wanted) in cases {
        let what = template.chars().take(60).collect::<String>();
        let found = on_a_small_stack(move || render(&template));
        assert_eq!(found.as_deref(), Ok(wanted), "{what}");
    }
}
