//! The language: what rules give, and what is said of wrong ones.

mod limits;

use expect_test::{Expect, expect};
use serde_json::{Value, json};

use super::view::Shape;
use super::{Failure, Meter, Place, Program, Type, Val, view};
use crate::custom::Structural;

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "a": {"type": "integer"},
        "b": {"type": "integer"},
        "half": {"type": "number"},
        "flag": {"type": "boolean"},
        "name": {"type": "string"},
        "data": {"type": "string", "format": "byte"},
        "wait": {"type": "string", "format": "duration"},
        "when": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "port": {"x-kubernetes-int-or-string": true},
        "namespace": {"type": "string"},
        "x-y": {"type": "string"},
        "words": {"type": "array", "items": {"type": "string"}},
        "numbers": {"type": "array", "items": {"type": "integer"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "keyed": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
            "items": {"type": "object", "properties": {"name": {"type": "string"}, "value": {"type": "integer"}}}},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "inner": {"type": "object", "properties": {"deep": {"type": "string"}, "gone": {"type": "string"}}},
        "hidden": {"x-kubernetes-preserve-unknown-fields": true},
        "pod": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
    }})
}

fn object() -> Value {
    json!({
        "a": 1, "b": 2, "half": 0.5, "flag": true, "name": "web-1", "data": "aGk=", "wait": "90s",
        "when": "2026-11-22T03:04:05Z", "day": "2026-11-22", "port": "50%", "namespace": "n", "x-y": "xy",
        "words": ["b", "a", "c"], "numbers": [3, 1, 2], "set": ["x", "y"],
        "keyed": [{"name": "p", "value": 1}, {"name": "q", "value": 2}],
        "labels": {"app": "web", "tier.x": "1"}, "inner": {"deep": "d"}, "hidden": {"x": 1},
        "pod": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}},
    })
}

/// What a rule gives, in at most so many steps.
fn outcome(rule: &str, object: &Value, steps: u64) -> String {
    let schema = Structural::parse(&schema());
    let compiled = Program::compile(rule, &[("self", Type::Object(Shape::Of(&schema)))]);
    let (program, _) = match compiled {
        Ok(compiled) => compiled,
        Err(error) => return error,
    };
    let me = match view(object, Place::Of(&schema)) {
        Ok(me) => me,
        Err(failure) => return failure.to_string(),
    };
    match program.run(vec![me], &mut Meter::of(steps)) {
        Ok(value) => printed(&value),
        Err(failure) => format!("error: {failure}"),
    }
}

fn printed(value: &Val<'_>) -> String {
    match value {
        Val::Optional(None) => "none".to_owned(),
        Val::Optional(Some(value)) => format!("some {}", printed(value)),
        value => {
            let list = super::value::List {
                items: super::value::Items::Own(vec![value.clone()].into()),
                schema: None,
            };
            super::library::print("%s", &list).unwrap_or_else(|failure| failure.to_string())
        }
    }
}

fn check(rules: &[&str], expected: Expect) {
    let told: Vec<String> =
        rules.iter().map(|rule| format!("{rule}  =>  {}\n", outcome(rule, &object(), 100_000))).collect();
    expected.assert_eq(&told.concat());
}

