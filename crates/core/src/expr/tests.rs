//! What expressions come to, what is refused and where, and the law that evaluation is what a
//! plain reading of the language says, for any expression over any values.

use std::borrow::Cow;

use proptest::prelude::*;

use super::*;

/// Some names of every kind; anything else is an attribute of any kind.
struct Open;

impl Scope for Open {
    fn kind(&self, name: &str) -> Result<Kind, String> {
        match name {
            "net" => Ok(Kind::Number),
            "label" => Ok(Kind::Text),
            "paid" => Ok(Kind::Bool),
            "code" => Err("\"code\" is an alias of \"status\", write \"status\"".into()),
            _ => Ok(Kind::Any),
        }
    }

    fn format(&self, name: &str) -> NumberFormat {
        let example = if name == "euros" { "1.234,56" } else { "" };
        NumberFormat::by_example(example).unwrap_or_default()
    }
}

/// Values by name.
struct Given<'a>(&'a Expr, Vec<(&'a str, Value<'a>)>);

impl Values for Given<'_> {
    fn value(&self, name: usize) -> Value<'_> {
        let name = &self.0.names()[name];
        let found = self.1.iter().find(|(known, _)| known == name);
        found.map_or(Value::Missing, |(_, value)| value.clone())
    }
}

fn number(text: &str) -> Value<'static> {
    Value::Number(Decimal::from_text(text).unwrap())
}

fn text(text: &str) -> Value<'_> {
    Value::Text(Cow::Borrowed(text))
}

fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Missing => "missing".into(),
        Value::Number(number) => number.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Bool(truth) => truth.to_string(),
        Value::Unusable(why) => format!("{why:?}"),
    }
}

