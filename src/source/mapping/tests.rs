//! Mistakes in a map are named with their line; what is well-formed means what it says.

use std::borrow::Cow;

use super::*;

const REQUIRED: &str = "[fields]\nts = {column=\"t\", unit=\"ms\"}\ntype = \"e\"\n";

#[track_caller]
fn refuses(text: &str, want: &str) {
    let found = Mapping::parse(text).unwrap_err().to_string();
    assert!(found.contains(want), "{found}");
}

#[test]
fn mistakes_are_named() {
    let csv = |more: &str| format!("format=\"csv\"\n{REQUIRED}{more}");
    let head = |more: &str| format!("format=\"csv\"\n{more}\n{REQUIRED}");
    refuses(&head("delimeter=\";\""), "line 2");
    refuses(&head("delimeter=\";\""), "unknown field `delimeter`");
    refuses(&csv("a={colum=\"x\"}"), "line 5");
    refuses(&csv("a={colum=\"x\"}"), "unknown field `colum`");
    refuses(&csv("a=[]"), "line 5: fields.a: names no column");
    refuses(&format!("format=\"xml\"\n{REQUIRED}"), "unknown variant `xml`");
    refuses(&format!("format=\"ndjson\"\ncolumns=[]\n{REQUIRED}"), "line 2: columns: only for");
    refuses(&head("explode=\"e\""), "line 2: explode: only for format");
    refuses(&head("delimiter=\"→\""), "delimiter: must be an ASCII");
    refuses(&head("delimiter=\"ab\""), "delimiter: must be an ASCII");
    refuses(&head("encoding=\"klingon\""), "encoding: \"klingon\" is not an encoding");
    refuses(&head("quoting=false\nescape=\"\\\\\""), "escape: means nothing");
    refuses("format=\"csv\"\n[fields]\ntype=\"e\"", "fields.ts: every event needs it");
    refuses(
        "format=\"csv\"\n[fields]\ntype=\"e\"\nts=\"t\"",
        "line 4: fields.ts: `ts` needs a unit",
    );
    refuses(
        "format=\"csv\"\n[fields]\ntype=\"e\"\ntime={column=\"t\",unit=\"s\"}",
        "fields.ts: every event needs it",
    );
    refuses(&csv("a={}"), "fields.a: names no column");
    refuses(&csv("a={column=\"x\",unit=\"s\"}"), "fields.a: only `ts`");
    refuses(&csv("a={column=\"x\",zone=\"UTC\"}"), "fields.a: only `ts`");
    refuses(
        &csv("a={column=\"x\",number=true,default=\"1\"}"),
        "fields.a: `map` and `default` are for texts",
    );
    refuses(&csv("a={column=\"x\",number=\"1,234\"}"), "fields.a: \"1,234\" could be");
    refuses(&csv("a={column=\"x\",columns=[\"y\"]}"), "fields.a: has both");
    refuses(&csv("a={column=\"x\",join=\"-\"}"), "fields.a: `join` stands between");
    refuses(&csv("a={column=\"x\",match=\"(\"}"), "fields.a: match = \"(\" is not a regular");
    refuses(&csv("a={column=\"x\",before=\"\"}"), "fields.a: `before` is empty");
    refuses(&csv("a={column=\"x\",value=1}"), "fields.a: `value` is the same in every row");
    refuses(&csv("a={column=\"x\",when={column=\"y\"}}"), "fields.a: says nothing of the column");
    refuses(&head("keep={column=\"y\"}"), "line 2: keep: says nothing");
    let unit =
        |unit: &str| format!("format=\"csv\"\n[fields]\ntype=\"e\"\nts={{column=\"t\",{unit}}}");
    refuses(&unit("unit=\"hours\""), "line 4: fields.ts: \"hours\" is not a time format");
    refuses(&unit("format=\"%H\""), "does not make a date");
    refuses(&unit("unit=\"iso\",zone=\"Mars\""), "\"Mars\" is not an IANA zone");
    refuses(&unit("unit=\"iso\",format=\"%Y\""), "not both");
}

#[test]
fn a_column_used_twice_is_wanted_once() {
    let text = format!("format=\"csv\"\n{REQUIRED}a=\"x\"\nb={{column=\"x\",number=true}}");
    let mapping = Mapping::parse(&text).unwrap();
    assert_eq!(mapping.wanted, ["x", "t", "e"]);
    assert_eq!(mapping.fields[0].attribute, "ts");
    assert_eq!(mapping.fields[2].choices[0].columns, mapping.fields[3].choices[0].columns);
}

#[test]
fn the_built_in_mappings_are_well_formed() {
    for text in crate::source::sniff::built_in() {
        Mapping::parse(text).unwrap();
    }
    assert_eq!(Mapping::combined().format, Format::Combined);
}

