// Shows the pool and follows it. Whatever comes from elsewhere (names, agents, messages) goes in as text, never as markup.

const $ = (id) => document.getElementById(id);
const el = (tag, props = {}, ...kids) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...kids);
  return node;
};
// What shows the same already is let be, so that it is not read out again.
const show = (id, what, make) => {
  const node = $(id), key = JSON.stringify(what);
  if (node.shown !== key) node.replaceChildren(...make());
  node.shown = key;
};
const small = (text) => (text ? [el("small", {}, text)] : []);
const set = (id, text, below) => show(id, [text, below], () => [text ?? "–", ...small(below)]);

const digits = (x) => (x < 99.5 ? x.toPrecision(3) : x.toFixed(0));
const si = (x) => {
  if (!(x > 0)) return "0 ";
  if (x < 1) return x.toPrecision(2) + " ";
  const n = Math.min(Math.floor(Math.log10(x) / 3 + 1e-9), 7);
  return digits(x / 1000 ** n) + " " + " kMGTPEZ"[n].trim();
};
const rate = (x) => si(x) + "H/s";
const diff = (x) => (x == null ? null : si(x).trim());
const count = (x) => x.toLocaleString("en");
const btc = (sat) => (sat / 1e8).toFixed(8).replace(/0{1,5}$/, "") + " BTC";
const ms = (x) => (x == null ? "–" : digits(x) + " ms");
const span = (s) => {
  for (const [unit, size] of [["year", 31557600], ["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (s >= size * 1.5) return count(Math.round(s / size)) + " " + unit + "s";
  }
  return Math.max(0, Math.round(s)) + " s";
};
const ago = (at) => (Date.now() - at < 3000 ? "just now" : span((Date.now() - at) / 1000) + " ago");
// Text that runs from right to left keeps to itself.
const alone = (text) => "\u2068" + text + "\u2069";
const words = (name) => name.replaceAll("_", " ");
const chance = (p) => (p >= 0.0001 ? +(p * 100).toPrecision(2) + " %" : "1 in " + count(Math.round(1 / p)));

const get = async (path) => {
  const answer = await fetch(path, { signal: AbortSignal.timeout(8000) });
  if (!answer.ok) throw new Error(answer.status);
  return answer.json();
};
// At most one request of a kind under way and a pause after it; asked meanwhile, it runs once more.
const calm = (work, pause) => {
  let busy = false, again = false;
  return async function run() {
    if (busy) { again = true; return; }
    busy = true;
    try { await work(); } catch { mark("stale"); }
    setTimeout(() => { busy = false; if (again) { again = false; run(); } }, pause);
  };
};

const mark = (state) => {
  const live = $("live");
  if (live.dataset.state === state) return;
  live.dataset.state = state;
  live.textContent = state === "on" ? "live" : "stale since " + new Date().toLocaleTimeString();
};

// The pool at a glance.
const overview = calm(async () => {
  const o = await get("/api/overview");
  if (stream?.readyState === 1) mark("on");
  set("brand", o.brand);
  set("place", [o.chain, o.location].filter(Boolean).join(" · "));
  document.title = rate(o.hashrate.five_minutes) + " · " + o.brand;
  set("now", rate(o.hashrate.five_minutes));
  set("hour", rate(o.hashrate.hour));
  set("day", rate(o.hashrate.day));
  set("online", count(o.workers_online), count(o.connections) + " connections, " + count(o.connections_tls) + " TLS");
  set("accepted", count(o.shares.accepted), "since " + new Date(o.started_ms).toLocaleString());
  set("refused", count(o.shares.refused), reasons(o.shares.refused_by));
  set("best", diff(o.best_share?.difficulty), o.best_share && alone(o.best_share.worker) + ", " + ago(o.best_share.at_ms));
  set("blocks-found", count(o.blocks_found));
  set("odds", o.odds && chance(o.odds.chance_per_day), o.odds && "one in " + span(o.odds.expected_seconds) + " on average");
  set("job", o.job && count(o.job.height), o.job && count(o.job.transactions) + " transactions, " + btc(o.job.coinbase_value_sat));
  const t = o.tip_to_notify;
  set("tip", ms(t.last_ms), t.samples ? "p50 " + ms(t.p50_ms) + ", p99 " + ms(t.p99_ms) : "");
  set("about", "WarpPool " + o.version + ", profile " + o.profile + ", up " + span((Date.now() - o.started_ms) / 1000));
  trouble(o);
  connect(o);
  table("nodes", "Bitcoin nodes and their state", ["Node", "State", "#Height", "#Peers", "Block news", "Software"], o.nodes, (n) => [
    [n.name, n.address],
    [el("span", { className: n.state }, words(n.state) + (n.active ? ", in use" : "")),
      [n.message, n.remedy].filter(Boolean).join(". ")],
    n.height && count(n.height),
    n.peers?.toString(),
    ["ZMQ " + words(n.zmq.state), n.zmq.message],
    n.subversion,
  ], "No node is configured.");
}, 1000);

const reasons = (list) => list.filter((r) => r.count).map((r) => count(r.count) + " " + words(r.reason)).join(", ");

let notice;
const trouble = (o) => {
  const notes = [];
  if (!o.nodes.some((n) => n.state === "ready")) {
    for (const n of o.nodes) notes.push(["Node " + n.name + ": " + (n.message || words(n.state)), n.remedy, !o.job]);
  }
  if (o.ledger.state !== "durable") notes.push(["Ledger: " + words(o.ledger.state), o.ledger.message, false]);
  if (notice) notes.push(notice);
  show("trouble", notes, () => notes.map(([what, remedy, bad]) =>
    el("div", { className: bad ? "note bad" : "note" }, el("b", {}, what), remedy)));
};

const connect = (o) => {
  const host = location.hostname;
  const all = [["tcp", o.connect.plain_port], ["ssl", o.connect.tls_port]].filter(([, port]) => port)
    .map(([scheme, port]) => "stratum+" + scheme + "://" + host + ":" + port);
  show("addresses", all, () => all.map((address) => {
    const said = el("span", { role: "status" });
    const copy = el("button", { ariaLabel: "Copy " + address }, "Copy");
    copy.onclick = () => navigator.clipboard.writeText(address)
      .then(() => "copied", () => "not possible here: select it").then((text) => { said.textContent = text; });
    return el("li", {}, el("code", {}, address), copy, said);
  }));
  const local = /^(localhost|127\.|\[)/.test(host) ? " From another machine, use this one's network address in place of " + host + "." : "";
  set("hint", "User name: your Bitcoin address; .name after it tells devices apart. " +
    (o.plain_names_paid_to ? "Blocks of any other name are paid to " + o.plain_names_paid_to + "." : "Other names are refused.") + local);
};

// Tables. Heads of figures begin with #; a cell is a text, a node, or either with a smaller text below.
const table = (id, caption, heads, list, cells, empty) => {
  const box = $(id);
  if (!box.body) {
    box.body = el("tbody");
    const row = el("tr", {}, ...heads.map((head) =>
      el("th", { scope: "col", className: head[0] === "#" ? "n" : "" }, head.replace("#", ""))));
    box.append(el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: caption },
      el("table", {}, el("caption", {}, caption), el("thead", {}, row), box.body)));
  }
  const made = list.map((item) => el("tr", {}, ...cells(item).map((cell, n) => {
    const [main, below] = [].concat(cell);
    const it = el(n ? "td" : "th", { className: heads[n][0] === "#" ? "n" : "wrap" }, main ?? "–", ...small(below));
    if (!n) it.scope = "row";
    return it;
  })));
  if (!made.length) made.push(el("tr", {}, el("td", { colSpan: heads.length, className: "away" }, empty)));
  box.body.replaceChildren(...made);
};

const workers = calm(async () => {
  const { workers: list, total } = await get("/api/workers?limit=200");
  const heads = ["Worker", "Device", "#Hashrate", "#Difficulty", "#Best", "#Accepted", "#Refused", "#Last share"];
  table("workers", "Workers remembered, those connected first", heads, list, (w) => {
    const name = el("span", { className: w.online ? "" : "away" }, w.name);
    if (w.tls) name.append(" ", el("span", { className: "tls", title: "encrypted" }, "TLS"));
    return [
      name,
      w.agent || "–",
      [w.online ? rate(w.hashrate.five_minutes) : "away", "hour " + rate(w.hashrate.hour)],
      diff(w.difficulty),
      diff(w.best?.difficulty),
      count(w.accepted),
      [count(w.refused), reasons(w.refused_by)],
      w.last_share_ms && ago(w.last_share_ms),
    ];
  }, "No miner has been here yet.");
  set("more", total > list.length ? "and " + count(total - list.length) + " more" : "");
}, 2000);

const blocks = calm(async () => {
  const { blocks: list } = await get("/api/blocks?limit=20");
  table("blocks", "Blocks found, the newest first", ["Height", "Found", "Worker", "#Reward", "Fate", "#Confirmations", "Hash"], list, (b) => {
    const hash = el("code", { title: b.hash }, b.hash.slice(0, 8) + "…" + b.hash.slice(-8));
    return [
      count(b.height),
      el("span", { title: new Date(b.at_ms).toLocaleString() }, ago(b.at_ms)),
      b.worker,
      btc(b.value_sat),
      el("span", { className: b.fate }, words(b.fate)),
      b.confirmations < 100 ? b.confirmations + " of 100" : "100 or more",
      /^https?:/.test(b.explorer_url) ? el("a", { href: b.explorer_url }, hash) : hash,
    ];
  }, "None yet. Every share is a draw.");
  if (list.length) celebrate(list[0]);
}, 500);

const celebrate = (b) => {
  const fresh = Date.now() - b.at_ms < 600000 && b.fate !== "orphaned" && b.fate !== "rejected";
  $("found").hidden = !fresh;
  if (fresh) set("found", "★ Block " + count(b.height) + " found by " + alone(b.worker) + ": " + btc(b.value_sat));
};

// The chart.
const spans = { "12h": "12 hours", "1d": "day", "1w": "week", "1m": "month", "1y": "year" };
let chosen = "12h";
const chart = calm(async () => {
  const asked = chosen;
  const { span_ms, points } = await get("/api/hashrate?span=" + asked);
  if (asked !== chosen) return;
  const step = points.length ? points[0].seconds * 1000 : span_ms;
  const by = new Map(points.map((p) => [p.at_ms, p.hashrate]));
  const now = Date.now();
  const line = [];
  for (let t = now - span_ms - ((now - span_ms) % step); t <= now; t += step) line.push(by.get(t) || 0);
  const peak = Math.max(...line);
  const mean = line.reduce((a, b) => a + b, 0) / line.length;
  const path = line.map((y, n) => (600 * n / Math.max(line.length - 1, 1)).toFixed(1) + "," + (136 - 130 * (peak ? y / peak : 0)).toFixed(1));
  $("line").setAttribute("d", "M" + path.join("L"));
  $("area").setAttribute("d", "M0,140L" + path.join("L") + "L600,140Z");
  set("from", "last " + spans[asked]);
  set("peak", "peak " + rate(peak));
  $("chart").setAttribute("aria-label", "Hashrate of the last " + spans[asked] + ": mean " + rate(mean) + ", peak " + rate(peak));
}, 1000);
$("spans").append(...Object.keys(spans).map((name) => {
  const button = el("button", { ariaPressed: String(name === chosen) }, spans[name]);
  button.onclick = () => {
    chosen = name;
    for (const other of $("spans").children) other.ariaPressed = String(other === button);
    chart();
  };
  return button;
}));

// Shares of the last minute, by second.
const seconds = new Map();
const pulse = () => {
  const now = Math.floor(Date.now() / 1000);
  for (const s of seconds.keys()) if (s <= now - 60) seconds.delete(s);
  const all = [...seconds];
  const most = Math.max(4, ...all.map(([, [a, r]]) => a + r));
  const bar = (s, low, shares) => {
    const high = 20 * shares / most;
    return "M" + (s - now + 59) + "," + (20 - 20 * low / most) + "v" + -high + "h.8v" + high + "z";
  };
  $("ok").setAttribute("d", all.map(([s, [a]]) => bar(s, 0, a)).join(""));
  $("no").setAttribute("d", all.map(([s, [a, r]]) => bar(s, a, r)).join(""));
  const sum = (n) => count(all.reduce((total, [, pair]) => total + pair[n], 0));
  set("minute", sum(0) + " accepted, " + sum(1) + " refused");
};

// The stream of events, while someone looks: browsers allow a site only six connections.
const everything = () => { overview(); workers(); blocks(); chart(); };
const heard = (type, e) => {
  if (type === "shares") {
    const s = Math.floor(e.at_ms / 1000);
    const [a, r] = seconds.get(s) || [0, 0];
    seconds.set(s, [a + e.accepted, r + e.rejected]);
    return;
  }
  if (type === "block_found") celebrate(e);
  if (type === "notice" && e.level !== "info") notice = [e.message, new Date(e.at_ms).toLocaleString(), e.level === "error"];
  if (type.startsWith("block")) blocks();
  if (type.startsWith("worker")) workers();
  overview();
};
const types = ("shares block_found block_fate worker_connected worker_disconnected node_state new_tip new_job tip_to_notify " +
  "best_share ledger_state notice").split(" ");
let stream, last = 0, wait = 1000, timer;
const open = () => {
  if (document.hidden || stream) return;
  stream = new EventSource("/api/events?after=" + last);
  stream.onopen = () => { wait = 1000; mark("on"); everything(); };
  stream.onerror = () => {
    close();
    mark("stale");
    timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, 30000);
  };
  for (const type of types) {
    stream.addEventListener(type, (e) => { last = e.lastEventId; heard(type, JSON.parse(e.data)); });
  }
};
const close = () => { stream?.close(); stream = null; };

document.onvisibilitychange = () => { clearTimeout(timer); document.hidden ? close() : open(); };
setInterval(pulse, 1000);
setInterval(() => { if (!document.hidden) everything(); }, 10000);
everything();
open();
