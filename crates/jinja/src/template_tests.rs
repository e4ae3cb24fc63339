//! Templates and the texts that Jinja2 3.1 renders from them in Python.

use super::*;
use crate::values::json;

fn render(source: &str, json: &str) -> Result<String> {
    let value = json::parse(json).unwrap();
    let entries = value.as_dict().unwrap().entries().to_vec();
    let values = entries.iter().map(|(name, value)| (name.as_str().unwrap(), value.clone()));
    let raise = Value::function("raise", |values| {
        Err(values.first().and_then(Value::as_str).unwrap_or("nothing").to_owned())
    });
    let text = Template::parse(source)?.render(values.chain([("raise", raise)]))?;
    Ok(text.as_str().to_owned())
}

fn check(cases: &[(&str, &str)], json: &str) {
    for (source, expected) in cases {
        assert_eq!(render(source, json).as_deref(), Ok(*expected), "{source}");
    }
}

fn check_refused(cases: &[(&str, &str)], json: &str) {
    for (source, words) in cases {
        let error = render(source, json).unwrap_err().to_string();
        assert!(error.contains(words), "{source}: {error}");
    }
}

const DATA: &str = r#"{"m":[{"role":"user","content":" a "},{"role":"x","content":"b","n":null}],
    "f":[1e-5,1e22,0.1,3.0],"s":"one two","d":{"b":1,"a":[true,null],"items":7},"e":"","i":-3}"#;

