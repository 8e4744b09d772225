//! What columns are called in files that people have: the most telling words first. A further language
//! or trade is a word in a list. Letters and digits only, in lower case; of a path the last part
//! counts, alone or with the one before it ("customer.id" is "customerid").

/// When it happened.
pub const TIMES: &[&str] = &[
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
    "fecha",
    "msec",
    "requesttime",
    "startedat",
    "tsms",
    "updatedat",
];

/// What happened.
pub const TYPES: &[&str] = &[
    "type",
    "eventtype",
    "eventname",
    "event",
    "action",
    "activity",
    "behavior",
    "behaviour",
    "behaviortype",
    "transactiontype",
    "activitytype",
    "kind",
    "what",
    "ereignis",
    "aktion",
    "vorgang",
    "evenement",
    "evento",
];

/// What tells events apart where nothing is called a type: the change, the quantity that was measured,
/// the message of a log, the state that something is in.
pub const STATES: &[&str] = &[
    "op",
    "operation",
    "verb",
    "command",
    "metric",
    "measurement",
    "reason",
    "status",
    "state",
    "zustand",
    "estado",
    "statut",
    "result",
    "outcome",
    "level",
    "loglevel",
    "severity",
    "severitytext",
    "description",
    "buchungstext",
];

/// What happened in words, where these come again and again.
pub const MESSAGES: &[&str] = &["message", "msg", "body"];

/// What things and events are called.
pub const NAMES: &[&str] = &["name"];

/// Who did it, or what it happened to.
pub const KEYS: &[&str] = &[
    "userid",
    "user",
    "visitorid",
    "visitor",
    "customerid",
    "customer",
    "distinctid",
    "anonymousid",
    "clientid",
    "userpseudoid",
    "sessionid",
    "session",
    "uid",
    "memberid",
    "accountid",
    "playerid",
    "email",
    "username",
    "login",
    "actorlogin",
    "requester",
    "kundennummer",
    "kunde",
    "customername",
    "kundenname",
    "benutzer",
    "cliente",
    "cip",
    "clientip",
    "remoteaddr",
    "ip",
    "client",
    "who",
    "remotehost",
    "deviceid",
    "device",
    "sensorid",
    "sensor",
    "machineid",
    "machine",
    "vehicleid",
    "vehicle",
    "stationid",
    "station",
    "symbol",
    "account",
    "konto",
    "iban",
    "involvedobjectname",
    "host",
    "hostname",
    "podname",
    "servicename",
    "service",
    "job",
    "room",
    "raum",
];

/// Who did it, before it is known who that is.
pub const ANONYMOUS: &[&str] =
    &["anonymousid", "anonid", "visitorid", "userpseudoid", "deviceid", "clientid", "cookie"];

/// Money.
pub const MONEY: &[&str] = &[
    "totalamount",
    "totalprice",
    "grandtotal",
    "ordertotal",
    "amount",
    "price",
    "total",
    "revenue",
    "sales",
    "cost",
    "subtotal",
    "nettobetrag",
    "bruttobetrag",
    "betrag",
    "preis",
    "umsatz",
    "importe",
    "montant",
    "money",
    "payment",
    "fare",
];

/// Money where a currency stands beside it.
pub const VALUES: &[&str] = &["value", "sum", "summe", "wert"];

/// What money is counted in.
pub const CURRENCY: &[&str] = &["currency", "currencycode", "waehrung", "moneda", "devise"];

/// What a quantity is counted in: it follows from what was measured.
pub const UNITS: &[&str] = &["unit", "units", "einheit", "currency"];

/// Different for each event.
pub const IDS: &[&str] = &[
    "eventid",
    "id",
    "uuid",
    "messageid",
    "insertid",
    "requestid",
    "transactionid",
    "orderid",
    "ticketid",
    "tripid",
    "invoiceid",
    "auftragsnummer",
    "bestellnummer",
    "belegnummer",
    "uid",
];

/// Endings of what is written in digits and is no quantity.
pub const CODES: &[&str] = &[
    "id",
    "code",
    "type",
    "no",
    "nr",
    "number",
    "nummer",
    "zip",
    "plz",
    "postcode",
    "year",
    "version",
    "port",
    "lsn",
    "offset",
    "partition",
    "line",
    "lat",
    "latitude",
    "lon",
    "lng",
    "longitude",
    "index",
    "seq",
    "sequence",
    "pid",
    "flag",
];

/// How long it took.
pub const DURATIONS: &[&str] = &[
    "latency",
    "duration",
    "durationms",
    "elapsed",
    "responsetime",
    "took",
    "dwell",
    "rtt",
    "ms",
    "seconds",
    "time",
];

/// What an answer says of its success.
pub const STATUS: &[&str] =
    &["status", "statuscode", "httpstatus", "code", "response", "responsecode"];

/// How bad it is.
pub const LEVELS: &[&str] = &["level", "loglevel", "severity", "severitytext"];

/// What was asked of a web server.
pub const REQUESTS: &[&str] = &[
    "path",
    "url",
    "uri",
    "requesturi",
    "request",
    "method",
    "requestmethod",
    "route",
    "endpoint",
];

/// What is ranked.
pub const RANKED: &[&str] = &[
    "path",
    "url",
    "uri",
    "page",
    "route",
    "product",
    "productid",
    "item",
    "itemid",
    "sku",
    "artikel",
    "query",
    "aid",
    "reponame",
    "currenturl",
];

/// What is added up rather than averaged.
pub const SUMMED: &[&str] =
    &["bytes", "size", "quantity", "qty", "menge", "volume", "count", "units", "bodybytessent"];

/// Groups that people ask for.
pub const LABELS: &[&str] = &[
    "status",
    "statuscode",
    "state",
    "priority",
    "country",
    "region",
    "land",
    "channel",
    "category",
    "kategorie",
    "level",
    "severity",
    "severitytext",
    "method",
    "plan",
    "platform",
    "source",
    "segment",
    "service",
    "servicename",
    "reason",
    "queue",
    "browser",
    "os",
];

/// Texts of the tool that wrote them.
pub const TECHNICAL: &[&str] = &[
    "version",
    "library",
    "libraryname",
    "locale",
    "timezone",
    "connector",
    "useragent",
    "datacontenttype",
    "specversion",
    "apiversion",
];
