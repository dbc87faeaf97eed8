//! The commands, as data.

use bytes::Bytes;
use engram_shards::episode::Refusal;

use super::arguments::{is_keyword, shown};
use super::spec::{Argument, CommandSpec, Kind, Parse};
use super::{
    complete, connection, gist, journal, link, observe, recall, scan, space, spread, store,
    supersede, watch,
};

/// The command that the arguments name, its parser, and how many words its name has.
pub(super) fn find(arguments: &[Bytes]) -> Result<(&'static CommandSpec, Parse, usize), Refusal> {
    let name = arguments.first().map(|name| &name[..]).unwrap_or_default();
    let Some(spec) = COMMANDS.iter().find(|spec| is_keyword(name, spec.name)) else {
        return Err(Refusal::Syntax(format!(
            "unknown command {}; COMMAND LIST names those that exist",
            shown(name)
        )));
    };
    if let (false, Some(word)) = (spec.subcommands.is_empty(), arguments.get(1)) {
        let found = spec.subcommands.iter().find(|sub| is_keyword(word, sub.last_word()));
        if let Some((sub, parse)) = found.and_then(|sub| Some((sub, sub.parse?))) {
            return Ok((sub, parse, 2));
        }
        let names: Vec<&str> = spec.subcommands.iter().map(CommandSpec::last_word).collect();
        return Err(Refusal::Syntax(format!(
            "unknown subcommand {} of {}; it has {}",
            shown(word),
            spec.name,
            names.join(", ")
        )));
    }
    match spec.parse {
        Some(parse) => Ok((spec, parse, 1)),
        None => Err(spec
            .check_count(arguments.len())
            .err()
            .unwrap_or_else(|| Refusal::Syntax(format!("{} needs a subcommand", spec.name)))),
    }
}

const fn string(name: &'static str) -> Argument {
    Argument::new(name, Kind::String)
}

const fn integer(name: &'static str) -> Argument {
    Argument::new(name, Kind::Integer)
}

const fn double(name: &'static str) -> Argument {
    Argument::new(name, Kind::Double)
}

const fn token(token: &'static str) -> Argument {
    Argument::new(token, Kind::Token).behind(token)
}

const fn one_of(name: &'static str, choices: &'static [Argument]) -> Argument {
    Argument::new(name, Kind::OneOf(choices))
}

const fn block(name: &'static str, parts: &'static [Argument]) -> Argument {
    Argument::new(name, Kind::Block(parts))
}

const SPACE: Argument = string("space");
const ID: Argument = string("id");
const FROM: Argument = string("from");
const TO: Argument = string("to");
const KIND: Argument = string("kind").behind("KIND").optional();
const MUTUAL: Argument = token("MUTUAL").optional();
const SWITCH: &[Argument] = &[one_of("enabled", &[token("ON"), token("OFF")])];
const BLOB: Argument = string("blob").behind("VEC");
const VALUES: Argument = block("values", &[integer("n"), double("f").multiple()]).behind("VALUES");
const VECTOR: Argument = one_of("vector", &[BLOB, VALUES]);
const DURABILITY: Argument =
    one_of("durability", &[token("disk"), token("os")]).behind("DUR").optional();
const PARTS_OF_EPISODE: &[Argument] =
    &[token("text"), token("vec"), token("meta"), token("links"), token("strength")];
const GET_WITH: Argument = one_of("part", PARTS_OF_EPISODE).behind("WITH").optional().multiple();
const PARTS_OF_HIT: &[Argument] = &[
    token("text"),
    token("vec"),
    token("meta"),
    token("links"),
    token("strength"),
    token("belief"),
    token("why"),
];
const RECALL_WITH: Argument = one_of("part", PARTS_OF_HIT).behind("WITH").optional().multiple();
const FUSION_WEIGHTS: &[Argument] =
    &[double("near"), double("around"), double("time"), double("strength"), double("confidence")];
const RECALL_CUE: Argument =
    one_of("cue", &[BLOB, VALUES, string("id").behind("ID"), string("text").behind("TEXT")])
        .multiple();
const FADING_POLICY: &[Argument] =
    &[double("retention").behind("BELOW"), integer("seconds").behind("AFTER").optional()];
