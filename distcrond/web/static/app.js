// Shows what the API says. Every text from outside becomes a text node, never markup.

const $ = (id) => document.getElementById(id);
const API = "/api/v1";
const FEW = 8;

// ---- elements

function el(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function link(className, href, ...children) {
  const node = el("a", className, ...children);
  node.href = href;
  return node;
}

// A part is built again only when its facts changed: a selection or a focus survives the polling.
const shown = new Map();
function show(id, facts, build) {
  const text = JSON.stringify(facts);
  if (shown.get(id) === text) return;
  shown.set(id, text);
  $(id).replaceChildren(...[build(facts)].flat());
}

// What changes with the clock alone is refreshed in place for as long as it is on the page.
let living = [];
function live(node, refresh) {
  refresh();
  living.push([node, refresh]);
  return node;
}

// ---- words

const FILLED = { fill: "currentColor" };
const LINED = { fill: "none", stroke: "currentColor", "stroke-width": 1.6 };
const SHAPES = {
  dot: () => svg("circle", { cx: 6, cy: 6, r: 5, ...FILLED }),
  diamond: () => svg("path", { d: "M6 .8 11.2 6 6 11.2.8 6Z", ...FILLED }),
  triangle: () => svg("path", { d: "M6 1 11.4 10.6H.6Z", ...FILLED }),
  play: () => svg("path", { d: "M2.4 1 10.8 6 2.4 11Z", ...FILLED }),
  cross: () => svg("path", { d: "M2 2 10 10M10 2 2 10", ...LINED, "stroke-width": 2.2 }),
  pause: () => svg("path", { d: "M3.5 1.5V10.5M8.5 1.5V10.5", ...LINED, "stroke-width": 2.4 }),
  ring: () => svg("circle", { cx: 6, cy: 6, r: 4, ...LINED }),
  dashes: () => svg("circle", { cx: 6, cy: 6, r: 4, ...LINED, "stroke-dasharray": "2 2" }),
};
const STYLES = {
  success: ["ok", "dot"], failure: ["fail", "diamond"], timeout: ["fail", "diamond"], partial: ["warn", "triangle"],
  missed: ["warn", "triangle"], lost: ["lost", "cross"], cancelled: ["idle", "ring"], skipped: ["idle", "ring"],
  running: ["run", "play"], stuck: ["warn", "triangle"], waiting: ["run", "dashes"],
  up: ["ok", "dot"], suspect: ["warn", "triangle"], down: ["fail", "diamond"], unknown: ["idle", "dashes"], disabled: ["idle", "ring"],
  drained: ["warn", "pause"], quarantined: ["fail", "pause"], paused: ["warn", "pause"],
};

function badge(word) {
  const [color, shape] = STYLES[word] || ["idle", "ring"];
  return el("span", `o ${color}`, svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, SHAPES[shape]()), word);
}

const outcomeOf = (run) => run.outcome || run.state;

function explanation(run) {
  if (!run.outcome && run.progress) return run.progress.text;
  if (run.outcome === "success") return run.detail || "";
  if (run.retry_at) return ((run.targets || [run]).find((target) => target.retry_at) || run).detail;
  const bad = (run.targets || [run]).filter((target) => target.outcome && target.outcome !== "success");
  if (bad.length === 1 && bad[0].reason === "exit_code") return `exit ${bad[0].exit_code}`;
  if (bad.length === 1 && bad[0].reason === "signal") return `signal ${bad[0].signal}`;
  return [(run.reason || "").replaceAll("_", " "), run.detail].filter(Boolean).join(": ");
}

const UNITS = [[86400, "d"], [3600, "h"], [60, "m"], [1, "s"]];
function span(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 10000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  const at = UNITS.findIndex(([size]) => seconds >= size);
  const [[large, unit], smaller] = [UNITS[at], UNITS[at + 1]];
  const rest = smaller ? Math.floor((seconds % large) / smaller[0]) : 0;
  return `${Math.floor(seconds / large)}${unit}${rest ? ` ${rest}${smaller[1]}` : ""}`;
}

let skew = 0; // server's clock minus ours
const now = () => Date.now() + skew;

