//! The options of a generation are those of the core's table in every language. The core's struct,
//! the keywords of Python and the conversion of C are made from the table; here is what no macro
//! writes.

use std::path::Path;

macro_rules! names {
    ($(
        $(#[doc = $doc:tt])*
        $name:ident($argument:ident) [$kind:ty] $(in $range:ident)?;
    )*) => {
        /// Each option, and its type in the core.
        fn options() -> Vec<(&'static str, String)> {
            vec![$((stringify!($name), stringify!($kind).replace(' ', ""))),*]
        }
    };
}

emberform::generate_options!(names);

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What stands between the first `open` and the next `close`.
fn between<'a>(text: &'a str, open: &str, close: &str) -> &'a str {
    let inside = text.split_once(open).and_then(|(_, rest)| rest.split_once(close));
    inside.unwrap_or_else(|| panic!("no {open:?} before {close:?}")).0
}

/// The declarations of a struct of C or C++, without comments: each one's type and its names.
fn declarations(body: &str) -> Vec<(String, Vec<String>)> {
    let code = body.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code = code.collect::<Vec<_>>().join(" ");
    let all = code.split(';').map(str::trim).filter(|one| !one.is_empty()).map(|one| {
        let (before, last) = one.split_at(one.find(',').unwrap_or(one.len()));
        let before = before.split(" = ").next().unwrap_or_default();
        let start = before.rfind([' ', '*']).expect("a type and a name") + 1;
        let (kind, first) = before.split_at(start);
        let names = [first].into_iter().chain(last.split(',').skip(1));
        let name = |name: &str| name.split(" = ").next().unwrap_or_default().trim().to_string();
        (kind.trim().to_string(), names.map(name).collect())
    });
    all.collect()
}

#[test]
fn the_struct_of_c_has_each() {
    let header = read("bindings-c/include/emberform.h");
    let fields = declarations(between(
        &header,
        "typedef struct ember_generate_options {",
        "} ember_generate_options;",
    ));
    let mut right = vec![("size_t".to_string(), vec!["struct_size".to_string()])];
    for (name, kind) in options() {
        let own: &[(&str, &str)] = match kind.as_str() {
            "Option<usize>" => &[("size_t", "")],
            "Option<f32>" => &[("float", "")],
            "Option<u64>" => &[("uint64_t", "")],
            "Option<u32>" => &[("int64_t", "")],
            "bool" => &[("int32_t", "")],
            "Vec<String>" => &[("const char *const *", ""), ("size_t", "_count")],
            "Vec<u32>" | "Option<Vec<u32>>" => &[("const uint32_t *", ""), ("size_t", "_count")],
            "Option<Vec<Vec<u32>>>" => &[
                ("const uint32_t *const *", ""),
                ("const size_t *", "_lengths"),
                ("size_t", "_count"),
            ],
            other => panic!("how C has {name}, of the type {other}, is to be said here"),
        };
        // What belongs to one of several is named after one: `stop_id_count` of `stop_ids`.
        let one = if name.ends_with("ss") { name } else { name.trim_end_matches('s') };
        for (kind, end) in own {
            let name = if end.is_empty() { name } else { one };
            right.push((kind.to_string(), vec![format!("{name}{end}")]));
        }
    }
    assert_eq!(fields, right);
}

#[test]
fn the_struct_of_cpp_has_each_and_passes_it_on() {
    let header = read("bindings-c/include/emberform.hpp");
    let fields = declarations(between(&header, "struct GenerateOptions {", "\n};"));
    let passed =
        between(&header, "inline Generate::Generate(const GenerateOptions &from) {", "\n}\n");
    for (name, kind) in options() {
        let right = match kind.as_str() {
            // 0 is off, and no file says anything else.
            "Option<f32>" if ["frequency_penalty", "presence_penalty"].contains(&name) => "float",
            "Option<usize>" => "std::optional<std::size_t>",
            "Option<f32>" => "std::optional<float>",
            "Option<u64>" => "std::optional<std::uint64_t>",
            "Option<u32>" => "std::optional<std::uint32_t>",
            "bool" => "bool",
            "Vec<String>" => "std::vector<std::string>",
            "Vec<u32>" => "std::vector<std::uint32_t>",
            "Option<Vec<u32>>" => "std::optional<std::vector<std::uint32_t>>",
            "Option<Vec<Vec<u32>>>" => "std::optional<std::vector<std::vector<std::uint32_t>>>",
            other => panic!("how C++ has {name}, of the type {other}, is to be said here"),
        };
        let found = fields.iter().find(|(_, names)| names.iter().any(|own| *own == name));
        let found = found.unwrap_or_else(|| panic!("C++ lacks {name}"));
        assert_eq!(found.0, right, "{name}");
        let from = format!("from.{name}");
        let is_passed = passed.match_indices(&from).any(|(at, _)| {
            !passed[at + from.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
        });
        assert!(is_passed, "the constructor of `Generate` does not read {from}");
    }
    let count: usize = fields.iter().map(|(_, names)| names.len()).sum();
    assert_eq!(count, options().len(), "C++ has an option that the core has not");
}
