//! The lines under `[fields]` of a proposal: which columns have a role, and what the others are, by
//! what they hold.

use super::column::{Column, NumberForm, TimeForm};
use super::roles::{Roles, one_type, unusable};
use super::table::{one_line, toml_text};
use super::words::RANKED;

/// Writes the lines under `[fields]`.
pub(super) struct Fields<'t> {
    columns: &'t [Column],
    roles: Roles,
    /// What a proposal is for.
    aim: Aim<'t>,
    used: Vec<bool>,
    out: String,
    /// Attributes with the columns that they are made of.
    made: Vec<(String, String)>,
}

/// What a proposal is for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim<'t> {
    /// The file names its columns.
    pub named: bool,
    /// What the file is called: what happened, where no column says it.
    pub stem: &'t str,
    /// Types become those of the default configuration, where they mean the same.
    pub renames: bool,
}

/// What is said of a time without a zone.
const NO_ZONE: &str =
    "# ? No zone in the text: UTC, unless you add zone = \"Europe/Berlin\" or the like.";

impl<'t> Fields<'t> {
    /// To be written behind `out`.
    pub fn new(columns: &'t [Column], aim: Aim<'t>, out: String) -> Self {
        let roles = Roles::of(columns, aim.named);
        Fields { columns, roles, aim, used: unusable(columns), out, made: Vec::new() }
    }