function ago(text) {
  const seconds = Math.round((now() - Date.parse(text)) / 1000);
  const distance = Math.abs(seconds);
  if (seconds < 1 && seconds > -2) return "now"; // Date has whole seconds only
  const [size, unit] = UNITS.find(([each]) => distance >= each);
  const words = `${Math.floor(distance / size)}${unit}`;
  return seconds > 0 ? `${words} ago` : `in ${words}`;
}

function clock(text) {
  const moment = new Date(text);
  const today = moment.toDateString() === new Date(now()).toDateString();
  const time = moment.toLocaleTimeString([], { hour12: false });
  return today ? time : `${moment.toLocaleDateString([], { month: "short", day: "numeric" })} ${time}`;
}

function when(text, pattern = (t) => ago(t)) {
  if (!text) return el("span", "time", "–");
  const node = el("time", "time");
  node.dateTime = text;
  node.title = new Date(text).toString();
  return live(node, () => { node.textContent = pattern(text); });
}

const nodesOf = (run) => {
  const names = run.targets.map((target) => target.node || "–");
  return names.slice(0, 2).join(", ") + (names.length > 2 ? ` +${names.length - 2}` : "");
};
const runHref = (id, node) => `/run?id=${encodeURIComponent(id)}${node ? `&node=${encodeURIComponent(node)}` : ""}`;
const runPath = (id) => `${API}/runs/${encodeURIComponent(id)}`;

// ---- talking to the API

async function ask(path) {
  const answer = await fetch(path, { headers: { Accept: "application/json" } });
  const date = Date.parse(answer.headers.get("Date"));
  if (Math.abs(date - now()) > 2000) skew = date - Date.now();
  if (!answer.ok) throw new Error((await answer.json()).detail);
  return answer.json();
}

async function change(path) {
  const answer = await fetch(path, { method: "POST", headers: { "X-Distcron-Request": "1" } });
  const document = await answer.json();
  if (!answer.ok) throw new Error([document.detail, document.hint].filter(Boolean).join(": "));
  return document;
}

async function tailOf(run, bytes) {
  const target = run.targets.find((each) => each.node && each.attempts.length);
  if (!target || !target.output.bytes) return "";
  const answer = await fetch(`${runPath(run.id)}/output?node=${encodeURIComponent(target.node)}&offset=-${bytes}`);
  return answer.ok ? plain(await answer.text()) : "";
}

const SEQUENCES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])/g;
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;
const plain = (text) => text.replace(SEQUENCES, "").replace(/\r\n?/g, "\n").replace(CONTROLS, "");

function note(text) {
  if ($("note").textContent !== text) $("note").textContent = text;
}

// Works now and every so many seconds, until the work says that it is done. The answer makes it work sooner.
function every(seconds, work, soon = 0.5) {
  let timer = null, working = false, hasty = false, done = false;
  const turn = async () => {
    working = true;
    hasty = false;
    try {
      if (!document.hidden) {
        done = (await work()) === true;
        if ($("note").dataset.lost) { delete $("note").dataset.lost; note(""); }
      }
    } catch (error) {
      $("note").dataset.lost = "1";
      note(error instanceof TypeError ? "distcrond does not answer; trying again …" : error.message);
    }
    working = false;
    if (!done) timer = setTimeout(turn, (hasty ? soon : seconds) * 1000);
  };
  const haste = () => {
    if (hasty || done) return;
    hasty = true;
    if (working) return;
    clearTimeout(timer);
    timer = setTimeout(turn, soon * 1000);
  };
  whenShown(haste);
  turn();
  return haste;
}

const whenShown = (work) => document.addEventListener("visibilitychange", () => { if (!document.hidden) work(); });

// A page that nobody looks at holds no connection: browsers grant a few per server, for all tabs together.
function hear(happened) {
  let source = null;
  const listen = () => {
    source?.close();
    if (document.hidden) return;
    source = new EventSource(`${API}/events`);
    source.onmessage = (event) => happened(JSON.parse(event.data).event);
    // A broken connection is taken up again by the browser, a refused one is not.
    source.onerror = () => { if (source.readyState === EventSource.CLOSED) setTimeout(listen, 5000); };
  };
  document.addEventListener("visibilitychange", listen);
  listen();
}