fn result(text: &str, values: Vec<(&str, Value<'_>)>) -> String {
    let expr = Expr::parse(text, &Open).unwrap_or_else(|error| panic!("{text}: {error}"));
    shown(&expr.eval(&Given(&expr, values)))
}

#[test]
fn it_computes() {
    for (text, want) in [
        ("19.99 - 5", "14.99"),
        ("0.1 + 0.2 == 0.3", "true"),
        ("1 + 2 * 3 - -4", "11"),
        ("(1 + 2) * 3", "9"),
        ("5 / 2", "2.5"),
        ("7 % 4", "3"),
        ("1 / 0", "DividedByZero"),
        ("1 % 0", "DividedByZero"),
        ("1e300 * 1e300", "OutOfRange"),
        ("-(2 - 5)", "3"),
        ("\"a\" + 'b'", "\"ab\""),
        ("\"\" + 'b'", "\"b\""),
        ("'abc' < 'abd'", "true"),
        ("\"\\u00e9t\\u00e9\".size()", "refused"),
        ("size(\"\\u00e9t\\u00e9\")", "3"),
        ("'/api/v1'.startsWith('/api')", "true"),
        ("'/api/v1'.endsWith('v1')", "true"),
        ("'/api/v1'.contains('pi/')", "true"),
        ("'/api/v12'.matches('v[0-9]{2}$')", "true"),
        ("'ABC'.lowerAscii() + 'abc'.upperAscii()", "\"abcABC\""),
        ("int(2.9) + int(-2.9) + int('12')", "12"),
        ("double('1e3')", "1000"),
        ("double('x')", "Text"),
        ("double('n/a')", "missing"),
        ("double(true)", "Flag"),
        ("string(1.50) + string(true) + string('x')", "\"1.5truex\""),
        ("min(3, 1, 2)", "1"),
        ("max(3, 1, 2)", "3"),
        ("max(3)", "3"),
        ("abs(-3.5)", "3.5"),
        ("round(2.5) + round(-0.5)", "2"),
        ("round(2.345, 2)", "2.35"),
        ("bucket(50, [50, 100, 250])", "\"<= 50\""),
        ("bucket(50.1, [50, 100, 250])", "\"50 to 100\""),
        ("bucket(251, [50, 100, 250])", "\"> 250\""),
        ("2 in [1, 2, 3]", "true"),
        ("!('eu' in [\"us\"])", "true"),
        ("true ? 1 : 2", "1"),
        ("1 > 2 ? 'a' : 2 > 1 ? 'b' : 'c'", "\"b\""),
        ("18446744073709551615u", "18446744073709551615"),
        ("0x10 + 1", "17"),
        ("1 // what follows is not read", "1"),
    ] {
        if want != "refused" {
            assert_eq!(result(text, vec![]), want, "{text}");
        }
    }
}

#[test]
fn what_is_missing_stays_missing_and_what_is_unusable_is_told() {
    let values = || {
        vec![
            ("amount", number("10.5")),
            ("price", text("19.99")),
            ("euros", text("1.234,50")),
            ("name", text("ada")),
            ("dash", text("-")),
            ("vip", Value::Bool(true)),
            ("list", Value::Unusable(Unusable::Nested)),
        ]
    };
    for (text, want) in [
        ("amount - discount", "missing"),
        ("status >= 500", "missing"),
        ("!(status >= 500)", "missing"),
        ("status >= 500 || vip", "true"),
        ("vip || status >= 500", "true"),
        ("status >= 500 && !vip", "false"),
        ("status >= 500 && vip", "missing"),
        ("list > 5 && status > 5", "Nested"),
        ("status > 5 && list > 5", "Nested"),
        ("status + list", "Nested"),
        ("has(status)", "false"),
        ("has(amount) && has(list)", "true"),
        ("has(status) ? status : 200", "200"),
        ("status ? 1 : 2", "missing"),
        ("name ? 1 : 2", "Text"),
        // As text it is a number where one is needed.
        ("price + 0.01", "20"),
        ("euros * 2", "2469"),
        ("price > 19 && price in [19.99]", "true"),
        ("price == amount", "false"),
        ("amount < price", "true"),
        ("name > 5", "Text"),
        ("name == 5", "Text"),
        ("name == amount", "Text"),
        ("dash > 5", "missing"),
        ("vip + 1", "Flag"),
        ("vip == 'x'", "Flag"),
        ("amount == 'x'", "Number"),
        ("amount == true", "Number"),
        ("!amount", "Number"),
        ("vip == true && vip", "true"),
        ("name == name", "true"),
        ("vip != vip", "false"),
        ("list == list", "Nested"),
        ("name + '/' + string(amount)", "\"ada/10.5\""),
        ("name + amount", "Text"),
        ("properties.price + amount", "missing"),
        ("net - 1", "missing"),
        ("min(amount, status)", "missing"),
    ] {
        assert_eq!(result(text, values()), want, "{text}");
    }
    let long = "x".repeat(JOINED_BYTES_MAX);
    let joined = |more: &str| result(&format!("'{more}' + a"), vec![("a", text(&long))]);
    assert_eq!(joined("").len(), JOINED_BYTES_MAX + 2);
    assert_eq!(joined("y"), "TooLong");
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_the_likely_remedy() {
    let deep = format!("{}1{}", "(".repeat(40), ")".repeat(40));
    let long = format!("a{}", " + 1".repeat(TEXT_BYTES_MAX / 4));
    let list = format!("a in [{}1]", "1, ".repeat(LIST_MAX));
    for (text, want) in [
        ("", "at column 1: there is no expression"),
        ("status = 500", "at column 8: write == to compare"),
        ("status => 500", "at column 8: write >= for =>"),
        ("a <> b", "at column 4: write != for <>"),
        ("a == 1 and b == 2", "at column 8: write && for \"and\""),
        ("a & b", "at column 3: write && for \"and\""),
        ("not a", "at column 5: write ! for \"not\""),
        ("a &&", "at column 5: something is missing at the end"),
        ("(a", "at column 3: a ) is missing"),
        ("a b", "at column 3: \"b\" is not expected here"),
        ("a +\n  * b", "at line 2, column 3: '*' is not expected here"),
        ("amount > 1,000", "at column 11: ',' is not expected here"),
        ("a == \u{201c}x\u{201d}", "at column 6: write a plain \" for \u{201c}"),
        (
            "gr\u{f6}\u{df}e > 5",
            "at column 3: '\u{f6}' is no letter of a name: give the attribute another name in events.aliases",
        ),
        (
            "a == 'x",
            "at column 6: this text does not end on its line, or holds a \\ that means nothing: write \\\\",
        ),
        ("a ? b", "at column 1: a ? needs a : with what it is otherwise"),
        (
            "namespace == 'x'",
            "at column 1: \"namespace\" is a word of the language: give the attribute another name in events.aliases",
        ),
        ("9223372036854775808 > a", "at column 1: this number is too great"),
        (
            &deep,
            "brackets, calls and choices lie more than 10 deep: give a part of it a name in [events.derived]",
        ),
        (
            &long,
            "at column 1: 4097 bytes are more than the 4096 of an expression: give a part of it a name in [events.derived]",
        ),
        ("code == 500", "at column 1: \"code\" is an alias of \"status\", write \"status\""),
        ("label > 5", "at column 7: compares text with a number"),
        ("user-agent == 'x'", "at column 12: compares a number with text"),
        ("paid > false", "at column 6: true and false have no order"),
        ("net && paid", "at column 1: true or false is needed here, and this is a number"),
        (
            "label * 2",
            "at column 1: a number is needed here, and this is text; write double(...) around it",
        ),
        (
            "1 + 'x'",
            "at column 3: adds a number and text; write string(...) around what is no text",
        ),
        (
            "paid ? 1 : 'x'",
            "at column 12: both sides of the : must be alike, and they are a number and text",
        ),
        ("a == null", "at column 6: there is no null: write !has(name) for what is missing"),
        (
            "a in []",
            "at column 6: in takes a list of 1 to 32 numbers, or as many texts, such as [\"eu\", \"us\"]",
        ),
        (
            &list,
            "at column 6: in takes a list of 1 to 32 numbers, or as many texts, such as [\"eu\", \"us\"]",
        ),
        ("a in [1, 'x']", "at column 6: a list holds numbers or texts, not both"),
        ("a in [b]", "at column 7: a list holds numbers or texts that are written out"),
        ("label in [1]", "at column 10: a list of numbers, and text before it"),
        ("[1, 2]", "at column 1: a list stands behind in, or in bucket"),
        ("{'a': 1}", "at column 1: there are no maps here"),
        (
            "a[0] > 5",
            "at column 2: there is no [ ] behind a name: write a part of it as properties.price or items.0",
        ),
        (
            "a.startWith('x')",
            "at column 12: there is no function \"startWith\"; there are has, startsWith, endsWith, contains, matches, lowerAscii, upperAscii, size, int, double, string, abs, round, min, max, bucket; did you mean \"startsWith\"?",
        ),
        (
            "lower(a)",
            "at column 6: there is no function \"lower\"; there are has, startsWith, endsWith, contains, matches, lowerAscii, upperAscii, size, int, double, string, abs, round, min, max, bucket; did you mean \"lowerAscii\"?",
        ),
        (
            "startsWith(a, 'x')",
            "at column 11: startsWith is written behind the text: path.startsWith(...)",
        ),
        ("a.size()", "at column 7: size is written before its value: size(amount)"),
        ("a.contains()", "at column 11: contains takes 1 value"),
        ("round()", "at column 6: round takes 1 or 2 values"),
        ("round(1, a)", "at column 10: must be written out, and not be computed"),
        ("round(1, 20)", "at column 10: round takes 0 to 18 decimals, written out"),
        (
            "bucket(a, 5)",
            "at column 11: bucket takes a list of numbers in ascending order, such as [50, 100, 250]",
        ),
        (
            "bucket(a, [5, 1])",
            "at column 11: bucket takes a list of numbers in ascending order, such as [50, 100, 250]",
        ),
        ("a.matches('(')", "at column 11: no regular expression: unclosed group"),
        (
            "a.matches('(x{1000}){1000}')",
            "at column 11: this pattern takes more than 1048576 bytes",
        ),
        (
            "size(5)",
            "at column 6: text is needed here, and this is a number; write string(...) around it",
        ),
        ("has(1)", "at column 5: only a name has parts, such as properties.price"),
        ("has(a, b)", "at column 4: has takes the name of an attribute: has(amount)"),
        ("'x'.y", "at column 4: only a name has parts, such as properties.price"),
        ("b'x' == a", "at column 1: there are no bytes: write text, without the b"),
    ] {
        let error = Expr::parse(text, &Open).map(|expr| expr.to_string()).unwrap_err();
        let place_is_given = want.starts_with("at ");
        let got = if place_is_given { error.to_string() } else { error.reason };
        assert_eq!(got, want, "{text}");
    }
    let condition = Expr::condition("net * 2", &Open).unwrap_err();
    assert_eq!(condition.reason, "a condition is true or false, and this is a number");
}

#[test]
fn it_is_written_in_one_way_and_says_what_it_uses() {
    for (text, want) in [
        ("a==1&&b==2", "a == 1 && b == 2"),
        ("(a == 1 || b == 2) && !(c > 3)", "(a == 1 || b == 2) && !(c > 3)"),
        ("a - (b - c) - d * (e + 1)", "a - (b - c) - d * (e + 1)"),
        ("properties . price in [ 1,2.50 ]", "properties.price in [1, 2.5]"),
        ("(a ? 1 : 2) > -(b)", "(a ? 1 : 2) > -b"),
        ("-(-(0)) < -(5)", "0 < -5"),
        ("a.lowerAscii().matches(r'\\d\"')", "a.lowerAscii().matches(\"\\\\d\\\"\")"),
        ("bucket( round(a,2), [5,10] )", "bucket(round(a, 2), [5, 10])"),
        ("18446744073709551615u > 1e30", "18446744073709551615.0 > 1e30"),
    ] {
        let expr = Expr::parse(text, &Open).unwrap();
        assert_eq!(expr.to_string(), want);
    }
    let names = |text: &str| Expr::parse(text, &Open).unwrap().names().join(" ");
    assert_eq!(names("b > a.x && has(c) && b in [1] && d.contains('e')"), "b a.x c d");
    let expr = Expr::parse("b > 1 && (a < 2 || b < 3) && c", &Open).unwrap();
    let parts: Vec<_> = expr.parts().iter().map(|part| expr.part(part)).collect();
    let shown: Vec<_> =
        parts.iter().map(|part| (part.to_string(), part.names().join(" "))).collect();
    let want = [("b > 1", "b"), ("a < 2 || b < 3", "a b"), ("c", "c")];
    assert_eq!(shown, want.map(|(a, b)| (a.to_string(), b.to_string())));
}

/// An expression as a plain tree, of which the text is made that is parsed.
#[derive(Clone, Debug)]
enum Plain {
    Value(Value<'static>),
    Name(&'static str),
    Has(&'static str),
    One(&'static str, Box<Plain>),
    Two(&'static str, Box<Plain>, Box<Plain>),
    Choice(Box<Plain>, Box<Plain>, Box<Plain>),
}

impl fmt::Display for Plain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Plain::Value(value) => out.write_str(&shown(value)),
            Plain::Name(name) => out.write_str(name),
            Plain::Has(name) => write!(out, "has({name})"),
            Plain::One(sign @ ("!" | "-"), a) => write!(out, "{sign}({a})"),
            Plain::One(function, a) => write!(out, "{function}({a})"),
            Plain::Two("contains", a, b) => write!(out, "({a}).contains({b})"),
            Plain::Two(sign, a, b) => write!(out, "({a}) {sign} ({b})"),
            Plain::Choice(a, b, c) => write!(out, "({a}) ? ({b}) : ({c})"),
        }
    }
}

/// The values that random expressions are over. `x` and `y` may be anything.
type Known = [(&'static str, Value<'static>); 5];

/// What a plain tree is, as far as that is known: a letter for each kind.
fn kind(plain: &Plain) -> char {
    match plain {
        Plain::Value(Value::Number(_)) => 'n',
        Plain::Value(Value::Text(_)) => 't',
        Plain::Name("net") => 'n',
        Plain::Name("label") => 't',
        Plain::Name("paid") => 'b',
        Plain::Name(_) => '?',
        Plain::One("!", _) | Plain::Has(_) | Plain::Value(_) => 'b',
        Plain::One("string", _) => 't',
        Plain::One(..) => 'n',
        Plain::Two("+", a, b) => {
            if kind(a) == 't' || kind(b) == 't' {
                't'
            } else {
                'n'
            }
        }
        Plain::Two("-" | "*" | "/" | "%", ..) => 'n',
        Plain::Two(..) => 'b',
        Plain::Choice(_, a, b) => {
            if kind(a) == kind(b) {
                kind(a)
            } else {
                '?'
            }
        }
    }
}

/// Two results: of what went wrong, what is of no use comes before what is missing.
fn both<A, B>(
    a: Result<A, Value<'static>>,
    b: Result<B, Value<'static>>,
) -> Result<(A, B), Value<'static>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(Value::Missing), Err(b)) => Err(b),
        (Err(a), _) => Err(a),
        (_, Err(b)) => Err(b),
    }
}

/// A plain reading of the language: no value is `Err`.
fn plainly(plain: &Plain, known: &Known) -> Result<Value<'static>, Value<'static>> {
    let of_name = |name: &str| known.iter().find(|(other, _)| *other == name).unwrap().1.clone();
    let bad = |why| Err(Value::Unusable(why));
    let as_number = |value| match value {
        Value::Number(number) => Ok(number),
        Value::Text(text) if matches!(&*text, "" | "-") => Err(Value::Missing),
        Value::Text(text) => Decimal::from_text(&text).ok_or(Value::Unusable(Unusable::Text)),
        _ => Err(Value::Unusable(Unusable::Flag)),
    };
    let as_text = |value| match value {
        Value::Text(text) => Ok(text),
        Value::Number(_) => Err(Value::Unusable(Unusable::Number)),
        _ => Err(Value::Unusable(Unusable::Flag)),
    };
    let as_bool = |value| match value {
        Value::Bool(truth) => Ok(truth),
        Value::Number(_) => Err(Value::Unusable(Unusable::Number)),
        _ => Err(Value::Unusable(Unusable::Text)),
    };
    let of = |part: &Plain| plainly(part, known);
    let decided = |order: std::cmp::Ordering, sign: &str| match sign {
        "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        _ => order.is_ge(),
    };
    match plain {
        Plain::Value(value) => Ok(value.clone()),
        Plain::Name(name) => match of_name(name) {
            gone @ (Value::Missing | Value::Unusable(_)) => Err(gone),
            value => Ok(value),
        },
        Plain::Has(name) => Ok(Value::Bool(of_name(name) != Value::Missing)),
        Plain::One("!", a) => Ok(Value::Bool(!as_bool(of(a)?)?)),
        Plain::One("-", a) => Ok(Value::Number(Decimal::ZERO.minus(as_number(of(a)?)?).unwrap())),
        Plain::One("abs", a) => {
            let number = as_number(of(a)?)?;
            Ok(Value::Number(number.max(Decimal::ZERO.minus(number).unwrap())))
        }
        Plain::One("string", a) => Ok(Value::Text(match of(a)? {
            Value::Text(text) => text,
            other => Cow::Owned(shown(&other)),
        })),
        Plain::One(..) => unreachable!(),
        Plain::Two(sign @ ("&&" | "||"), a, b) => {
            let decides = *sign == "||";
            let sides = [of(a).and_then(as_bool), of(b).and_then(as_bool)];
            if sides.contains(&Ok(decides)) {
                return Ok(Value::Bool(decides));
            }
            let mut gone: Vec<_> = sides.into_iter().filter_map(Result::err).collect();
            gone.sort_by_key(|why| *why == Value::Missing);
            gone.into_iter().next().map_or(Ok(Value::Bool(!decides)), Err)
        }
        Plain::Two("contains", a, b) => {
            let (a, b) = both(of(a).and_then(as_text), of(b).and_then(as_text))?;
            Ok(Value::Bool(a.contains(&*b)))
        }
        Plain::Two("+", ..) if kind(plain) == 't' => {
            let Plain::Two(_, a, b) = plain else { unreachable!() };
            let (a, b) = both(of(a).and_then(as_text), of(b).and_then(as_text))?;
            Ok(Value::Text(format!("{a}{b}").into()))
        }
        Plain::Two(sign @ ("+" | "-" | "*" | "/" | "%"), a, b) => {
            let (a, b) = both(of(a).and_then(as_number), of(b).and_then(as_number))?;
            let number = match *sign {
                "+" => a.plus(b),
                "-" => a.minus(b),
                "*" => a.times(b),
                _ if b == Decimal::ZERO => return bad(Unusable::DividedByZero),
                "/" => a.over(b),
                _ => a.modulo(b),
            };
            number.map_or(bad(Unusable::OutOfRange), |number| Ok(Value::Number(number)))
        }
        Plain::Two(sign, a, b) => {
            let kinds = (kind(a), kind(b));
            let texts = (of(a).and_then(as_text), of(b).and_then(as_text));
            let truths = (of(a).and_then(as_bool), of(b).and_then(as_bool));
            let numbers = (of(a).and_then(as_number), of(b).and_then(as_number));
            let equal = matches!(*sign, "==" | "!=");
            let order = match kinds {
                ('t', _) | (_, 't') => both(texts.0, texts.1).map(|(a, b)| a.cmp(&b))?,
                ('b', _) | (_, 'b') => both(truths.0, truths.1).map(|(a, b)| a.cmp(&b))?,
                ('?', '?') if equal => match both(of(a), of(b))? {
                    (Value::Text(a), Value::Text(b)) => a.cmp(&b),
                    (Value::Bool(a), Value::Bool(b)) => a.cmp(&b),
                    _ => both(numbers.0, numbers.1).map(|(a, b)| a.cmp(&b))?,
                },
                _ => both(numbers.0, numbers.1).map(|(a, b)| a.cmp(&b))?,
            };
            Ok(Value::Bool(decided(order, sign)))
        }
        Plain::Choice(a, b, c) => of(if as_bool(of(a)?)? { b } else { c }),
    }
}

fn literal() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        (0i64..40, 0u8..3).prop_map(|(n, e)| Value::Number(Decimal::new(
            false,
            n as u64,
            -i32::from(e)
        ))),
        prop::sample::select(vec!["", "a", "ab", "7", "-", "2.5"]).prop_map(text),
        any::<bool>().prop_map(Value::Bool),
    ]
}

