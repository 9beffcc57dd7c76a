// Keeps an open page new: what is said by the server replaces the main part, with focus, scroll, open details and what was typed kept.
// Without this script every page works; it is then as old as it says.

const PACE_MS = 500; // between two looks
const SILENT_MS = 12_000; // three beats of the server
const LIMIT_MS = 10_000; // for one look
const HOLD_MS = 10_000; // of somebody who clicks or chooses
const AWAY_MS = 5_000; // between looks while nobody tells of news

const body = document.body;
const main = document.getElementById("main");
const live = document.getElementById("live");
const said = document.getElementById("said");
const isLive = body.dataset.live === "true";
const own = globalThis.trustedTypes?.createPolicy("tidegate", { createHTML: (text) => text });

let version = body.dataset.version;
let ahead = Number(body.dataset.now) - Date.now(); // of the server's clock
let shownAt = performance.now(); // when what is shown was made
let heardAt = performance.now();
let lookedAt = -PACE_MS;
let looking = false;
let wanted = false;
let trouble = "";

function lasting(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (one, unit, rest, of) => (rest === 0 ? `${one} ${unit}` : `${one} ${unit} ${rest} ${of}`);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return two(Math.floor(seconds / 60), "min", seconds < 600 ? seconds % 60 : 0, "s");
  if (seconds < 86400) return two(Math.floor(seconds / 3600), "h", Math.floor((seconds % 3600) / 60), "min");
  return two(Math.floor(seconds / 86400), "d", Math.floor((seconds % 86400) / 3600), "h");
}

function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function ages() {
  const now = Date.now() + ahead;
  for (const it of main.querySelectorAll("time[data-ago]")) say(it, `${lasting(now - Number(it.dataset.ago))} ago`);
  for (const it of main.querySelectorAll("time[data-left]")) {
    const left = Number(it.dataset.left) - now;
    say(it, left > 0 ? `in ${lasting(left)}` : "any moment");
  }
  const age = performance.now() - (trouble ? shownAt : heardAt);
  live.dataset.state = trouble ? "lost" : isLive ? "live" : "still";
  if (trouble) say(live, `${trouble} What is shown is ${lasting(age)} old.`);
  else say(live, isLive ? "Live" : "Not renewed while you decide");
}

// What a person has done to the page and would miss.
function remember() {
  const focus = document.activeElement;
  const fields = [...main.querySelectorAll("input[id], select[id], textarea[id]")].filter((it) => {
    if (it.type === "checkbox") return it.checked !== it.defaultChecked;
    if (it.tagName === "SELECT") return [...it.options].some((option) => option.selected !== option.defaultSelected);
    return it.value !== it.defaultValue;
  });
  return {
    focus: focus && main.contains(focus) ? path(focus) : null,
    selection: focus?.selectionStart === undefined ? null : selection(focus),
    fields: fields.map((it) => [it.id, it.type === "checkbox" ? it.checked : it.value]),
    boxes: [...main.querySelectorAll("input[type=checkbox]:not([id])")]
      .filter((it) => it.checked !== it.defaultChecked)
      .map((it) => [it.name, it.value, it.checked]),
    details: [...main.querySelectorAll("details[id]")].map((it) => [it.id, it.open]),
    scrolls: [...main.querySelectorAll(".scroll[id]")].map((it) => [it.id, it.scrollLeft, it.scrollTop]),
    window: [scrollX, scrollY],
  };
}

function selection(field) {
  try {
    return [field.selectionStart, field.selectionEnd];
  } catch {
    return null; // a field of numbers has none
  }
}

// By its own id, or as the n-th of its kind within the nearest thing that has one.
function path(element) {
  if (element.id) return { id: element.id };
  const within = element.parentElement.closest("[id]") ?? main;
  const kind = element.tagName.toLowerCase();
  return { within: within.id, kind, at: [...within.querySelectorAll(kind)].indexOf(element), text: element.textContent };
}

function found(where) {
  if (where.id) return document.getElementById(where.id);
  const all = [...(document.getElementById(where.within) ?? main).querySelectorAll(where.kind)];
  // A row may have come or gone above it: the same words are the same thing.
  return all[where.at]?.textContent === where.text ? all[where.at] : (all.find((it) => it.textContent === where.text) ?? all[where.at]);
}

