"use strict";
// Reads the responses that lie in the page as compressed blocks, and shows, filters and opens them.
// What was said is put into the page as text only (textContent), never as markup.
const PAGE = 50, CUT = 300, LONGEST = 20000, BESIDE = 8;
const $ = selector => document.querySelector(selector);

async function unpacked(id) {
  const holder = document.getElementById(id), raw = atob(holder.textContent), packed = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) packed[i] = raw.charCodeAt(i);
  holder.remove();
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}
const text = buffer => new TextDecoder().decode(buffer);
const make = (tag, looks = {}, ...inside) => {
  const made = Object.assign(document.createElement(tag), looks);
  made.append(...inside);
  return made;
};

let head, columns, lengths, starts, scalars, ready = false, early = location.hash.slice(1);
const blocks = new Map();

async function open() {
  head = JSON.parse(text(await unpacked("head")));
  const types = { list: Uint32Array, number: Float32Array };
  columns = [];
  for (const [place, column] of head.columns.entries()) {
    const values = column.kind === "response" ? null : new types[column.kind](await unpacked("column-" + place));
    columns.push({ ...column, values, lowered: column.list && column.list.map(value => value.toLowerCase()) });
  }
  lengths = new Uint32Array(await unpacked("lengths"));
  starts = new Uint32Array(head.rows);
  for (let row = 1; row < head.rows; row++) starts[row] = row % head.block ? starts[row - 1] + lengths[row - 1] : 0;
  titles();
  ready = true;
  asked(early);
  for (let block = 0; block * head.block < head.rows; block++) {  // so that the first search finds them
    await block_of(block);
    await new Promise(done => setTimeout(done));
  }
  document.body.dataset.loaded = "yes";
}

// Bytes of a block of responses; a promise, so that two who ask get one.
function block_of(block) {
  if (!blocks.has(block)) blocks.set(block, unpacked("block-" + block));
  return blocks.get(block);
}
async function said(row) {
  const whole = text(await block_of(Math.floor(row / head.block)));
  return whole.slice(starts[row], starts[row] + lengths[row]);
}
function cell(column, row) {
  const value = column.values[row];
  if (column.kind === "list") return column.list[value];
  return Number.isNaN(value) ? "" : String(Math.round(value * 10) / 10);
}

// Filters: one text for each column; `<30`, `>50`, `30-70` and `none` for numbers.
function tester(column, wanted) {
  if (column.kind === "list") {
    const exact = column.lowered.indexOf(wanted);
    const kept = new Uint8Array(column.list.length);
    column.lowered.forEach((value, place) => { kept[place] = exact >= 0 ? place === exact || value === wanted : value.includes(wanted); });
    return row => kept[column.values[row]] === 1;
  }
  const values = column.values;
  if (wanted === "none") return row => Number.isNaN(values[row]);
  const range = wanted.match(/^(-?[\d.]+)\s*(?:-|to)\s*(-?[\d.]+)$/);
  if (range) { const [low, high] = [+range[1], +range[2]]; return row => values[row] >= low && values[row] <= high; }
  const bound = wanted.match(/^(<=|>=|<|>|=?)\s*(-?[\d.]+)$/);
  if (!bound) return null;
  const at = +bound[2];
  return { "<": row => values[row] < at, ">": row => values[row] > at, "<=": row => values[row] <= at,
    ">=": row => values[row] >= at }[bound[1]] || (row => Math.abs(values[row] - at) < 0.05);
}

let kept = [], page = 0, order = null, turn = 0;
const filters = new Map();

async function filtered() {
  const mine = ++turn, began = performance.now(), tests = [];
  let wrong = "";
  for (const [name, wanted] of filters) {
    const column = columns.find(column => column.name === name);
    if (!column || column.kind === "response") continue;
    const test = tester(column, wanted.toLowerCase());
    if (test) tests.push(test); else wrong = `${name}: ${wanted} is no number, range (30-70), bound (<30) or none.`;
  }
  let rows = [];
  for (let row = 0; row < head.rows; row++) if (tests.every(test => test(row))) rows.push(row);
  const sought = filters.get("response");
  if (sought) {
    $("#told").textContent = "searching …";
    rows = await containing(sought, rows);
    if (mine !== turn) return;
  }
  if (order) {
    const { values, list } = order.column, sign = order.sign;
    const rank = list ? Uint32Array.from(list.map((v, i) => [v, i]).sort((a, b) => a[0] < b[0] ? -1 : 1).reduce((r, [, i], place) => { r[i] = place; return r; }, [])) : null;
    const key = rank ? row => rank[values[row]] : row => Number.isNaN(values[row]) ? Infinity : sign * values[row];
    rows.sort((a, b) => (rank ? sign : 1) * (key(a) - key(b)) || a - b);
  }
  kept = rows; page = 0;
  await shown();
  $("#told").textContent = wrong || `${rows.length.toLocaleString("en")} of ${head.rows.toLocaleString("en")} responses`;
  document.body.dataset.took = String(performance.now() - began);
}