fn any_value() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        4 => literal(),
        1 => Just(Value::Missing),
        1 => Just(Value::Unusable(Unusable::Nested)),
    ]
}

fn of_kind(want: fn(&Value<'_>) -> bool) -> impl Strategy<Value = Value<'static>> {
    let fits = move |value: &Value<'_>| {
        want(value) || matches!(value, Value::Missing | Value::Unusable(_))
    };
    any_value().prop_filter("of the kind", fits)
}

fn known() -> impl Strategy<Value = Known> {
    let number = of_kind(|value| matches!(value, Value::Number(_)));
    let words = of_kind(|value| matches!(value, Value::Text(_)));
    let truth = of_kind(|value| matches!(value, Value::Bool(_)));
    (any_value(), any_value(), number, words, truth).prop_map(|(x, y, net, label, paid)| {
        [("x", x), ("y", y), ("net", net), ("label", label), ("paid", paid)]
    })
}

fn plain() -> impl Strategy<Value = Plain> {
    let names = || prop::sample::select(vec!["x", "y", "net", "label", "paid"]);
    let leaf = prop_oneof![
        literal().prop_map(Plain::Value),
        names().prop_map(Plain::Name),
        names().prop_map(Plain::Has)
    ];
    leaf.prop_recursive(4, 24, 3, |inner| {
        let signs = vec![
            "&&", "||", "+", "-", "*", "/", "%", "==", "!=", "<", "<=", ">", ">=", "contains",
        ];
        let (a, b) = (inner.clone(), inner.clone());
        prop_oneof![
            1 => (prop::sample::select(vec!["!", "-", "abs", "string"]), a.clone())
                .prop_map(|(sign, a)| Plain::One(sign, a.into())),
            4 => (prop::sample::select(signs), a, b.clone())
                .prop_map(|(sign, a, b)| Plain::Two(sign, a.into(), b.into())),
            1 => (inner, b.clone(), b).prop_map(|(a, b, c)| Plain::Choice(a.into(), b.into(), c.into())),
        ]
    })
}

proptest! {
    #![proptest_config(crate::trials::cases(1_000))]

    #[test]
    fn evaluation_is_what_a_plain_reading_says(plain in plain(), known in known()) {
        let text = plain.to_string();
        // What the check refuses for its kinds is another test's.
        if let Ok(expr) = Expr::parse(&text, &Open) {
            let want = plainly(&plain, &known).unwrap_or_else(|gone| gone);
            let given = Given(&expr, known.to_vec());
            prop_assert_eq!(expr.eval(&given), want, "{}", text);
            // Written and read again it is the same.
            let written = expr.to_string();
            let again = Expr::parse(&written, &Open);
            prop_assert!(again.is_ok(), "{} became {}: {:?}", text, written, again);
            let again = again.unwrap();
            prop_assert_eq!(&again.to_string(), &written);
            let given_again = Given(&again, known.to_vec());
            prop_assert_eq!(again.eval(&given_again), expr.eval(&given), "{}", written);
        }
    }

}

proptest! {
    #[test]
    fn no_text_stops_the_parser(
        words in prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..24),
        odd in "\\PC{0,12}",
        at in 0usize..24,
    ) {
        let mut words: Vec<&str> = words;
        words.insert(at.min(words.len()), &odd);
        for text in [words.concat(), words.join(" ")] {
            if let Err(error) = Expr::parse(&text, &Open) {
                prop_assert!(!error.reason.is_empty());
                prop_assert!(error.line <= text.matches('\n').count() + 1, "{} {:?}", text, error);
            }
        }
    }
}

/// Pieces of expressions, and of what is none.
const WORDS: [&str; 48] = [
    "a",
    "amount",
    "properties.price",
    "1",
    "2.5",
    "1e999",
    "'x'",
    "\"y",
    "'",
    "\"\"\"",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ".",
    ":",
    "?",
    "!",
    "-",
    "+",
    "*",
    "/",
    "//",
    "%",
    "==",
    "=",
    "!=",
    "<",
    "<=",
    "&&",
    "&",
    "||",
    "in",
    "has(",
    "size(",
    ".matches(",
    "bucket(",
    "null",
    "true",
    "u",
    "b'z'",
    "\\",
    "\n",
    "\u{e9}",
    "`",
];

#[test]
fn brackets_without_end_are_refused() {
    for open in ["(", "[", "{", "!(", "-(", "f(", "a ? b : ", "a[", "a.b(", "has("] {
        for times in [11, 500, TEXT_BYTES_MAX / open.len()] {
            assert!(Expr::parse(&open.repeat(times), &Open).is_err(), "{times} {open}");
        }
    }
}