#[test]
fn statements_do_what_jinja_does() {
    check(
        &[
            (
                "{% for x in m %}\n  {% if x.role == 'user' %}\n{{ x['content'] | trim }}\n  {% endif %}\n{% endfor %}\n.",
                "a\n.",
            ),
            (
                "{% for x in m %}{% if loop.last %}{% break %}{% endif %}{{ x.role }}{% endfor %}",
                "user",
            ),
            ("{% for k, v in d.items() if v is iterable %}{{ k }}{% else %}no{% endfor %}", "a"),
            ("{% for x in [] %}{% else %}none{% endfor %}", "none"),
            ("{% for x in [1] %}{% break %}{% else %}none whole{% endfor %}", "none whole"),
            (
                "{% for x in 'abc' %}{{ loop.previtem }}{{ x }}{{ loop.nextitem }},{% endfor %}",
                "ab,abc,bc,",
            ),
            (
                "{% for x in m %}{% if loop.previtem and loop.previtem.role == 'user' %}{{ x.role }}{% endif %}{% endfor %}",
                "x",
            ),
            (
                "{% for x in [1,1,2] %}{{ loop.changed(x) }}{{ loop.cycle('a','b') }} {% endfor %}",
                "Truea Falseb Truea ",
            ),
            (
                "{% for x in [1,2,3] if x != 2 %}{{ loop.index }}/{{ loop.length }}/{{ loop.revindex0 }} {% endfor %}",
                "1/2/1 2/2/0 ",
            ),
            (
                "{% for n in [[1,[2]],[3]] recursive %}{% if n is iterable %}<{{ loop(n) }}>{% else %}{{ n }}{{ loop.depth }}{% endif %}{% endfor %}",
                "<12<23>><32>",
            ),
            (
                "{% set ns = namespace(n=1) %}{% for x in m %}{% set ns.n = ns.n + 1 %}{% set y = 1 %}{% endfor %}{{ ns.n }}{{ y }}",
                "3",
            ),
            (
                "{% set x = 1 %}{% for y in [1,2] %}{{ x }}{% set x = x + y %}{{ x }} {% endfor %}{{ x }}",
                "12 13 1",
            ),
            ("{% if true %}{% set x = 5 %}{% endif %}{{ x }}", "5"),
            ("{% set x %}a{{ 1 }}{% endset %}{% set y | upper %}b{% endset %}{{ x ~ y }}", "a1B"),
            ("{% set a, (b, c) = 1, (2, 3) %}{{ a }}{{ b }}{{ c }}", "123"),
            (
                "{% macro f(x, y=2) %}[{{ x }}{{ y }}{{ varargs }}{{ kwargs.z }}]{% endmacro %}{{ f(1) }}{{ f(1, 3, 4, z=5) }}",
                "[12()][13(4,)5]",
            ),
            (
                "{% macro f() %}<{{ caller(1) }}>{% endmacro %}{% call(n) f() %}{{ n }}{% endcall %}",
                "<1>",
            ),
            (
                "{% macro f(n) %}{{ n }}{% if n %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(3) }}",
                "3210",
            ),
            ("{% filter upper | replace('A', 'o') %}a{{ e }}b{% endfilter %}", "oB"),
            ("{% with x = 1, y = 2 %}{{ x + y }}{% endwith %}{{ x }}", "3"),
            ("{% raw %}{{ x }}{% endraw %}{# {{ y }} #}", "{{ x }}"),
        ],
        DATA,
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of expressions and what they give")]
fn expressions_do_what_python_does() {
    check(
        &[
            (
                "{{ f }} {{ f[0] }} {{ 'x' ~ f[1] }} {{ f[0] | string }} {{ 2.0 ** 60 }}",
                "[1e-05, 1e+22, 0.1, 3.0] 1e-05 x1e+22 1e-05 1.152921504606847e+18",
            ),
            (
                "{{ none }}{{ true }}{{ [none, 'it\\'s', {'k': 1.0}] }}{{ nothing }}",
                "NoneTrue[None, \"it's\", {'k': 1.0}]",
            ),
            (
                "{{ 7 // 2 }} {{ -7 // 2 }} {{ 7 / 2 }} {{ -7 % 3 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }}",
                "3 -4 3.5 2 64 4",
            ),
            (
                "{{ 1 < 2 < 3 }} {{ 1 in [1.0] }} {{ 'a' not in 'abc' }} {{ not 1 == 2 }}",
                "True True False True",
            ),
            ("{{ 'a' if e else 'b' }}{{ 'c' if e }}{{ e or 'd' }}{{ 0 and 1 }}", "bd0"),
            (
                "{{ s[1:3] }} {{ s[::-1] }} {{ s[-1] }} {{ [1,2,3][:-1] }} {{ m[::-1][0].role }}",
                "ne owt eno o [1, 2] x",
            ),
            (
                "{{ 'ab' * 2 ~ [1] * 2 ~ (1,) }}{{ [1] + [2] }}{{ 'x' 'y' }}",
                "abab[1, 1](1,)[1, 2]xy",
            ),
            (
                "{{ '%s-%05.1f%%' % ('a', 2.25) }} {{ '%d' % 3.9 }} {{ '{} {x}'.format(1, x=2) }}",
                "a-002.2% 3 1 2",
            ),
            (
                "{{ d['items'] }} {{ d.items is callable }} {{ d.keys() | list }} {{ d.get('z', 4) }}",
                "7 True ['b', 'a', 'items'] 4",
            ),
            (
                "{{ m[0].content.strip() + m[-1]['role'].upper() }}{{ s.split(' ', 1)[-1] }}{{ s.startswith(('o', 'x')) }}",
                "aXtwoTrue",
            ),
            (
                "{{ 'a</t>b</t>c'.split('</t>')[-1] }}{{ 'a-b'.partition('-') }}{{ '  x '.lstrip() }}|{{ 'xx--'.rstrip('-') }}",
                "c('a', '-', 'b')x |xx",
            ),
            (
                "{{ ('%s' | format(1)) ~ ('a,b' | replace(',', ';')) ~ ('aB c' | title) ~ ('x\ny' | indent(2)) }}",
                "1a;bAb Cx\n  y",
            ),
            (
                "{{ m | map(attribute='role') | join('+') }} {{ m | selectattr('role', 'equalto', 'x') | list | length }}",
                "user+x 1",
            ),
            (
                "{{ [3,1,2] | sort | first }}{{ ['b','A'] | sort }}{{ d | dictsort | first }}{{ [1,2,2] | unique | list }}",
                "1['A', 'b']('a', [True, None])[1, 2]",
            ),
            (
                "{{ '12x' | int(5) }} {{ '3.7' | int }} {{ 2.5 | round }} {{ 2.567 | round(2) }} {{ i | abs }} {{ [1,2] | sum }}",
                "5 3 2.0 2.57 3 3",
            ),
            (
                "{{ x | default('q') }}{{ e | default('r', true) }}{{ none | default('s') }}{{ s | length }}",
                "qrNone7",
            ),
            (
                "{{ d | tojson }} {{ '<é>' | tojson(ensure_ascii=true) }} {{ d | items | list | length }}",
                "{\"b\": 1, \"a\": [true, null], \"items\": 7} \"<\\u00e9>\" 3",
            ),
            (
                "{{ [1,2,3,4,5] | batch(2) | list }}{{ range(3) | list }}{{ range(5, 0, -2) | list }}",
                "[[1, 2], [3, 4], [5]][0, 1, 2][5, 3, 1]",
            ),
            (
                "{{ dict(a=1).a }}{{ joiner('|') is defined }}{{ (m | groupby('role'))[0][0] }}",
                "1Trueuser",
            ),
            (
                "{{ 'äß'.upper() }} {{ 'ABC'.lower() }} {{ 'ab cd'.title() }} {{ 'a1'.isalnum() }} {{ '  '.isspace() }}",
                "ÄSS abc Ab Cd True True",
            ),
        ],
        DATA,
    );
}

#[test]
fn tests_ask_what_python_would_say() {
    let asked = |test: &str| {
        let source = "{% for v in [none, 1, 1.5, true, 'a', [], (), {}, d.items(), missing] %}{{ 'x' if v is TEST else '.' }}{% endfor %}";
        render(&source.replace("TEST", test), DATA).unwrap()
    };
    for (test, expected) in [
        ("none", "x........."),
        ("iterable", "....xxxxxx"),
        ("sequence", "....xxxx.x"),
        ("mapping", ".......x.."),
        ("string", "....x....."),
        ("number", ".xxx......"),
        ("integer", ".x........"),
        ("float", "..x......."),
        ("boolean", "...x......"),
        ("true", "...x......"),
        ("defined", "xxxxxxxxx."),
        ("undefined", ".........x"),
        ("sameas true", "...x......"),
        ("in [1, 'a']", ".x.xx....."),
        ("eq 1", ".x.x......"),
        ("not defined", ".........x"),
    ] {
        assert_eq!(asked(test), expected, "{test}");
    }
    check(&[("{{ 3 is odd }}{{ 4 is divisibleby 2 }}{{ 'a' is lower }}", "TrueTrueTrue")], DATA);
}

#[test]
fn what_python_refuses_is_refused_with_its_line() {
    check_refused(
        &[
            ("\n{{ raise('Only users!') }}", "line 2: Only users!"),
            ("{% for x in none %}{% endfor %}", "'NoneType' object is not iterable"),
            ("{% for x in 5 %}{% endfor %}", "'int' object is not iterable"),
            ("{{ nothing.x }}", "'nothing' is undefined"),
            ("{{ nothing() }}", "'nothing' is undefined"),
            ("{{ nothing + 'a' }}", "'nothing' is undefined"),
            ("{{ 'a' + 1 }}", "unsupported operand type(s) for +: 'str' and 'int'"),
            ("{{ 'a' + none }}", "'NoneType'"),
            ("{{ 'a' + m }}", "'list'"),
            ("{{ 1 in 'a' }}", "requires string"),
            ("{{ none in none }}", "'NoneType' is not iterable"),
            ("{{ none | length }}", "no len()"),
            ("{{ nothing | tojson }}", "not JSON serializable"),
            ("{{ m | map(attribute='role') | length }}", "no len()"),
            ("{{ m.append(1) }}", "'append'"),
            ("{{ d.update({}) }}", "'update'"),
            ("{{ 1 < 'a' }}", "no order"),
            ("{{ 'a'.nope() }}", "nope"),
            ("{{ x | nope }}", "No filter named 'nope'"),
            ("{{ 1 is nope }}", "No test named 'nope'"),
            ("{% set x.y = 1 %}", "no namespace"),
            ("{% set n = namespace(_x=1) %}", "underscore"),
            ("{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "not more than 1"),
            ("{{ d.items }}", "call it with ()"),
            ("{{ 1 / 0 }}", "division by zero"),
            ("{% set a, b = [1] %}", "expected 2 values"),
            ("{{ 'x'.join([1]) }}", "sequence item 0"),
            ("{{ '' | nothing.x }}", "expected '}}'"),
        ],
        DATA,
    );
}

#[test]
fn generation_blocks_are_known_by_their_numbers() {
    let source = "{% set ns = namespace(x=0) %}{% for t in m %}[{{ t.role }}]{% generation %}{{ t.content }}!{% set ns.x = ns.x + 1 %}{% endgeneration %}{% endfor %}{{ ns.x }}";
    let template = Template::parse(source).unwrap();
    assert_eq!(template.generation_blocks(), 1);
    let values = json::parse(DATA).unwrap();
    let messages = values.as_dict().unwrap().get_str("m").unwrap().clone();
    let text = template.render([("m", messages)]).unwrap();
    assert_eq!(text.as_str(), "[user] a ![x]b!2");
    let block = |number: u32| {
        let own = text.runs().filter(|(_, origin)| origin.block == number);
        own.map(|(range, _)| &text.as_str()[range]).collect::<String>()
    };
    assert_eq!((block(0), block(1), block(2)), ("[user][x]2".into(), " a !".into(), "b!".into()));
    let foreign = text.runs().filter(|(_, origin)| origin.foreign);
    let foreign: Vec<&str> = foreign.map(|(range, _)| &text.as_str()[range]).collect();
    assert_eq!(foreign, ["user", " a ", "x", "b"]);
}

#[test]
fn origins_go_through_methods_and_filters() {
    let source =
        "{{ m[0].content.split('</t>')[0].split('<t>')[-1] | trim ~ '<t>' ~ (m[0] | tojson) }}";
    let values = json::parse(r#"{"m":[{"content":"<t> why\n</t>yes"}]}"#).unwrap();
    let messages = values.as_dict().unwrap().get_str("m").unwrap().clone();
    let text = Template::parse(source).unwrap().render([("m", messages)]).unwrap();
    assert_eq!(text.as_str(), "why<t>{\"content\": \"<t> why\\n</t>yes\"}");
    let own: String = text
        .runs()
        .filter(|(_, origin)| !origin.foreign)
        .map(|(range, _)| &text.as_str()[range])
        .collect();
    assert_eq!(own, "<t>{\"\": \"\"}");
}

#[test]
fn templates_without_end_are_stopped() {
    let started = std::time::Instant::now();
    check_refused(
        &[
            (
                "\n{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
                "line 2: expected at most",
            ),
            (
                "{% set ns = namespace(x='0123456789abcdef' * 64) %}\n{% for a in range(40) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
                "line 2: expected at most",
            ),
            ("{{ '%4000000000d' % 1 }}", "at most 1073741824"),
            ("{{ 'a' * 4000000000 }}", "1073741824"),
            ("{{ 'a'.center(4000000000) }}", "1073741824"),
            ("{{ [1] * 1000000000 }}", "10000000 items"),
            ("{{ range(100001) }}", "MAX_RANGE"),
            ("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "within each other"),
            (
                "{% set ns = namespace(x=[]) %}{% for a in range(99999) %}{% set ns.x = [ns.x] %}{% endfor %}",
                "200 values within each other",
            ),
            (
                "{% set ns = namespace() %}{% set ns.x = [ns] %}{{ ns }}",
                "200 values within each other",
            ),
            (
                "{% set ns = namespace(x='') %}{% for a in range(100000) %}{% set ns.x = ns.x ~ 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa' %}{% endfor %}",
                "at most",
            ),
        ],
        DATA,
    );
    // Dropping a chain of namespaces does not use the stack.
    let chain = "{% set ns = namespace(p=none) %}{% for a in range(90000) %}{% set n = namespace(p=ns.p) %}{% set ns.p = n %}{% endfor %}ok";
    assert_eq!(render(chain, "{}").as_deref(), Ok("ok"));
    assert!(started.elapsed().as_secs() < 60);
}

/// Worker threads have two megabytes of stack.
#[test]
fn nesting_fits_the_stack_of_a_thread() {
    let run = || {
        let source = "{% macro f(n) %}{% if n %}{% for x in [1] %}{{ (((f(n - 1)))) | trim }}{% endfor %}{% endif %}{% endmacro %}{{ f(900) }}";
        let error = render(source, "{}").unwrap_err().to_string();
        assert!(error.contains("within each other"), "{error}");
        let sum = "{{ 1".to_owned() + &" + 1".repeat(190) + " }}";
        assert_eq!(render(&sum, "{}").as_deref(), Ok("191"));
        let nested = "{{ ".to_owned() + &"(".repeat(90) + "1" + &")".repeat(90) + " }}";
        assert_eq!(render(&nested, "{}").as_deref(), Ok("1"));
        let json = format!("{{\"x\":{}{}}}", "[".repeat(150), "]".repeat(150));
        assert_eq!(
            render("{{ x | tojson | length }}{{ x == x }}", &json).as_deref(),
            Ok("300True")
        );
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}
