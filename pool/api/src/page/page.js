"use strict";
// Shows the pool and follows it. Whatever comes from elsewhere (names, agents, messages) goes in as text, never as markup.

const $ = (id) => document.getElementById(id);
const el = (tag, props = {}, ...kids) => {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...kids);
  return node;
};
const set = (id, text, small) => {
  const node = $(id);
  const now = text + "\n" + (small || "");
  if (node.shown === now) return;
  node.shown = now;
  node.replaceChildren(text, ...(small ? [el("small", { textContent: small })] : []));
};

const digits = (x) => (x >= 100 ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2));
const si = (x) => {
  if (!(x > 0)) return "0 ";
  if (x < 1) return x.toPrecision(2) + " ";
  const n = Math.min(Math.floor(Math.log10(x) / 3 + 1e-9), 7);
  return digits(x / 1000 ** n) + " " + " kMGTPEZ"[n].trim();
};
const rate = (x) => si(x) + "H/s";
const diff = (x) => (x == null ? "–" : si(x).trim());
const count = (x) => x.toLocaleString("en");
const btc = (sat) => (sat / 1e8).toFixed(8).replace(/0{1,5}$/, "") + " BTC";
const ms = (x) => (x == null ? "–" : digits(x) + " ms");
const span = (s) => {
  for (const [unit, size] of [["year", 31557600], ["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (s >= size * 1.5) {
      const n = s / size;
      return (n >= 1e6 ? n.toExponential(1) : count(Math.round(n))) + " " + unit + "s";
    }
  }
  return Math.max(0, Math.round(s)) + " s";
};
const ago = (at) => (at == null ? "never" : Date.now() - at < 3000 ? "just now" : span((Date.now() - at) / 1000) + " ago");
const words = (name) => name.replaceAll("_", " ");
const chance = (p) => (p >= 0.0001 ? (p * 100).toPrecision(2) + " %" : "1 in " + si(1 / p).trim());

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

let state = "wait", since = Date.now();
const mark = (now) => {
  if (now === state) return;
  if (now === "stale" || state === "wait") since = Date.now();
  state = now;
  const live = $("live");
  live.dataset.state = now;
  live.textContent = now === "on" ? "live" : "stale since " + new Date(since).toLocaleTimeString();
};

// The pool at a glance.
const overview = calm(async () => {
  const o = await get("/api/overview");
  if (stream && stream.readyState === 1) mark("on");
  set("brand", o.brand);
  set("place", [o.chain, o.location].filter(Boolean).join(" · "));
  document.title = rate(o.hashrate.five_minutes) + " · " + o.brand;
  set("now", rate(o.hashrate.five_minutes));
  set("hour", rate(o.hashrate.hour));
  set("day", rate(o.hashrate.day));
  set("online", count(o.workers_online), count(o.connections) + " connections, " + count(o.connections_tls) + " TLS");
  set("accepted", count(o.shares.accepted), "since " + new Date(o.started_ms).toLocaleString());
  set("refused", count(o.shares.refused), reasons(o.shares.refused_by));
  set("best", o.best_share ? diff(o.best_share.difficulty) : "–", o.best_share && o.best_share.worker + ", " + ago(o.best_share.at_ms));
  set("blocks-found", count(o.blocks_found));
  set("odds", o.odds ? chance(o.odds.chance_per_day) + " a day" : "–", o.odds && "one in " + span(o.odds.expected_seconds) + " on average");
  set("job", o.job ? count(o.job.height) : "none yet", o.job && count(o.job.transactions) + " transactions, " + btc(o.job.coinbase_value_sat));
  const t = o.tip_to_notify;
  set("tip", ms(t.last_ms), t.samples ? "p50 " + ms(t.p50_ms) + ", p99 " + ms(t.p99_ms) : "");
  set("about", "WarpPool " + o.version + ", profile " + o.profile + ", up " + span((Date.now() - o.started_ms) / 1000));
  trouble(o);
  connect(o);
  table("nodes", "Bitcoin nodes and their state", ["Node", "State", "#Height", "#Peers", "Block news", "Software"], o.nodes, (n) => [
    [n.name, n.address],
    [el("span", { className: n.state === "ready" ? "good" : "fault", textContent: words(n.state) + (n.active ? ", in use" : "") }),
      [n.message, n.remedy].filter(Boolean).join(". ")],
    n.height && count(n.height),
    n.peers?.toString(),
    ["ZMQ " + words(n.zmq.state), n.zmq.message],
    n.subversion,
  ], "No node is configured.");
}, 1000);

const reasons = (list) => list.filter((r) => r.count).map((r) => count(r.count) + " " + words(r.reason)).join(", ");

const trouble = (o) => {
  const notes = [];
  if (!o.nodes.some((n) => n.state === "ready")) {
    for (const n of o.nodes) notes.push(["Node " + n.name + ": " + (n.message || words(n.state)), n.remedy, !o.job]);
  }
  if (o.ledger.state !== "durable") notes.push(["Ledger: " + words(o.ledger.state), o.ledger.message, false]);
  const now = JSON.stringify(notes);
  if ($("trouble").shown === now) return;
  $("trouble").shown = now;
  $("trouble").replaceChildren(...notes.map(([what, remedy, bad]) =>
    el("div", { className: bad ? "note bad" : "note" }, el("b", { textContent: what }), remedy)));
};

const connect = (o) => {
  const host = location.hostname;
  const all = [["stratum+tcp://", o.connect.plain_port], ["stratum+ssl://", o.connect.tls_port]]
    .filter(([, port]) => port).map(([scheme, port]) => scheme + host + ":" + port);
  if ($("addresses").shown === all.join()) return;
  $("addresses").shown = all.join();
  $("addresses").replaceChildren(...all.map((address) => {
    const code = el("code", { textContent: address });
    const copy = el("button", { textContent: "Copy", ariaLabel: "Copy " + address });
    const said = el("span", { role: "status" });
    copy.onclick = async () => {
      try {
        await navigator.clipboard.writeText(address);
        said.textContent = "copied";
      } catch {
        getSelection().selectAllChildren(code);
        said.textContent = "selected: copy it with your keyboard";
      }
      setTimeout(() => { said.textContent = ""; }, 3000);
    };
    return el("li", {}, code, copy, said);
  }));
  const local = /^(localhost|127\.|\[)/.test(host) ? " From another machine, use this machine's address on your network in place of " + host + "." : "";
  set("hint", "User name: your Bitcoin address, with .name after it to tell devices apart. " +
    (o.plain_names_paid_to ? "Blocks of any other name are paid to " + o.plain_names_paid_to + "." : "Other names are refused.") + local);
};

// Tables. Heads of figures begin with #; a cell is a text, a node, or either with a smaller text below.
const table = (id, caption, heads, list, cells, empty) => {
  const box = $(id);
  if (!box.body) {
    box.body = el("tbody");
    const row = el("tr", {}, ...heads.map((head) =>
      el("th", { scope: "col", className: head[0] === "#" ? "n" : "", textContent: head.replace("#", "") })));
    box.append(el("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: caption },
      el("table", {}, el("caption", { textContent: caption }), el("thead", {}, row), box.body)));
  }
  const made = list.map((item) => el("tr", {}, ...cells(item).map((cell, n) => {
    const [main, small] = [].concat(cell);
    const it = el(n ? "td" : "th", { className: heads[n][0] === "#" ? "n" : "wrap" }, main ?? "–");
    if (!n) it.scope = "row";
    if (small) it.append(el("small", { textContent: small }));
    return it;
  })));
  if (!made.length) made.push(el("tr", {}, el("td", { colSpan: heads.length, className: "away", textContent: empty })));
  box.body.replaceChildren(...made);
};

const workers = calm(async () => {
  const { workers: list, total } = await get("/api/workers?limit=200");
  const heads = ["Worker", "Device", "#Hashrate", "#Difficulty", "#Best", "#Accepted", "#Refused", "#Last share"];
  table("workers", "Workers remembered, those connected first", heads, list, (w) => {
    const name = el("span", { className: w.online ? "" : "away" }, w.name);
    if (w.tls) name.append(el("span", { textContent: " 🔒", role: "img", ariaLabel: "connected with TLS", title: "TLS" }));
    return [
      name,
      w.agent || "–",
      [w.online ? rate(w.hashrate.five_minutes) : "away", "day " + rate(w.hashrate.day)],
      diff(w.difficulty),
      diff(w.best?.difficulty),
      count(w.accepted),
      [count(w.refused), reasons(w.refused_by)],
      w.last_share_ms ? ago(w.last_share_ms) : "–",
    ];
  }, "No miner has been here yet.");
  set("more", total > list.length ? "and " + count(total - list.length) + " more" : "");
}, 2000);

const fates = { pending: "warn", confirmed: "good", mature: "good", orphaned: "fault", rejected: "fault" };
const blocks = calm(async () => {
  const { blocks: list } = await get("/api/blocks?limit=20");
  table("blocks", "Blocks found, the newest first", ["#Height", "Found", "Worker", "#Reward", "Fate", "#Confirmations", "Hash"], list, (b) => {
    const hash = el("code", { textContent: b.hash.slice(0, 8) + "…" + b.hash.slice(-8), title: b.hash });
    return [
      count(b.height),
      el("time", { textContent: ago(b.at_ms), title: new Date(b.at_ms).toLocaleString() }),
      b.worker,
      btc(b.value_sat),
      el("span", { className: fates[b.fate] || "", textContent: words(b.fate) }),
      b.confirmations < 100 ? b.confirmations + " of 100" : "100 or more",
      /^https?:/.test(b.explorer_url) ? el("a", { href: b.explorer_url, rel: "noreferrer" }, hash) : hash,
    ];
  }, "None yet. Every share is a draw.");
  const [b] = list;
  if (b) celebrate(b.height, b.worker, b.value_sat, b.at_ms, b.fate);
}, 500);

const celebrate = (height, worker, sat, at, fate) => {
  const fresh = Date.now() - at < 600000 && fate !== "orphaned" && fate !== "rejected";
  $("found").hidden = !fresh;
  if (fresh) set("found", "★ Block " + count(height) + " found by " + worker + ": " + btc(sat));
};

// The chart.
const spans = { "12h": "12 hours ago", "1d": "a day ago", "1w": "a week ago", "1m": "a month ago", "1y": "a year ago" };
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
  set("from", spans[asked]);
  set("peak", "peak " + rate(peak));
  $("chart").setAttribute("aria-label", "Hashrate since " + spans[asked] + ": mean " + rate(mean) + ", peak " + rate(peak));
}, 1000);
$("spans").onclick = ({ target }) => {
  if (!target.dataset.span) return;
  chosen = target.dataset.span;
  for (const button of $("spans").children) button.ariaPressed = String(button === target);
  chart();
};