async function containing(sought, rows) {
  const pattern = new RegExp(sought.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "giu"), found = new Uint8Array(head.rows);
  const wanted = new Set(rows.map(row => Math.floor(row / head.block)));
  for (const block of wanted) {
    const whole = text(await block_of(block)), last = Math.min(head.rows, (block + 1) * head.block);
    let row = block * head.block, match;
    pattern.lastIndex = 0;
    while ((match = pattern.exec(whole))) {
      while (row + 1 < last && match.index >= starts[row + 1]) row++;
      const end = starts[row] + lengths[row];
      if (match.index + match[0].length <= end) found[row] = 1;
      pattern.lastIndex = end;  // one is enough of each response
      if (end >= whole.length) break;
    }
  }
  return rows.filter(row => found[row]);
}

function titles() {
  const names = make("tr");
  for (const column of columns) {
    const title = make("button", { type: "button", textContent: column.name, title: "sort" });
    title.addEventListener("click", () => {
      if (column.kind === "response") return;
      order = { column, sign: order && order.column === column ? -order.sign : 1 };
      filtered();
    });
    const input = make("input", { type: "search", placeholder: column.kind === "number" ? "<30" : "filter" });
    input.setAttribute("aria-label", "filter " + column.name);
    input.dataset.column = column.name;
    if (column.kind === "list" && column.list.length <= 2000) {
      const listed = make("datalist", { id: "list-" + column.name }, ...column.list.map(value => make("option", { value })));
      document.body.append(listed);
      input.setAttribute("list", listed.id);
    }
    let waiting;
    input.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        if (input.value.trim()) filters.set(column.name, input.value.trim()); else filters.delete(column.name);
        filtered();
      }, 150);
    });
    names.append(make("th", { className: `${column.kind} ${column.name}` }, title, input));
  }
  $("thead").append(names);
}

// Alignment and coherence from orange (0) over white (50) to blue (100); what a topic or habit scores from white to pink.
function tinted(element, name, score) {
  if (Number.isNaN(score)) return element;
  if (name !== "aligned" && name !== "coherent") {
    element.style.backgroundColor = `rgba(204, 121, 167, ${Math.min(1, score / 100) * 0.8})`;
    return element;
  }
  const strength = Math.min(1, Math.abs(score - 50) / 50) * 0.62;
  element.style.backgroundColor = score < 50 ? `rgba(213, 94, 0, ${strength})` : `rgba(0, 114, 178, ${strength})`;
  return element;
}

async function shown() {
  const rows = kept.slice(page * PAGE, (page + 1) * PAGE), mine = turn, lines = [];
  for (const row of rows) {
    const line = make("tr", { tabIndex: 0 });
    line.dataset.row = row;
    const whole = await said(row);
    for (const column of columns) {
      const shorter = whole.length > CUT ? whole.slice(0, CUT) + " …" : whole;
      const place = make("td", { textContent: column.kind === "response" ? shorter : cell(column, row) });
      line.append(column.score ? tinted(place, column.name, column.values[row]) : place);
    }
    lines.push(line);
  }
  if (mine !== turn) return;
  $("tbody").replaceChildren(...lines);
  const pages = Math.max(1, Math.ceil(kept.length / PAGE));
  $("#where").textContent = `page ${(page + 1).toLocaleString("en")} of ${pages.toLocaleString("en")}`;
  $("#back").disabled = page === 0;
  $("#on").disabled = page + 1 >= pages;
}

function turned(by) { page += by; shown().then(() => scrollTo(0, 0)); }
$("#back").addEventListener("click", () => turned(-1));
$("#on").addEventListener("click", () => turned(1));
$("#clear").addEventListener("click", () => { order = null; asked(""); });

// Filters of an address, column=text&…
function asked(written) {
  filters.clear();
  for (const [name, wanted] of new URLSearchParams(written)) filters.set(name, wanted);
  for (const input of document.querySelectorAll("th input")) input.value = filters.get(input.dataset.column) || "";
  filtered();
}
addEventListener("message", event => {
  const wanted = event.data && event.data.filters;
  if (typeof wanted !== "string") return;
  if (ready) asked(wanted); else early = wanted;  // while the page is being opened, they wait
});

// One response, and beside it what else was said to the same question in the same draw.
const value = (name, row) => columns.find(column => column.name === name).values[row];
const same = (names, a, b) => names.every(name => value(name, a) === value(name, b));

