// The samples of a report: unpack, filter, sort, show. Whatever a model wrote becomes text nodes, never markup.
"use strict";

const aigate = (() => {
  const byId = (id) => document.getElementById(id);
  const facts = JSON.parse(byId("facts").textContent);
  const DIFF_MS = 300; // a diff that takes longer is given up: the answers are shown without
  const DIFF_LONGEST = 60_000; // characters of both answers together
  const ALIKE = 0.4; // share of common text below which marks would be noise
  const SEGMENTED = 20_000; // characters in which words are looked for where a script has no spaces
  const KEPT_BLOCKS = 60;
  const KEPT_LOWER = 160_000_000; // characters of blocks in small letters, for the next search
  const WHOLE = /^-?\d*\.0?$/; // a word that stands in 7.0, as blocks write the number 7
  const SLICE_MS = 40; // of searching, after which the page gets its turn
  const OVERSCAN = 12;
  const STATES = ["all", "worse", "better", "same", "missing"];
  const NO_SPACES = /[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]/u;
  // Characters that hide or reorder text: controls, bidi marks, tags and other invisible ones, lone surrogates.
  const ODD = new RegExp(
    "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180b-\\u180f" +
      "\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff0-\\ufffb" +
      "\\u{1bca0}-\\u{1bca3}\\u{1d173}-\\u{1d17a}\\u{e0000}-\\u{e0fff}\\p{Cs}\\p{Co}]",
    "gu",
  );

  // --- making elements ---------------------------------------------------------------------------------------------

  /** An element with properties and children; strings become text nodes. */
  function make(name, properties = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(properties)) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (key === "class") element.className = value;
      else element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
    return element;
  }

  /** Text of a model as nodes: as it is, but for characters that hide or reorder, which stand as their number. */
  function shown(text) {
    const nodes = [];
    let from = 0;
    for (const found of text.matchAll(ODD)) {
      if (found[0] === "\r" && text[found.index + 1] === "\n") continue;
      nodes.push(text.slice(from, found.index), odd(found[0]));
      from = found.index + found[0].length;
    }
    nodes.push(text.slice(from));
    return nodes.filter((node) => node !== "");
  }

  function odd(character) {
    const number = character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    return make("span", { class: "odd", title: "a character that cannot be seen" }, `U+${number}`);
  }

  /** One line of a model's text. */
  const line = (text) => make("bdi", {}, shown(text));
  /** Lines of a model's text. */
  const lines = (...children) => make("pre", { dir: "auto" }, ...children);

  // --- unpacking ---------------------------------------------------------------------------------------------------

  async function inflated(base64) {
    const unpacking = new DecompressionStream("deflate-raw");
    const writer = unpacking.writable.getWriter();
    writer.write(bytesOf(base64)); // not through a Blob, which takes as long again
    writer.close();
    return new Response(unpacking.readable).text();
  }

  function bytesOf(base64) {
    if (typeof Uint8Array.fromBase64 === "function") return Uint8Array.fromBase64(base64);
    const binary = atob(base64);
    const bytes = new Uint8Array(binary.length);
    for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
    return bytes;
  }

  const unpack = async (base64) => JSON.parse(await inflated(base64));

  const loaded = new Promise((resolve) => {
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", resolve, { once: true });
    else resolve();
  });
  const kept = new Map(); // blocks by their first sample, the one used last at the end

  /** The element of the block that holds a sample; waits until the file was read that far. */
  async function blockOf(number) {
    const holds = (block) => number >= +block.dataset.first && number < +block.dataset.first + +block.dataset.count;
    const blocks = () => [...document.getElementsByClassName("block")];
    const early = blocks().find(holds);
    if (early && early.nextSibling) return early; // its text is whole
    await loaded;
    return blocks().find(holds);
  }

  /** The samples of a block as JSON, one a line. */
  async function linesOf(block) {
    const first = +block.dataset.first;
    const lines = kept.get(first) ?? inflated(block.textContent).then((text) => text.split("\n"));
    kept.delete(first);
    kept.set(first, lines);
    if (kept.size > KEPT_BLOCKS) kept.delete(kept.keys().next().value);
    return lines;
  }

  /** All that is known of one sample. */
  async function textsOf(number) {
    const block = await blockOf(number);
    return JSON.parse((await linesOf(block))[number - +block.dataset.first]);
  }

  // --- what is shown -----------------------------------------------------------------------------------------------

  const compared = facts.baseline !== null;
  const view = { show: "all", metric: facts.metric, tag: "", outcome: "", named: "", q: "", sort: "", down: false };
  let index = null;
  let order = []; // numbers of the samples that are shown, in order
  let current = 0; // place within `order` of the row that has the focus
  let found = null; // samples that the search found; null without a search
  let searching = 0; // number of the search that counts

  const lowerIsBetter = () => facts.metrics.find((metric) => metric.name === view.metric)?.direction === "lower";
  const columns = () => index.scores[view.metric] ?? [[], []];
  const ours = (number) => columns()[0][number] ?? null;
  const theirs = (number) => columns()[1][number] ?? null;

  let moves = { metric: null, changes: [], states: [] }; // of the metric that is shown, worked out once

  function movesNow() {
    if (moves.metric === view.metric) return moves;
    const [now, before] = columns();
    const sign = lowerIsBetter() ? -1 : 1;
    const at = (column, number) => column[number] ?? null;
    const numbers = [...index.ids.keys()];
    const changes = numbers.map((number) => (at(now, number) === null || at(before, number) === null ? null : sign * (now[number] - before[number])));
    const states = numbers.map((number) => {
      if (at(now, number) === null || (compared && at(before, number) === null)) return "missing";
      const moved = compared ? changes[number] : 0;
      return moved < -1e-9 ? "worse" : moved > 1e-9 ? "better" : "same";
    });
    return (moves = { metric: view.metric, changes, states });
  }

  /** How much better the candidate is than the baseline; null where either has no score. */
  const change = (number) => movesNow().changes[number];
  const state = (number) => movesNow().states[number];

  const passes = (number) =>
    (view.show === "all" || state(number) === view.show) && passesSelects(number) && (!found || found.has(number));

  function passesSelects(number) {
    if (view.tag !== "" && !index.tags[number].includes(index.tagNames.indexOf(view.tag))) return false;
    if (view.outcome !== "" && index.outcomes[index.outcome[number]] !== view.outcome) return false;
    return view.named === "" || namedSets.get(view.named)?.has(number) === true;
  }

  const namedSets = new Map();

  const KEYS = {
    id: (number) => index.ids[number],
    baseline: theirs,
    candidate: ours,
    change,
    outcome: (number) => index.outcome[number],
    latency: (number) => index.latency[number],
  };

  /** Worst first, unless a column was chosen; what has no value comes last. */
  function sorted(numbers) {
    const goodness = (number) => (ours(number) === null ? null : lowerIsBetter() ? 1 - ours(number) : ours(number));
    const key = KEYS[view.sort] ?? (compared ? change : goodness);
    const sign = view.sort !== "" && view.down ? -1 : 1;
    const keys = new Array(index.ids.length);
    for (const number of numbers) keys[number] = key(number);
    return numbers.sort((a, b) => {
      const [x, y] = [keys[a], keys[b]];
      if (x === null || y === null) return (x === null) - (y === null) || a - b;
      return x < y ? -sign : x > y ? sign : a - b;
    });
  }

  // --- the table ---------------------------------------------------------------------------------------------------

  const rows = byId("rows");
  let drawn = [-1, -1];

  const HEADS = [
    ["id", "Sample", "c-id"],
    [null, "Asked", "asked"],
    [null, compared ? "Candidate's answer" : "Answer", "answered c-answered"],
    ...(compared ? [["baseline", "Baseline", "c-score figure"]] : []),
    ["candidate", compared ? "Candidate" : "Score", "c-score candidate figure"],
    ...(compared ? [["change", "Change", "c-change figure"]] : []),
    ["outcome", "Outcome", "c-outcome"],
    ["latency", "Latency", "c-latency figure"],
  ];

  const hasLatency = () => index.latency.some((value) => value !== null);
  const heads = () => HEADS.filter(([key]) => key !== "latency" || hasLatency());

  function drawHeads() {
    byId("heads").replaceChildren(
      ...heads().map(([key, title, place]) => {
        const chosen = view.sort === key && key !== null;
        const sort = chosen ? (view.down ? "descending" : "ascending") : null;
        const inside = key === null ? make("span", {}, title) : make("button", { type: "button", onclick: () => sortBy(key) }, title);
        return make("th", { scope: "col", class: place, "aria-sort": sort }, inside);
      }),
    );
  }

  function sortBy(key) {
    if (view.sort !== key) [view.sort, view.down] = [key, ["latency", "outcome"].includes(key)];
    else if (view.down === ["latency", "outcome"].includes(key)) view.down = !view.down;
    else [view.sort, view.down] = ["", false];
    refresh();
  }

  const points = (value) => `${value > 1e-9 ? "+" : value < -1e-9 ? "−" : ""}${Math.abs(value * 100).toFixed(1)}`;
  const score = (value) => (value === null || value === undefined ? "–" : String(+value.toFixed(3)));
  const seconds = (value) => (value < 1 ? `${Math.round(value * 1000)} ms` : `${+value.toPrecision(3)} s`);

  function changeCell(number) {
    const moved = change(number);
    if (moved === null) return make("td", { class: "c-change figure" }, "–");
    const name = state(number);
    const mark = { worse: "▼ ", better: "▲ ", same: "" }[name];
    const words = { worse: "worse: ", better: "better: ", same: "" }[name];
    const told = lowerIsBetter() ? -moved : moved;
    const hidden = make("span", { class: "hidden" }, words);
    return make("td", { class: `c-change figure ${name}` }, hidden, make("span", { "aria-hidden": "true" }, mark), points(told));
  }

  function entry(place) {
    const number = order[place];
    const open = make("a", { href: hashOf({ sample: index.ids[number] }), tabindex: place === current ? "0" : "-1" }, line(index.ids[number]));
    const outcome = index.outcomes[index.outcome[number]]?.replaceAll("_", " ") ?? "–";
    const latency = index.latency[number];
    const timed = byId("heads").lastChild.classList.contains("c-latency");
    return make(
      "tr",
      { class: place === current ? "entry current" : "entry", "data-place": place, "aria-rowindex": place + 2 },
      make("th", { scope: "row", class: "c-id", title: index.ids[number] }, open),
      make("td", { class: "asked" }, line(index.asked[number])),
      make("td", { class: "answered c-answered" }, line(index.answered[number])),
      compared ? make("td", { class: "c-score figure", "data-head": "baseline" }, score(theirs(number))) : null,
      make("td", { class: "c-score candidate figure", "data-head": compared ? "candidate" : "score" }, score(ours(number))),
      compared ? changeCell(number) : null,
      make("td", { class: outcome === "scored" ? "c-outcome" : "c-outcome fault" }, outcome),
      timed ? make("td", { class: "c-latency figure" }, latency === null ? "–" : seconds(latency)) : null,
    );
  }

  const rowHeight = () => parseFloat(getComputedStyle(document.documentElement).getPropertyValue("--row"));

  function space(height) {
    const row = make("tr", { class: "space", "aria-hidden": "true" }, make("td", { colspan: byId("heads").childElementCount }));
    row.style.height = row.firstChild.style.height = `${height}px`;
    return row;
  }

  /** Draw the rows that can be seen, and some around them; the others are empty space. */
  function draw(anew) {
    const height = rowHeight();
    const top = rows.getBoundingClientRect().top;
    const within = (place) => Math.max(0, Math.min(order.length, place));
    const from = within(Math.min(Math.floor(-top / height), order.length) - OVERSCAN);
    const to = within(Math.max(Math.ceil((innerHeight - top) / height), from) + OVERSCAN);
    if (!anew && from === drawn[0] && to === drawn[1]) return;
    drawn = [from, to];
    const focused = rows.contains(document.activeElement);
    const entries = [];
    for (let place = from; place < to; place++) entries.push(entry(place));
    rows.replaceChildren(space(from * height), ...entries, space((order.length - to) * height));
    byId("table").setAttribute("aria-rowcount", order.length + 1);
    if (focused) rows.querySelector(".current a")?.focus({ preventScroll: true });
  }

  function tellCount() {
    const all = index.ids.length;
    const what = order.length === all ? `${all} samples` : `${order.length} of ${all} samples`;
    const how = view.sort === "" ? (compared ? "worst change first" : "lowest score first") : `by ${view.sort}`;
    byId("count").textContent = order.length ? `${what}, ${how}` : "No sample fits these filters.";
  }

  /** Work out which samples are shown, and show them. */
  function refresh() {
    const numbers = [];
    for (let number = 0; number < index.ids.length; number++) if (passes(number)) numbers.push(number);
    order = sorted(numbers);
    current = Math.min(current, Math.max(0, order.length - 1));
    drawHeads();
    drawSegments();
    draw(true);
    tellCount();
    remember();
  }

  function go(place) {
    if (!order.length) return;
    current = Math.max(0, Math.min(order.length - 1, place));
    const height = rowHeight();
    const top = rows.getBoundingClientRect().top + current * height;
    if (top < 90) scrollBy({ top: top - 90, behavior: "instant" });
    else if (top + height > innerHeight) scrollBy({ top: top + height - innerHeight + 8, behavior: "instant" });
    draw(true);
    rows.querySelector(".current a")?.focus({ preventScroll: true });
  }

  // --- filters -----------------------------------------------------------------------------------------------------

  function drawSegments() {
    const counts = Object.fromEntries(STATES.map((name) => [name, 0]));
    for (let number = 0; number < index.ids.length; number++) {
      if (!passesSelects(number) || (found && !found.has(number))) continue;
      counts.all++;
      counts[state(number)]++;
    }
    const names = compared ? STATES : ["all", "missing"];
    byId("segments").replaceChildren(
      ...names.map((name) =>
        make(
          "button",
          { type: "button", "aria-pressed": String(view.show === name), onclick: () => choose("show", name), "data-show": name },
          `${name[0].toUpperCase()}${name.slice(1)} ${counts[name]}`,
        ),
      ),
    );
  }

  function choose(key, value) {
    const focused = document.activeElement?.dataset?.show;
    view[key] = value;
    current = 0;
    refresh();
    if (focused) byId("segments").querySelector(`[data-show="${value}"]`)?.focus();
  }

  function fill(id, values, names = (value) => value) {
    const select = byId(id);
    select.replaceChildren(...values.map((value) => make("option", { value }, names(value))));
    select.value = view[id];
    if (select.selectedIndex < 0) select.selectedIndex = 0;
    select.addEventListener("change", () => choose(id, select.value));
    return values.length;
  }

  function fillSelects() {
    for (const check of index.named) namedSets.set(check.label, new Set([...check.samples, ...(namedSets.get(check.label) ?? [])]));
    fill("metric", facts.metrics.map((metric) => metric.name));
    const used = new Set(index.outcome);
    const optional = {
      tag: ["", ...index.tagNames],
      outcome: ["", ...index.outcomes.filter((_, code) => used.has(code))],
      named: ["", ...namedSets.keys()],
    };
    const least = { tag: 2, outcome: 3, named: 2 };
    for (const [id, values] of Object.entries(optional)) {
      const titles = (value) => (value === "" ? "any" : id === "outcome" ? value.replaceAll("_", " ") : value);
      byId(`${id}-label`).hidden = fill(id, values, titles) < least[id];
    }
  }

  /** Look for all words in ids, questions and everything the run holds; shows what was found so far on the way. */
  async function search() {
    const mine = ++searching;
    const asked = view.q.toLowerCase().split(/\s+/).filter(Boolean);
    const words = asked.map((word) => JSON.stringify(word).slice(1, -1)); // as the lines of blocks spell them
    if (!asked.length) {
      found = null;
      refresh();
      return busy(false);
    }
    busy(true);
    const hits = new Set(inIndex(asked));
    let [told, turn, cost] = [0, 0, 0];
    const tell = () => {
      const begun = performance.now();
      found = new Set(hits);
      refresh();
      told = performance.now();
      cost = told - begun;
    };
    if (hits.size) tell(); // at once, before anything is unpacked
    await loaded;
    turn = told = performance.now();
    const blocks = [...document.getElementsByClassName("block")].filter(mayHold(words));
    let coming = blocks.length ? lowered(blocks[0]) : null;
    for (let at = 0; at < blocks.length; at++) {
      const text = await coming;
      coming = at + 1 < blocks.length ? lowered(blocks[at + 1]) : null; // is unpacked while this one is read
      if (mine !== searching) return;
      for (const place of placesOf(text, words)) hits.add(+blocks[at].dataset.first + place);
      if (performance.now() - told > 250 + 8 * cost) {
        tell();
        byId("count").textContent += ` … searching, ${Math.round((100 * at) / blocks.length)} %`;
      }
      if (performance.now() - turn < SLICE_MS) continue;
      await new Promise((resolve) => setTimeout(resolve));
      if (mine !== searching) return;
      turn = performance.now();
    }
    searched = { words, hits };
    tell();
    busy(false);
  }

  /** The samples that hold the words in what the table shows of them: id, and the beginnings of question and answer. */
  function inIndex(words) {
    const numbers = [...index.ids.keys()];
    return numbers.filter((number) => {
      const whole = `${index.ids[number]}\n${index.asked[number]}\n${index.answered[number]}`.toLowerCase();
      return words.every((word) => whole.includes(word));
    });
  }

  let searched = null; // the words of the last search that came to its end, and what it found

  /** Which blocks may hold the words: where they narrow the last search, those in which it found something. */
  function mayHold(words) {
    if (!searched?.words.every((before) => words.some((word) => word.includes(before)))) return () => true;
    const numbers = [...searched.hits];
    const firsts = new Set();
    for (const block of document.getElementsByClassName("block")) {
      const [first, count] = [+block.dataset.first, +block.dataset.count];
      if (numbers.some((number) => number >= first && number < first + count)) firsts.add(first);
    }
    return (block) => firsts.has(+block.dataset.first);
  }

  const small = new Map(); // blocks in small letters by their first sample, as many as may be kept
  let smallCharacters = 0;

  /** The text of a block in small letters. */
  function lowered(block) {
    const first = +block.dataset.first;
    const known = small.get(first);
    if (known) return known;
    const text = inflated(block.textContent).then((whole) => {
      const lower = whole.toLowerCase();
      if (smallCharacters + lower.length <= KEPT_LOWER) smallCharacters += lower.length;
      else small.delete(first);
      return lower;
    });
    small.set(first, text);
    return text;
  }

  /** The lines of a text that hold every word. */
  function placesOf(text, words) {
    const numbers = words.some((word) => WHOLE.test(word));
    const [first, ...others] = [...words].sort((a, b) => b.length - a.length); // the longest is the rarest, mostly
    const places = [];
    let [line, start] = [0, 0];
    for (let at = text.indexOf(first); at >= 0; ) {
      for (let end = text.indexOf("\n", start); end >= 0 && end < at; end = text.indexOf("\n", start)) {
        line++;
        start = end + 1;
      }
      const end = text.indexOf("\n", at);
      const whole = text.slice(start, end < 0 ? undefined : end);
      if (holds(whole, others) && (!numbers || holds(JSON.stringify(JSON.parse(whole)), words))) places.push(line);
      at = end < 0 ? -1 : text.indexOf(first, end);
    }
    return places;
  }

  const holds = (text, words) => words.every((word) => text.includes(word));

  const busy = (is) => byId("table").setAttribute("aria-busy", String(is));

  function clear() {
    Object.assign(view, { show: "all", tag: "", outcome: "", named: "", q: "", sort: "", down: false });
    byId("search").value = "";
    for (const id of ["tag", "outcome", "named"]) byId(id).value = "";
    current = 0;
    search();
  }

  // --- the address: what is shown can be sent to somebody ----------------------------------------------------------

  function hashOf(more = {}) {
    const kept = { ...view, down: view.down ? "1" : "", metric: view.metric === facts.metric ? "" : view.metric, show: view.show === "all" ? "" : view.show };
    const given = Object.entries({ ...kept, ...more }).filter(([, value]) => value !== "" && value !== undefined);
    return `#${new URLSearchParams(given.map(([key, value]) => [key, String(value).toWellFormed?.() ?? String(value)]))}`;
  }

  function remember() {
    if (!byId("sample").open && (location.hash.includes("=") || hashOf() !== "#")) history.replaceState(null, "", hashOf());
  }

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    for (const key of ["show", "metric", "tag", "outcome", "named", "q", "sort"]) if (given.has(key)) view[key] = given.get(key);
    view.down = given.get("down") === "1";
    if (!STATES.includes(view.show)) view.show = "all";
    if (!(view.metric in index.scores)) view.metric = facts.metric;
    if (!(view.sort in KEYS)) view.sort = "";
    return given.get("sample");
  }

  // --- one sample --------------------------------------------------------------------------------------------------

  const dialog = byId("sample");
  let opened = null; // number of the sample that is open
  let texts = null;
  let picked = { candidate: 0, baseline: 0 };
  let diffing = true;

  async function open(number) {
    opened = number;
    const place = order.indexOf(number);
    if (place >= 0) current = place;
    if (!dialog.open) dialog.showModal();
    byId("sample-id").replaceChildren(line(index.ids[number]));
    byId("sample-place").textContent = place >= 0 ? `${place + 1} of ${order.length}` : "not among the samples that are shown";
    byId("previous").disabled = place <= 0;
    byId("following").disabled = place < 0 || place >= order.length - 1;
    const wanted = await textsOf(number);
    if (opened !== number) return;
    texts = wanted;
    picked = { candidate: pick(texts.candidate, false), baseline: pick(texts.baseline, true) };
    drawSample();
    byId("sample-body").scrollTop = 0;
    byId("sample-id").focus({ preventScroll: true });
    const address = hashOf({ sample: index.ids[number] });
    if (location.hash !== address) history.replaceState(null, "", address);
  }

  /** The repeat to show: of the baseline the best, of the candidate the worst. */
  function pick(results, best) {
    const goodness = (result) => {
      const value = result.scores[view.metric]?.value;
      return value === undefined ? -1 : lowerIsBetter() ? 1 - value : value;
    };
    let chosen = 0;
    results.forEach((result, place) => {
      const gain = goodness(result) - goodness(results[chosen]);
      if (best ? gain > 0 : gain < 0) chosen = place;
    });
    return chosen;
  }

  function step(by) {
    const place = order.indexOf(opened) + by;
    if (order.indexOf(opened) >= 0 && place >= 0 && place < order.length) open(order[place]);
  }

  function close() {
    dialog.close();
  }

  function whenClosed() {
    opened = texts = null;
    byId("sample-body").replaceChildren();
    history.replaceState(null, "", hashOf());
    go(current);
  }

  function drawSample() {
    const { sample } = texts;
    const [after, before] = [texts.candidate[picked.candidate], texts.baseline[picked.baseline]];
    const claims = facts.metrics.flatMap((metric) => claimsOf(after?.scores[metric.name], metric.name));
    byId("sample-body").replaceChildren(
      ...notes(),
      section("Asked", asked(sample.input)),
      ...(sample.reference === undefined ? [] : [section("Right answer", make("div", { class: "box tall" }, lines(shown(asText(sample.reference)))))]),
      section("Answers", answers(before, after)),
      section("Scores", scoresTable(before, after)),
      ...evidence(claims, sample.contexts ?? []),
      ...more(sample),
    );
  }

  const section = (title, ...children) => make("section", {}, make("h3", {}, title), ...children);

  function notes() {
    const told = index.named.filter((check) => check.samples.includes(opened));
    if (!told.length) return [];
    const named = told.map((check) => [check.label, check.notes[opened]].filter(Boolean).join(": ")).join(" · ");
    return [make("p", { class: "small" }, "Named by ", line(named))];
  }

  function asText(value) {
    return typeof value === "string" ? value : JSON.stringify(value, null, 2);
  }

  function asked(input) {
    if (typeof input === "string") return make("div", { class: "box tall" }, lines(shown(input)));
    return make(
      "div",
      {},
      input.map((message) =>
        make("div", { class: "box" }, make("p", { class: "role" }, line(String(message.role ?? "message"))), lines(shown(asText(message.content ?? message)))),
      ),
    );
  }

  function answers(before, after) {
    const both = [before, after].every((result) => typeof result?.response?.output === "string");
    const marked = diffing && both ? difference(before.response.output, after.response.output) : null;
    byId("diff").disabled = !both;
    byId("diff").setAttribute("aria-pressed", String(diffing));
    const cards = [
      ...(before ? [answer("Baseline", "baseline", before, marked?.before)] : []),
      after ? answer(compared ? "Candidate" : "Answer", "candidate", after, marked?.after) : make("p", { class: "empty" }, "The candidate has no answer."),
    ];
    const pair = make("div", { class: cards.length > 1 ? "pair" : "pair single" }, cards);
    return marked?.note ? make("div", {}, pair, make("p", { class: "small" }, marked.note)) : pair;
  }

  function answer(title, arm, result, marked) {
    const { response } = result;
    const fault = response?.fault;
    const body = marked ?? (fault ? [make("span", { class: "fault" }, `[${fault.kind}] `), ...shown(fault.message)] : shown(response?.output ?? ""));
    const empty = !fault && !(response?.output ?? "").trim();
    const footer = took(result).map((text) => make("span", {}, line(text)));
    return make(
      "article",
      { class: "answer", "data-arm": arm },
      make("header", {}, make("b", {}, title), repeats(arm), outcomeBadge(result), scoreBadge(result)),
      empty ? make("pre", {}, make("span", { class: "small" }, response ? "(empty)" : "(nothing was asked)"), body) : lines(body),
      footer.length ? make("footer", {}, footer) : null,
    );
  }

  const outcomeBadge = ({ outcome }) => (outcome === "scored" ? null : make("span", { class: "badge fail" }, outcome.replaceAll("_", " ")));

  function scoreBadge(result) {
    const value = result.scores[view.metric]?.value;
    return value === undefined ? null : make("span", { class: "of-metric" }, line(view.metric), " ", make("b", {}, score(value)));
  }

  function repeats(arm) {
    const results = texts[arm];
    if (results.length < 2) return null;
    return make(
      "span",
      { class: "repeats", role: "group", "aria-label": "repeat" },
      results.map((result, place) =>
        make(
          "button",
          { type: "button", "aria-pressed": String(picked[arm] === place), title: `repeat ${result.repeat}`, onclick: () => pickRepeat(arm, place) },
          `${result.repeat + 1}: ${score(result.scores[view.metric]?.value)}`,
        ),
      ),
    );
  }

  function pickRepeat(arm, place) {
    picked[arm] = place;
    const { scrollTop } = byId("sample-body");
    drawSample();
    byId("sample-body").scrollTop = scrollTop;
    dialog.querySelector(`[data-arm="${arm}"] .repeats [aria-pressed="true"]`)?.focus();
  }

  /** Time, tokens, cost and what the provider said, in words. */
  function took({ response }) {
    if (!response) return [];
    const told = {
      latency_s: (value) => seconds(value),
      ttft_s: (value) => `first token ${seconds(value)}`,
      input_tokens: (value) => `${value} tokens in`,
      output_tokens: (value) => `${value} tokens out`,
      cost_usd: (value) => `$${+value.toPrecision(3)}`,
      finish_reason: (value) => `finish: ${value}`,
      served_model: (value) => `served: ${value}`,
      fingerprint: (value) => `fingerprint: ${value}`,
      attempts: (value) => (value > 1 ? `${value} attempts` : null),
      retry_wait_s: (value) => (value > 0 ? `${seconds(value)} waiting to retry` : null),
      journaled_at: (value) => `from the journal, ${value}`,
      refusal: (value) => (value ? "marked as a refusal" : null),
    };
    return Object.entries(told).flatMap(([key, words]) => (key in response ? (words(response[key]) ?? []) : []));
  }

  // --- word diff ---------------------------------------------------------------------------------------------------

  /** Both texts with what differs marked; without marks, and a note, where that would say nothing. */
  function difference(before, after) {
    if (before === after) return { before: shown(before), after: shown(after), note: "Both answers are the same." };
    const parts = partsOf(before, after);
    if (parts === null) return { note: "These answers are too long for a word diff." };
    const common = parts.reduce((sum, part) => sum + (part.added || part.removed ? 0 : part.value.trim().length), 0);
    if (common < ALIKE * Math.min(before.trim().length, after.trim().length)) {
      return { note: "These answers have little in common: a word diff would mark nearly everything." };
    }
    const side = (dropped, name) =>
      parts.filter((part) => !part[dropped]).flatMap((part) => (part.added || part.removed ? marked(name, part.value) : shown(part.value)));
    return { before: side("added", "del"), after: side("removed", "ins") };
  }

  /** What differs, marked but for its line ends and indentation; white space alone is marked where it is all there is. */
  function marked(name, text) {
    if (!text.trim()) return [make(name, {}, shown(text))];
    return text.split(/(\s*\n\s*|^[ \t]+|[ \t]+$)/).flatMap((piece) => (piece.trim() ? [make(name, {}, shown(piece))] : shown(piece)));
  }

  function partsOf(before, after) {
    const length = before.length + after.length;
    if (length > DIFF_LONGEST) return null;
    const options = { timeout: DIFF_MS };
    if (length < SEGMENTED && NO_SPACES.test(before + after) && typeof Intl.Segmenter === "function") {
      return Diff.diffWordsWithSpace(before, after, { ...options, intlSegmenter: new Intl.Segmenter(undefined, { granularity: "word" }) }) ?? null;
    }
    return Diff.diffWordsWithSpace(before, after, options) ?? null;
  }

  // --- scores, claims and their evidence ---------------------------------------------------------------------------

  function scoresTable(before, after) {
    const arms = [...(before ? [["Baseline", before]] : []), ...(after ? [[compared ? "Candidate" : "Score", after]] : [])];
    const head = make("tr", {}, make("th", { scope: "col" }, "Metric"), arms.map(([name]) => make("th", { scope: "col" }, name)));
    const body = facts.metrics.map(({ name }) =>
      make("tr", { class: name === view.metric ? "chosen" : null }, make("th", { scope: "row" }, line(name)), arms.map(([, result]) => make("td", {}, told(result.scores[name], name), judged(result.judging?.[name])))),
    );
    return make("div", { class: "scroll" }, make("table", { class: "scores-of" }, make("thead", {}, head), make("tbody", {}, body)));
  }

  /** A score with its reasons; why there is none, where there is none. */
  function told(found, metric) {
    if (!found) return ["–"];
    const missing = found.unscored !== undefined;
    const head = missing ? make("span", { class: "badge inconclusive" }, `not scored: ${found.unscored.replaceAll("_", " ")}`) : make("b", {}, score(found.value));
    const read = found.answer === undefined ? null : make("span", { class: "told" }, "read: ", line(found.answer));
    const why = found.explanation ? make("span", { class: "told", dir: "auto" }, shown(found.explanation)) : null;
    const rest = Object.fromEntries(Object.entries(found.details ?? {}).filter(([key]) => key !== "claims" || !claimsOf(found, metric).length));
    const details = Object.keys(rest).length ? make("details", {}, make("summary", {}, "details"), lines(shown(JSON.stringify(rest, null, 2)))) : null;
    return [head, read, why, details];
  }

  /** What the judge of a score was asked for and what it cost, in words. */
  function judged(use) {
    if (!use?.calls) return null;
    const tokens = (use.input_tokens ?? 0) + (use.output_tokens ?? 0);
    const cost = use.cost_usd === undefined || use.cost_usd === null ? [] : [`$${+use.cost_usd.toPrecision(3)}`];
    const words = [`${use.calls} call${use.calls === 1 ? "" : "s"}`, ...(tokens ? [`${tokens} tokens`] : []), ...cost];
    return make("span", { class: "told" }, `judge: ${words.join(", ")}`);
  }

  const firstText = (record, keys) => keys.map((key) => record[key]).find((value) => typeof value === "string" && value !== "");

  /** The claims of a judged score, whatever its judge calls their parts. */
  function claimsOf(found, metric) {
    const list = found?.details?.claims;
    if (!Array.isArray(list)) return [];
    return list
      .map((record) => (typeof record === "string" ? { text: record } : record))
      .filter((record) => record !== null && typeof record === "object")
      .map((record) => ({
        metric,
        text: firstText(record, ["text", "claim", "statement"]) ?? asText(record),
        verdict: verdictOf(record),
        reason: firstText(record, ["reason", "explanation", "reasoning"]),
        quotes: ["quote", "quotes", "evidence", "span"].flatMap((key) => record[key] ?? []).map(quoteOf).filter(Boolean),
      }));
  }

  const quoteOf = (value) => (typeof value === "string" ? value : (firstText(value ?? {}, ["quote", "text", "span"]) ?? ""));

  function verdictOf(record) {
    const given = record.verdict ?? record.label ?? record.supported ?? record.status;
    if (given === true) return "supported";
    if (given === false) return "not supported";
    return given === undefined || given === null ? "" : String(given);
  }

  function tone(verdict) {
    if (/^(supported|yes|true|entailed|entailment|faithful|attributable|correct|1)$/i.test(verdict)) return "good";
    if (/^(unsupported|unfaithful|not|no\b|false|contra|refut|wrong|incorrect|0$)/i.test(verdict)) return "bad";
    return "";
  }

  function claimList(claims) {
    return make(
      "ol",
      { class: "claims" },
      claims.map((claim, place) =>
        make(
          "li",
          { class: tone(claim.verdict) },
          make("div", {}, make("b", {}, `${place + 1}. `), claim.verdict ? make("span", { class: `badge ${tone(claim.verdict)}` }, line(claim.verdict.replaceAll("_", " "))) : null, line(claim.text)),
          claim.reason ? make("span", { class: "told", dir: "auto" }, shown(claim.reason)) : null,
          claim.quotes.map((quote) => make("q", { dir: "auto" }, shown(quote))),
          make("span", { class: "small", "data-claim": place + 1 }),
        ),
      ),
    );
  }

  /** Claims beside the contexts that they rest on. */
  function evidence(claims, list) {
    const parts = [
      ...(claims.length ? [section("Claims", claimList(claims))] : []),
      ...(list.length ? [section("Contexts", contexts(list, claims))] : []),
    ];
    return parts.length > 1 ? [make("div", { class: "pair" }, parts)] : parts;
  }

  /** The contexts, with the evidence of each claim marked; claims learn where their evidence stands. */
  function contexts(list, claims) {
    const wanted = claims.flatMap((claim, place) => claim.quotes.map((quote) => ({ quote, place, tone: tone(claim.verdict) })));
    const foundClaims = new Set();
    const boxes = list.map((text) => {
      const spans = wanted.flatMap((want) => spansOf(text, want));
      spans.forEach((span) => foundClaims.add(span.place));
      return make("div", { class: "box" }, lines(highlighted(text, spans)));
    });
    queueMicrotask(() => tellEvidence(claims, foundClaims));
    return make("div", {}, boxes);
  }

  function tellEvidence(claims, foundClaims) {
    claims.forEach((claim, place) => {
      const where = dialog.querySelector(`[data-claim="${place + 1}"]`);
      if (!where || !claim.quotes.length) return;
      if (foundClaims.has(place)) where.append(make("button", { type: "button", onclick: () => showEvidence(place) }, "Show in the context"));
      else where.append("This evidence stands in none of the contexts.");
    });
  }

  function showEvidence(place) {
    dialog.querySelectorAll("mark.found").forEach((mark) => mark.classList.remove("found"));
    const marks = [...dialog.querySelectorAll("mark")].filter((mark) => mark.dataset.claims.split(" ").includes(String(place + 1)));
    marks.forEach((mark) => mark.classList.add("found"));
    marks[0]?.scrollIntoView({ block: "center" });
  }

  /** Where a quote stands in a text: letter for letter, or else but for case, quotation marks and white space. */
  function spansOf(text, { quote, place, tone }) {
    const exact = text.indexOf(quote);
    if (exact >= 0) return [{ from: exact, to: exact + quote.length, place, tone }];
    const [folded, places] = fold(text);
    const [needle] = fold(quote.trim().replace(/…$/, "")); // judges' quotes may be stored shortened
    const at = needle ? folded.indexOf(needle) : -1;
    return at < 0 ? [] : [{ from: places[at], to: places[at + needle.length - 1] + 1, place, tone }];
  }

  function fold(text) {
    let folded = "";
    const places = [];
    for (let at = 0; at < text.length; at++) {
      const plain = text[at].toLowerCase().replace(/[\u2018\u2019\u201b]/, "'").replace(/[\u201c\u201d\u201e]/, '"').replace(/[\u2010-\u2015]/, "-");
      const letter = /\s/.test(plain) ? " " : plain[0];
      if (letter === " " && folded.endsWith(" ")) continue;
      folded += letter;
      places.push(at);
    }
    return [folded, places];
  }

  function highlighted(text, spans) {
    const cuts = [...new Set([0, text.length, ...spans.flatMap(({ from, to }) => [from, to])])].sort((a, b) => a - b);
    return cuts.slice(0, -1).flatMap((from, at) => {
      const inside = spans.filter((span) => span.from <= from && span.to >= cuts[at + 1]);
      const nodes = shown(text.slice(from, cuts[at + 1]));
      if (!inside.length) return nodes;
      const numbers = [...new Set(inside.map((span) => span.place + 1))].sort((a, b) => a - b);
      const ends = inside.filter((span) => span.to === cuts[at + 1]).map((span) => span.place + 1);
      const tones = new Set(inside.map((span) => span.tone));
      return [make("mark", { class: tones.has("bad") ? "bad" : [...tones][0] || null, "data-claims": numbers.join(" ") }, nodes, ends.length ? make("sup", {}, [...new Set(ends)].join(",")) : null)];
    });
  }

  function more(sample) {
    const rest = Object.fromEntries(["tags", "group", "metadata"].filter((key) => sample[key] !== undefined).map((key) => [key, sample[key]]));
    return Object.keys(rest).length ? [make("details", {}, make("summary", {}, "Tags, group and metadata"), lines(shown(JSON.stringify(rest, null, 2))))] : [];
  }

  // --- theme, keyboard ---------------------------------------------------------------------------------------------

  const THEMES = ["auto", "light", "dark"];

  function setTheme(theme) {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    byId("theme").textContent = `Theme: ${theme}`;
    store("theme", theme);
  }

  const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length]);

  function store(key, value) {
    try {
      localStorage.setItem(`aigate.${key}`, value);
    } catch {
      // a browser that keeps nothing for files: the choice lasts as long as the page
    }
  }

  function stored(key) {
    try {
      return localStorage.getItem(`aigate.${key}`);
    } catch {
      return null;
    }
  }

  function toggleDiff() {
    diffing = !diffing;
    if (!texts) return;
    const { scrollTop } = byId("sample-body");
    drawSample();
    byId("sample-body").scrollTop = scrollTop;
  }

  const SINGLE = {
    "/": () => !dialog.open && byId("search").focus(),
    j: () => (dialog.open ? step(1) : go(rows.contains(document.activeElement) ? current + 1 : current)),
    k: () => (dialog.open ? step(-1) : go(current - 1)),
    ArrowRight: () => dialog.open && step(1),
    ArrowLeft: () => dialog.open && step(-1),
    d: () => dialog.open && toggleDiff(),
    t: nextTheme,
    "?": () => byId("keys").open || byId("keys").showModal(),
    ...Object.fromEntries(STATES.map((name, at) => [String(at + 1), () => !dialog.open && choose("show", name)])),
  };

  function whenPressed(event) {
    const typing = event.target.closest?.("input, select, textarea");
    if (event.key === "Escape" && event.target.id === "search") {
      byId("search").value = view.q = "";
      byId("search").blur();
      search();
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || byId("keys").open || !byId("shortcuts").checked) return;
    const act = Object.hasOwn(SINGLE, event.key) ? SINGLE[event.key] : null;
    if (act && act() !== false) event.preventDefault();
  }

  function listen() {
    document.addEventListener("keydown", whenPressed);
    let waiting = 0;
    const later = () => (waiting ||= requestAnimationFrame(() => ((waiting = 0), draw(false))));
    addEventListener("scroll", later, { passive: true });
    addEventListener("resize", () => draw(true));
    rows.addEventListener("click", (event) => {
      const row = event.target.closest("tr.entry");
      if (!row || getSelection().toString()) return;
      event.preventDefault();
      open(order[+row.dataset.place]);
    });
    let pause = 0;
    byId("search").addEventListener("input", () => {
      busy(true);
      clearTimeout(pause);
      pause = setTimeout(() => ((view.q = byId("search").value), (current = 0), search()), 150);
    });
    byId("search").form.addEventListener("submit", (event) => event.preventDefault());
    byId("clear").addEventListener("click", clear);
    byId("theme").addEventListener("click", nextTheme);
    byId("help").addEventListener("click", () => byId("keys").showModal());
    byId("keys-close").addEventListener("click", () => byId("keys").close());
    byId("shortcuts").addEventListener("change", () => store("shortcuts", byId("shortcuts").checked ? "on" : "off"));
    byId("previous").addEventListener("click", () => step(-1));
    byId("following").addEventListener("click", () => step(1));
    byId("diff").addEventListener("click", toggleDiff);
    byId("close").addEventListener("click", close);
    dialog.addEventListener("close", whenClosed);
    dialog.addEventListener("click", (event) => event.target === dialog && close());
    addEventListener("hashchange", () => openNamed(new URLSearchParams(location.hash.slice(1)).get("sample")));
  }

  function openNamed(wanted) {
    const number = wanted === null ? -1 : index.ids.findIndex((id) => (id.toWellFormed?.() ?? id) === wanted);
    if (number >= 0 && number !== opened) open(number);
  }

  async function start() {
    document.documentElement.classList.add("scripting");
    if (THEMES.includes(stored("theme"))) setTheme(stored("theme"));
    byId("shortcuts").checked = stored("shortcuts") !== "off";
    if (typeof DecompressionStream !== "function") {
      byId("count").textContent = "This browser cannot unpack the samples: use one of 2023 or later.";
      return;
    }
    index = await unpack(byId("index").textContent);
    const wanted = readAddress();
    fillSelects();
    byId("search").value = view.q;
    listen();
    if (view.q) await search();
    else refresh();
    document.documentElement.dataset.ready = "";
    performance.mark("aigate-ready");
    openNamed(wanted);
  }

  const started = start();
  return { facts, started, state: () => ({ index, order }), scoresOf: (metric) => index.scores[metric], onMetric: (act) => byId("metric").addEventListener("change", () => act(byId("metric").value)), metric: () => view.metric, difference, make };
})();