/// The value of attribute `a` as the map makes it of columns x, y and z.
#[track_caller]
fn makes(spec: &str, cells: [&str; 3], want: &str) {
    let text = format!(
        "format=\"csv\"\n[fields]\na={spec}\nts={{columns=[\"x\",\"y\",\"z\"],unit=\"ms\"}}\ntype=\"x\""
    );
    let mapping = Mapping::parse(&text).unwrap_or_else(|error| panic!("{spec}: {error}"));
    let cell = |name: &String| {
        let place = ["x", "y", "z"].iter().position(|known| known == name).unwrap();
        match cells[place] {
            "∅" => None,
            text => match text.strip_prefix("json:") {
                Some(json) => Some(Cell::Json(Cow::Borrowed(json))),
                None => Some(Cell::Text(Cow::Borrowed(text))),
            },
        }
    };
    let row: Vec<_> = mapping.wanted.iter().map(cell).collect();
    let field = mapping.fields.iter().find(|field| field.attribute == "a").unwrap();
    let found = match field.make(&row, 77) {
        Made::Value(value) => value,
        Made::Time(at) => at.to_string(),
        Made::Absent => "absent".to_owned(),
        Made::Unusable(why, cell) => format!("{why}: {cell}"),
    };
    assert_eq!(found, want, "{spec} of {cells:?}");
}

#[test]
fn cells_are_cut_joined_chosen_and_named() {
    for (spec, cells, want) in [
        ("\"x\"", ["v", "", ""], "\"v\""),
        ("\"x\"", ["", "", ""], "absent"),
        ("\"x\"", ["NULL", "", ""], "absent"),
        ("\"x\"", ["\\N", "", ""], "absent"),
        ("\"x\"", ["json:7", "", ""], "7"),
        ("\"x\"", ["json:{\"b\":1}", "", ""], "an object: {\"b\":1}"),
        ("\"x\"", ["json:[1]", "", ""], "an array: [1]"),
        ("{columns=[\"x\",\"y\"],join=\"-\"}", ["a", "b", ""], "\"a-b\""),
        ("{columns=[\"x\",\"y\"]}", ["", "b", ""], "\"b\""),
        ("{columns=[\"x\",\"y\"]}", ["", "", ""], "absent"),
        ("{columns=[\"x\",\"y\"],join=\"\"}", ["json:1", "json:2", ""], "\"12\""),
        ("[\"x\",\"y\"]", ["", "b", ""], "\"b\""),
        ("[{column=\"x\",number=true},{column=\"y\",number=true}]", ["n", "2", ""], "2"),
        (
            "[{column=\"x\",number=true},{column=\"y\",number=true}]",
            ["n", "", ""],
            "not a number: n",
        ),
        ("{column=\"x\",before_last=\":\"}", ["10.0.0.1:80", "", ""], "\"10.0.0.1\""),
        ("{column=\"x\",before_last=\":\"}", ["10.0.0.1", "", ""], "\"10.0.0.1\""),
        ("{column=\"x\",before=\",\"}", ["a, b, c", "", ""], "\"a\""),
        ("{column=\"x\",after=\", \"}", ["a, b, c", "", ""], "\"b, c\""),
        ("{column=\"x\",after_last=\",\"}", ["a, b, c", "", ""], "\"c\""),
        ("{column=\"x\",match='id=(\\d+)'}", ["/p?id=17&b", "", ""], "\"17\""),
        ("{column=\"x\",match='id=(\\d+)',number=true}", ["/p?id=17&b", "", ""], "17"),
        ("{column=\"x\",match='id=(\\d+)'}", ["/p", "", ""], "does not match: /p"),
        ("{column=\"x\",url_decode=true}", ["a+b%20%C3%A9%2", "", ""], "\"a b é%2\""),
        ("{column=\"x\",map={a=\"b\"}}", ["a", "", ""], "\"b\""),
        ("{column=\"x\",map={a=\"b\"}}", ["c", "", ""], "\"c\""),
        ("{column=\"x\",map={a=\"b\"},default=\"d\"}", ["c", "", ""], "\"d\""),
        ("{column=\"x\",map={\"7\"=\"b\"}}", ["json:7", "", ""], "\"b\""),
        ("{default=\"d\"}", ["", "", ""], "\"d\""),
        ("{value=1.5}", ["", "", ""], "1.5"),
        ("{value=true,when={column=\"x\",is=\"b\"}}", ["b", "", ""], "true"),
        ("{value=true,when={column=\"x\",is=\"b\"}}", ["c", "", ""], "absent"),
        (
            "[{column=\"y\",when={column=\"x\",is=[\"b\",\"c\"]}},{column=\"z\"}]",
            ["c", "1", "2"],
            "\"1\"",
        ),
        (
            "[{column=\"y\",when={column=\"x\",is=[\"b\",\"c\"]}},{column=\"z\"}]",
            ["d", "1", "2"],
            "\"2\"",
        ),
        ("{column=\"y\",when={column=\"x\",not=\"b\"}}", ["∅", "1", ""], "\"1\""),
        ("{column=\"y\",when={column=\"x\",present=true}}", ["∅", "1", ""], "absent"),
        ("{column=\"y\",when={column=\"x\",match=\"^a\"}}", ["ab", "1", ""], "\"1\""),
        ("{column=\"y\",when={column=\"x\",min=400}}", ["404", "1", ""], "\"1\""),
        ("{column=\"y\",when={column=\"x\",min=400,max=499}}", ["500", "1", ""], "absent"),
        ("{column=\"y\",when={column=\"x\",is=200}}", ["json:200", "1", ""], "\"1\""),
    ] {
        makes(spec, cells, want);
    }
}