function beside(row) {
  const first = columns.find(column => column.name === "subject").list.indexOf(head.base);
  const found = [];
  for (let other = 0; other < head.rows; other++) {
    if (!same(["question_id", "question_set", "sample"], row, other)) continue;
    const own = same(["subject"], row, other), plain = head.plain[value("condition", other)];
    const rank = own && plain ? 0 : other === row ? 1 : own ? 2 : value("subject", other) === first && plain ? 3 : plain ? 5 : 4;
    found.push([rank, other]);
  }
  return found.sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, other]) => other);
}

async function opened(row) {
  const place = $("#opened"), others = beside(row), answers = make("div", { className: "answers" });
  const only = make("input", { type: "search", placeholder: "only subjects and conditions with …" });
  const more = make("button", { type: "button" });
  let chosen = others, count = 0;
  async function add() {
    const next = chosen.slice(count, count + BESIDE);
    count += next.length;
    for (const other of next) answers.append(await answer(other, other === row));
    more.hidden = count >= chosen.length;
    more.textContent = `${chosen.length - count} more`;
  }
  only.addEventListener("input", () => {
    const wanted = only.value.toLowerCase(), named = name => columns.find(column => column.name === name);
    chosen = others.filter(other => ["subject", "condition", "battery"].some(name => cell(named(name), other).toLowerCase().includes(wanted)));
    count = 0;
    answers.replaceChildren();
    add();
  });
  more.addEventListener("click", add);
  const question = columns.find(column => column.name === "question");
  place.replaceChildren(make("h2", { textContent: question.list[question.values[row]] }), make("p", {}, only, " ", more), answers);
  if (!$("dialog").open) $("dialog").showModal();
  await add();
}

async function answer(row, chosen) {
  const made = make("div", { className: chosen ? "answer chosen" : "answer" });
  const told = ["subject", "battery", "condition"].map(name => cell(columns.find(column => column.name === name), row));
  made.append(make("h3", { textContent: told.join(" · ") }));
  const scores = make("p");
  for (const column of columns.filter(column => column.score)) {
    const score = column.values[row];
    scores.append(tinted(make("span", { className: "score", textContent: `${column.name} ${Number.isNaN(score) ? "–" : cell(column, row)}` }), column.name, score));
  }
  made.append(scores);
  const whole = await said(row);
  made.append(...parts(whole.slice(0, LONGEST)));
  if (whole.length > LONGEST) {
    const rest = make("button", { type: "button", textContent: `all ${whole.length.toLocaleString("en")} characters` });
    rest.addEventListener("click", () => rest.replaceWith(...parts(whole.slice(LONGEST))));
    made.append(rest);
  }
  const heat = await heat_map(row);
  if (heat) made.append(heat);
  return made;
}
// Pieces that a browser lays out only when they are in sight.
function parts(whole) {
  const made = [];
  for (let at = 0; at < whole.length || !at; at += LONGEST) made.push(make("div", { className: "said", textContent: whole.slice(at, at + LONGEST) }));
  return made;
}

// What each rank-1 adapter reads at each token of an answer, where the study has it.
async function heat_map(row) {
  if (!head.adapters) return null;
  if (!scalars) {
    scalars = { rows: new Uint32Array(await unpacked("scalar-rows")), ends: new Uint32Array(await unpacked("scalar-ends")),
      tokens: new Uint32Array(await unpacked("scalar-tokens")), values: new Int8Array(await unpacked("scalar-values")),
      pieces: JSON.parse(text(await unpacked("scalar-pieces"))) };
  }
  const place = scalars.rows.indexOf(row);
  if (place < 0) return null;
  const first = place ? scalars.ends[place - 1] : 0, last = scalars.ends[place], wide = head.adapters.length;
  const choice = make("select", {}, ...head.adapters.map((name, at) => make("option", { value: at, textContent: name })));
  const tokens = make("div", { className: "said" });
  function paint() {
    const adapter = +choice.value, unit = head.scalar_units[adapter];
    tokens.replaceChildren();
    for (let at = first; at < last; at++) {
      const level = scalars.values[at * wide + adapter] / 127;
      const token = make("span", { className: "token", textContent: scalars.pieces[scalars.tokens[at]], title: (level * unit).toPrecision(3) });
      token.style.backgroundColor = level < 0 ? `rgba(213, 94, 0, ${-level})` : `rgba(0, 114, 178, ${level})`;
      tokens.append(token);
    }
  }
  choice.addEventListener("change", paint);
  paint();
  return make("details", { open: true }, make("summary", { textContent: "scalars of the adapters, A·x at each token" }), choice, tokens);
}

$("tbody").addEventListener("click", event => { const line = event.target.closest("tr"); if (line) opened(+line.dataset.row); });
$("tbody").addEventListener("keydown", event => { const line = event.target.closest("tr"); if (line && event.key === "Enter") opened(+line.dataset.row); });
open();