// Shares of the last minute, by second.
const seconds = new Map();
const pulse = () => {
  const now = Math.floor(Date.now() / 1000);
  for (const s of seconds.keys()) if (s <= now - 60) seconds.delete(s);
  let most = 4, ok = 0, no = 0;
  for (const [a, r] of seconds.values()) { most = Math.max(most, a + r); ok += a; no += r; }
  const bars = [];
  const bar = (x, low, high, className) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    const at = { x, width: 0.8, y: 20 - 20 * high / most, height: 20 * (high - low) / most, class: className };
    for (const name in at) rect.setAttribute(name, at[name]);
    if (high > low) bars.push(rect);
  };
  for (const [s, [a, r]] of seconds) { bar(s - now + 59, 0, a, "ok"); bar(s - now + 59, a, a + r, "no"); }
  $("pulse").replaceChildren(...bars);
  set("minute", count(ok) + " shares" + (no ? ", " + count(no) + " refused" : ""));
};

// The stream of events, while someone looks: browsers allow a site only six connections.
const everything = () => { overview(); workers(); blocks(); chart(); };
const on = {
  shares(e) {
    const s = Math.floor(e.at_ms / 1000);
    const [a, r] = seconds.get(s) || [0, 0];
    seconds.set(s, [a + e.accepted, r + e.rejected]);
  },
  block_found(e) { celebrate(e.height, e.worker, e.value_sat, e.at_ms); blocks(); overview(); },
  block_fate() { blocks(); overview(); },
  worker_connected() { workers(); overview(); },
  worker_disconnected() { workers(); overview(); },
};
for (const type of ["node_state", "new_tip", "new_job", "tip_to_notify", "best_share", "ledger_state", "config_reloaded"]) on[type] = overview;
let stream, last = "", wait = 1000, timer;
const open = () => {
  clearTimeout(timer);
  if (document.hidden || stream) return;
  stream = new EventSource("/api/events" + (last && "?after=" + encodeURIComponent(last)));
  stream.onopen = () => { wait = 1000; mark("on"); everything(); };
  stream.onerror = () => {
    close();
    mark("stale");
    timer = setTimeout(open, wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, 30000);
  };
  for (const type in on) {
    stream.addEventListener(type, (e) => { last = e.lastEventId; on[type](JSON.parse(e.data)); });
  }
};
const close = () => { if (stream) stream.close(); stream = undefined; };

document.addEventListener("visibilitychange", () => { if (document.hidden) { clearTimeout(timer); close(); } else open(); });
setInterval(() => { if (!document.hidden) pulse(); }, 1000);
setInterval(() => { if (!document.hidden && stream) everything(); }, 10000);
everything();
open();