function restore(kept) {
  for (const [id, open] of kept.details) {
    const it = document.getElementById(id);
    if (it) it.open = open;
  }
  for (const [id, value] of kept.fields) {
    const it = document.getElementById(id);
    if (it?.type === "checkbox") it.checked = value;
    else if (it) it.value = value;
  }
  for (const [name, value, checked] of kept.boxes) {
    const it = [...main.querySelectorAll("input[type=checkbox]")].find((box) => box.name === name && box.value === value);
    if (it) it.checked = checked;
  }
  for (const [id, left, top] of kept.scrolls) document.getElementById(id)?.scrollTo(left, top);
  scrollTo(...kept.window);
  const focus = kept.focus && found(kept.focus);
  if (!focus) return;
  focus.focus({ preventScroll: true });
  if (kept.selection && focus.setSelectionRange && kept.selection[0] !== null) {
    try {
      focus.setSelectionRange(...kept.selection);
    } catch {
      // A field without a selection.
    }
  }
}

// What is being clicked or chosen from must not be exchanged under the hand: the click would go nowhere.
let pressed = false;
let touchedAt = 0;
addEventListener("pointerdown", () => ((pressed = true), (touchedAt = performance.now())), true);
for (const kind of ["pointerup", "pointercancel"]) addEventListener(kind, () => setTimeout(() => (pressed = false)), true);
addEventListener("keydown", () => (touchedAt = performance.now()), true);

async function hands() {
  for (;;) {
    const since = performance.now() - touchedAt;
    const chooses = document.activeElement?.tagName === "SELECT" && main.contains(document.activeElement);
    if (since > HOLD_MS || !(pressed || chooses)) return;
    await new Promise((done) => setTimeout(done, 100));
  }
}

function swap(html) {
  const kept = remember();
  const made = document.createElement("template");
  made.innerHTML = own ? own.createHTML(html) : html;
  main.replaceChildren(made.content);
  restore(kept);
  const summary = main.querySelector("[data-said]");
  if (summary) say(said, summary.dataset.said);
}

async function look() {
  if (looking) {
    wanted = true;
    return;
  }
  looking = true;
  wanted = false;
  await new Promise((done) => setTimeout(done, Math.max(0, lookedAt + PACE_MS - performance.now())));
  lookedAt = performance.now();
  try {
    const url = new URL(location.href);
    url.searchParams.set("part", "main");
    const answer = await fetch(url, { signal: AbortSignal.timeout(LIMIT_MS), headers: { accept: "text/html" } });
    if (answer.status === 401) throw new Error("You are signed out; load the page anew.");
    const text = await answer.text();
    const now = Number(answer.headers.get("x-tidegate-now"));
    if (!now) throw new Error("The server does not answer as it should.");
    ahead = now - Date.now();
    shownAt = heardAt = performance.now();
    await hands();
    version = answer.headers.get("x-tidegate-version");
    trouble = "";
    swap(text);
  } catch (error) {
    trouble = error.name === "TypeError" || error.name === "TimeoutError" ? "Connection lost." : error.message;
  }
  looking = false;
  ages();
  if (wanted) look();
}

function news(event) {
  heardAt = performance.now();
  if (!trouble) shownAt = heardAt;
  const told = JSON.parse(event.data);
  // A page that nobody sees is renewed when it is seen.
  if ((String(told.version) !== version || trouble) && !document.hidden) look();
}

let events;
function listen() {
  events?.close();
  events = new EventSource("/events");
  for (const kind of ["version", "beat"]) events.addEventListener(kind, news);
}

function watch() {
  ages();
  const silent = performance.now() - heardAt;
  if (events.readyState === EventSource.OPEN && silent < SILENT_MS) return;
  if (silent > SILENT_MS && !trouble) trouble = "Connection lost.";
  if (performance.now() - lookedAt < AWAY_MS || document.hidden) return;
  if (events.readyState === EventSource.CLOSED || silent > SILENT_MS) listen();
  look();
}

if (isLive) {
  listen();
  setInterval(watch, 1000);
  document.addEventListener("visibilitychange", () => document.hidden || look());
  addEventListener("pagehide", () => events.close());
  addEventListener("pageshow", (event) => event.persisted && listen());
} else setInterval(ages, 1000);
ages();

document.addEventListener("keydown", (event) => {
  const typing = event.target.closest?.("input, select, textarea");
  if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const filter = main.querySelector("[data-filter]");
  if (!filter) return;
  event.preventDefault();
  filter.focus();
  filter.select();
});