const SINCE: Argument = integer("microseconds").behind("SINCE").optional();
const UNTIL: Argument = integer("microseconds").behind("UNTIL").optional();
const MINCONF: Argument = double("p").behind("MINCONF").optional();
const ASOF: Argument = integer("microseconds").behind("ASOF").optional();
const ARCHIVED: Argument = token("ARCHIVED").optional();
const FILTER: Argument = string("json").behind("FILTER").optional();
const MINTRUST: Argument = double("p").behind("MINTRUST").optional();
const TRUST: Argument = one_of(
    "whose",
    &[
        block("writer", &[string("name"), double("t")]).behind("WRITER"),
        block("source", &[string("name"), double("t")]).behind("SOURCE"),
        block("user", &[integer("n"), double("t")]).behind("UID"),
        double("t").behind("*"),
    ],
)
.behind("TRUST")
.optional()
.multiple();
const HOPS: Argument = integer("n").behind("HOPS").optional();
const BUDGET: Argument = integer("edges").behind("BUDGET").optional();
const DECAY: Argument = double("p").behind("DECAY").optional();
const THRESHOLD: Argument = double("p").behind("THRESHOLD").optional();
const SIMILAR: Argument = double("p").behind("SIMILAR").optional();
const DEADLINE: Argument = integer("microseconds").behind("DEADLINE").optional();
const WATCH_FROM: Argument =
    block("place", &[integer("shard"), integer("seq")]).behind("FROM").optional().multiple();
const CREDIT: Argument = integer("n").behind("CREDIT").optional();
const PRIORITY: Argument =
    one_of("priority", &[token("high"), token("normal"), token("low")]).behind("PRIO").optional();
const TTL: Argument = one_of("ttl", &[integer("seconds"), token("none")]).behind("TTL").optional();
const STORE_ID: Argument = one_of("id", &[ID, token("*")]);
const EPISODE: Argument = block(
    "episode",
    &[
        VECTOR,
        string("text").behind("TEXT").optional(),
        integer("microseconds").behind("AT").optional(),
        block(
            "confidence",
            &[double("p"), block("interval", &[double("low"), double("high")]).optional()],
        )
        .behind("CONF")
        .optional(),
        string("json").behind("META").optional(),
        string("name").behind("WRITER").optional(),
        string("name").behind("SOURCE").optional(),
        string("thread").behind("THREAD").optional(),
        block("link", &[ID, double("weight"), KIND]).behind("LINK").optional().multiple(),
        string("id").behind("SUPERSEDES").optional().multiple(),
        string("key").behind("KEY").optional(),
        token("DEDUP").optional(),
        double("s").behind("NEAR").optional(),
        TTL,
        PRIORITY,
        DURABILITY,
    ],
);

const SPACE_COMMANDS: &[CommandSpec] = &[
    CommandSpec::engram("EG.SPACE CREATE", "Creates a memory space.").flags(&["write"]).takes(
        &[
            SPACE,
            integer("dimensions").behind("DIM"),
            string("model").behind("MODEL").optional(),
            one_of("metric", &[token("cosine"), token("dot"), token("l2")])
                .behind("METRIC")
                .optional(),
            one_of("bits", &[token("1"), token("2"), token("4")]).behind("CODES").optional(),
            one_of("fan", &[token("degree"), double("strength")]).behind("FAN").optional(),
            integer("links").behind("FANCAP").optional(),
            one_of(
                "decay",
                &[token("power"), token("two"), token("none"), integer("half-life-seconds")],
            )
            .behind("DECAY")
            .optional(),
            TTL,
            block("policy", FADING_POLICY).behind("ARCHIVE").optional(),
            block("policy", FADING_POLICY).behind("FORGET").optional(),
            string("language").behind("LANGUAGE").optional(),
            block("weights", FUSION_WEIGHTS).behind("WEIGHTS").optional(),
            string("path").behind("THREAD").optional(),
            one_of("shards", &[integer("n"), token("all")]).behind("SHARDS").optional(),
        ],
        space::create,
    ),
    CommandSpec::engram("EG.SPACE LIST", "Names the memory spaces.")
        .flags(&["readonly", "fast"])
        .takes(&[], space::list),
    CommandSpec::engram("EG.SPACE INFO", "Describes a memory space.")
        .flags(&["readonly", "fast"])
        .takes(&[SPACE], space::info),
    CommandSpec::engram("EG.SPACE DROP", "Removes a memory space and all it holds.")
        .flags(&["write"])
        .takes(&[SPACE], space::drop),
];

