// The page of a call: plays from a clicked position, moves the playhead, shows who speaks, and requests a new link when one has expired.
"use strict";

const ZOOMS = [1, 4, 16];
const audio = document.getElementById("audio");
const timeline = document.getElementById("timeline");
const now = document.getElementById("now");
const problem = document.getElementById("problem");
const spoken = timeline ? JSON.parse(document.getElementById("spoken").textContent) : [];
const duration = timeline ? Number(timeline.dataset.duration) : 0;
const svg = timeline && timeline.querySelector("svg");
const playhead = timeline && svg.querySelector("#playhead");
const rows = new Map(Array.from(document.querySelectorAll("tr[data-start]"), row => [Number(row.dataset.start), row]));
let place = 0;
let zoom = 0;
let shown = null;
let renewed = 0;

function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, String(whole % 60).padStart(2, "0")];
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${rest}` : `${minutes}:${rest}`;
}

function segmentsAt(seconds) {
  return spoken.filter(([start, end]) => start <= seconds && seconds < end);
}

function show(seconds) {
  place = Math.min(Math.max(0, seconds), duration);
  if (!timeline) return;
  const x = `${(100 * place) / duration}%`;
  playhead.setAttribute("x1", x);
  playhead.setAttribute("x2", x);
  const segments = segmentsAt(place);
  const caption = segments.length ? segments.map(each => each[2]).join("; ") : "nobody speaks";
  now.textContent = `${clock(place)} of ${clock(duration)}: ${caption}`;
  timeline.setAttribute("aria-valuenow", place.toFixed(1));
  timeline.setAttribute("aria-valuetext", `${clock(place)}, ${caption}`);
  const row = segments.length ? rows.get(segments[0][0]) : null;
  if (row !== shown) {
    if (shown) shown.classList.remove("playing");
    if (row) row.classList.add("playing");
    shown = row;
  }
}

function scrollToPlace(view) {
  const scroll = timeline.parentElement;
  const x = (place / duration) * svg.getBoundingClientRect().width;
  if (x < scroll.scrollLeft || x > scroll.scrollLeft + scroll.clientWidth) scroll.scrollLeft = x - scroll.clientWidth / 2;
  if (view) timeline.scrollIntoView({ block: "nearest" });
}

function go(seconds, play) {
  show(seconds);
  if (timeline) scrollToPlace(false);
  if (!audio || !problem.hidden) return;
  audio.currentTime = place;
  if (play) audio.play().catch(() => {});
}

function momentOf(hash) {
  const found = /^#t=(\d+(?:\.\d+)?)$/.exec(hash);
  return found ? Number(found[1]) : null;
}

async function fetchProblem() {
  return (await (await fetch(audio.dataset.check)).json()).problem;
}

function showProblem(text) {
  problem.textContent = text;
  problem.hidden = false;
  audio.hidden = true;
}

if (audio) {
  fetchProblem().then(text => text && showProblem(text)).catch(() => {});
  audio.addEventListener("timeupdate", () => { show(audio.currentTime); if (timeline && !audio.paused) scrollToPlace(false); });
  audio.addEventListener("seeking", () => show(audio.currentTime));
  audio.addEventListener("error", async () => {
    const text = await fetchProblem().catch(() => "The dashboard does not answer: it was stopped, or the network is unavailable.");
    if (text) return showProblem(text);
    if (Date.now() - renewed < 10000) return showProblem("This browser cannot play the recording.");
    renewed = Date.now();  // the link had expired: loading again requests a new one
    const at = place;
    audio.load();
    audio.currentTime = at;
    audio.play().catch(() => {});
  });
}

document.addEventListener("click", event => {
  const link = event.target.closest('a[href^="#t="]');
  if (!link) return;
  event.preventDefault();
  const moment = momentOf(link.getAttribute("href"));
  history.replaceState(null, "", `#t=${moment}`);
  go(moment, true);
});

window.addEventListener("hashchange", () => {
  const moment = momentOf(location.hash);
  if (moment !== null) go(moment, false);
});

if (timeline) {
  timeline.setAttribute("role", "slider");
  timeline.setAttribute("tabindex", "0");
  timeline.setAttribute("aria-valuemin", "0");
  timeline.setAttribute("aria-valuemax", duration.toFixed(1));
  show(0);
  timeline.addEventListener("click", event => {
    const box = svg.getBoundingClientRect();
    go((duration * (event.clientX - box.left)) / box.width, true);
  });
  timeline.addEventListener("keydown", event => {
    const steps = { ArrowLeft: -5, ArrowDown: -5, ArrowRight: 5, ArrowUp: 5, PageUp: 60, PageDown: -60, Home: -Infinity, End: Infinity };
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key in steps) go(place + steps[event.key], false);
    else if (event.key === "n" || event.key === "p") {
      const starts = spoken.map(each => each[0]);
      const next = event.key === "n" ? starts.find(start => start > place + 0.01) : starts.reverse().find(start => start < place - 0.01);
      if (next !== undefined) go(next, false);
    } else if (event.key === " " || event.key === "Enter") {
      if (audio && problem.hidden) {
        if (audio.paused) go(place, true);
        else audio.pause();
      }
    } else return;
    event.preventDefault();
  });

  document.getElementById("zoom").hidden = false;
  const [wider, narrower] = [document.getElementById("wider"), document.getElementById("narrower")];
  const zoomTo = level => {
    zoom = Math.min(Math.max(0, level), ZOOMS.length - 1);
    svg.setAttribute("width", `${100 * ZOOMS[zoom]}%`);
    svg.setAttribute("class", `timeline zoom-${ZOOMS[zoom]}`);
    wider.disabled = zoom === ZOOMS.length - 1;
    narrower.disabled = zoom === 0;
    timeline.parentElement.scrollLeft = (place / duration) * svg.getBoundingClientRect().width - timeline.parentElement.clientWidth / 2;
  };
  wider.addEventListener("click", () => zoomTo(zoom + 1));
  narrower.addEventListener("click", () => zoomTo(zoom - 1));
}

const moment = momentOf(location.hash);
if (moment !== null) {
  go(moment, false);
  if (timeline) scrollToPlace(true);
}

const findWords = document.getElementById("find-words");
if (findWords) findWords.addEventListener("input", () => {
  const wanted = findWords.value.trim().toLowerCase();
  for (const turn of document.querySelectorAll("#said li")) turn.hidden = !turn.textContent.toLowerCase().includes(wanted);
});
