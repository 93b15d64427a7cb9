// Reports what was played, from when to when, for the listening log.
"use strict";

{
  const audio = document.querySelector("audio");
  const token = document.querySelector('meta[name="form-token"]');
  const REPORT_EVERY_MS = 60000;
  let begun = null;

  const report = () => {
    if (begun === null) return;
    const elapsed_s = (Date.now() - begun.at) / 1000;
    const fields = { token: token.content, from_s: begun.from_s.toFixed(1), to_s: begun.to_s.toFixed(1), elapsed_s: elapsed_s.toFixed(1) };
    const { address, from_s, to_s } = begun;
    begun = null;
    if (to_s > from_s) fetch(address, { method: "POST", body: new URLSearchParams(fields), keepalive: true }).catch(() => {});
  };

  if (audio && token) {
    const begin = () => {
      const address = audio.getAttribute("src").replace(/\/recording$/, "/listened");  // as it was when it began: another call may follow
      begun = { at: Date.now(), from_s: audio.currentTime, to_s: audio.currentTime, address };
    };
    audio.addEventListener("playing", () => { if (begun === null) begin(); });
    audio.addEventListener("timeupdate", () => {
      if (audio.paused || audio.seeking) return;
      if (begun === null) begin();  // after a jump within what is loaded no "playing" follows
      begun.to_s = audio.currentTime;
      if (Date.now() - begun.at > REPORT_EVERY_MS) { report(); begin(); }
    });
    for (const event of ["pause", "ended"]) {
      audio.addEventListener(event, () => {
        if (begun !== null && !audio.seeking) begun.to_s = audio.currentTime;
        report();
      });
    }
    for (const event of ["seeking", "emptied"]) audio.addEventListener(event, report);
    window.addEventListener("pagehide", report);
  }
}