// A change that shows at once; who may not make it is told so.
function button(words, path) {
  const node = el("button", "btn", words);
  node.type = "button";
  node.onclick = () => act(async () => { await change(path()); await refreshLater(); });
  return node;
}

const held = (hold) => (hold.until ? `until ${clock(hold.until)}, by ${hold.by}` : `by ${hold.by}`) + (hold.why ? `: ${hold.why}` : "");

// ---- overview

const LATER = new Set(["run_finished", "node_changed", "reloaded", "gap", "paused", "resumed", "drained", "undrained", "quarantined", "quarantine_lifted"]);

const usual = new Map(); // job → [median in ms, when asked]
async function usualOf(job) {
  const known = usual.get(job);
  if (known && Date.now() - known[1] < 60000) return known[0];
  let figures = null;
  try { figures = (await ask(`${API}/jobs/${encodeURIComponent(job)}`)).stats?.durations_ms ?? null; } catch { /* not defined any more */ }
  usual.set(job, [figures, Date.now()]);
  return figures;
}

function progress(run, median) {
  const bar = svg("rect", { x: 0, y: 0, height: 8, rx: 4, class: "usual" });
  const words = el("span");
  const node = el("span", "prog", svg("svg", { viewBox: "0 0 96 8", "aria-hidden": "true" }, svg("rect", { width: 96, height: 8, rx: 4, class: "track" }), bar), words);
  return live(node, () => {
    const elapsed = Math.max(0, now() - Date.parse(run.started_at));
    const share = median ? elapsed / median : 0;
    bar.setAttribute("width", Math.min(1, share) * 96);
    bar.setAttribute("class", share > 1 ? "over" : "usual");
    words.textContent = `${span(Math.floor(elapsed / 1000) * 1000)}${median ? ` of ${span(median)}` : ""}`;
  });
}

const empty = (text) => el("p", "empty", text);
const rows = (className, items, build, nothing) => (items.length ? el("div", className, ...items.map(build)) : empty(nothing));

async function refreshNow() {
  const [stats, running, latest] = await Promise.all([
    ask(`${API}/stats`), ask(`${API}/runs?state=running&limit=20`), ask(`${API}/runs?state=finished&limit=3`),
  ]);
  showCounters(stats);
  const medians = await Promise.all(running.items.map((run) => usualOf(run.job)));
  const facts = running.items.map((run, index) => ({
    id: run.id, job: run.job, nodes: [nodesOf(run), explanation(run)].filter(Boolean).join(": "), started_at: run.started_at, median: medians[index]?.p50,
    word: run.targets.some((target) => target.contact === "lost") ? "lost" : run.stuck_since ? "stuck" : "running",
  }));
  show("running", facts, (items) => rows("running", items, (run) => link("row", runHref(run.id),
    badge(run.word), el("span", "name", run.job), el("span", "why", run.nodes),
    when(run.started_at, (t) => `${clock(t)}, ${ago(t)}`), progress(run, run.median)), "Nothing runs at the moment."));
  await refreshOutput([...running.items.slice(0, 2), ...latest.items].slice(0, 3));
}

function showCounters(stats) {
  const share = stats.runs_24h ? `, ${((100 * stats.success_24h) / stats.runs_24h).toFixed(1)} % ok` : "";
  const facts = [
    [stats.running, "running now", stats.running ? "run" : ""],
    [stats.failing, "failing jobs", stats.failing ? "fail" : ""],
    [stats.late, "late or held", stats.late ? "warn" : ""],
    [stats.runs_24h ?? 0, `runs in 24 h${share}`, ""],
    [stats.jobs, "jobs", ""],
    [stats.nodes, "nodes", ""],
  ];
  show("counters", facts, (items) => items.map(([figure, words, style]) => el("div", style, el("b", "", Number(figure).toLocaleString()), el("span", "", words))));
}

async function refreshOutput(runs) {
  const said = await Promise.all(runs.map(async (run) => ({
    id: run.id, job: run.job, outcome: outcomeOf(run), at: run.finished_at || run.started_at, text: lastLines(await tailOf(run, 1500), 4),
  })));
  show("output", said, (items) => rows("", items, (run) => el("div", "said",
    el("header", "", link("name", runHref(run.id), run.job), badge(run.outcome), when(run.at)),
    el("pre", "", run.text || "no output")), "Nothing has run yet."));
}

