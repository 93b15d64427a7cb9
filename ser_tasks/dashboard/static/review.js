// Judging a call by keys, without leaving the page.
"use strict";

const reviewForm = document.getElementById("review-form");
const said = document.getElementById("review-said");
const stretches = document.getElementById("stretch");
let waitsForDigit = false;
let sending = false;

function say(text, failed) {
  said.textContent = text;
  said.classList.toggle("failed", Boolean(failed));
}

function setWaiting(waits) {
  waitsForDigit = waits;
  reviewForm.classList.toggle("waiting", waits);
  if (waits) say("Which emotion? Press its number.");
}

async function send(button) {
  if (sending) return;
  sending = true;
  setWaiting(false);
  const fields = new URLSearchParams(new FormData(reviewForm));
  fields.set("do", button.value);
  try {
    const answer = await fetch(reviewForm.action, { method: "POST", body: fields, headers: { Accept: "application/json" } });
    if (answer.ok) {
      const { saved, html } = await answer.json();
      document.getElementById("review-judged").innerHTML = html;
      document.getElementById("review-note").value = "";
      say(saved);
    } else {
      const text = await answer.text();
      const main = new DOMParser().parseFromString(text, "text/html").querySelector("main p");
      say(main ? main.textContent : text, true);
    }
  } catch {
    say("Not saved: the dashboard does not answer.", true);
  }
  sending = false;
}

function chooseStretch() {
  const at = typeof place === "number" ? place : 0;
  const options = Array.from(stretches.options).filter(each => each.dataset.start !== undefined);
  const here = options.find(each => Number(each.dataset.start) <= at && at < Number(each.dataset.end));
  if (here) stretches.value = here.value;
  say(here ? `You judge ${here.textContent}.` : "No stretch to judge plays here.");
}

function onKey(event) {
  if (event.defaultPrevented || event.altKey || event.ctrlKey || event.metaKey) return;
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "Enter" && event.target.id === "review-note") {
    event.preventDefault();
    send(reviewForm.querySelector('button[value="note"]'));
    return;
  }
  if (event.key === "Escape") {
    if (typing) typing.blur();
    setWaiting(false);
    say("");
    return;
  }
  if (typing) return;
  const next = document.getElementById("next-call");
  if (waitsForDigit && /^[1-9]$/.test(event.key)) {
    const button = reviewForm.querySelector(`button[data-digit="${event.key}"]`);
    if (button) send(button);
  } else if (event.key === "w") {
    setWaiting(true);
  } else if (event.key === "t") {
    document.getElementById("review-note").focus();
  } else if (event.key === "s") {
    chooseStretch();
  } else if (event.key === "c") {
    stretches.value = "";
    say("You judge the whole call.");
  } else if (event.key === "j" && next) {
    next.click();
  } else {
    const button = reviewForm.querySelector(`button[data-key="${CSS.escape(event.key)}"]`);
    if (!button) return;
    send(button);
  }
  event.preventDefault();
}

if (reviewForm) {
  reviewForm.addEventListener("submit", event => {
    if (!event.submitter) return;
    event.preventDefault();
    send(event.submitter);
  });
  document.addEventListener("keydown", onKey);
  stretches.addEventListener("change", () => {
    const chosen = stretches.selectedOptions[0];
    if (chosen.dataset.start !== undefined && typeof go === "function") go(Number(chosen.dataset.start), false);
  });
}
