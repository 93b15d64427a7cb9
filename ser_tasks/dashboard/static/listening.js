// Reports what was played, from when to when, for the listening log.
"use strict";

{
  const audio = document.getElementById("audio");
  const REPORT_EVERY_MS = 60000;
  let begun = null;

  const report = () => {
    if (begun === null) return;
    const elapsed_s = (Date.now() - begun.at) / 1000;
    const fields = { token: audio.dataset.token, from_s: begun.from_s.toFixed(1), to_s: begun.to_s.toFixed(1), elapsed_s: elapsed_s.toFixed(1) };
    begun = null;
    fetch(audio.dataset.listened, { method: "POST", body: new URLSearchParams(fields), keepalive: true }).catch(() => {});
  };

  if (audio && audio.dataset.listened) {
    const begin = () => { begun = { at: Date.now(), from_s: audio.currentTime, to_s: audio.currentTime }; };
    audio.addEventListener("playing", () => { if (begun === null) begin(); });
    audio.addEventListener("timeupdate", () => {
      if (begun === null || audio.paused || audio.seeking) return;
      begun.to_s = audio.currentTime;
      if (Date.now() - begun.at > REPORT_EVERY_MS) { report(); begin(); }
    });
    for (const event of ["pause", "ended", "seeking"]) audio.addEventListener(event, report);
    window.addEventListener("pagehide", report);
  }
}