const lastLines = (text, count) => text.trimEnd().split("\n").slice(-count).join("\n");

async function refreshLater() {
  const bad = ["failure", "timeout", "lost", "partial", "missed"];
  const [jobs, nodes, ledger, ...failed] = await Promise.all([
    ask(`${API}/jobs?limit=50`), ask(`${API}/nodes?limit=200`), ask(`${API}/occurrences?since=24h&limit=200`),
    ...bad.map((outcome) => ask(`${API}/runs?outcome=${outcome}&since=24h&limit=${FEW}`)),
  ]);
  const worst = failed.flatMap((page) => page.items);
  worst.sort((a, b) => (b.finished_at || b.scheduled_at).localeCompare(a.finished_at || a.scheduled_at));
  const facts = worst.slice(0, FEW).map((run) => ({ id: run.id, job: run.job, outcome: run.outcome, why: explanation(run), nodes: nodesOf(run), at: run.finished_at || run.scheduled_at }));
  show("failed", facts, (items) => rows("failed", items, (run) => link("row", runHref(run.id),
    badge(run.outcome), el("span", "name", run.job), el("span", "why", [run.why, run.nodes].filter(Boolean).join(" · ")), when(run.at)), "Nothing failed."));
  showJobs(jobs);
  showGaps(ledger);
  show("nodes", nodes.items.map((node) => [node.name, node.state, node.reason, node.detail, node.running, node.capacity, node.since, node.drained || node.quarantined]), (items) =>
    items.length ? items.map(([name, state, reason, detail, running, capacity, since, drained]) => el("div", "tile", el("b", "", name), badge(state),
      drained ? el("span", "dim", held(drained)) : null,
      el("span", "dim", state === "up" || drained ? `${running} of ${capacity} running` : [(reason || "").replaceAll("_", " "), detail].filter(Boolean).join(": ")),
      when(since, (t) => `since ${clock(t)}`),
      button(drained ? "Undrain" : "Drain", () => `${API}/nodes/${encodeURIComponent(name)}/${drained ? "undrain" : "drain"}`))) : empty("No nodes yet: put a file into nodes.d."));
}

// One line for each job and reason: a schedule that rests has a gap at each of its instants.
function showGaps(ledger) {
  const sums = new Map();
  for (const gap of ledger.items.filter((each) => each.count)) {
    const key = `${gap.job} ${gap.reason}`;
    const sum = sums.get(key) || { job: gap.job, reason: gap.reason, count: 0, at: gap.to };
    sums.set(key, { ...sum, count: sum.count + gap.count });
  }
  show("gaps", [...sums.values()].slice(0, FEW), (items) => rows("failed", items, (gap) => el("div", "row",
    badge(gap.reason === "paused" ? "skipped" : "missed"), el("span", "name", gap.job),
    el("span", "why", `${gap.count.toLocaleString()} times: ${gap.reason.replaceAll("_", " ")}`), when(gap.at)), "Nothing was passed over."));
}

function showJobs(page) {
  const facts = page.items.map((job) => ({
    name: job.name, enabled: job.enabled, paused: job.paused, next: job.next, last: job.last && { id: job.last.id, outcome: outcomeOf(job.last), at: job.last.finished_at }, usual: job.stats?.durations_ms,
  }));
  $("jobs-note").textContent = page.next ? "the first 50; `distcronctl jobs` lists all" : "";
  show("jobs", facts, (items) => rows("jobs", items, (job) => el("div", "with-button", link("row", job.last ? runHref(job.last.id) : "#h-jobs",
    el("span", "name", job.name), job.last ? badge(job.last.outcome) : badge("never ran"),
    job.last ? when(job.last.at) : el("span", "time", "–"),
    job.paused ? badge("paused") : job.enabled ? when(job.next, (t) => `next ${ago(t)}`) : el("span", "time", "disabled"),
    el("span", "why", job.paused ? held(job.paused) : job.usual?.p50 == null ? "no figures yet" : `usually ${span(job.usual.p50)}, 95 % within ${span(job.usual.p95)}`)),
    button(job.paused ? "Resume" : "Pause", () => `${API}/jobs/${encodeURIComponent(job.name)}/${job.paused ? "resume" : "pause"}`),
    button("Run", () => `${API}/jobs/${encodeURIComponent(job.name)}/run`)),
  "No jobs yet: put a file into jobs.d."));
}

