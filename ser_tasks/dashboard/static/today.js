// The list of calls to hear: plays a call at its moment without leaving the page. Without this script the buttons open the call's page.
"use strict";

const player = document.getElementById("today-player");
const sound = document.getElementById("today-audio");
const label = document.getElementById("today-label");
let playing = null;

function mark(button) {
  if (playing) playing.removeAttribute("aria-current");
  playing = button;
  if (button) button.setAttribute("aria-current", "true");
}

function play(button) {
  const at = Number(button.dataset.at);
  player.hidden = false;
  label.textContent = button.getAttribute("aria-label").replace(/^Play /, "");
  label.href = button.href;
  mark(button);
  sound.src = button.dataset.src;
  sound.addEventListener("loadedmetadata", () => { sound.currentTime = at; }, { once: true });
  sound.play().catch(() => {});
}

if (player) {
  for (const button of document.querySelectorAll("a.play[data-src]")) {
    button.addEventListener("click", event => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
      event.preventDefault();
      if (playing === button && !sound.paused) sound.pause();
      else if (playing === button && sound.currentTime > 0) sound.play().catch(() => {});
      else play(button);
    });
  }
  sound.addEventListener("error", () => { label.textContent = "This recording cannot be played here. Open the call"; });
}