    /// What a map says of all columns; the attributes that it makes, each with its column.
    pub fn all(mut self) -> (String, Vec<(String, String)>) {
        self.time();
        self.kind();
        self.key();
        if let Some(place) = self.roles.id {
            let name = self.take(place, "id");
            self.line(&format!(
                "id = {name}  # no value comes twice; the same id again is a duplicate"
            ));
        }
        if let Some(place) = self.roles.amount {
            self.take(place, "amount");
            let line = number_line("amount", &self.columns[place]);
            self.line(&format!("{line}  # looks like money"));
        }
        self.others();
        (self.out, self.made)
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    /// The name of the column that becomes this attribute, as TOML.
    fn take(&mut self, place: usize, attribute: &str) -> String {
        self.used[place] = true;
        let name = &self.columns[place].name;
        self.made.push((attribute.to_owned(), name.clone()));
        toml_text(name)
    }

    fn time(&mut self) {
        let Some(place) = self.roles.time else {
            self.line("# ? No column looks like a time: every event gets the time of the file.");
            return self.line("ts = { unit = \"arrival\" }");
        };
        let name = self.take(place, "ts");
        if let Some(clock) = self.roles.clock {
            self.used[clock] = true;
            let clock = toml_text(&self.columns[clock].name);
            self.line(NO_ZONE);
            return self.line(&format!("ts = {{ columns = [{name}, {clock}], unit = \"iso\" }}"));
        }
        let form = self.columns[place].time.as_ref().expect("chosen because it has one");
        let TimeForm { spec, local, doubt, .. } = form.clone();
        if let Some(doubt) = doubt {
            self.line(&format!("# ? {doubt}"));
        }
        if local {
            self.line(NO_ZONE);
        }
        self.line(&format!("ts = {{ column = {name}, {spec} }}"));
    }

    fn kind(&mut self) {
        let Roles { kind, detail, .. } = self.roles;
        let Some(place) = kind else {
            let one = one_type(self.columns, self.aim.stem);
            self.line(&format!(
                "# ? No column says what happened: every event is one {}.",
                one_line(&one)
            ));
            return self.line(&format!("type = {{ value = {} }}", toml_text(&one)));
        };
        let places: Vec<usize> = detail.into_iter().chain([place]).collect();
        let kinds: Vec<String> = places.iter().map(|place| self.kind_of(*place)).collect();
        self.line(&match &*kinds {
            [one] => format!("type = {one}"),
            several => format!("type = [{}]  # the first that has a value", several.join(", ")),
        });
    }

    /// A type's column as TOML; says its values, and which of them are renamed.
    fn kind_of(&mut self, place: usize) -> String {
        let name = self.take(place, "type");
        let column = &self.columns[place];
        let renamed = column.values.iter().filter(|_| self.aim.renames).filter_map(|value| {
            let meaning = meaning(value).filter(|meaning| meaning != value)?;
            Some(format!("{} = {}", toml_text(value), toml_text(meaning)))
        });
        let renamed: Vec<String> = renamed.collect();
        let values: Vec<String> =
            column.values.iter().take(20).map(|value| one_line(value)).collect();
        let more = if column.values.len() > 20 { ", ..." } else { "" };
        let said = format!("# Its values: {}{more}", values.join(", "));
        if renamed.is_empty() {
            self.line(&said);
            return name;
        }
        self.line(&format!("{said}. ? Those under map are taken for the steps of a purchase."));
        format!("{{ column = {name}, map = {{ {} }} }}", renamed.join(", "))
    }

    fn key(&mut self) {
        let Roles { key, anonymous, .. } = self.roles;
        let Some(place) = key else {
            self.line("# ? No column looks like a user: without one there are no sessions.");
            return self.line("# user = \"...\"");
        };
        let name = self.take(place, "user");
        if !self.aim.named {
            self.line("# ? No names: the first column whose values come again.");
        }
        if self.columns[place].is_socket() {
            return self.line(&format!(
                "user = {{ column = {name}, before_last = \":\" }}  # an address without its port"
            ));
        }
        match anonymous {
            Some(anonymous) => {
                let anonymous = self.take(anonymous, "user");
                self.line(&format!("user = [{name}, {anonymous}]  # the first that has a value"));
            }
            None => self.line(&format!("user = {name}")),
        }
    }

    /// Numbers, and texts to group by.
    fn others(&mut self) {
        let mut taken: Vec<String> =
            ["ts", "type", "user", "id", "amount"].map(str::to_owned).to_vec();
        let mut left = Vec::new();
        for (place, column) in self.columns.iter().enumerate() {
            if self.used[place] || column.filled == 0 {
                continue;
            }
            let attribute = attribute(&column.name, &taken);
            taken.push(attribute.clone());
            if column.number.is_none() && !column.is_label() && !column.recurs() {
                left.push(format!("# {attribute} = {}", toml_text(&column.name)));
                continue;
            }
            self.take(place, &attribute);
            self.line(&match column.number {
                Some(_) => number_line(&attribute, column),
                None => text_line(&attribute, column),
            });
        }
        if !left.is_empty() {
            self.line("# Texts with many values; take those that you need.");
            left.iter().for_each(|line| self.line(line));
        }
        let unnamed = self.columns.iter().filter(|column| column.name.is_empty()).count();
        if unnamed > 0 {
            self.line(&format!("# {unnamed} columns have no name and are left out."));
        }
    }
}

fn number_line(attribute: &str, column: &Column) -> String {
    let form = match &column.number {
        Some(NumberForm::Like(example)) => toml_text(example),
        _ => "true".to_owned(),
    };
    format!("{attribute} = {{ column = {}, number = {form} }}", toml_text(&column.name))
}

/// Of an address on the web what stands before the question mark.
fn text_line(attribute: &str, column: &Column) -> String {
    let name = toml_text(&column.name);
    let asks =
        column.fits(RANKED).is_some() && column.values.iter().any(|value| value.contains('?'));
    if asks {
        format!("{attribute} = {{ column = {name}, before = \"?\" }}")
    } else {
        format!("{attribute} = {name}")
    }
}

/// What a type means to the default session rules.
pub fn meaning(value: &str) -> Option<&'static str> {
    let plain: String =
        value.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    let has = |words: &[&str]| words.iter().any(|word| plain.contains(word));
    match plain.as_str() {
        _ if has(&["remove", "refund", "cancel", "fail"]) => None,
        "cart" | "carts" | "addtocart" | "cartadd" | "productadded" | "basket" | "addtobasket" => {
            Some("cart_add")
        }
        "purchase" | "purchases" | "order" | "orders" | "ordercompleted" | "buy"
        | "transaction" | "payment" | "paymentcompleted" | "paymentdone" | "checkoutcompleted"
        | "ordered" | "pay" | "orderplaced" => Some("payment_completed"),
        "view" | "pageview" | "pageviews" | "page" | "click" | "clicks" | "productviewed" => {
            Some("page_view")
        }
        _ => None,
    }
}

/// A name for an attribute: that of the column in plain letters, and a new one.
fn attribute(column: &str, taken: &[String]) -> String {
    let name = slug(column);
    let name = if name.is_empty() { "column" } else { &name };
    let is_free = |name: &str| !taken.iter().any(|taken| taken == name);
    if is_free(name) {
        name.to_owned()
    } else {
        (2..)
            .map(|n| format!("{name}_{n}"))
            .find(|name| is_free(name))
            .expect("there are more numbers than columns")
    }
}

/// A text in plain letters, digits and single underscores, at most 60 of them.
pub fn slug(text: &str) -> String {
    let mut name = String::new();
    for c in text.chars().take(60) {
        match c {
            c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
            _ if name.ends_with('_') || name.is_empty() => {}
            _ => name.push('_'),
        }
    }
    name.truncate(name.trim_end_matches('_').len());
    name
}