// ---- run

const MOST_LINES = 3000;
const FIRST_BYTES = 256 * 1024;

function runPage() {
  const wanted = new URLSearchParams(location.search);
  const id = wanted.get("id") || "";
  const state = { node: wanted.get("node"), log: null };
  $("again").onclick = () => act(async () => { location.href = runHref((await change(`${runPath(id)}/rerun`)).id); });
  $("cancel").onclick = () => act(async () => { await change(`${runPath(id)}/cancel`); note("being ended …"); });
  const look = every(2, async () => {
    const run = await ask(runPath(id));
    const target = run.targets.find((each) => each.node === state.node) || run.targets.find((each) => each.node);
    if (target && !state.log) {
      state.node = target.node;
      state.log = new Log(id, target.node, look);
    }
    showRun(run, state);
    return run.state === "finished";
  });
}

async function act(work) {
  try { await work(); } catch (error) { note(error.message); }
}

function showRun(run, state) {
  document.title = `${run.job} · distcron`;
  $("job").textContent = run.job;
  $("cancel").hidden = run.state === "finished";
  $("again").hidden = run.state !== "finished";
  show("outcome", [outcomeOf(run), explanation(run)], ([word, why]) => [badge(word), el("span", "dim", why ? ` ${why}` : "")]);
  const steps = [["scheduled", run.scheduled_at], ["started", run.started_at], [outcomeOf(run), run.finished_at]].filter((step) => step[1]);
  show("chain", steps, (items) => items.map(([word, at]) => el("li", "", el("b", "", clock(at)), el("span", "", word))));
  usualOf(run.job).then((figures) => {
    const sofar = run.started_at ? `${span(Math.floor((now() - Date.parse(run.started_at)) / 1000) * 1000)} so far` : "not started";
    const took = run.duration_ms === null ? sofar : span(run.duration_ms);
    const facts = [["Took", figures ? `${took} (usually ${span(figures.p50)})` : took], run.origin ? ["Rerun of", run.origin, runHref(run.origin)] : ["Trigger", run.trigger], ...(run.upstream || []).map((one) => ["After", one.run, runHref(one.run)]), ["Id", run.id], ["Definition", (run.definition || "").slice(0, 19)]];
    show("facts", facts, (items) => items.map(([name, value, href]) => el("div", "", el("dt", "", name), el("dd", "", href ? link("", href, value) : value))));
  });
  const targets = run.targets.slice(0, 200).map((target) => [target.node, outcomeOf(target), explanation(target), target.duration_ms, target.output.bytes, target.contact === "lost" ? "lost" : target.stuck_since ? "stuck" : outcomeOf(target), target.attempts.length]);
  show("targets", [state.node, targets], ([current, items]) => items.length ? items.map(([node, , why, took, bytes, word, attempts]) => {
    const tile = link("tile", runHref(run.id, node), el("b", "", node || "no node"), badge(word),
      el("span", "dim", [why, span(took), `${bytes.toLocaleString()} B`, attempts > 1 ? `attempt ${attempts}` : ""].filter(Boolean).join(" · ")));
    if (node === current) tile.setAttribute("aria-current", "true");
    return tile;
  }) : empty(run.state === "finished" ? "It ran nowhere." : "Waiting for a node."));
}

class Log {
  constructor(run, node, changed) {
    this.changed = changed;
    this.over = false;
    this.path = `${runPath(run)}/output?node=${encodeURIComponent(node)}`;
    this.box = $("log");
    this.line = null;
    this.count = 0;
    this.style = "";
    this.rest = "";
    this.tail = true;
    $("raw").href = this.path;
    $("tail").onclick = () => this.hold(!this.tail);
    this.box.onscroll = () => this.hold(this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 24);
    document.addEventListener("visibilitychange", () => this.look());
    this.look();
  }

  hold(tail) {
    this.tail = tail;
    $("tail").setAttribute("aria-pressed", String(tail));
    if (tail) this.box.scrollTop = this.box.scrollHeight;
  }