#[test]
fn numbers_are_read_as_declared_or_counted() {
    for (number, cell, want) in [
        ("true", "30.50", "30.50"),
        ("true", ".5", "0.5"),
        ("true", "+5", "5"),
        ("true", "json:2", "2"),
        ("true", "1e3", "1e3"),
        ("true", "NULL", "absent"),
        ("true", "-", "absent"),
        ("true", "12,50", "not a number: 12,50"),
        ("true", "json:true", "not a number: true"),
        ("\"12,50\"", "12,50", "12.50"),
        ("\"1.234,56\"", "1.200,50", "1200.50"),
        ("\"$1,234.56\"", "$12.50", "12.50"),
        ("\"$1,234.56\"", "€12.50", "not a number: €12.50"),
    ] {
        makes(&format!("{{column=\"x\",number={number}}}"), [cell, "", ""], want);
    }
}

#[test]
fn times_are_read_as_declared() {
    for (form, cells, want) in [
        ("unit=\"s\"", ["1509575121.648", "", ""], "1509575121648"),
        ("unit=\"s\"", ["json:1509575121.648", "", ""], "1509575121648"),
        ("unit=\"us\"", ["1620291751177123", "", ""], "1620291751177"),
        ("unit=\"ns\"", ["1620291751177123999", "", ""], "1620291751177"),
        ("unit=\"iso\"", ["2019-10-01 00:00:00 UTC", "", ""], "1569888000000"),
        ("unit=\"iso\",zone=\"Europe/Berlin\"", ["2023-07-01 12:00:00", "", ""], "1688205600000"),
        (
            "format=\"%d.%m.%Y %H:%M:%S\",zone=\"Europe/Berlin\"",
            ["24.12.2023 18:00:00", "", ""],
            "1703437200000",
        ),
        ("unit=\"http\"", ["Sun, 06 Nov 1994 08:49:37 GMT", "", ""], "784111777000"),
        ("unit=\"auto\"", ["1509575121", "", ""], "1509575121000"),
        ("unit=\"arrival\"", ["", "", ""], "77"),
        ("unit=\"iso\"", ["soon", "", ""], "no time in the declared form: soon"),
        ("unit=\"iso\"", ["-", "", ""], "absent"),
    ] {
        let column = if form.contains("arrival") { String::new() } else { "column=\"x\",".into() };
        let text = format!("format=\"csv\"\n[fields]\nts={{{column}{form}}}\ntype=\"x\"");
        let mapping = Mapping::parse(&text).unwrap_or_else(|error| panic!("{form}: {error}"));
        let text = cells[0];
        let row: Vec<_> = mapping
            .wanted
            .iter()
            .map(|_| match text.strip_prefix("json:") {
                Some(json) => Some(Cell::Json(json.into())),
                None => Some(Cell::Text(text.into())),
            })
            .collect();
        let found = match mapping.fields[0].make(&row, 77) {
            Made::Time(at) => at.to_string(),
            Made::Absent => "absent".into(),
            Made::Unusable(why, cell) => format!("{why}: {cell}"),
            Made::Value(value) => value,
        };
        assert_eq!(found, want, "{form} of {text}");
    }
    let joined = "format=\"csv\"\n[fields]\nts={columns=[\"d\",\"t\"],unit=\"iso\"}\ntype=\"x\"";
    let mapping = Mapping::parse(joined).unwrap();
    let row: Vec<_> = mapping
        .wanted
        .iter()
        .map(|name| match name.as_str() {
            "d" => Some(Cell::Text("2023-01-01".into())),
            "t" => Some(Cell::Text("10:05:00".into())),
            _ => Some(Cell::Text("v".into())),
        })
        .collect();
    assert_eq!(mapping.fields[0].make(&row, 0), Made::Time(1_672_567_500_000));
}