const CLIENT_COMMANDS: &[CommandSpec] = &[
    CommandSpec::connection("CLIENT ID", "Answers the number of this connection.")
        .flags(&["fast"])
        .takes(&[], connection::client_id),
    CommandSpec::connection("CLIENT GETNAME", "Answers the name of this connection.")
        .flags(&["fast"])
        .takes(&[], connection::client_getname),
    CommandSpec::connection("CLIENT SETNAME", "Names this connection.")
        .flags(&["fast"])
        .takes(&[string("connection-name")], connection::client_setname),
    CommandSpec::connection("CLIENT SETINFO", "Tells which library the client uses.")
        .flags(&["fast"])
        .takes(
            &[one_of(
                "attribute",
                &[string("name").behind("LIB-NAME"), string("version").behind("LIB-VER")],
            )],
            connection::client_setinfo,
        ),
    CommandSpec::connection("CLIENT INFO", "Describes this connection.")
        .takes(&[], connection::client_info),
    CommandSpec::connection("CLIENT LIST", "Describes the open connections.")
        .flags(&["admin"])
        .takes(&[], connection::client_list),
    CommandSpec::connection("CLIENT NO-EVICT", "Accepted; connections are never evicted.")
        .flags(&["fast"])
        .takes(SWITCH, connection::client_no_evict),
    CommandSpec::connection("CLIENT NO-TOUCH", "Accepted; see NOREINFORCE of EG.RECALL.")
        .flags(&["fast"])
        .takes(SWITCH, connection::client_no_touch),
];

const CONFIG_COMMANDS: &[CommandSpec] =
    &[CommandSpec::server("CONFIG RESETSTAT", "Begins counters and latencies anew.")
        .flags(&["admin"])
        .takes(&[], connection::config_reset_stat)];

const TIMED: &[Argument] = &[string("name").optional().multiple()];

const SLOWLOG_COMMANDS: &[CommandSpec] = &[
    CommandSpec::engram("EG.SLOWLOG GET", "Answers the newest of the commands that were slow.")
        .flags(&["admin"])
        .takes(&[integer("count").optional()], journal::slowlog_get),
    CommandSpec::engram("EG.SLOWLOG LEN", "Answers how many slow commands are kept.")
        .flags(&["admin", "fast"])
        .takes(&[], journal::slowlog_len),
    CommandSpec::engram("EG.SLOWLOG RESET", "Forgets the commands that were slow.")
        .flags(&["admin", "fast"])
        .takes(&[], journal::slowlog_reset),
];

const LATENCY_COMMANDS: &[CommandSpec] = &[
    CommandSpec::engram("EG.LATENCY GET", "Answers quantiles of commands and stages.")
        .flags(&["admin"])
        .takes(TIMED, journal::latency_get),
    CommandSpec::engram("EG.LATENCY HISTOGRAM", "Answers histograms of commands and stages.")
        .flags(&["admin"])
        .takes(TIMED, journal::latency_histogram),
    CommandSpec::engram("EG.LATENCY RESET", "Begins the histograms of commands anew.")
        .flags(&["admin"])
        .takes(TIMED, journal::latency_reset),
];

const NAMES: &[Argument] = &[string("command-name").optional().multiple()];

const COMMAND_COMMANDS: &[CommandSpec] = &[
    CommandSpec::server("COMMAND COUNT", "Answers how many commands there are.")
        .takes(&[], connection::command_count),
    CommandSpec::server("COMMAND DOCS", "Documents all commands or those named.")
        .takes(NAMES, connection::command_docs),
    CommandSpec::server("COMMAND INFO", "Describes all commands or those named.")
        .takes(NAMES, connection::command_info),
    CommandSpec::server("COMMAND LIST", "Names the commands.").takes(&[], connection::command_list),
];