  open(from) {
    this.source = new EventSource(`${this.path}&follow=1${from}`);
    const on = (name, handle) => this.source.addEventListener(name, (event) => { this.offset = event.lastEventId; handle(JSON.parse(event.data)); if (this.tail) this.box.scrollTop = this.box.scrollHeight; });
    on("attempt", (facts) => this.begin(facts));
    on("output", (facts) => this.write(facts.text ?? decode(facts.base64)));
    on("hole", (facts) => this.mark(`${(facts.stop - facts.start).toLocaleString()} bytes were not kept`));
    on("problem", (facts) => this.end([facts.detail, facts.hint].filter(Boolean).join(": ")));
    on("end", () => this.end(this.count ? "" : "no output"));
    this.source.onerror = () => { this.source.close(); setTimeout(() => this.look(), 2000); };
  }

  // Goes on where it was. Offsets belong to an attempt, so that means naming both.
  look() {
    this.source?.close();
    if (document.hidden || this.over) return;
    this.open(this.attempt ? `&attempt=${this.attempt}&offset=${this.offset}` : `&offset=-${FIRST_BYTES}`);
  }

  end(text) {
    this.over = true;
    this.source.close();
    if (text) this.mark(text);
    this.changed();
  }

  begin(facts) {
    this.changed();
    if (this.attempt && this.attempt !== facts.attempt) this.mark(`attempt ${facts.attempt} on ${facts.node}`);
    if (!this.attempt && facts.offset > 0) this.mark("earlier output: see Raw");
    this.attempt = facts.attempt;
  }

  write(more) {
    // What may be the beginning of a sequence waits for its end.
    const torn = /\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]{0,4096})?$|\r$/.exec(this.rest + more);
    const text = (this.rest + more).slice(0, torn?.index);
    this.rest = torn ? torn[0] : "";
    const parts = text.replace(/\r\n/g, "\n").split("\n");
    parts.forEach((part, index) => {
      if (index) this.line = null;
      if (part) this.append(part);
      else if (index < parts.length - 1 && !this.line) this.newLine();
    });
    while (this.box.childElementCount > MOST_LINES) this.box.firstElementChild.remove();
    $("log-note").textContent = `${this.count.toLocaleString()} lines`;
  }

  // A carriage return begins the line anew: a progress bar shows its last state.
  append(text) {
    if (!this.line) this.newLine();
    const from = text.lastIndexOf("\r", text.length - 2);
    if (from >= 0) this.line.replaceChildren();
    for (const piece of text.slice(from + 1).split(/(\x1b\[[0-9;]*m)/)) {
      const codes = /^\x1b\[([0-9;]*)m$/.exec(piece);
      if (codes) this.restyle(codes[1]);
      else if (plain(piece)) this.line.append(el("span", this.style, plain(piece)));
    }
  }

  restyle(codes) {
    for (const code of codes.split(";").map(Number)) {
      if (code === 0) this.style = "";
      else if (code === 1) this.style += " bold";
      else if ((code >= 30 && code <= 37) || (code >= 90 && code <= 97)) this.style = `f${code % 10}${this.style.includes("bold") ? " bold" : ""}`;
      else if (code === 39) this.style = this.style.includes("bold") ? "bold" : "";
    }
  }

  newLine() {
    this.count += 1;
    const row = el("div", "", (this.line = el("span")));
    row.dataset.line = this.count;
    this.box.append(row);
  }

  mark(text) {
    this.line = null;
    this.box.append(el("div", "mark", text));
  }
}

const decode = (base64) => new TextDecoder().decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));

// ---- frame

function theme() {
  const root = document.documentElement;
  const saved = localStorage.getItem("theme");
  if (saved) root.dataset.theme = saved;
  $("theme").onclick = () => {
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  };
}

setInterval(() => {
  if (document.hidden) return;
  living = living.filter(([node]) => node.isConnected);
  for (const [, refresh] of living) refresh();
  $("clock").textContent = new Date(now()).toLocaleTimeString([], { hour12: false });
}, 1000);

theme();
if (document.body.dataset.page === "run") runPage();
else {
  const soon = every(5, refreshNow);
  const later = every(30, refreshLater, 3);
  hear((word) => { soon(); if (LATER.has(word)) later(); });
}
