//! The lines under `[fields]` of a proposal: which column is the time, the type, the key, the id,
//! and what the others are, by their names and by what they hold.

use super::column::{Column, NumberForm};
use super::table::{one_line, toml_text};

/// Words that columns are called by, the most telling first.
const TIMES: [&str; 18] = [
    "ts",
    "timestamp",
    "eventtime",
    "eventtimestamp",
    "time",
    "datetime",
    "occurredat",
    "createdat",
    "created",
    "at",
    "when",
    "date",
    "zeit",
    "zeitstempel",
    "datum",
    "msec",
    "requesttime",
    "updatedat",
];
const TYPES: [&str; 12] = [
    "type",
    "eventtype",
    "eventname",
    "event",
    "action",
    "activity",
    "behavior",
    "behaviour",
    "kind",
    "what",
    "ereignis",
    "aktion",
];
const KEYS: [&str; 24] = [
    "userid",
    "user",
    "visitorid",
    "visitor",
    "anonymousid",
    "customerid",
    "customer",
    "clientid",
    "sessionid",
    "session",
    "uid",
    "deviceid",
    "memberid",
    "accountid",
    "email",
    "cip",
    "clientip",
    "remoteaddr",
    "ip",
    "client",
    "kunde",
    "who",
    "remotehost",
    "host",
];
const MONEY: [&str; 16] = [
    "amount",
    "price",
    "total",
    "totalprice",
    "revenue",
    "value",
    "cost",
    "sum",
    "subtotal",
    "grandtotal",
    "betrag",
    "preis",
    "umsatz",
    "money",
    "payment",
    "fare",
];
const IDS: [&str; 8] =
    ["eventid", "id", "uuid", "messageid", "insertid", "requestid", "transactionid", "orderid"];

/// Which columns hold what every event has, as places.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles {
    /// When it happened.
    pub time: Option<usize>,
    /// What happened.
    pub kind: Option<usize>,
    /// Who did it.
    pub key: Option<usize>,
    /// Different for each event.
    pub id: Option<usize>,
    /// Money.
    pub amount: Option<usize>,
}

impl Roles {
    /// By the names of columns and by what they hold.
    pub fn of(columns: &[Column]) -> Roles {
        let mut notes = Vec::new();
        let mut fields = Fields::new(columns, true, String::new(), &mut notes);
        let mut take = |words: &[&str], fits: &dyn Fn(&Column) -> bool| {
            let place = fields.best(words, fits)?;
            fields.used[place] = true;
            Some(place)
        };
        Roles {
            time: take(&TIMES, &|column| column.time.is_some()),
            kind: take(&TYPES, &is_type),
            key: take(&KEYS, &is_key),
            id: take(&IDS, &is_id),
            amount: take(&MONEY, &|column| column.number.is_some()),
        }
    }
}

fn is_type(column: &Column) -> bool {
    column.number.is_none() && column.values.len() <= 200 && column.filled > 0
}

fn is_key(column: &Column) -> bool {
    column.filled > 0 && column.time.is_none()
        || column.named(&KEYS).is_some_and(|rank| rank % 2 == 0)
}

fn is_id(column: &Column) -> bool {
    column.is_unique() && column.named(&IDS).is_some_and(|rank| rank % 2 == 0)
}

/// Writes the lines under `[fields]`.
pub(super) struct Fields<'t> {
    columns: &'t [Column],
    /// The file names its columns.
    named: bool,
    used: Vec<bool>,
    out: String,
    notes: &'t mut Vec<String>,
}

impl<'t> Fields<'t> {
    /// To be written behind `out`.
    pub fn new(
        columns: &'t [Column],
        named: bool,
        out: String,
        notes: &'t mut Vec<String>,
    ) -> Self {
        // A second column of the same name cannot be asked for.
        let used = columns.iter().enumerate().map(|(place, column)| {
            let twice = columns[..place].iter().any(|other| other.name == column.name);
            twice || column.name.is_empty()
        });
        Fields { columns, named, used: used.collect(), out, notes }
    }

    /// What a map says of all columns.
    pub fn all(mut self) -> String {
        self.time();
        self.kind();
        self.key();
        self.id();
        self.others();
        self.out
    }

    /// The free column with the best name among those that fit.
    fn best(&self, words: &[&str], fits: impl Fn(&Column) -> bool) -> Option<usize> {
        let free = self.columns.iter().enumerate().filter(|(place, _)| !self.used[*place]);
        let fitting = free.filter(|(_, column)| fits(column));
        let named = fitting.filter_map(|(place, column)| Some((column.named(words)?, place)));
        named.min().map(|(_, place)| place)
    }

    fn line(&mut self, line: &str) {
        self.out.push_str(line);
        self.out.push('\n');
    }

    fn time(&mut self) {
        let date_and_clock = self.date_and_clock();
        let by_name = self.best(&TIMES, |column| column.time.is_some() && !column.is_date);
        let by_form = || {
            let telling = |column: &Column| {
                column.time.as_ref().is_some_and(|time| !time.vague || !self.named)
            };
            self.columns.iter().position(telling)
        };
        let dated = || self.best(&TIMES, |column| column.time.is_some());
        let Some(place) = by_name
            .or_else(|| if date_and_clock.is_some() { None } else { dated().or_else(by_form) })
        else {
            if let Some((date, clock)) = date_and_clock {
                return self.date_with_clock(date, clock);
            }
            self.line("# ? No column looks like a time: every event gets the time of the file.");
            self.line("ts = { unit = \"arrival\" }");
            return;
        };
        self.used[place] = true;
        let column = &self.columns[place];
        let form = column.time.clone().expect("chosen because it has one");
        if let Some(doubt) = &form.doubt {
            self.out.push_str(&format!("# ? {doubt}\n"));
        }
        if form.local {
            self.line("# ? No zone in the text: UTC, unless you add zone = \"Europe/Berlin\" or the like.");
        }
        let name = toml_text(&self.columns[place].name);
        self.line(&format!("ts = {{ column = {name}, {} }}", form.spec));
    }