#[test]
fn operators_and_fields() {
    check(
        &[
            "self.a <= self.b && !(self.a == self.b)",
            "1 + 2 * 3 - 4 / 2 % 3",
            "-self.a + -1 - 0x10",
            "self.half < 1 && self.half + 0.25 == 0.75",
            "1u + 2u == 3u && 5 / 2 == 2 && -7 % 3 == -1",
            "self.name == 'web-1' ? 'yes' : \"no\"",
            "self.__namespace__ + self.x__dash__y",
            "has(self.inner.deep) && !has(self.inner.gone)",
            "self.inner.gone == ''",
            "'app' in self.labels && self.labels['tier.x'] == '1' && self.labels.app == 'web'",
            "self.labels['none']",
            "self.words[1] + self.words[0]",
            "self.words[3]",
            "'c' in self.words && !('z' in self.words)",
            "self.pod.metadata.name + self.pod.kind",
            "9223372036854775807 + 1",
            "1 / 0",
            "self.flag || 1 / 0 == 1",
            "1 / 0 == 1 || self.flag",
            "[1, 2] + [3] == [1, 2, 3] && {'a': 1}['a'] == 1",
            "self.set == ['y', 'x'] && self.set + ['x', 'z'] == ['x', 'y', 'z']",
            "self.keyed == self.keyed && self.keyed[1].value == 2",
            "type(self.port) == string ? self.port.matches('^[0-9]+%$') : self.port < 5",
            "self.port + 1",
            "r'\\d' + '\\u00e9\\n' + '''x'''",
            "b'\\xff' == bytes('a') || self.data == b'hi'",
        ],
        expect![[r#"
            self.a <= self.b && !(self.a == self.b)  =>  true
            1 + 2 * 3 - 4 / 2 % 3  =>  5
            -self.a + -1 - 0x10  =>  -18
            self.half < 1 && self.half + 0.25 == 0.75  =>  true
            1u + 2u == 3u && 5 / 2 == 2 && -7 % 3 == -1  =>  true
            self.name == 'web-1' ? 'yes' : "no"  =>  yes
            self.__namespace__ + self.x__dash__y  =>  nxy
            has(self.inner.deep) && !has(self.inner.gone)  =>  true
            self.inner.gone == ''  =>  error: no such key: gone
            'app' in self.labels && self.labels['tier.x'] == '1' && self.labels.app == 'web'  =>  true
            self.labels['none']  =>  error: no such key: none
            self.words[1] + self.words[0]  =>  ab
            self.words[3]  =>  error: index out of bounds: 3
            'c' in self.words && !('z' in self.words)  =>  true
            self.pod.metadata.name + self.pod.kind  =>  pPod
            9223372036854775807 + 1  =>  error: integer overflow
            1 / 0  =>  error: division by zero
            self.flag || 1 / 0 == 1  =>  true
            1 / 0 == 1 || self.flag  =>  true
            [1, 2] + [3] == [1, 2, 3] && {'a': 1}['a'] == 1  =>  true
            self.set == ['y', 'x'] && self.set + ['x', 'z'] == ['x', 'y', 'z']  =>  true
            self.keyed == self.keyed && self.keyed[1].value == 2  =>  true
            type(self.port) == string ? self.port.matches('^[0-9]+%$') : self.port < 5  =>  true
            self.port + 1  =>  error: no such overload
            r'\d' + '\u00e9\n' + '''x'''  =>  \dé
            x
            b'\xff' == bytes('a') || self.data == b'hi'  =>  true
        "#]],
    );
}

#[test]
fn macros_and_lists() {
    check(
        &[
            "self.words.all(w, size(w) == 1)",
            "self.words.exists(w, w == 'c') && self.words.exists_one(w, w > 'b')",
            "self.numbers.map(n, n * 2)",
            "self.numbers.map(n, n > 1, n * 2)",
            "self.numbers.filter(n, n % 2 == 1)",
            "self.labels.all(k, self.labels[k] != '') && self.labels.map(k, k).size() == 2",
            "self.keyed.all(x, self.keyed.exists_one(y, y.name == x.name))",
            "self.words.all(i, w, i < 3 && w != '')",
            "self.labels.transformMap(k, v, k + v)",
            "self.words.transformList(i, w, i > 0, w)",
            "{'x': 1}.transformMapEntry(k, v, {k + 'y': v + 1})",
            "self.words.all(w, 1 / 0 == 1)",
            "self.words.exists(w, w == 'c' || 1 / 0 == 1)",
            "self.words.isSorted() || self.words.sort().isSorted()",
            "[self.numbers.sum(), self.numbers.min(), self.numbers.max()]",
            "self.words.indexOf('a') == 1 && ['a', 'b', 'a'].lastIndexOf('a') == 2",
            "[[1], [2, [3]]].flatten() == [1, 2, [3]] && [1, 1, 2].distinct().size() == 2",
            "[1, 2, 3].slice(1, 3) + [1, 2].reverse() + lists.range(3)",
            "self.keyed.sortBy(x, -x.value).map(x, x.name)",
            "[].min()",
            "sets.contains(self.words, ['a']) && sets.equivalent(self.set, ['y', 'x', 'x']) && !sets.intersects([1], [2])",
            "self.?inner.?gone.orValue('none') + self.?inner.deep.value()",
            "self.words[?7].hasValue() || self.labels[?'app'].optMap(v, v + '!').orValue('') == 'web!'",
            "[?self.?inner.?gone, 'x'] == ['x']",
            "self.words.first().value() + self.words.last().value()",
        ],
        expect![[r#"
            self.words.all(w, size(w) == 1)  =>  true
            self.words.exists(w, w == 'c') && self.words.exists_one(w, w > 'b')  =>  true
            self.numbers.map(n, n * 2)  =>  [6, 2, 4]
            self.numbers.map(n, n > 1, n * 2)  =>  [6, 4]
            self.numbers.filter(n, n % 2 == 1)  =>  [3, 1]
            self.labels.all(k, self.labels[k] != '') && self.labels.map(k, k).size() == 2  =>  true
            self.keyed.all(x, self.keyed.exists_one(y, y.name == x.name))  =>  true
            self.words.all(i, w, i < 3 && w != '')  =>  true
            self.labels.transformMap(k, v, k + v)  =>  {app: appweb, tier.x: tier.x1}
            self.words.transformList(i, w, i > 0, w)  =>  [a, c]
            {'x': 1}.transformMapEntry(k, v, {k + 'y': v + 1})  =>  {xy: 2}
            self.words.all(w, 1 / 0 == 1)  =>  error: division by zero
            self.words.exists(w, w == 'c' || 1 / 0 == 1)  =>  true
            self.words.isSorted() || self.words.sort().isSorted()  =>  true
            [self.numbers.sum(), self.numbers.min(), self.numbers.max()]  =>  [6, 1, 3]
            self.words.indexOf('a') == 1 && ['a', 'b', 'a'].lastIndexOf('a') == 2  =>  true
            [[1], [2, [3]]].flatten() == [1, 2, [3]] && [1, 1, 2].distinct().size() == 2  =>  true
            [1, 2, 3].slice(1, 3) + [1, 2].reverse() + lists.range(3)  =>  [2, 3, 2, 1, 0, 1, 2]
            self.keyed.sortBy(x, -x.value).map(x, x.name)  =>  [q, p]
            [].min()  =>  error: min called on empty list
            sets.contains(self.words, ['a']) && sets.equivalent(self.set, ['y', 'x', 'x']) && !sets.intersects([1], [2])  =>  true
            self.?inner.?gone.orValue('none') + self.?inner.deep.value()  =>  noned
            self.words[?7].hasValue() || self.labels[?'app'].optMap(v, v + '!').orValue('') == 'web!'  =>  true
            [?self.?inner.?gone, 'x'] == ['x']  =>  true
            self.words.first().value() + self.words.last().value()  =>  bc
        "#]],
    );
}

#[test]
fn texts_and_times() {
    check(
        &[
            "self.name.startsWith('web') && self.name.endsWith('1') && self.name.contains('b-')",
            "self.name.matches('^[a-z]+-\\\\d$') && !matches(self.name, '^x')",
            "self.name.find('[0-9]') + self.name.upperAscii() + 'ÄB'.lowerAscii()",
            "'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b2'.findAll('[0-9]', 1) == ['1']",
            "self.name.split('-') + 'abc'.split('') + 'a,b,c'.split(',', 2)",
            "['x', 'y'].join('-') + ' a '.trim() + 'aXbX'.replace('X', 'o', 1)",
            "'tacocat'.indexOf('ac') * 10 + 'tacocat'.lastIndexOf('a')",
            "'tacocat'.substring(1, 4) + 'é1'.charAt(0)",
            "'tacocat'.substring(9)",
            "'%s is %d, %.2f, %x, %s'.format(['a', 7, 1.5, 255, [1, 'b']])",
            "strings.quote('a\"b')",
            "size('é') == 1 && size(b'ab') == 2 && 'abc'.size() == 3",
            "self.wait == duration('1m30s') && self.wait < duration('2h') && self.wait.getSeconds() == 90",
            "string(duration('1h1.5s')) + string(self.when)",
            "self.when - timestamp('2026-11-22T00:00:00Z') > duration('3h') && self.day < self.when",
            "[self.when.getFullYear(), self.when.getMonth(), self.when.getDate(), self.when.getDayOfWeek()]",
            "self.when.getHours('+02:00')",
            "timestamp('9999-12-31T23:59:59Z') + duration('1s')",
            "int('12') + int(2.9) + int(timestamp('1970-01-01T00:00:07Z'))",
            "double('1.5') == 1.5 && uint(3) == 3u && string(1e30) == '1e+30' && bool('t')",
            "int('x')",
            "type(1) == int && type(self.wait) == google.protobuf.Duration && type([]) == list",
        ],
        expect![[r#"
            self.name.startsWith('web') && self.name.endsWith('1') && self.name.contains('b-')  =>  true
            self.name.matches('^[a-z]+-\\d$') && !matches(self.name, '^x')  =>  true
            self.name.find('[0-9]') + self.name.upperAscii() + 'ÄB'.lowerAscii()  =>  1WEB-1Äb
            'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'a1b2'.findAll('[0-9]', 1) == ['1']  =>  true
            self.name.split('-') + 'abc'.split('') + 'a,b,c'.split(',', 2)  =>  [web, 1, a, b, c, a, b,c]
            ['x', 'y'].join('-') + ' a '.trim() + 'aXbX'.replace('X', 'o', 1)  =>  x-yaaobX
            'tacocat'.indexOf('ac') * 10 + 'tacocat'.lastIndexOf('a')  =>  15
            'tacocat'.substring(1, 4) + 'é1'.charAt(0)  =>  acoé
            'tacocat'.substring(9)  =>  error: index out of range: 9
            '%s is %d, %.2f, %x, %s'.format(['a', 7, 1.5, 255, [1, 'b']])  =>  a is 7, 1.50, ff, [1, b]
            strings.quote('a"b')  =>  "a\"b"
            size('é') == 1 && size(b'ab') == 2 && 'abc'.size() == 3  =>  true
            self.wait == duration('1m30s') && self.wait < duration('2h') && self.wait.getSeconds() == 90  =>  true
            string(duration('1h1.5s')) + string(self.when)  =>  3601.5s2026-11-22T03:04:05Z
            self.when - timestamp('2026-11-22T00:00:00Z') > duration('3h') && self.day < self.when  =>  true
            [self.when.getFullYear(), self.when.getMonth(), self.when.getDate(), self.when.getDayOfWeek()]  =>  [2026, 10, 22, 0]
            self.when.getHours('+02:00')  =>  5
            timestamp('9999-12-31T23:59:59Z') + duration('1s')  =>  ERROR: <input>:1:11: invalid timestamp argument
             | timestamp('9999-12-31T23:59:59Z') + duration('1s')
             | ..........^
            int('12') + int(2.9) + int(timestamp('1970-01-01T00:00:07Z'))  =>  21
            double('1.5') == 1.5 && uint(3) == 3u && string(1e30) == '1e+30' && bool('t')  =>  true
            int('x')  =>  error: type conversion error from 'string' to 'int'
            type(1) == int && type(self.wait) == google.protobuf.Duration && type([]) == list  =>  true
        "#]],
    );
}

#[test]
fn libraries_of_kubernetes() {
    check(
        &[
            "quantity('1.5Gi').isGreaterThan(quantity('1500Mi')) && isQuantity('5x')",
            "quantity('100m').add(quantity('1')).compareTo(quantity('1100m')) == 0 && quantity('2').asInteger() == 2",
            "quantity('500m').asApproximateFloat() == 0.5 && sign(quantity('-1')) == -1 && quantity('1k').sub(1).isInteger()",
            "quantity('x')",
            "isIP('10.0.0.1') && !isIP('::ffff:1.2.3.4') && ip('::1').family() == 6 && ip('127.0.0.1').isLoopback()",
            "ip.isCanonical('2001:DB8::1') || string(ip('2001:DB8::1')) == '2001:db8::1'",
            "ip('10.0.0.300')",
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
            "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('::/64').prefixLength() == 64 && isCIDR('1.2.3.4')",
            "url('https://user@example.com:8080/a%20b?x=1&x=2&y=z#f').getHost()",
            "url('https://example.com:80/p').getPort() + url('https://[::1]:80/').getHostname() + url('/a b').getEscapedPath()",
            "url('https://e.com/?x=1&x=2&y=a+b').getQuery()",
            "isURL('/x') && !isURL('x y') && isURL('https://a/') && !isURL('../x')",
            "semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('v1.2', true) && !isSemver('v1.2')",
            "semver('1.0.0-rc.1').compareTo(semver('1.0.0')) + semver('3.2.1').major()",
            "format.dns1123Label().validate('A_b').hasValue() && !format.named('uuid').value().validate('x-y').value().isSorted()",
            "format.dns1123Label().validate('my-name').hasValue()",
        ],
        expect![[r#"
            quantity('1.5Gi').isGreaterThan(quantity('1500Mi')) && isQuantity('5x')  =>  false
            quantity('100m').add(quantity('1')).compareTo(quantity('1100m')) == 0 && quantity('2').asInteger() == 2  =>  true
            quantity('500m').asApproximateFloat() == 0.5 && sign(quantity('-1')) == -1 && quantity('1k').sub(1).isInteger()  =>  true
            quantity('x')  =>  error: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'
            isIP('10.0.0.1') && !isIP('::ffff:1.2.3.4') && ip('::1').family() == 6 && ip('127.0.0.1').isLoopback()  =>  true
            ip.isCanonical('2001:DB8::1') || string(ip('2001:DB8::1')) == '2001:db8::1'  =>  true
            ip('10.0.0.300')  =>  error: IP Address "10.0.0.300" parse error during conversion from string: unable to parse IP
            cidr('10.0.0.0/8').containsIP('10.1.2.3') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')  =>  true
            cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('::/64').prefixLength() == 64 && isCIDR('1.2.3.4')  =>  false
            url('https://user@example.com:8080/a%20b?x=1&x=2&y=z#f').getHost()  =>  example.com:8080
            url('https://example.com:80/p').getPort() + url('https://[::1]:80/').getHostname() + url('/a b').getEscapedPath()  =>  80::1/a%20b
            url('https://e.com/?x=1&x=2&y=a+b').getQuery()  =>  {x: [1, 2], y: [a b]}
            isURL('/x') && !isURL('x y') && isURL('https://a/') && !isURL('../x')  =>  true
            semver('1.2.3').isLessThan(semver('1.10.0')) && isSemver('v1.2', true) && !isSemver('v1.2')  =>  true
            semver('1.0.0-rc.1').compareTo(semver('1.0.0')) + semver('3.2.1').major()  =>  2
            format.dns1123Label().validate('A_b').hasValue() && !format.named('uuid').value().validate('x-y').value().isSorted()  =>  false
            format.dns1123Label().validate('my-name').hasValue()  =>  false
        "#]],
    );
}

#[test]
fn texts_that_are_no_rules_are_shown_with_their_place() {
    check(
        &[
            "self.a <",
            "self.a self.b",
            "self.words.all(self.a, true)",
            "has(self)",
            "self.a == 99999999999999999999",
            "'open",
            "Object{a: 1}",
            "in",
            "let == 1",
        ],
        expect![[r#"
            self.a <  =>  ERROR: <input>:1:9: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
             | self.a <
             | ........^
            self.a self.b  =>  ERROR: <input>:1:8: Syntax error: mismatched input 'self' expecting <EOF>
             | self.a self.b
             | .......^
            self.words.all(self.a, true)  =>  ERROR: <input>:1:20: argument must be a simple name
             | self.words.all(self.a, true)
             | ...................^
            has(self)  =>  ERROR: <input>:1:5: invalid argument to has() macro
             | has(self)
             | ....^
            self.a == 99999999999999999999  =>  ERROR: <input>:1:11: Syntax error: invalid int literal
             | self.a == 99999999999999999999
             | ..........^
            'open  =>  ERROR: <input>:1:1: Syntax error: token recognition error at: ''open'
             | 'open
             | ^
            Object{a: 1}  =>  ERROR: <input>:1:7: Syntax error: mismatched input '{' expecting <EOF>
             | Object{a: 1}
             | ......^
            in  =>  ERROR: <input>:1:1: Syntax error: mismatched input 'in' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
             | in
             | ^
            let == 1  =>  ERROR: <input>:1:1: reserved identifier: let
             | let == 1
             | ^
        "#]],
    );
}

#[test]
fn rules_that_make_no_sense_are_shown_with_their_place() {
    check(
        &[
            "self.nope > 1 && self.hidden == 1",
            "other == 1 && nothing(self.a)",
            "self.a == 'x'",
            "self.a + self.half",
            "self.name.size(1)",
            "self.a.contains('x')",
            "self.name ? 1 : 2",
            "self.words.all(w, w)",
            "self.a.all(x, true)",
            "self.name.matches('(')",
            "duration('x') == duration('1s')",
            "self.__dot__x",
            "self.inner.deep.x",
            "self.a ==\n  self.zz",
        ],
        expect![[r#"
            self.nope > 1 && self.hidden == 1  =>  ERROR: <input>:1:5: undefined field 'nope'
             | self.nope > 1 && self.hidden == 1
             | ....^
            ERROR: <input>:1:22: undefined field 'hidden'
             | self.nope > 1 && self.hidden == 1
             | .....................^
            other == 1 && nothing(self.a)  =>  ERROR: <input>:1:1: undeclared reference to 'other' (in container '')
             | other == 1 && nothing(self.a)
             | ^
            ERROR: <input>:1:22: undeclared reference to 'nothing' (in container '')
             | other == 1 && nothing(self.a)
             | .....................^
            self.a == 'x'  =>  ERROR: <input>:1:8: found no matching overload for '_==_' applied to '(int, string)'
             | self.a == 'x'
             | .......^
            self.a + self.half  =>  ERROR: <input>:1:8: found no matching overload for '_+_' applied to '(int, double)'
             | self.a + self.half
             | .......^
            self.name.size(1)  =>  ERROR: <input>:1:15: found no matching overload for 'size' applied to 'string.(int)'
             | self.name.size(1)
             | ..............^
            self.a.contains('x')  =>  ERROR: <input>:1:16: found no matching overload for 'contains' applied to 'int.(string)'
             | self.a.contains('x')
             | ...............^
            self.name ? 1 : 2  =>  ERROR: <input>:1:11: found no matching overload for '_?_:_' applied to '(string, int, int)'
             | self.name ? 1 : 2
             | ..........^
            self.words.all(w, w)  =>  ERROR: <input>:1:15: found no matching overload for '_&&_' applied to '(bool, string)'
             | self.words.all(w, w)
             | ..............^
            self.a.all(x, true)  =>  ERROR: <input>:1:5: expression of type 'int' cannot be range of a comprehension (must be list, map, or dynamic)
             | self.a.all(x, true)
             | ....^
            self.name.matches('(')  =>  ERROR: <input>:1:18: invalid matches argument: error parsing regexp: unclosed group
             | self.name.matches('(')
             | .................^
            duration('x') == duration('1s')  =>  ERROR: <input>:1:10: invalid duration argument
             | duration('x') == duration('1s')
             | .........^
            self.__dot__x  =>  ERROR: <input>:1:5: undefined field '__dot__x'
             | self.__dot__x
             | ....^
            self.inner.deep.x  =>  ERROR: <input>:1:16: type 'string' does not support field selection
             | self.inner.deep.x
             | ...............^
            self.a ==
              self.zz  =>  ERROR: <input>:2:7: undefined field 'zz'
             |   self.zz
             | ......^
        "#]],
    );
}

#[test]
fn a_failure_says_what_it_is() {
    let failures =
        [Failure::Budget, Failure::NoOverload, Failure::NoKey("x".to_owned()), Failure::OutOfBounds(3)];
    let told: Vec<String> = failures.iter().map(Failure::to_string).collect();
    expect![[r#"
        operation cancelled: actual cost limit exceeded
        no such overload
        no such key: x
        index out of bounds: 3"#]]
    .assert_eq(&told.join("\n"));
}
