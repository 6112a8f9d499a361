//! The keys themselves. To add one: its line here, its field in `model.rs`; the tests name whatever else is missing.

use super::{Key, Reload, Unset};
use crate::kind::Kind;

const fn key(path: &'static str, kind: Kind, reload: Reload, help: &'static str) -> Key {
    Key { path, kind, unset: None, reload, example: "", help }
}

const fn open(
    path: &'static str,
    kind: Kind,
    unset: Unset,
    reload: Reload,
    example: &'static str,
    help: &'static str,
) -> Key {
    Key { path, kind, unset: Some(unset), reload, example, help }
}

const fn choice(values: &'static [&'static str]) -> Kind {
    Kind::Choice { values, aliases: &[] }
}

const fn count(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

const CHAIN: Kind = Kind::Choice {
    values: &["mainnet", "testnet4", "signet", "regtest"],
    aliases: &[("main", "mainnet"), ("bitcoin", "mainnet")],
};
const PROFILE: Kind = Kind::Choice {
    values: &["small", "medium", "large", "enterprise"],
    aliases: &[("klein", "small"), ("mittel", "medium"), ("gross", "large")],
};
/// No real address, so that a pool does not start with it.
const EXAMPLE_ADDRESS: &str = "\"bc1qyouraddress\"";

use Kind::{Address, Bool, Currency, Difficulty, Listen, Networks, Path, Percent, RpcUrl, Secret, WebUrl, ZmqUrl};
use Reload::{Live, Restart};

/// The tables in the order of the reference, each with what it is for.
pub(crate) const TABLES: &[(&str, &str)] = &[
    ("branding", "What the web page calls this pool. No effect on mining."),
    ("logging", "What is logged, and where to. `RUST_LOG` wins over `filter`."),
    (
        "mining",
        "The chain, and whom a block pays. Fee and donation are outputs of the coinbase of their own, together at most 99 %.",
    ),
    (
        "node",
        "Bitcoin Core. Write `[node]` for one, or `[[node]]` once for each: the first that works serves templates, all get a found \
         block. Flags and environment variables set the keys of the first. User and password stand in `secrets.toml`.",
    ),
    ("server", "Files and the web page."),
    ("stratum", "The port the miners connect to."),
    ("tuning", "How many workers the ledger remembers. The longest unseen goes first, never one that found a block."),
    ("profile", "How large the pool is meant to be. What other tables leave open follows from the profile."),
    ("vardiff", "How the difficulty of each miner's shares is found."),
    ("ratelimit", "Token buckets for each peer address, and bans for workers that send nothing but rejects."),
    ("retention", "How long statistics are kept. One record a day is kept for ever."),
    ("ledger", "The file that holds all that outlives a restart."),
    ("sim", "Read by the simulated node (`warppool sim node`) alone; a pool ignores it."),
];

pub(super) const KEYS: &[Key] = &[
    key(
        "branding.status_brand_name",
        Kind::Text { max: 64 },
        Live,
        "The pool's name on the page and in `warppool_build_info`.",
    ),
    key("branding.server_location", Kind::Text { max: 64 }, Live, "Where the pool stands, as shown on the page."),
    key("branding.fiat_currency", Currency, Live, "The currency in which amounts are also shown (ISO 4217)."),
    key(
        "logging.filter",
        Kind::Text { max: 1024 },
        Live,
        "What is logged, in the syntax of `RUST_LOG`, as in `info,warppool_node=debug`.",
    ),
    key("logging.net_debug", Bool, Live, "Log every line to and from the miners, passwords too. Very loud."),
    key("logging.json", Bool, Restart, "Log in JSON, a line an entry, for Loki and the like."),
    key(
        "logging.journald",
        choice(&["auto", "on", "off"]),
        Restart,
        "Log to journald instead of stdout; `auto` does so where systemd started the process.",
    ),
    key("mining.chain", CHAIN, Restart, "The chain to mine on. A node that follows another one is not used."),
    key(
        "mining.payout",
        choice(&["username", "operator"]),
        Restart,
        "Whom a block pays: the address in the miner's `username`, or the `operator`'s payout_address whoever finds it.",
    ),
    open(
        "mining.payout_address",
        Address,
        Unset::Off,
        Restart,
        EXAMPLE_ADDRESS,
        "Paid for blocks of miners with a plain name, and for all blocks when payout is `operator`. Without it, plain names are refused.",
    ),
    key("mining.pool_fee_percent", Percent, Restart, "The pool's part of a block, exact to the satoshi."),
    open(
        "mining.pool_fee_address",
        Address,
        Unset::Off,
        Restart,
        EXAMPLE_ADDRESS,
        "Receives the fee. Required when there is one.",
    ),
    key("mining.operator_donation_percent", Percent, Restart, "A further part of a block, given away."),
    open(
        "mining.operator_donation_address",
        Address,
        Unset::Off,
        Restart,
        EXAMPLE_ADDRESS,
        "Receives the donation. Required when there is one.",
    ),
    key("mining.pool_tag", Kind::Tag { max: 19 }, Restart, "Written into the coinbase of every block."),
    open(
        "mining.block_explorer_url",
        WebUrl,
        Unset::Off,
        Live,
        "\"https://mempool.space\"",
        "Blocks on the page link there. Without it, nothing links anywhere.",
    ),
    key(
        "node.name",
        Kind::Text { max: 32 },
        Restart,
        "The node's name in logs, on the page and in `[node.NAME]` of `secrets.toml`. Unlike every other node's.",
    ),
    open(
        "node.rpc_url",
        RpcUrl,
        Unset::Chain,
        Restart,
        "\"http://127.0.0.1:8332\"",
        "Where its RPC listens. Not set: this machine, at the chain's usual port. On regtest it may carry `user:password@`.",
    ),
    open(
        "node.rpc_cookie_path",
        Path,
        Unset::Chain,
        Restart,
        "\"/home/bitcoin/.bitcoin/.cookie\"",
        "The cookie file of Bitcoin Core; wins over user and password. When there is neither, the usual place of the chain's cookie is tried.",
    ),
    open(
        "node.zmq_hashblock_addr",
        ZmqUrl,
        Unset::Off,
        Restart,
        "\"tcp://127.0.0.1:28332\"",
        "The node's zmqpubhashblock: the fastest news of a block. Without it, long polling is used.",
    ),
    key(
        "server.data_dir",
        Path,
        Restart,
        "Where ledger and spool live. As every path here: relative to the folder of this file, `~/` is the home folder.",
    ),
    key(
        "server.http_listen",
        Listen,
        Restart,
        "The web page and API. Only an address of this machine itself (loopback) is allowed as long as there are no accounts.",
    ),
    open(
        "server.status_public_url",
        WebUrl,
        Unset::Off,
        Live,
        "\"https://pool.example.com\"",
        "How the page is reached from outside, for links in messages.",
    ),
    key("server.trusted_proxies", Networks, Live, "Reverse proxies whose `X-Forwarded-For` is believed."),
    key("stratum.listen", Listen, Live, "Stratum V1, plain. `:3333` is every address of the machine."),
    open(
        "stratum.tls_listen",
        Listen,
        Unset::Off,
        Live,
        "\":3334\"",
        "Stratum V1 over TLS. Needs a certificate and its key.",
    ),
    open(
        "stratum.tls_cert_path",
        Path,
        Unset::Off,
        Live,
        "\"cert.pem\"",
        "Certificate chain, PEM. A renewed file is picked up while the pool runs.",
    ),
    open("stratum.tls_key_path", Path, Unset::Off, Live, "\"key.pem\"", "The certificate's private key, PEM."),
    key(
        "stratum.tls_min_version",
        choice(&["1.2", "1.3"]),
        Restart,
        "The oldest TLS a miner may speak. Many devices know only 1.2.",
    ),
    open(
        "stratum.stratum_password",
        Secret,
        Unset::Off,
        Live,
        "\"let-me-in\"",
        "Miners must give it as their password. Without it, any password does.",
    ),
    key(
        "stratum.safe_mode",
        Bool,
        Live,
        "Refuse unusual shares: odd version bits, a time far from the job's. Off for trying experimental devices.",
    ),
    key(
        "stratum.allow_plain_names",
        Bool,
        Live,
        "Accept usernames that are no address; they are paid to mining.payout_address.",
    ),
    open(
        "stratum.max_connections",
        count(1, 100_000),
        Unset::Profile,
        Live,
        "64",
        "Connections in all. A smaller value sends nobody away.",
    ),
    open(
        "stratum.max_connections_per_address",
        count(1, 100_000),
        Unset::Profile,
        Live,
        "32",
        "Connections of one peer address.",
    ),
    key(
        "stratum.authorize_timeout_seconds",
        count(1, 600),
        Live,
        "How long a connection may take to authorize. After that there is no idle time-out.",
    ),
    key(
        "stratum.job_keepalive_seconds",
        count(1, 60),
        Restart,
        "A job is sent at least this often: devices give up after some minutes of silence.",
    ),
    key(
        "stratum.empty_job_on_new_tip",
        Bool,
        Restart,
        "Send an empty job the moment a new tip is known, and the full one after it.",
    ),
    key(
        "stratum.proxy_protocol_from",
        Networks,
        Live,
        "Proxies that must send a PROXY protocol v2 header; nobody else may.",
    ),
    key("tuning.max_saved_workers_per_user", count(1, 65_536), Restart, "Workers remembered of one user."),
    key("tuning.max_saved_workers_pool_total", count(1, 1_048_576), Restart, "Workers remembered in all."),
    open(
        "profile.kind",
        PROFILE,
        Unset::Hardware,
        Live,
        "\"small\"",
        "The profile. Not set: by expected_miner_count, or else by the hardware.",
    ),
    open(
        "profile.expected_miner_count",
        count(1, 100_000),
        Unset::Off,
        Live,
        "5",
        "How many miners are to come, when kind is not set.",
    ),
    key("vardiff.enabled", Bool, Live, "Fit the difficulty to each miner."),
    open(
        "vardiff.target_seconds_per_share",
        Kind::Number { min: 0.1, max: 600.0 },
        Unset::Profile,
        Live,
        "30.0",
        "How often a miner is to find a share.",
    ),
    key("vardiff.min_diff", Difficulty, Live, "The lowest difficulty."),
    key("vardiff.max_diff", Difficulty, Live, "The highest difficulty. The network's is a limit of its own."),
    open(
        "vardiff.initial_diff",
        Difficulty,
        Unset::Device,
        Live,
        "1.0",
        "The first difficulty of a miner that asks for none.",
    ),
    key(
        "vardiff.hysteresis",
        Kind::Number { min: 0.0, max: 1.0 },
        Live,
        "A difficulty changes only when it is off by more than this part.",
    ),
    key("vardiff.max_step", Kind::Number { min: 1.1, max: 1024.0 }, Live, "The most it changes at once, as a factor."),
    key("vardiff.retarget_after_n_shares", count(1, 10_000), Live, "How many shares it takes to look again."),
    key("vardiff.window", count(1, 10_000), Live, "Shares in the moving average."),
    key("ratelimit.enabled", Bool, Live, "Limit how fast one peer address connects and authorizes."),
    key("ratelimit.connects_per_sec", Kind::Number { min: 0.01, max: 100_000.0 }, Live, "Connects a second."),
    key("ratelimit.connect_burst", count(1, 100_000), Live, "Connects at once."),
    key(
        "ratelimit.auths_per_sec",
        Kind::Number { min: 0.01, max: 100_000.0 },
        Live,
        "Authorizations a second. Refused ones are answered, not dropped.",
    ),
    key("ratelimit.auth_burst", count(1, 100_000), Live, "Authorizations at once."),
    key("ratelimit.idle_evict_secs", count(1, 86_400), Live, "A peer unseen for so long starts with full buckets."),
    key("ratelimit.bans", Bool, Live, "Shut out peers whose workers send nothing but rejects."),
    key("ratelimit.ban_seconds", count(1, 86_400), Live, "For how long."),
    key("retention.raw_hours", count(1, 168), Restart, "Single shares, in hours."),
    key("retention.five_minute_days", count(1, 366), Restart, "Sums of five minutes, in days."),
    key("retention.hour_days", count(1, 3_660), Restart, "Sums of an hour, in days."),
    key("retention.audit_days", count(1, 3_660), Restart, "The log of changes made, in days."),
    open(
        "ledger.commit_seconds",
        count(1, 3_600),
        Unset::Profile,
        Restart,
        "60",
        "Statistics are written together this often; a power cut loses at most so much. Blocks are written at once.",
    ),
    key("ledger.map_size", Kind::Size { min: 16 << 20, max: 1 << 40 }, Restart, "The most the ledger may grow to."),
    key("sim.transactions", count(0, 100_000), Restart, "Transactions in every template of the simulated node."),
    key("sim.unreachable_target", Bool, Restart, "Make blocks of the simulated node impossible to find."),
];

pub(crate) const SECRETS: &[Key] = &[
    open(
        "rpc_user",
        Kind::Text { max: 256 },
        Unset::Off,
        Restart,
        "\"warppool\"",
        "The user of Bitcoin Core's RPC (`rpcauth` in bitcoin.conf).",
    ),
    open("rpc_pass", Secret, Unset::Off, Restart, "\"a-long-random-text\"", "The password that goes with it."),
];
