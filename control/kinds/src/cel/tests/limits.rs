//! No rule takes more than it may, and none takes the server down, whatever it and the object say.

use expect_test::expect;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{object, outcome, schema};

#[test]
fn no_rule_takes_more_than_it_may() {
    let many: Vec<Value> = (0..3000).map(|index| json!(format!("w{index}"))).collect();
    let object = json!({"words": many, "name": "x".repeat(50_000), "numbers": (0..3000).collect::<Vec<_>>()});
    let doubled = |times: usize| format!("['abc']{}", ".map(x, x + x)".repeat(times));
    let rules = [
        "self.words.all(a, self.words.all(b, self.words.all(c, a != b || c != 'x')))".to_owned(),
        "self.words.map(a, self.words.map(b, self.words)).size() > 0".to_owned(),
        "self.words.all(a, self.name.contains(a + 'z') || true)".to_owned(),
        "self.words.all(a, self.name.matches(a + '(x+x+)+y') || true)".to_owned(),
        "self.name.replace('', self.name).size() > 0".to_owned(),
        "self.name.split('').map(x, self.name).join(self.name).size() > 0".to_owned(),
        "lists.range(9223372036854775807).size() > 0".to_owned(),
        "self.numbers.map(n, self.numbers).flatten(9).distinct().size() > 0".to_owned(),
        "self.numbers.map(n, self.numbers).sort().size() > 0".to_owned(),
        "'%s'.format([self.numbers.map(n, self.name)]) == ''".to_owned(),
        "'%.99999999f'.format([1.0]) == ''".to_owned(),
        "self.words == self.words.map(w, w + '') && self.numbers.all(n, self.words == self.words)".to_owned(),
        format!("{}[0].size() > 0", doubled(40)),
        format!("{}[0].size()", doubled(10)),
    ];
    let mut told = String::new();
    for rule in rules {
        told.push_str(&format!("{:.60}  =>  {}\n", rule, outcome(&rule, &object, 1_000_000)));
    }
    expect![[r#"
        self.words.all(a, self.words.all(b, self.words.all(c, a != b  =>  error: operation cancelled: actual cost limit exceeded
        self.words.map(a, self.words.map(b, self.words)).size() > 0  =>  error: operation cancelled: actual cost limit exceeded
        self.words.all(a, self.name.contains(a + 'z') || true)  =>  error: operation cancelled: actual cost limit exceeded
        self.words.all(a, self.name.matches(a + '(x+x+)+y') || true)  =>  error: operation cancelled: actual cost limit exceeded
        self.name.replace('', self.name).size() > 0  =>  error: operation cancelled: actual cost limit exceeded
        self.name.split('').map(x, self.name).join(self.name).size()  =>  error: operation cancelled: actual cost limit exceeded
        lists.range(9223372036854775807).size() > 0  =>  error: operation cancelled: actual cost limit exceeded
        self.numbers.map(n, self.numbers).flatten(9).distinct().size  =>  error: operation cancelled: actual cost limit exceeded
        self.numbers.map(n, self.numbers).sort().size() > 0  =>  ERROR: <input>:1:39: found no matching overload for 'sort' applied to 'list(list(int)).()'
         | self.numbers.map(n, self.numbers).sort().size() > 0
         | ......................................^
        '%s'.format([self.numbers.map(n, self.name)]) == ''  =>  error: operation cancelled: actual cost limit exceeded
        '%.99999999f'.format([1.0]) == ''  =>  error: error during formatting: unable to convert precision specifier
        self.words == self.words.map(w, w + '') && self.numbers.all(  =>  error: operation cancelled: actual cost limit exceeded
        ['abc'].map(x, x + x).map(x, x + x).map(x, x + x).map(x, x +  =>  error: operation cancelled: actual cost limit exceeded
        ['abc'].map(x, x + x).map(x, x + x).map(x, x + x).map(x, x +  =>  3072
    "#]].assert_eq(&told);
}

/// Rules as deep as they may be are evaluated on a small stack, and deeper ones are refused on it.
#[test]
fn no_rule_nests_deeper_than_the_stack() {
    let nested = |open: &str, middle: &str, close: &str, times: usize| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    let run = move || {
        let mut told = String::new();
        for (name, make) in [
            (
                "parentheses",
                Box::new(move |times| nested("(", "1", ")", times)) as Box<dyn Fn(usize) -> String>,
            ),
            ("lists", Box::new(move |times| nested("[", "1", "]", times))),
            ("negations", Box::new(move |times| nested("!", "true", "", times))),
            ("groups", Box::new(move |times| nested("!(", "true", ")", times))),
            ("choices", Box::new(move |times| nested("true ? 1 : ", "2", "", times))),
            ("sums", Box::new(move |times| nested("1 + ", "1", "", times))),
            ("conjunctions", Box::new(move |times| nested("true && ", "true", "", times))),
            ("fields", Box::new(move |times| nested("", "self", ".inner", times))),
            ("macros", Box::new(move |times| nested("[1].all(x, ", "true", ")", times))),
            ("calls", Box::new(move |times| nested("string(", "'x'", ")", times))),
        ] {
            let most = [10_000, 1000, 119, 60, 49, 40, 30, 20, 10].into_iter().find(|times| {
                let outcome = outcome(&make(*times), &object(), 1_000_000);
                !outcome.contains("limit") && !outcome.contains("nests deeper")
            });
            told.push_str(&format!("{name}: {most:?}\n"));
        }
        told
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run).expect("a thread");
    expect![[r#"
        parentheses: Some(49)
        lists: Some(49)
        negations: Some(10000)
        groups: Some(49)
        choices: Some(49)
        sums: Some(119)
        conjunctions: Some(10000)
        fields: Some(119)
        macros: Some(49)
        calls: Some(49)
    "#]]
    .assert_eq(&thread.join().expect("no overflow"));
}

const NOISE: &str =
    "self . a ( ) [ ] { } ? : ' \" ''' r' b\" \\ \\x 1 0x 1e 1u - ! && || == in has all x , map // é null %";
const LEAVES: &str = "self self.a self.half self.name self.words self.numbers self.labels self.keyed self.set self.port \
    self.when self.wait self.inner self.data x 1 -1 0 2u 1.5 9223372036854775807 'a' '' b'z' true null [] {} \
    duration('1h') int '%s%d'";
const OPERATORS: &str = "+ - * / % == != < >= && || in";
const METHODS: &str = "size contains startsWith matches find findAll split join replace substring charAt indexOf \
    lastIndexOf format sum min max isSorted sort slice flatten distinct reverse first orValue value getHours getMonth \
    lowerAscii trim validate containsIP masked add sub compareTo asInteger getQuery major";
const FUNCTIONS: &str = "size int uint double string bytes bool timestamp duration type dyn quantity ip cidr url semver \
    isURL lists.range sets.contains optional.of optional.ofNonZeroValue strings.quote format.named has";
const MACROS: &str = "all exists exists_one map filter sortBy optMap optFlatMap";

fn one_of(words: &'static str) -> impl Strategy<Value = &'static str> {
    prop::sample::select(words.split_whitespace().collect::<Vec<_>>())
}

/// Rules that are mostly well formed.
fn rules() -> impl Strategy<Value = String> {
    one_of(LEAVES).prop_map(str::to_owned).prop_recursive(5, 60, 4, |inner| {
        let args = prop::collection::vec(inner.clone(), 0..3);
        let (a, b, c) = (inner.clone(), inner.clone(), inner.clone());
        prop_oneof![
            (a.clone(), one_of(OPERATORS), b.clone()).prop_map(|(a, op, b)| format!("({a}) {op} ({b})")),
            (a.clone(), one_of(METHODS), args.clone())
                .prop_map(|(a, f, args)| format!("({a}).{f}({})", args.join(", "))),
            (one_of(FUNCTIONS), args).prop_map(|(f, args)| format!("{f}({})", args.join(", "))),
            (a.clone(), one_of(MACROS), b.clone()).prop_map(|(a, f, b)| format!("({a}).{f}(x, {b})")),
            (a.clone(), b.clone(), c).prop_map(|(a, b, c)| format!("({a}) ? ({b}) : ({c})")),
            (a.clone(), b.clone()).prop_map(|(a, b)| format!("({a})[{b}]")),
            (a.clone(), b.clone()).prop_map(|(a, b)| format!("[{a}, dyn({b})]")),
            (a.clone(), b).prop_map(|(a, b)| format!("{{{a}: {b}}}")),
            a.prop_map(|a| format!("dyn({a})")),
        ]
    })
}

/// Objects that may have nothing to do with the schema.
fn objects() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9:/.%-]{0,12}".prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
    ];
    let any = leaf.prop_recursive(3, 20, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z]{1,5}", inner, 0..4).prop_map(|it| it.into_iter().collect()),
        ]
    });
    let names: Vec<String> = schema()["properties"].as_object().expect("fields").keys().cloned().collect();
    let changed = prop::collection::btree_map(prop::sample::select(names), any, 0..6);
    changed.prop_map(|changed| {
        let mut object = object();
        object.as_object_mut().expect("an object").extend(changed);
        object
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_rule_and_no_object_take_the_server_down(rule in rules(), object in objects()) {
        // Bound to values of several types, `x` lets more of the rules be evaluated.
        let rule = format!("[dyn(1), dyn('a'), dyn(self.words), dyn(null)].exists(x, type({rule}) == int)");
        outcome(&rule, &object, 20_000);
    }

    #[test]
    fn no_text_takes_the_server_down(text in "\\PC{0,60}", words in prop::collection::vec(one_of(NOISE), 0..30)) {
        outcome(&text, &object(), 20_000);
        outcome(&words.concat(), &object(), 20_000);
        outcome(&words.join(" "), &object(), 20_000);
    }
}