/// All commands, those of the hot path first.
pub(super) static COMMANDS: &[CommandSpec] = &[
    CommandSpec::engram("EG.STORE", "Stores an episode; acknowledged when it is durable.")
        .flags(&["write"])
        .takes(&[SPACE, STORE_ID, EPISODE], store::store),
    CommandSpec::engram("EG.MSTORE", "Stores a batch of episodes; one answer for each, in order.")
        .flags(&["write"])
        .takes(
            &[SPACE, integer("n"), block("item", &[STORE_ID, EPISODE]).behind("ITEM").multiple()],
            store::store_many,
        ),
    CommandSpec::engram("EG.OBSERVE", "Stores a stream of episodes, acknowledged in ranges.")
        .flags(&["write"])
        .takes(
            &[one_of(
                "what",
                &[
                    block("open", &[SPACE, PRIORITY, DURABILITY, CREDIT]).behind("OPEN"),
                    block("observation", &[integer("stream"), STORE_ID, EPISODE]),
                    integer("stream").behind("CLOSE"),
                ],
            )],
            observe::observe,
        ),
    CommandSpec::engram(
        "EG.RECALL",
        "Recalls the k episodes that fit cues best: vectors, by their mean, and words.",
    )
    .flags(&["readonly"])
    .takes(
        &[
            SPACE,
            integer("k").behind("K"),
            RECALL_CUE,
            block("weights", FUSION_WEIGHTS).behind("WEIGHTS").optional(),
            SINCE,
            UNTIL,
            ASOF,
            ARCHIVED,
            MINCONF,
            FILTER,
            MINTRUST,
            TRUST,
            token("EXACT").optional(),
            integer("n").behind("BEAM").optional(),
            double("p").behind("TARGET").optional(),
            block(
                "spread",
                &[
                    token("SPREAD"),
                    HOPS,
                    BUDGET,
                    DECAY,
                    THRESHOLD,
                    SIMILAR,
                    DEADLINE,
                    integer("n").behind("SEEDS").optional(),
                    double("w").behind("WEIGHT").optional(),
                ],
            )
            .optional(),
            token("GISTS").optional(),
            token("NOREINFORCE").optional(),
            RECALL_WITH,
            integer("n").behind("BYTES").optional(),
        ],
        recall::recall,
    ),
    CommandSpec::engram("EG.SPREAD", "Finds the k episodes most associated with some.")
        .flags(&["readonly"])
        .takes(
            &[
                SPACE,
                integer("k").behind("K"),
                block("seed", &[string("id"), double("mass")]).behind("FROM").multiple(),
                HOPS,
                BUDGET,
                DECAY,
                THRESHOLD,
                SIMILAR,
                DEADLINE,
                token("EXACT").optional(),
                SINCE,
                UNTIL,
                ASOF,
                ARCHIVED,
                MINCONF,
                FILTER,
                MINTRUST,
                TRUST,
                RECALL_WITH,
                integer("n").behind("BYTES").optional(),
            ],
            spread::spread,
        ),
    CommandSpec::engram("EG.COMPLETE", "Completes a partial vector by what it brings to mind.")
        .flags(&["readonly"])
        .takes(
            &[
                SPACE,
                VECTOR,
                block("range", &[integer("first"), integer("last")])
                    .behind("UNKNOWN")
                    .optional()
                    .multiple(),
                integer("k").behind("K").optional(),
                integer("n").behind("ROUNDS").optional(),
                double("b").behind("BETA").optional(),
                token("EXACT").optional(),
                SINCE,
                UNTIL,
                ASOF,
                ARCHIVED,
                MINCONF,
                FILTER,
                MINTRUST,
                TRUST,
                GET_WITH,
                integer("n").behind("BYTES").optional(),
            ],
            complete::complete,
        ),
    CommandSpec::engram("EG.GIST", "Answers what the episodes that fit cues have in common.")
        .flags(&["readonly"])
        .takes(
            &[
                SPACE,
                integer("k").behind("K"),
                RECALL_CUE,
                integer("n").behind("AMONG").optional(),
                double("s").behind("ALIKE").optional(),
                token("EXACT").optional(),
                SINCE,
                UNTIL,
                ASOF,
                ARCHIVED,
                MINCONF,
                FILTER,
                MINTRUST,
                TRUST,
                one_of("part", &[token("text"), token("vec")]).behind("WITH").optional().multiple(),
                integer("n").behind("BYTES").optional(),
            ],
            gist::gist,
        ),
    CommandSpec::engram("EG.GET", "Reads an episode by its id.")
        .flags(&["readonly", "fast"])
        .takes(&[SPACE, ID, ASOF, GET_WITH], recall::get),
    CommandSpec::engram("EG.MGET", "Reads episodes by their ids; nil for an unknown id.")
        .flags(&["readonly"])
        .takes(&[SPACE, integer("n"), ID.multiple(), ASOF, GET_WITH], recall::get_many),
    CommandSpec::engram("EG.SCAN", "Goes through all episodes of a memory space.")
        .flags(&["readonly"])
        .takes(
            &[
                SPACE,
                integer("cursor").behind("CURSOR").optional(),
                integer("count").behind("COUNT").optional(),
                GET_WITH,
            ],
            scan::scan,
        ),
    CommandSpec::engram("EG.WATCH", "Sends new episodes of a memory space as they are stored.")
        .flags(&["readonly"])
        .takes(
            &[one_of(
                "what",
                &[
                    block("watch", &[SPACE, WATCH_FROM, CREDIT, GET_WITH]),
                    block("more", &[integer("watch"), integer("n")]).behind("MORE"),
                ],
            )],
            watch::watch,
        ),
    CommandSpec::engram("EG.UNWATCH", "Ends a watch of this connection.")
        .flags(&["readonly", "fast"])
        .takes(&[integer("watch")], watch::unwatch),
    CommandSpec::engram("EG.SUPERSEDE", "Ends the time in which an episode is valid.")
        .flags(&["write", "fast"])
        .takes(
            &[
                SPACE,
                ID,
                string("id").behind("BY"),
                integer("microseconds").behind("AT").optional(),
                DURABILITY,
            ],
            supersede::supersede,
        ),
    CommandSpec::engram("EG.LINK", "Links an episode to another, or gives a link another weight.")
        .flags(&["write", "fast"])
        .takes(&[SPACE, FROM, TO, double("weight"), KIND, MUTUAL, DURABILITY], link::link),
    CommandSpec::engram("EG.UNLINK", "Removes links from an episode to another.")
        .flags(&["write", "fast"])
        .takes(&[SPACE, FROM, TO, KIND, MUTUAL, DURABILITY], link::unlink),
    CommandSpec::engram("EG.REINFORCE", "Strengthens an episode: one more presentation.")
        .flags(&["write", "fast"])
        .takes(&[SPACE, ID, DURABILITY], recall::reinforce),
    CommandSpec::engram("EG.PIN", "Keeps an episode from fading.")
        .flags(&["write", "fast"])
        .takes(&[SPACE, ID, DURABILITY], recall::pin),
    CommandSpec::engram("EG.UNPIN", "Lets an episode fade again.")
        .flags(&["write", "fast"])
        .takes(&[SPACE, ID, DURABILITY], recall::unpin),
    CommandSpec::engram("EG.FORGET", "Hides an episode from now on.")
        .flags(&["write", "fast"])
        .takes(&[SPACE, ID, DURABILITY], recall::forget),
    CommandSpec::engram("EG.ERASE", "Removes every byte of an episode from the log.")
        .flags(&["write"])
        .takes(&[SPACE, ID], recall::erase),
    CommandSpec::engram("EG.CONSOLIDATE", "Moves what is stored from the log into columns.")
        .flags(&["write"])
        .takes(&[SPACE.optional()], space::consolidate),
    CommandSpec::engram("EG.SNAPSHOT", "Copies the store into a folder, while it is written to.")
        .flags(&["admin"])
        .takes(&[string("path")], space::snapshot),
    CommandSpec::engram("EG.STATS", "Answers figures of the daemon or of a memory space.")
        .flags(&["readonly"])
        .takes(&[SPACE.optional()], space::stats),
    CommandSpec::engram("EG.SPACE", "Manages memory spaces.").subcommands(SPACE_COMMANDS),
    CommandSpec::engram("EG.SLOWLOG", "Tells of commands that were slow.")
        .subcommands(SLOWLOG_COMMANDS),
    CommandSpec::engram("EG.LATENCY", "Tells how long commands and their stages take.")
        .subcommands(LATENCY_COMMANDS),
    CommandSpec::connection("PING", "Answers PONG or the message.")
        .flags(&["fast"])
        .takes(&[string("message").optional()], connection::ping),
    CommandSpec::connection("ECHO", "Answers the message.")
        .flags(&["fast"])
        .takes(&[string("message")], connection::echo),
    CommandSpec::connection("HELLO", "Agrees on the protocol and describes the daemon.")
        .flags(&["fast"])
        .takes(
            &[block(
                "arguments",
                &[
                    integer("protover"),
                    block("auth", &[string("username"), string("password")])
                        .behind("AUTH")
                        .optional(),
                    string("clientname").behind("SETNAME").optional(),
                ],
            )
            .optional()],
            connection::hello,
        ),
    CommandSpec::connection("CLIENT", "About connections.").subcommands(CLIENT_COMMANDS),
    CommandSpec::connection("QUIT", "Closes this connection after the replies before it.")
        .flags(&["fast"])
        .takes(&[], connection::quit),
    CommandSpec::server("INFO", "Describes the daemon's state, all sections or those named.")
        .takes(&[string("section").optional().multiple()], connection::info),
    CommandSpec::server("CONFIG", "About the daemon's figures.").subcommands(CONFIG_COMMANDS),
    CommandSpec::server("COMMAND", "Describes all commands.")
        .takes(&[], connection::command)
        .subcommands(COMMAND_COMMANDS),
];