    /// A date in one column and the time of day in another.
    fn date_and_clock(&self) -> Option<(usize, usize)> {
        let date = self.columns.iter().position(|column| column.is_date)?;
        let clock = self.columns.iter().position(|column| column.is_clock)?;
        Some((date, clock))
    }

    fn date_with_clock(&mut self, date: usize, clock: usize) {
        (self.used[date], self.used[clock]) = (true, true);
        let (date, clock) = (&self.columns[date].name, &self.columns[clock].name);
        let line = format!(
            "# ? No zone in the text: UTC, unless you add zone = \"Europe/Berlin\" or the like.\n\
             ts = {{ columns = [{}, {}], unit = \"iso\" }}",
            toml_text(date),
            toml_text(clock)
        );
        self.line(&line);
    }

    fn kind(&mut self) {
        let Some(place) = self.best(&TYPES, is_type) else {
            self.line("# ? No column looks like a type: every event is an \"event\".");
            self.line("type = { value = \"event\" }");
            return;
        };
        self.used[place] = true;
        let column = &self.columns[place];
        let mut map = Vec::new();
        for value in &column.values {
            if let Some(meaning) = meaning(value).filter(|meaning| meaning != value) {
                map.push(format!("{} = {}", toml_text(value), toml_text(meaning)));
            }
        }
        let values: Vec<String> =
            column.values.iter().take(20).map(|value| one_line(value)).collect();
        let more = if column.values.len() > 20 { ", ..." } else { "" };
        let name = toml_text(&column.name);
        let line = if map.is_empty() {
            format!("# Its values: {}{more}\ntype = {name}", values.join(", "))
        } else {
            format!(
                "# Its values: {}{more}. ? Those under map are taken for the steps of a purchase.\n\
             type = {{ column = {name}, map = {{ {} }} }}",
                values.join(", "),
                map.join(", ")
            )
        };
        self.line(&line);
    }

    fn key(&mut self) {
        let Some(place) = self.best(&KEYS, is_key) else {
            // By convention who did it stands first.
            let again = |column: &Column| {
                column.filled > 0
                    && column.time.is_none()
                    && !column.is_label()
                    && !column.is_unique()
            };
            let free = |place: &usize| !self.used[*place] && again(&self.columns[*place]);
            if let Some(place) = (0..self.columns.len()).find(free).filter(|_| !self.named) {
                self.used[place] = true;
                let name = toml_text(&self.columns[place].name);
                self.line("# ? No names: the first column whose values come again.");
                return self.line(&format!("user = {name}"));
            }
            self.line("# ? No column looks like a user: without one there are no sessions.");
            self.line("# user = \"...\"");
            return;
        };
        self.used[place] = true;
        let name = toml_text(&self.columns[place].name);
        if self.columns[place].is_socket() {
            self.line(&format!(
                "user = {{ column = {name}, before_last = \":\" }}  # an address without its port"
            ))
        } else {
            self.line(&format!("user = {name}"))
        }
    }

    fn id(&mut self) {
        if let Some(place) = self.best(&IDS, is_id) {
            self.used[place] = true;
            let name = toml_text(&self.columns[place].name);
            self.line(&format!(
                "id = {name}  # no value comes twice; the same id again is a duplicate"
            ));
        }
    }

    /// Money, numbers, and texts to group by.
    fn others(&mut self) {
        let numeric = |column: &Column| column.number.is_some();
        let money = self.best(&MONEY, numeric).or_else(|| {
            let signed = |column: &Column| matches!(&column.number, Some(NumberForm::Like(like)) if like.chars().any(|c| !c.is_ascii() || c == '$'));
            self.columns.iter().position(signed)
        });
        let mut taken =
            vec!["ts".to_owned(), "type".to_owned(), "user".to_owned(), "id".to_owned()];
        if let Some(place) = money.filter(|place| !self.used[*place]) {
            self.used[place] = true;
            taken.push("amount".to_owned());
            let line = number_line("amount", &self.columns[place]);
            self.line(&format!("{line}  # looks like money"));
        }
        let mut left = Vec::new();
        for place in 0..self.columns.len() {
            let column = &self.columns[place];
            if self.used[place] || column.filled == 0 {
                continue;
            }
            let attribute = attribute(&column.name, &taken);
            taken.push(attribute.clone());
            if column.number.is_some() {
                let line = number_line(&attribute, column);
                self.line(&line);
            } else if column.is_label() {
                let line = format!("{attribute} = {}", toml_text(&column.name));
                self.line(&line);
            } else {
                left.push(format!("# {attribute} = {}", toml_text(&column.name)));
            }
        }
        if !left.is_empty() {
            self.line("# Texts with many values; take those that you need.");
            left.iter().for_each(|line| self.line(line));
        }
        let unnamed = self.columns.iter().filter(|column| column.name.is_empty()).count();
        if unnamed > 0 {
            self.notes.push(format!("{unnamed} columns have no name and are left out."));
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
    let mut name = String::new();
    for c in column.chars().take(60) {
        match c {
            c if c.is_ascii_alphanumeric() => name.push(c.to_ascii_lowercase()),
            _ if name.ends_with('_') || name.is_empty() => {}
            _ => name.push('_'),
        }
    }
    let name = name.trim_end_matches('_');
    let name = if name.is_empty() { "column" } else { name };
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
